//! What a tracked body adds to a call, and to a frame.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::hint::black_box;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use http::{Request, Response};
use http_body::{Body, Frame};
use tower::{Layer, Service, service_fn};
use tower_circuit_breaker::{Circuit, CircuitBreakerLayer, Config};

use crate::cli::{Options, print_table};
use crate::rounds::{PRICE_HEADER, Rounds, price_rows};

/// So many frames, all there at once.
#[derive(Debug)]
struct Frames(u64);

impl Body for Frames {
    type Data = &'static [u8];
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Infallible>>> {
        self.0 = match self.0.checked_sub(1) {
            Some(left) => left,
            None => return Poll::Ready(None),
        };
        Poll::Ready(Some(Ok(Frame::data(black_box(b"a frame")))))
    }
}

type Answer = Ready<Result<Response<Frames>, Infallible>>;

/// A function that the compiler does not see through, as it would not through a client.
fn inner() -> impl Service<Request<u64>, Response = Response<Frames>, Error = Infallible, Future = Answer> + Clone {
    let answer: fn(Request<u64>) -> Answer = |request| ready(Ok(Response::new(Frames(request.into_body()))));
    service_fn(black_box(answer))
}

pub(crate) fn run(options: &Options) {
    for (unit, frames) in [("ns a call, one frame", 1), ("ns a frame, 1 000 of them", 1_000)] {
        let mut rounds = Rounds::default();
        let mut bare = inner();
        rounds.case("bare service_fn", move |count| read(&mut bare, frames, count));
        for (name, config) in [
            ("default rules", Config::builder("bench")),
            ("slow calls", Config::builder("bench").slow_call_rate(0.5).slower_than(HOUR)),
        ] {
            let config = config.without_shipped_observers().build().expect("settings that can work");
            let circuit = Circuit::new(config);
            let layer = || CircuitBreakerLayer::new(&circuit).typed_errors();
            let (mut plain, mut tracked) = (layer().layer(inner()), layer().tracked_bodies().layer(inner()));
            rounds.case(&format!("judged by the head, {name}"), move |count| read(&mut plain, frames, count));
            rounds.case(&format!("tracked, {name}"), move |count| read(&mut tracked, frames, count));
        }
        let [_, rest @ ..] = PRICE_HEADER;
        print_table(&[&[unit][..], &rest].concat(), &price_rows(&rounds.measure(options)));
    }
}

/// Makes calls whose bodies have so many frames, and reads them to the end, until it was that many frames.
fn read<S, B>(service: &mut S, frames: u64, count: u64)
where
    S: Service<Request<u64>, Response = Response<B>>,
    S::Error: std::fmt::Debug,
    B: Body,
{
    let mut context = Context::from_waker(Waker::noop());
    for _ in 0..count.div_ceil(frames) {
        assert!(matches!(service.poll_ready(&mut context), Poll::Ready(Ok(()))), "the inner service always is");
        let Poll::Ready(response) = pin!(service.call(Request::new(black_box(frames)))).poll(&mut context) else {
            unreachable!("the inner future is ready");
        };
        let mut body = pin!(response.expect("the circuit is closed").into_body());
        while let Poll::Ready(Some(frame)) = black_box(body.as_mut().poll_frame(&mut context)) {
            assert!(frame.is_ok(), "it has no errors");
        }
    }
}

const HOUR: std::time::Duration = std::time::Duration::from_secs(3600);
