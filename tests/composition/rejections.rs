//! What a rejected caller gets, and how it is told from what the service gives.

use std::error::Error as StdError;
use std::io;
use std::sync::mpsc;
use std::time::Duration;

use futures_util::FutureExt;
use tower::{BoxError, Layer, Service, service_fn};
use tower_circuit_breaker::circuit::To;
use tower_circuit_breaker::clock::MockClock;
use tower_circuit_breaker::event::{Event, Observer};
use tower_circuit_breaker::rejection::Rejection;
use tower_circuit_breaker::state::{Reason, RejectReason};
use tower_circuit_breaker::{Circuit, CircuitBreakerLayer, Error, Rejected, State};

use crate::parts::{
    Ask, MINUTE, Wrapped, ask, circuit, obey, operator, poll_ready, rejection, settings, state, take_probe, trip,
};

#[test]
fn a_rejection_is_found_inside_every_wrapper() {
    let rejected = || some_rejection();
    let typed = || Error::<io::Error>::Rejected(rejected());
    let found: [BoxError; 8] = [
        rejected().into(),
        typed().into(),
        Error::<Wrapped>::Inner(Wrapped(rejected().into())).into(),
        Wrapped(rejected().into()).into(),
        Wrapped(Wrapped(typed().into()).into()).into(),
        io::Error::other(rejected()).into(),
        Wrapped(io::Error::other(Wrapped(rejected().into())).into()).into(),
        io::Error::other(typed()).into(),
    ];
    for error in found {
        let rejected = Rejected::find(error.as_ref()).unwrap_or_else(|| panic!("in {error:?}"));
        assert_eq!(rejected.circuit(), "payments");
    }
    let not_found: [BoxError; 4] = [
        "circuit `payments` is open".into(),
        io::Error::other("refused").into(),
        Wrapped("refused".into()).into(),
        Error::Inner(io::Error::other("refused")).into(),
    ];
    for error in not_found {
        assert!(Rejected::find(error.as_ref()).is_none(), "in {error:?}");
    }
}

#[test]
fn boxed_errors_give_the_service_s_own_error_unwrapped() {
    let circuit = circuit(&MockClock::new());
    let mut service = CircuitBreakerLayer::new(&circuit).layer(service_fn(obey));
    let error = ask(&mut service, Ask::Fail).unwrap().unwrap_err();
    assert_eq!(error.downcast::<io::Error>().unwrap().kind(), io::ErrorKind::ConnectionRefused);
    trip(&circuit);
    let error = ask(&mut service, Ask::Succeed).unwrap().unwrap_err();
    assert!(error.is::<Rejected>());
}

#[test]
fn typed_errors_are_matched_on() {
    let circuit = circuit(&MockClock::new());
    let mut service = CircuitBreakerLayer::new(&circuit).typed_errors().layer(service_fn(obey));
    match ask(&mut service, Ask::Fail).unwrap().unwrap_err() {
        Error::Inner(error) => assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused),
        Error::Rejected(rejected) => panic!("{rejected}"),
    }
    trip(&circuit);
    match ask(&mut service, Ask::Succeed).unwrap().unwrap_err() {
        Error::Rejected(rejected) => assert_eq!(rejected.reason(), RejectReason::Tripped),
        Error::Inner(error) => panic!("{error}"),
    }
}

#[test]
fn an_inner_error_is_the_source_of_the_typed_error() {
    let error = Error::Inner(Wrapped(io::Error::from(io::ErrorKind::TimedOut).into()));
    let chain: Vec<String> = chain(&error).map(ToString::to_string).collect();
    assert_eq!(
        chain,
        ["the client failed", "the client failed", "timed out"],
        "a line without the chain has the cause"
    );
    assert!(error.source().unwrap().is::<Wrapped>());
}

#[test]
fn a_rejection_is_the_source_and_the_text_of_the_typed_error() {
    let error = Error::<io::Error>::Rejected(some_rejection());
    assert!(error.source().unwrap().is::<Rejected>());
    assert_eq!(error.to_string(), error.source().unwrap().to_string());
}

