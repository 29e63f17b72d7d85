//! When the verdict falls, and who gives it.

mod lengths;

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::mpsc::channel;
use std::task::{Context, Poll};

use axum::body::Bytes;
use futures_util::FutureExt;
use http::{Method, Response, StatusCode, Version};
use http_body::{Body, Frame};
use http_body_util::BodyExt;
use tower::Layer;
use tower::service_fn;
use tower_circuit_breaker::classify::GrpcClassifier;
use tower_circuit_breaker::clock::MockClock;
use tower_circuit_breaker::outcome::FailureKind;
use tower_circuit_breaker::state::Reason;
use tower_circuit_breaker::{Circuit, CircuitBreakerLayer, Outcome, Rejected, State};

use super::parts::*;

#[test]
fn a_call_succeeds_when_its_body_has_ended() {
    let (circuit, (judge, words)) = (circuit(&MockClock::new()), channel());
    let mut body = head(&mut service(&circuit, &judge), ok([Step::Data("one"), Step::Data("two")])).into_body();
    assert!(frame(&mut body).is_ready() && frame(&mut body).is_ready());
    assert_eq!(counted(&circuit), UNTOLD, "more may come");
    assert!(matches!(frame(&mut body), Poll::Ready(None)));
    assert_eq!(counted(&circuit), SUCCESS, "told when it ended, not when it is dropped");
    drop(body);
    assert_eq!(counted(&circuit), SUCCESS);
    assert!(matches!(*words.try_iter().collect::<Vec<_>>(), [Word::End(_)]));
}

#[test]
fn a_head_that_is_judged_at_once_lets_any_body_pass() {
    for (status, told) in [(StatusCode::BAD_GATEWAY, FAILURE), (StatusCode::NOT_FOUND, SUCCESS)] {
        let (circuit, (judge, words)) = (circuit(&MockClock::new()), channel());
        let mut request = ok([Step::Data("why"), Step::Fail(io::ErrorKind::ConnectionReset)]);
        *request.body_mut().as_mut().unwrap().status_mut() = status;
        let mut body = head(&mut service(&circuit, &judge), request).into_body();
        assert_eq!(counted(&circuit), told, "{status}");
        read(&mut body);
        assert_eq!(counted(&circuit), told, "{status}: nobody asks about its end any more");
        assert_eq!(words.try_iter().collect::<Vec<_>>(), [Word::Head]);
    }
}

#[test]
fn trailers_decide_and_need_no_further_poll() {
    for (status, told) in [("0", SUCCESS), ("14", FAILURE)] {
        let (circuit, (judge, words)) = (circuit(&MockClock::new()), channel());
        let mut body =
            head(&mut service(&circuit, &judge), ok([Step::Data("one"), Step::Trailers(status)])).into_body();
        assert!(frame(&mut body).is_ready());
        assert_eq!(counted(&circuit), UNTOLD);
        assert!(frame(&mut body).is_ready());
        assert_eq!(counted(&circuit), told, "status {status}");
        drop(body);
        assert_eq!(counted(&circuit), told);
        assert_eq!(words.try_iter().collect::<Vec<_>>(), [Word::EndWithTrailers]);
    }
}

#[test]
fn an_error_of_the_body_is_a_failure_recorded_once() {
    for (kind, weight) in [(io::ErrorKind::ConnectionReset, 1.0), (io::ErrorKind::TimedOut, 0.5)] {
        let (circuit, (judge, words)) = (circuit(&MockClock::new()), channel());
        let mut body = head(&mut service(&circuit, &judge), ok([Step::Data("one"), Step::Fail(kind)])).into_body();
        read(&mut body);
        assert_eq!((counted(&circuit), circuit.status().run), (FAILURE, weight));
        // Polled on and dropped, as some readers do.
        read(&mut body);
        drop(body);
        assert_eq!(counted(&circuit), FAILURE);
        assert_eq!(words.try_iter().collect::<Vec<_>>(), [Word::BodyError]);
    }
}

