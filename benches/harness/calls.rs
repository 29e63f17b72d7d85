//! Calls that cost nothing themselves: a service that is always ready with the answer, polled by hand without a runtime.

use std::fmt;
use std::future::{Future, Ready, ready};
use std::hint::{black_box, spin_loop};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use tower::{Service, service_fn};

#[derive(Debug, Clone)]
pub(crate) struct Broken;

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("broken")
    }
}

impl std::error::Error for Broken {}

pub(crate) type Answer = Ready<Result<u64, Broken>>;

/// The inner service of every bench: a function that the compiler does not see through, as it would not through a client.
pub(crate) fn inner(
    answer: fn(u64) -> Answer,
) -> impl Service<u64, Response = u64, Error = Broken, Future = Answer> + Clone {
    service_fn(black_box(answer))
}

pub(crate) fn answer(request: u64) -> Answer {
    ready(Ok(request))
}

/// Polls the service ready and calls it, that often.
#[inline(always)]
pub(crate) fn call_through<S: Service<u64>>(service: &mut S, calls: u64) {
    call_from(service, 0, calls);
}

/// The same with the requests from `from` on, where the request decides which circuit is called.
#[inline(always)]
pub(crate) fn call_from<S: Service<u64>>(service: &mut S, from: u64, calls: u64) {
    let mut context = Context::from_waker(Waker::noop());
    for request in from..from + calls {
        let ready = service.poll_ready(&mut context);
        assert!(matches!(ready, Poll::Ready(Ok(()))), "the inner service always is");
        poll_to_end(pin!(service.call(black_box(request))));
    }
}

/// Polls until it is done: at once, but for breakers with an asynchronous lock, to which spinning is kinder than parking.
///
/// Pinned by the caller, who need not move it: a future of this crate is longer than the time that is measured here.
pub(crate) fn poll_to_end<F: Future>(mut future: Pin<&mut F>) {
    let mut context = Context::from_waker(Waker::noop());
    while black_box(future.as_mut().poll(&mut context)).is_pending() {
        spin_loop();
    }
}