#[test]
fn a_response_answers_for_the_service_and_leaves_its_errors_alone() {
    let circuit = circuit(&MockClock::new());
    let layer = CircuitBreakerLayer::new(&circuit).respond_with(|rejected: Rejected| rejected.reason().as_str());
    let mut service = layer.layer(service_fn(obey));
    let error: io::Error = ask(&mut service, Ask::Fail).unwrap().unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    trip(&circuit);
    assert_eq!(ask(&mut service, Ask::Fail).unwrap().unwrap(), "tripped");
    assert_eq!(circuit.status().totals.successes, 0, "an answer of ours is no success of the service");
}

#[test]
fn a_custom_rejection_gets_the_request_back_unused() {
    /// Gives the request back to the caller.
    #[derive(Clone)]
    struct HandBack;

    impl<Req, Res, E> Rejection<Req, Res, E> for HandBack {
        type Error = Result<Req, E>;

        fn reject(&self, _: Rejected, request: Req) -> Result<Res, Self::Error> {
            Err(Ok(request))
        }

        fn map_err(error: E) -> Self::Error {
            Err(error)
        }
    }

    let circuit = circuit(&MockClock::new());
    let mut service = CircuitBreakerLayer::new(&circuit).rejection(HandBack).layer(service_fn(obey));
    assert!(matches!(ask(&mut service, Ask::Fail), Some(Err(Err(_)))));
    trip(&circuit);
    assert!(matches!(ask(&mut service, Ask::Hang), Some(Err(Ok(Ask::Hang)))));
}

#[test]
fn a_rejection_names_the_circuit_the_reason_and_the_wait() {
    let clock = MockClock::new();
    let circuit = circuit(&clock);
    let mut service = CircuitBreakerLayer::new(&circuit).layer(service_fn(obey));
    for _ in 0..5 {
        assert!(ask(&mut service, Ask::Fail).unwrap().is_err());
    }
    clock.advance(Duration::from_secs(18));
    let rejected = rejection(ask(&mut service, Ask::Fail));
    assert_eq!(rejected.retry_after(), Some(Duration::from_secs(42)));
    assert!(matches!(rejected.why().unwrap().reason, Reason::ConsecutiveFailures { .. }));
    assert_eq!(
        rejected.to_string(),
        "circuit `payments` is open: failures in a row weighed 5.0, the limit is 5.0, last a failure of kind \
         connect: connection refused; it lets a probe through in 42 s"
    );
    clock.advance(MINUTE);
    let probe = take_probe(&circuit);
    let rejected = rejection(ask(&mut service, Ask::Fail));
    assert_eq!((rejected.reason(), rejected.retry_after()), (RejectReason::HalfOpen, None));
    probe.success();
    circuit.trip(&operator(), None);
    assert_eq!(
        rejection(ask(&mut service, Ask::Fail)).to_string(),
        "circuit `payments` is open: tripped by ops: a test; it stays open until an operator resets it"
    );
    // Read later, it says what was true when it was made.
    let rejected = rejection(ask(&mut service, Ask::Fail));
    let said = rejected.to_string();
    circuit.reset(&operator(), To::Closed);
    assert_eq!(rejected.to_string(), said);
}

#[test]
fn rejections_through_a_service_are_reported_in_summaries() {
    #[derive(Debug)]
    struct Summaries(mpsc::Sender<u64>);

    impl Observer for Summaries {
        fn on_event(&self, _: &str, event: &Event<'_>) {
            if let Event::Rejections { rejected, .. } = event {
                self.0.send(*rejected).unwrap();
            }
        }
    }

    let clock = MockClock::new();
    let (tell, told) = mpsc::channel();
    let circuit = Circuit::new(settings(&clock).observer(Summaries(tell)).build().unwrap());
    let mut service = CircuitBreakerLayer::new(&circuit).layer(service_fn(obey));
    rejection(service.call(Ask::Succeed).now_or_never());
    circuit.disable(&operator(), None);
    rejection(service.call(Ask::Succeed).now_or_never());
    circuit.reset(&operator(), To::Closed);
    assert_eq!(told.try_iter().sum::<u64>(), 0, "a caller that does not poll a closed or disabled one is no outage");
    trip(&circuit);
    for _ in 0..50 {
        clock.advance(Duration::from_secs(1));
        rejection(ask(&mut service, Ask::Succeed));
    }
    assert_eq!(told.try_iter().collect::<Vec<_>>(), [10; 5]);
}

