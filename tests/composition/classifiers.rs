//! Judgements of one's own: closures without a turbofish, and every hook of a `Classifier`.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc;
use std::task::Poll;
use std::time::Duration;

use futures_util::FutureExt;
use tower::{BoxError, Layer, Service, ServiceBuilder, service_fn};
use tower_circuit_breaker::classify::{Classifier, outcome_of};
use tower_circuit_breaker::clock::MockClock;
use tower_circuit_breaker::outcome::{FailureKind, Weight};
use tower_circuit_breaker::{Circuit, CircuitBreakerLayer, Failure, Outcome, State, WithinError};
use tower_test::mock;

use crate::parts::{Ask, MINUTE, Strict, ask, circuit, last_edge, obey, poll, poll_ready, state, trip};

#[test]
fn a_closure_over_the_result_needs_no_turbofish() {
    let circuit = circuit(&MockClock::new());
    let layer = CircuitBreakerLayer::new(&circuit).classify(|result: Result<&&str, &io::Error>| match result {
        Ok(&"done") => Outcome::Ignored,
        Ok(_) => Outcome::Success,
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Outcome::failure(),
        Err(error) => outcome_of(error),
    });
    let mut service = layer.layer(service_fn(obey));
    assert!(ask(&mut service, Ask::Succeed).unwrap().is_ok());
    assert!(ask(&mut service, Ask::Fail).unwrap().is_err());
    assert!(ask(&mut service, Ask::TimeOut).unwrap().is_err());
    assert_eq!(counted(&circuit), (0, 2, 1, 1.5));
}

#[test]
fn a_closure_may_leave_out_an_unused_type() {
    let circuit = circuit(&MockClock::new());
    let layer = CircuitBreakerLayer::new(&circuit)
        .classify(|result: Result<&&str, &_>| result.map_or(Outcome::Ignored, |_| Outcome::Success));
    let mut service = layer.layer(service_fn(obey));
    assert!(ask(&mut service, Ask::Fail).unwrap().is_err());
    assert_eq!(counted(&circuit), (0, 0, 1, 0.0));
}

#[test]
fn a_closure_over_the_error_takes_every_response_for_a_success() {
    let circuit = circuit(&MockClock::new());
    let weight = Weight::new(0.25).unwrap();
    let layer = CircuitBreakerLayer::new(&circuit).classify_error(move |error: &io::Error| {
        if error.kind() == io::ErrorKind::TimedOut {
            return Outcome::Ignored;
        }
        Failure::new(weight).with_kind(FailureKind::Named("refused")).into()
    });
    let mut service = layer.layer(service_fn(obey));
    for request in [Ask::Succeed, Ask::TimeOut, Ask::Fail] {
        ask(&mut service, request).unwrap().ok();
    }
    assert_eq!(counted(&circuit), (1, 1, 1, 0.25));
    trip(&circuit);
}

#[test]
fn a_closure_over_the_response_judges_failures_that_are_answers() {
    let circuit = circuit(&MockClock::new());
    let layer = CircuitBreakerLayer::new(&circuit)
        .classify_response(|status: &u16| if *status >= 500 { Outcome::failure() } else { Outcome::Success });
    let mut service = layer.layer(service_fn(|ask: Ask| async move {
        Ok::<u16, std::convert::Infallible>(if ask == Ask::Fail { 503 } else { 404 })
    }));
    assert!(ask(&mut service, Ask::Succeed).unwrap().is_ok());
    assert!(ask(&mut service, Ask::Fail).unwrap().is_ok());
    assert_eq!(counted(&circuit), (1, 1, 0, 1.0));
}

#[test]
fn a_closure_sees_boxed_errors_below_another_layer() {
    let circuit = circuit(&MockClock::new());
    let mut service = ServiceBuilder::new()
        .layer(CircuitBreakerLayer::new(&circuit).classify_error(|error: &BoxError| outcome_of(error.as_ref())))
        .load_shed()
        .service(service_fn(obey));
    assert!(ask(&mut service, Ask::TimeOut).unwrap().is_err());
    assert_eq!(counted(&circuit), (0, 1, 0, 0.5));
}

#[test]
fn a_timeout_inside_the_error_of_a_limited_call_is_a_timeout() {
    let circuit = circuit(&MockClock::new());
    let timeout = || WithinError::Inner(BoxError::from(io::Error::from(io::ErrorKind::TimedOut)));
    let inner = service_fn(move |_: Ask| std::future::ready(Err::<(), _>(timeout())));
    let mut service = CircuitBreakerLayer::new(&circuit).typed_errors().layer(inner);
    assert!(poll_ready(&mut service).is_ready());
    assert!(service.call(Ask::Succeed).now_or_never().unwrap().is_err());
    assert_eq!(counted(&circuit), (0, 1, 0, 0.5));
}