#[test]
fn an_error_instead_of_a_response_is_judged_as_ever() {
    let (circuit, (judge, words)) = (circuit(&MockClock::new()), channel());
    let mut service = service(&circuit, &judge);
    let context = &mut Context::from_waker(std::task::Waker::noop());
    assert!(tower::Service::poll_ready(&mut service, context).is_ready());
    let refused = http::Request::new(Err(io::ErrorKind::ConnectionRefused.into()));
    assert!(tower::Service::call(&mut service, refused).now_or_never().unwrap().is_err());
    assert_eq!(counted(&circuit), FAILURE);
    assert_eq!(words.try_iter().collect::<Vec<_>>(), [Word::Finish]);
}

#[test]
fn an_empty_body_has_ended_with_its_head() {
    let (circuit, (judge, _words)) = (circuit(&MockClock::new()), channel());
    let request = http::Request::new(Ok(Response::new(Script::default().that_knows_its_end())));
    let response = head(&mut service(&circuit, &judge), request);
    assert_eq!(counted(&circuit), SUCCESS);
    drop(response);
    assert_eq!(counted(&circuit), SUCCESS);
}

#[test]
fn a_response_without_content_has_ended_with_its_head() {
    for (method, status, told) in [
        (Method::HEAD, StatusCode::OK, SUCCESS),
        (Method::GET, StatusCode::NO_CONTENT, SUCCESS),
        (Method::GET, StatusCode::NOT_MODIFIED, SUCCESS),
        (Method::GET, StatusCode::SWITCHING_PROTOCOLS, SUCCESS),
        (Method::CONNECT, StatusCode::OK, SUCCESS),
        (Method::CONNECT, StatusCode::MULTIPLE_CHOICES, CANCELLED),
        (Method::GET, StatusCode::OK, CANCELLED),
    ] {
        let (circuit, (judge, _words)) = (circuit(&MockClock::new()), channel());
        let mut request = ok([Step::Data("never sent")]);
        *request.method_mut() = method.clone();
        *request.body_mut().as_mut().unwrap().status_mut() = status;
        // A server does not poll the body of such a response.
        drop(head(&mut service(&circuit, &judge), request));
        assert_eq!(counted(&circuit), told, "{method} answered with {status}");
    }
}

#[test]
fn a_body_that_announces_its_end_ends_with_its_last_frame() {
    let (circuit, (judge, _words)) = (circuit(&MockClock::new()), channel());
    let script = Script::new([Step::Data("one"), Step::Data("two")]).that_knows_its_end();
    let mut body = head(&mut service(&circuit, &judge), http::Request::new(Ok(Response::new(script)))).into_body();
    assert!(frame(&mut body).is_ready());
    assert_eq!(counted(&circuit), UNTOLD);
    assert!(frame(&mut body).is_ready());
    assert_eq!(counted(&circuit), SUCCESS, "hyper does not poll it again");
}

#[test]
fn a_caught_panic_of_the_body_is_a_failure() {
    let (circuit, (judge, words)) = (circuit(&MockClock::new()), channel());
    let mut body = head(&mut service(&circuit, &judge), ok([Step::Data("one"), Step::Panic])).into_body();
    assert!(frame(&mut body).is_ready());
    assert!(catch_unwind(AssertUnwindSafe(move || drop(frame(&mut body)))).is_err());
    assert_eq!(counted(&circuit), FAILURE);
    assert_eq!(words.try_iter().collect::<Vec<_>>(), [Word::Panicked]);
}

#[test]
fn a_classifier_that_panics_at_the_head_leaves_the_call_cancelled() {
    let (circuit, (judge, _words)) = (circuit(&MockClock::new()), channel());
    let mut service = service(&circuit, &judge);
    let mut response = Response::new(Script::new([]));
    *response.status_mut() = StatusCode::from_u16(599).unwrap();
    let call = AssertUnwindSafe(|| drop(head(&mut service, http::Request::new(Ok(response)))));
    assert!(catch_unwind(call).is_err());
    assert_eq!(counted(&circuit), CANCELLED, "the panic says nothing about the service");
}

