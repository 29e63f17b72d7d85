//! Waiting until a circuit lets calls through again: for transitions, freed slots, and the deadline, of the opening or of the
//! oldest probe.

use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll, ready};

use tokio::time::{Sleep, sleep};

use crate::circuit::{Circuit, Peek, Place};

/// The wait of one service, while there is something to wait for.
#[derive(Debug)]
pub(super) struct Pend(Option<Wait>);

#[derive(Debug)]
struct Wait {
    circuit: Circuit,
    place: Place,
    /// Boxed, because a timer must not move and a service may.
    timer: Option<Pin<Box<Sleep>>>,
}

impl Pend {
    pub(super) const fn new() -> Self {
        Self(None)
    }

    /// Is ready once a call may pass.
    ///
    /// # Cancel safety
    ///
    /// Not polled again, it is woken once for nothing; dropped, nothing of it stays behind.
    pub(super) fn poll(&mut self, circuit: &Circuit, context: &mut Context<'_>) -> Poll<()> {
        while circuit.peek() != Peek::MayPass {
            let wait = self.0.get_or_insert_with(|| Wait::new(circuit));
            circuit.register_at(&mut wait.place, context);
            // Only a look after registering may end in waiting: the change could have come in between.
            match circuit.peek() {
                Peek::MayPass => break,
                Peek::Rejecting(None) => return Poll::Pending,
                Peek::Rejecting(Some(left)) | Peek::ProbesTaken(left) => {
                    // A new timer each time: the deadline may have moved, and this is not the path of a healthy call.
                    let timer = wait.timer.insert(Box::pin(sleep(left)));
                    ready!(timer.as_mut().poll(context));
                }
            }
        }
        self.0 = None;
        Poll::Ready(())
    }
}

impl Wait {
    fn new(circuit: &Circuit) -> Self {
        Self { circuit: circuit.clone(), place: Place::default(), timer: None }
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        self.circuit.leave(self.place);
    }
}