#[test]
fn the_wait_of_a_rejection_counts_from_the_readiness_poll() {
    let clock = MockClock::new();
    let circuit = circuit(&clock);
    let mut service = CircuitBreakerLayer::new(&circuit).typed_errors().layer(service_fn(obey));
    let mut wait_after = |delay: Duration| {
        assert!(poll_ready(&mut service).is_ready());
        clock.advance(delay);
        let rejected = service.call(Ask::Succeed).now_or_never().unwrap().unwrap_err();
        rejected.rejected().expect("it is open").retry_after()
    };
    trip(&circuit);
    assert_eq!(wait_after(Duration::ZERO), Some(MINUTE));
    assert_eq!(wait_after(Duration::from_secs(10)), Some(MINUTE), "found open for a minute");
    assert_eq!(wait_after(Duration::ZERO), Some(MINUTE - Duration::from_secs(10)), "polled anew, it looks anew");
    // Reopened since it was polled: what was found then is of another opening.
    assert!(poll_ready(&mut service).is_ready());
    circuit.reset(&operator(), To::Closed);
    clock.advance(MINUTE);
    trip(&circuit);
    let rejected = service.call(Ask::Succeed).now_or_never().unwrap().unwrap_err();
    assert_eq!(rejected.rejected().expect("it is open").retry_after(), Some(MINUTE));
}

#[test]
fn a_half_open_rejection_without_an_opening_names_the_taken_probes() {
    let circuit = circuit(&MockClock::new());
    circuit.reset(&operator(), To::HalfOpen);
    let _probe = take_probe(&circuit);
    let mut service = CircuitBreakerLayer::new(&circuit).layer(service_fn(obey));
    let rejected = rejection(ask(&mut service, Ask::Succeed));
    assert_eq!(rejected.to_string(), "circuit `payments` is half-open and admits no further probe now");
    assert_eq!(rejected.to_string(), circuit.try_acquire().unwrap_err().to_string());
}

#[test]
fn a_rejection_outlives_the_service_and_the_circuit_s_handles() {
    let rejected = some_rejection();
    assert_eq!(rejected.clone().circuit(), "payments");
    assert!(rejected.why().is_some());
}

#[test]
fn a_rejection_of_a_forgotten_opening_still_says_open() {
    let circuit = circuit(&MockClock::new());
    trip(&circuit);
    let rejected = circuit.try_acquire().unwrap_err();
    for transitions in 1..=200 {
        circuit.reset(&operator(), To::Closed);
        let why = rejected.why();
        assert_eq!(why.is_some(), transitions < 128, "after {transitions} transitions");
        assert!(why.is_none_or(|edge| edge.era == 2), "the opening, and no other transition");
    }
    assert_eq!(rejected.to_string(), "circuit `payments` is open; it lets a probe through in 60 s");
}

#[test]
fn a_rejected_call_without_readiness_names_the_cause_and_is_no_evidence() {
    let circuit = circuit(&MockClock::new());
    let mut service = CircuitBreakerLayer::new(&circuit).layer(service_fn(obey));
    let rejected = rejection(service.call(Ask::Succeed).now_or_never());
    assert!(rejected.to_string().contains("was not polled ready"), "{rejected}");
    assert_eq!(rejected.why(), None);
    assert_eq!(state(&circuit), State::Closed);
    assert!(poll_ready(&mut service).is_ready());
}

fn some_rejection() -> Rejected {
    let circuit = circuit(&MockClock::new());
    trip(&circuit);
    circuit.try_acquire().unwrap_err()
}

fn chain<'a>(error: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |error| StdError::source(*error))
}