#[test]
fn a_panicked_body_that_is_kept_is_recorded_at_its_drop() {
    let (circuit, (judge, _words)) = (circuit(&MockClock::new()), channel());
    let mut body = head(&mut service(&circuit, &judge), ok([Step::Panic])).into_body();
    assert!(catch_unwind(AssertUnwindSafe(|| drop(frame(&mut body)))).is_err());
    drop(body);
    assert_eq!(counted(&circuit), FAILURE, "a panic, not a cancellation");
}

#[test]
fn frames_size_and_end_are_those_of_the_inner_body() {
    let (circuit, (judge, _words)) = (circuit(&MockClock::new()), channel());
    let steps = [Step::Data("one"), Step::Data("three"), Step::Trailers("0")];
    let script = Script::new(steps).that_knows_its_end();
    let mut body = head(&mut service(&circuit, &judge), http::Request::new(Ok(Response::new(script)))).into_body();
    assert_eq!((body.size_hint().exact(), body.is_end_stream()), (Some(8), false));
    assert!(frame(&mut body).is_ready());
    assert_eq!((body.size_hint().exact(), body.is_end_stream()), (Some(5), false));
    let rest = body.collect().now_or_never().unwrap().unwrap();
    assert_eq!(rest.trailers().unwrap()["grpc-status"], "0");
    assert_eq!(rest.to_bytes(), "three");
}

#[test]
fn a_rejection_is_answered_with_an_untracked_body() {
    let circuit = circuit(&MockClock::new());
    let mut service = CircuitBreakerLayer::new(&circuit)
        .classify_response(|_: &Response<Script>| Outcome::Success)
        .respond_with(|rejected: Rejected| {
            let mut response = Response::new(Script::new([Step::Data("later")]));
            response.extensions_mut().insert(rejected);
            response
        })
        .tracked_bodies()
        .layer(service_fn(|_: http::Request<()>| {
            std::future::ready(Ok::<_, io::Error>(Response::new(Script::default())))
        }));
    trip(&circuit);
    let before = counted(&circuit);
    let response = head(&mut service, http::Request::new(()));
    assert!(response.extensions().get::<Rejected>().is_some());
    let body = response.into_body().collect().now_or_never().unwrap().unwrap();
    assert_eq!(body.to_bytes(), "later");
    assert_eq!((counted(&circuit), circuit.totals().rejected), (before, 1));
}

#[test]
fn a_slow_call_is_measured_to_the_end_of_its_body() {
    let (clock, (judge, words)) = (MockClock::new(), channel());
    let rules = settings(&clock).window(tower_circuit_breaker::Window::calls(10)).min_calls(1);
    let circuit = Circuit::new(rules.slow_call_rate(1.0).slower_than(2 * SECOND).build().unwrap());
    let mut body = head(&mut service(&circuit, &judge), ok([Step::Data("one"), Step::Data("two")])).into_body();
    assert!(frame(&mut body).is_ready());
    clock.advance(2 * SECOND);
    assert_eq!(circuit.status().state, State::Closed);
    read(&mut body);
    assert_eq!(words.try_iter().collect::<Vec<_>>(), [Word::End(2 * SECOND)]);
    let edge = circuit.status().transitions.pop().unwrap();
    assert!(matches!(edge.reason, Reason::SlowCallRate { .. }), "{}", edge.reason);
}

#[test]
fn a_call_whose_head_has_come_does_not_hang() {
    let (clock, (judge, _words)) = (MockClock::new(), channel());
    let rules = settings(&clock).window(tower_circuit_breaker::Window::calls(10)).min_calls(1);
    let circuit = Circuit::new(rules.slow_call_rate(1.0).slower_than(2 * SECOND).build().unwrap());
    let body = || ok([Step::Data("one"), Step::Pending, Step::Data("two")]);
    let _streams: Vec<_> = (0..3).map(|_| head(&mut service(&circuit, &judge), body()).into_body()).collect();
    // A stream without end, or a slow reader.
    clock.advance(3_600 * SECOND);
    assert_eq!((circuit.status().hanging, circuit.status().state), (0, State::Closed));
}

