//! Bodies that are dropped before their end.

use std::pin::Pin;
use std::sync::mpsc::{Sender, channel};
use std::task::{Context, Poll};

use axum::body::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame};
use tower::{Layer, service_fn};
use tower_circuit_breaker::clock::MockClock;
use tower_circuit_breaker::{Circuit, CircuitBreakerLayer};

use super::parts::*;

/// Reads one frame, waits for the next that long, and drops the body.
fn dropped_while_waiting(clock: &MockClock, circuit: &Circuit, judge: &Sender<Word>, wait: std::time::Duration) {
    let mut body = head(&mut service(circuit, judge), ok([Step::Data("one"), Step::Pending])).into_body();
    assert!(frame(&mut body).is_ready());
    assert!(frame(&mut body).is_pending());
    clock.advance(wait);
}

#[test]
fn a_body_dropped_after_a_short_wait_is_cancelled_and_neutral() {
    let (clock, (judge, words)) = (MockClock::new(), channel());
    let circuit = circuit(&clock);
    dropped_while_waiting(&clock, &circuit, &judge, SECOND - TICK);
    assert_eq!(counted(&circuit), CANCELLED);
    assert_eq!(words.try_iter().collect::<Vec<_>>(), [Word::Cancelled(SECOND - TICK)]);
}

#[test]
fn a_body_dropped_after_a_long_wait_weighs_like_a_timeout() {
    let (clock, (judge, _words)) = (MockClock::new(), channel());
    let circuit = circuit(&clock);
    dropped_while_waiting(&clock, &circuit, &judge, SECOND);
    assert_eq!((counted(&circuit), circuit.status().run), (FAILURE, 0.5));
}

#[test]
fn a_late_drop_is_neutral_where_cancellation_never_counts() {
    let (clock, (judge, _words)) = (MockClock::new(), channel());
    let circuit = Circuit::new(settings(&clock).cancelled_never_counts().build().unwrap());
    dropped_while_waiting(&clock, &circuit, &judge, 60 * SECOND);
    assert_eq!(counted(&circuit), CANCELLED);
}

#[test]
fn a_body_dropped_before_its_first_poll_is_neutral_however_late() {
    let (clock, (judge, words)) = (MockClock::new(), channel());
    let circuit = circuit(&clock);
    let response = head(&mut service(&circuit, &judge), ok([Step::Data("one")]));
    clock.advance(60 * SECOND);
    drop(response);
    assert_eq!(counted(&circuit), CANCELLED);
    assert_eq!(words.try_iter().collect::<Vec<_>>(), [Word::Cancelled(std::time::Duration::ZERO)], "nobody waited");
}

#[test]
fn a_slow_reader_is_no_failure_of_the_service() {
    let (clock, (judge, _words)) = (MockClock::new(), channel());
    let circuit = circuit(&clock);
    let mut body =
        head(&mut service(&circuit, &judge), ok([Step::Pending, Step::Data("one"), Step::Data("two")])).into_body();
    assert!(frame(&mut body).is_pending());
    assert!(frame(&mut body).is_ready());
    clock.advance(60 * SECOND);
    drop(body);
    assert_eq!(counted(&circuit), CANCELLED, "the service was waiting for the reader");
}

#[test]
fn the_wait_begins_anew_with_each_frame_and_not_with_each_poll() {
    let (clock, (judge, words)) = (MockClock::new(), channel());
    let circuit = circuit(&clock);
    let steps = [Step::Pending, Step::Data("one"), Step::Pending, Step::Pending];
    let mut body = head(&mut service(&circuit, &judge), ok(steps)).into_body();
    assert!(frame(&mut body).is_pending());
    clock.advance(60 * SECOND);
    assert!(frame(&mut body).is_ready());
    for _ in 0..2 {
        assert!(frame(&mut body).is_pending());
        clock.advance(SECOND / 4);
    }
    drop(body);
    assert_eq!(counted(&circuit), CANCELLED);
    assert_eq!(words.try_iter().collect::<Vec<_>>(), [Word::Cancelled(SECOND / 2)]);
}

#[test]
fn the_classifier_may_judge_a_dropped_body() {
    let (circuit, (judge, _words)) = (circuit(&MockClock::new()), channel());
    let mut request = ok([Step::Data("one"), Step::Data("two")]);
    request.headers_mut().insert("must-be-read", "yes".parse().unwrap());
    let mut body = head(&mut service(&circuit, &judge), request).into_body();
    assert!(frame(&mut body).is_ready());
    drop(body);
    assert_eq!((counted(&circuit), circuit.status().run), (FAILURE, 1.0));
}

#[test]
fn a_body_that_is_taken_out_counts_as_dropped_and_goes_on() {
    let (circuit, (judge, _words)) = (circuit(&MockClock::new()), channel());
    let body = head(&mut service(&circuit, &judge), ok([Step::Data("one")])).into_body();
    assert!(!body.get_ref().is_end_stream());
    let mut inner = body.into_inner();
    assert_eq!(counted(&circuit), CANCELLED);
    assert!(matches!(frame(&mut inner), Poll::Ready(Some(Ok(_)))));
}

#[test]
fn the_future_dropped_before_the_head_is_cancelled_as_ever() {
    for (wait, told) in [(SECOND - TICK, CANCELLED), (SECOND, FAILURE)] {
        let clock = MockClock::new();
        let circuit = circuit(&clock);
        let hang = service_fn(|_: Request<()>| std::future::pending::<Result<Response<Script>, std::io::Error>>());
        let mut service = CircuitBreakerLayer::new(&circuit).tracked_bodies().layer(hang);
        let context = &mut Context::from_waker(std::task::Waker::noop());
        assert!(tower::Service::poll_ready(&mut service, context).is_ready());
        let mut future = Box::pin(tower::Service::call(&mut service, Request::new(())));
        assert!(Future::poll(future.as_mut(), context).is_pending());
        clock.advance(wait);
        drop(future);
        assert_eq!(counted(&circuit), told);
    }
}

#[test]
fn the_inner_body_is_dropped_before_the_outcome_is_recorded() {
    /// Tells, when it is dropped, what has been counted by then.
    struct Watching(Circuit, Sender<(u64, u64, u64)>);

    impl Body for Watching {
        type Data = Bytes;
        type Error = std::io::Error;

        fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
            Poll::Pending
        }
    }

    impl Drop for Watching {
        fn drop(&mut self) {
            self.1.send(counted(&self.0)).ok();
        }
    }

    let (circuit, (tell, told)) = (circuit(&MockClock::new()), channel());
    let watching = || Ok::<_, std::io::Error>(Response::new(Watching(circuit.clone(), tell.clone())));
    let inner = service_fn(|_: Request<()>| std::future::ready(watching()));
    drop(head(&mut CircuitBreakerLayer::new(&circuit).tracked_bodies().layer(inner), Request::new(())));
    assert_eq!((told.try_recv(), counted(&circuit)), (Ok(UNTOLD), CANCELLED));
}

#[test]
fn clones_share_the_circuit_and_each_body_has_its_own_outcome() {
    let (circuit, (judge, _words)) = (circuit(&MockClock::new()), channel());
    let service = service(&circuit, &judge);
    let call = |ending| head(&mut service.clone(), ok([Step::Data("one"), ending])).into_body();
    let mut bodies: Vec<_> = (0..10).map(|n| call(Step::Trailers(if n % 2 == 0 { "0" } else { "14" }))).collect();
    assert_eq!(counted(&circuit), UNTOLD);
    bodies.iter_mut().take(8).for_each(read);
    drop(bodies);
    assert_eq!(counted(&circuit), (4, 4, 2));
}
