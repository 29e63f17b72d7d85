//! Calls that cost nothing themselves: a service that is always ready with the answer, polled by hand without a runtime.

use core::fmt;
use core::future::{Future, Ready, ready};
use core::hint::{black_box, spin_loop};
use core::pin::pin;
use core::task::{Context, Poll, Waker};

use tower::Service;

#[derive(Debug, Clone)]
pub(crate) struct Broken;

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("broken")
    }
}

impl std::error::Error for Broken {}

pub(crate) type Answer = Ready<Result<u64, Broken>>;

/// The inner service of every bench, for `service_fn`.
pub(crate) fn answer(request: u64) -> Answer {
    ready(Ok(request))
}

/// Polls the service ready and calls it, that often.
pub(crate) fn call_through<S: Service<u64>>(service: &mut S, calls: u64) {
    let mut context = Context::from_waker(Waker::noop());
    for request in 0..calls {
        let ready = service.poll_ready(&mut context);
        assert!(matches!(ready, Poll::Ready(Ok(()))), "the inner service always is");
        poll_to_end(service.call(black_box(request)));
    }
}

/// Polls until it is done: at once, but for breakers with an asynchronous lock, to which spinning is kinder than parking.
pub(crate) fn poll_to_end<F: Future>(future: F) {
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    while black_box(future.as_mut().poll(&mut context)).is_pending() {
        spin_loop();
    }
}