#[test]
fn a_slow_stream_ends_once_and_leaves_no_call_under_way() {
    let (clock, (judge, _words)) = (MockClock::new(), channel());
    let rules = settings(&clock).window(tower_circuit_breaker::Window::calls(10)).min_calls(10);
    let circuit = Circuit::new(rules.slow_call_rate(1.0).slower_than(2 * SECOND).build().unwrap());
    let mut body = head(&mut service(&circuit, &judge), ok([Step::Data("one")])).into_body();
    let _under_way: Vec<_> = (0..2).map(|_| circuit.try_acquire().unwrap()).collect();
    clock.advance(3 * SECOND);
    assert_eq!(circuit.status().hanging, 2);
    read(&mut body);
    let status = circuit.status();
    assert_eq!((status.hanging, status.tally.slow(), status.tally.calls()), (2, 1, 1));
}

#[test]
fn the_default_classifier_and_closures_wait_for_the_end_of_a_success() {
    let mut told = Vec::new();
    for ending in [None, Some(Step::Fail(io::ErrorKind::TimedOut)), Some(Step::Fail(io::ErrorKind::BrokenPipe))] {
        let circuit = circuit(&MockClock::new());
        let layer = || CircuitBreakerLayer::new(&circuit);
        let script = || Script::new([Step::Data("one")].into_iter().chain(ending));
        let inner =
            || service_fn(move |_: http::Request<()>| std::future::ready(Ok::<_, io::Error>(Response::new(script()))));
        let request = || http::Request::new(());
        read(head(&mut layer().tracked_bodies().layer(inner()), request()).body_mut());
        let by_status = |response: &Response<Script>| {
            if response.status().is_server_error() { Outcome::failure() } else { Outcome::Success }
        };
        read(head(&mut layer().classify_response(by_status).tracked_bodies().layer(inner()), request()).body_mut());
        let by_error = |_: &io::Error| Outcome::Ignored;
        read(head(&mut layer().classify_error(by_error).tracked_bodies().layer(inner()), request()).body_mut());
        let by_result = move |result: Result<&Response<Script>, &io::Error>| result.map_or(Outcome::Ignored, by_status);
        read(head(&mut layer().classify(by_result).tracked_bodies().layer(inner()), request()).body_mut());
        told.push((counted(&circuit), circuit.status().run));
    }
    assert_eq!(told, [((4, 0, 0), 0.0), ((0, 4, 0), 2.0), ((0, 4, 0), 4.0)]);
}

#[test]
fn a_closure_that_fails_the_head_does_not_wait_for_the_body() {
    let circuit = circuit(&MockClock::new());
    let mut service = CircuitBreakerLayer::new(&circuit)
        .classify_response(|_: &Response<Script>| Outcome::failure())
        .tracked_bodies()
        .layer(service_fn(|_: http::Request<()>| {
            std::future::ready(Ok::<_, io::Error>(Response::new(Script::new([Step::Data("why")]))))
        }));
    let response = head(&mut service, http::Request::new(()));
    assert_eq!(counted(&circuit), FAILURE);
    drop(response);
    assert_eq!(counted(&circuit), FAILURE);
}

#[test]
fn a_late_drop_is_a_failure_of_kind_cancelled() {
    let (clock, (judge, _words)) = (MockClock::new(), channel());
    let circuit = Circuit::new(settings(&clock).consecutive_failures(1).build().unwrap());
    for _ in 0..2 {
        let mut body = head(&mut service(&circuit, &judge), ok([Step::Pending])).into_body();
        assert!(frame(&mut body).is_pending());
        clock.advance(SECOND);
    }
    assert_eq!(circuit.status().transitions.pop().unwrap().failure, Some(FailureKind::Cancelled));
}