#[test]
fn the_last_given_classifier_judges() {
    let circuit = circuit(&MockClock::new());
    let layer = CircuitBreakerLayer::new(&circuit)
        .classify_error(|_: &String| Outcome::Success)
        .classify_error(|_: &io::Error| Outcome::Ignored);
    assert!(ask(&mut layer.layer(service_fn(obey)), Ask::Fail).unwrap().is_err());
    assert_eq!(counted(&circuit), (0, 0, 1, 0.0));
}

#[test]
fn finish_gets_the_value_of_start_and_the_duration_of_the_call() {
    let clock = MockClock::new();
    let circuit = circuit(&clock);
    let (mut service, told) = watched::<true>(&circuit);
    assert!(poll_ready(&mut service).is_ready());
    let mut call = service.call(Ask::Succeed);
    clock.advance(Duration::from_millis(1_500));
    assert!(poll(&mut call).is_ready());
    assert_eq!(told.try_recv().unwrap(), Told::Finished(Ask::Succeed, Duration::from_millis(1_500)));
    assert!(told.try_recv().is_err(), "once");
}

#[test]
fn a_classifier_that_needs_no_time_gets_zero() {
    let clock = MockClock::new();
    let circuit = circuit(&clock);
    let (mut service, told) = watched::<false>(&circuit);
    assert!(poll_ready(&mut service).is_ready());
    let mut call = service.call(Ask::Fail);
    clock.advance(MINUTE);
    assert!(poll(&mut call).is_ready());
    assert_eq!(told.try_recv().unwrap(), Told::Finished(Ask::Fail, Duration::ZERO));
}

#[test]
fn cancelled_gets_the_time_since_the_call_had_to_wait() {
    let clock = MockClock::new();
    let circuit = circuit(&clock);
    let (mut service, told) = watched::<false>(&circuit);
    assert!(poll_ready(&mut service).is_ready());
    let mut call = service.call(Ask::Hang);
    clock.advance(MINUTE);
    assert!(poll(&mut call).is_pending());
    clock.advance(Duration::from_millis(300));
    drop(call);
    assert_eq!(told.try_recv().unwrap(), Told::Cancelled(Ask::Hang, Duration::from_millis(300)));
    assert_eq!(counted(&circuit), (0, 1, 0, 1.0), "its judgement outranks the neutrality of an early drop");
}

#[test]
fn without_a_judgement_of_the_classifier_the_configuration_judges_a_dropped_call() {
    #[derive(Clone)]
    struct Silent;

    impl<Res, Err> Classifier<Ask, Res, Err> for Silent {
        type Call = ();

        fn start(&self, _: &Ask) {}

        fn finish(&self, (): (), _: Result<&Res, &Err>, _: Duration) -> Outcome {
            Outcome::Success
        }
    }

    let clock = MockClock::new();
    let circuit = circuit(&clock);
    let mut service = CircuitBreakerLayer::new(&circuit).classifier(Silent).layer(Strict::default());
    assert!(poll_ready(&mut service).is_ready());
    let mut call = service.call(Ask::Hang);
    assert!(poll(&mut call).is_pending());
    clock.advance(Duration::from_secs(1));
    drop(call);
    assert_eq!(counted(&circuit), (0, 1, 0, 0.5));
}

#[test]
fn panicked_judges_a_call_that_panicked() {
    let circuit = circuit(&MockClock::new());
    let (mut service, told) = watched::<false>(&circuit);
    catch_unwind(AssertUnwindSafe(|| ask(&mut service, Ask::Panic))).unwrap_err();
    assert_eq!(told.try_recv().unwrap(), Told::Panicked(Ask::Panic));
    assert_eq!(counted(&circuit), (0, 0, 1, 0.0), "ignored, as it said");
}

#[test]
fn ready_error_judges_an_error_before_any_call() {
    let circuit = circuit(&MockClock::new());
    let (tell, told) = mpsc::channel();
    let layer = CircuitBreakerLayer::new(&circuit).classifier(Watching::<false>(tell));
    let (mut service, mut handle) = mock::spawn_layer::<Ask, (), _>(layer);
    for _ in 0..10 {
        handle.send_error("no connection");
        assert!(matches!(service.poll_ready(), Poll::Ready(Err(_))));
        assert_eq!(told.try_recv().unwrap(), Told::NotReady);
    }
    assert_eq!(state(&circuit), State::Open, "ten times the 0.5 that it said");
    assert_eq!(last_edge(&circuit).1, Some(FailureKind::Timeout));
}

