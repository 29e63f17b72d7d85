//! Waiting until a circuit lets calls through again: for transitions, freed slots, and the deadline.

use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll, ready};

use tokio::time::{Sleep, sleep};

use crate::circuit::{Circuit, Peek};

/// The timer of one service. It is boxed, because a service may move, and made only when there is something to wait for.
#[derive(Debug)]
pub(super) struct Pend(Option<Pin<Box<Sleep>>>);

impl Pend {
    pub(super) const fn new() -> Self {
        Self(None)
    }

    /// Is ready once a call may pass. Dropped or not polled again, it leaves a waker that is woken once for nothing.
    pub(super) fn poll(&mut self, circuit: &Circuit, context: &mut Context<'_>) -> Poll<()> {
        loop {
            if circuit.peek() == Peek::MayPass {
                self.0 = None;
                return Poll::Ready(());
            }
            circuit.register(context);
            // Only a look after registering may end in waiting: the change could have come in between.
            let left = match circuit.peek() {
                Peek::MayPass => continue,
                Peek::Rejecting(None) => return Poll::Pending,
                Peek::Rejecting(Some(left)) => left,
            };
            // A new timer each time: the deadline may have moved, and this is not the path of a healthy call.
            let timer = self.0.insert(Box::pin(sleep(left)));
            ready!(timer.as_mut().poll(context));
        }
    }
}