#[test]
fn a_rejected_call_is_shown_to_no_classifier() {
    let circuit = circuit(&MockClock::new());
    let (mut service, told) = watched::<true>(&circuit);
    trip(&circuit);
    assert!(ask(&mut service, Ask::Succeed).unwrap().is_err());
    assert!(told.try_recv().is_err());
}

#[test]
fn a_classifier_that_panics_leaves_no_probe_behind() {
    let clock = MockClock::new();
    let circuit = circuit(&clock);
    let layer = CircuitBreakerLayer::new(&circuit).classify_error(|_: &io::Error| -> Outcome { panic!("unforeseen") });
    let mut service = layer.layer(Strict::default());
    trip(&circuit);
    clock.advance(MINUTE);
    catch_unwind(AssertUnwindSafe(|| ask(&mut service, Ask::Fail))).unwrap_err();
    let status = circuit.status();
    assert_eq!((status.state, status.probes.in_flight, status.totals.cancelled), (State::HalfOpen, 0, 1));
}

#[test]
fn a_classifier_that_panics_before_the_call_says_nothing_about_the_service() {
    #[derive(Clone)]
    struct Panics;

    impl<Req, Res, Err> Classifier<Req, Res, Err> for Panics {
        type Call = ();

        fn start(&self, _: &Req) {
            panic!("unforeseen")
        }

        fn finish(&self, (): (), _: Result<&Res, &Err>, _: Duration) -> Outcome {
            Outcome::Success
        }
    }

    let circuit = circuit(&MockClock::new());
    let mut service = CircuitBreakerLayer::new(&circuit).classifier(Panics).layer(Strict::default());
    catch_unwind(AssertUnwindSafe(|| ask(&mut service, Ask::Succeed))).unwrap_err();
    let call = circuit.call_classified(Panics, async { Ok::<_, io::Error>(()) });
    catch_unwind(AssertUnwindSafe(|| poll(&mut Box::pin(call)))).unwrap_err();
    let permit = circuit.try_acquire().unwrap();
    let begin = || drop(permit.call_classified(Panics, async { Ok::<_, io::Error>(()) }));
    catch_unwind(AssertUnwindSafe(begin)).unwrap_err();
    assert_eq!((circuit.totals().cancelled, circuit.totals().failures), (3, 0));
}

/// What a classifier was shown.
#[derive(Debug, PartialEq)]
enum Told {
    Finished(Ask, Duration),
    Cancelled(Ask, Duration),
    Panicked(Ask),
    NotReady,
}

/// Tells what it is shown. Success, except: cancelled is a hard failure, not ready a timeout, and a panic is ignored.
#[derive(Clone)]
struct Watching<const ELAPSED: bool>(mpsc::Sender<Told>);

impl<Res, Err, const ELAPSED: bool> Classifier<Ask, Res, Err> for Watching<ELAPSED> {
    const NEEDS_ELAPSED: bool = ELAPSED;
    type Call = Ask;

    fn start(&self, ask: &Ask) -> Ask {
        *ask
    }

    fn finish(&self, ask: Ask, _: Result<&Res, &Err>, elapsed: Duration) -> Outcome {
        self.0.send(Told::Finished(ask, elapsed)).unwrap();
        Outcome::Success
    }

    fn ready_error(&self, _: &Err) -> Outcome {
        self.0.send(Told::NotReady).unwrap();
        Outcome::timeout()
    }

    fn cancelled(&self, ask: Ask, elapsed: Duration) -> Option<Outcome> {
        self.0.send(Told::Cancelled(ask, elapsed)).unwrap();
        Some(Outcome::failure())
    }

    fn panicked(&self, ask: Ask) -> Outcome {
        self.0.send(Told::Panicked(ask)).unwrap();
        Outcome::Ignored
    }
}

fn watched<const ELAPSED: bool>(
    circuit: &Circuit,
) -> (tower_circuit_breaker::CircuitBreaker<Strict, Watching<ELAPSED>>, mpsc::Receiver<Told>) {
    let (tell, told) = mpsc::channel();
    (CircuitBreakerLayer::new(circuit).classifier(Watching(tell)).layer(Strict::default()), told)
}

/// Returns successes, failures, ignored, and the run of failures.
fn counted(circuit: &Circuit) -> (u64, u64, u64, f64) {
    let status = circuit.status();
    let totals = status.totals;
    (totals.successes, totals.failures, totals.ignored, status.run)
}
