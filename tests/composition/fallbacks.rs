//! Fallbacks: another answer while the circuit rejects.

use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
use std::sync::{Arc, mpsc};
use std::task::{Context, Waker};

use futures_util::FutureExt;
use tower::{BoxError, Layer, Service, ServiceBuilder, ServiceExt, service_fn};
use tower_circuit_breaker::clock::MockClock;
use tower_circuit_breaker::event::{Event, Observer};
use tower_circuit_breaker::rejection::{BoxedErrors, Fallback, Rejection, TypedErrors};
use tower_circuit_breaker::{Circuit, CircuitBreakerLayer, Error, Rejected, State, WhenOpen};

use crate::parts::{Ask, Count, MINUTE, Strict, ask, circuit, obey, poll, poll_ready, settings, state, trip};

/// Sends on the answers of fallbacks.
#[derive(Debug)]
struct Fallbacks(mpsc::Sender<bool>);

impl Observer for Fallbacks {
    fn on_event(&self, circuit: &str, event: &Event<'_>) {
        assert_eq!(circuit, "payments");
        if let Event::Fallback { answered, .. } = event {
            self.0.send(*answered).ok();
        }
    }

    fn wants_calls(&self) -> bool {
        true
    }
}

fn observed() -> (Circuit, mpsc::Receiver<bool>) {
    let (observer, answers) = mpsc::channel();
    (Circuit::new(settings(&MockClock::new()).observer(Fallbacks(observer)).build().unwrap()), answers)
}

#[test]
fn a_fallback_answers_from_a_cache_or_rejects() {
    let (circuit, answers) = observed();
    let cache = Arc::new(HashMap::from([(Ask::Succeed, "cached")]));
    let layer = CircuitBreakerLayer::new(&circuit).fallback(move |rejected, request: Ask| match cache.get(&request) {
        Some(text) => Ok(*text),
        None => Err(rejected.into()),
    });
    let mut service = layer.layer(Strict::default());
    assert_eq!(ask(&mut service, Ask::Succeed).unwrap().unwrap(), "done", "closed, the service answers");
    assert!(ask(&mut service, Ask::Fail).unwrap().is_err(), "a failure has no fallback");
    trip(&circuit);
    assert_eq!(ask(&mut service, Ask::Succeed).unwrap().unwrap(), "cached");
    let error = ask(&mut service, Ask::Fail).unwrap().unwrap_err();
    assert!(Rejected::find(error.as_ref()).is_some());
    assert_eq!(answers.try_iter().collect::<Vec<_>>(), [true, false]);
    assert_eq!(circuit.totals().rejected, 2, "the calls were rejected all the same");
    assert_eq!(circuit.totals().successes, 1, "an answer of the fallback is no success of the service");
}

#[test]
fn a_fallback_keeps_the_kind_of_errors() {
    let circuit = circuit(&MockClock::new());
    let typed = CircuitBreakerLayer::new(&circuit).typed_errors();
    let layer = typed.fallback(|rejected, _: Ask| -> Result<&'static str, Error<io::Error>> { Err(rejected.into()) });
    let mut service = layer.layer(service_fn(obey));
    assert!(matches!(ask(&mut service, Ask::Fail), Some(Err(Error::Inner(_)))));
    trip(&circuit);
    assert!(matches!(ask(&mut service, Ask::Fail), Some(Err(Error::Rejected(_)))));

    let layer = CircuitBreakerLayer::new(&circuit).respond_with(|_| "rejected");
    let mut service = layer.fallback(|_, _: Ask| Ok("fallback")).layer(service_fn(obey));
    let answer: Result<&str, io::Error> = ask(&mut service, Ask::Fail).unwrap();
    assert_eq!(answer.unwrap(), "fallback");
}

#[tokio::test]
async fn a_chain_of_endpoints_uses_the_next_one_while_a_circuit_is_open() {
    let circuits = ["first", "second"].map(|_| circuit(&MockClock::new()));
    let [first, second] = &circuits;
    let calls = [(); 2].map(|()| Count::default());
    let [one, two] = calls.clone();
    let last = ServiceBuilder::new().layer(CircuitBreakerLayer::new(second)).service(service_fn(move |ask: Ask| {
        two.add();
        obey(ask)
    }));
    let mut service = ServiceBuilder::new()
        .layer(CircuitBreakerLayer::new(first).fallback_async(move |_, ask: Ask| last.clone().oneshot(ask)))
        .service(service_fn(move |_: Ask| {
            one.add();
            obey(Ask::Fail)
        }));
    for _ in 0..5 {
        assert!(service.ready().await.unwrap().call(Ask::Succeed).await.is_err(), "failures have no fallback");
    }
    assert_eq!(state(first), State::Open);
    for _ in 0..3 {
        assert_eq!(service.ready().await.unwrap().call(Ask::Succeed).await.unwrap(), "done");
    }
    assert_eq!((calls[0].get(), calls[1].get()), (5, 3));
    trip(second);
    let error = service.ready().await.unwrap().call(Ask::Succeed).await.unwrap_err();
    assert!(Rejected::find(error.as_ref()).is_some(), "both are open");
}

#[test]
fn a_fallback_that_waits_is_counted_at_its_end_and_not_if_it_is_dropped() {
    let (circuit, answers) = observed();
    trip(&circuit);
    let layer = CircuitBreakerLayer::new(&circuit).fallback_async(|rejected: Rejected, ask: Ask| async move {
        assert_eq!(rejected.circuit(), "payments");
        obey(ask).await.map_err(BoxError::from)
    });
    let mut service = layer.layer(Strict::default());
    for (request, answered) in [(Ask::Succeed, true), (Ask::Fail, false)] {
        assert!(poll_ready(&mut service).is_ready());
        assert_eq!(service.call(request).now_or_never().unwrap().is_ok(), answered);
        assert_eq!(answers.try_recv(), Ok(answered));
    }
    assert!(poll_ready(&mut service).is_ready());
    let mut hangs = Box::pin(service.call(Ask::Hang));
    assert!(poll(&mut hangs).is_pending());
    drop(hangs);
    assert!(answers.try_recv().is_err());
    assert_eq!((circuit.totals().rejected, circuit.totals().cancelled), (3, 0));
}

#[test]
fn a_breaker_with_a_fallback_that_waits_counts_calls_as_ever() {
    let circuit = circuit(&MockClock::new());
    let layer = CircuitBreakerLayer::new(&circuit).fallback_async(async |_, _: Ask| Ok::<_, BoxError>("fallback"));
    let mut service = layer.layer(Strict::default());
    assert_eq!(ask(&mut service, Ask::Succeed).unwrap().unwrap(), "done");
    assert!(ask(&mut service, Ask::Fail).unwrap().is_err());
    assert!(ask(&mut service, Ask::Hang).is_none(), "dropped");
    let totals = circuit.totals();
    assert_eq!((totals.successes, totals.failures, totals.cancelled), (1, 1, 1));
    // An error of readiness has the type of the breaker without a fallback.
    let layer = CircuitBreakerLayer::new(&circuit).typed_errors();
    let layer = layer.fallback_async(async |_, ()| Ok::<(), Error<BoxError>>(()));
    let (inner, mut handle) = tower_test::mock::pair::<(), ()>();
    handle.send_error("not ready");
    let ready = layer.layer(inner).poll_ready(&mut Context::from_waker(Waker::noop()));
    assert!(matches!(ready, std::task::Poll::Ready(Err(Error::Inner(_)))));
}

#[test]
fn a_service_that_pends_has_no_use_for_a_fallback() {
    let circuit = circuit(&MockClock::new());
    circuit.trip(&crate::parts::operator(), None);
    let layer = CircuitBreakerLayer::new(&circuit).when_open(WhenOpen::Pend);
    let mut service = layer.fallback(|_, _: Ask| Ok("fallback")).layer(Strict::default());
    assert!(poll_ready(&mut service).is_pending());
}

#[test]
fn a_fallback_of_ones_own_layer_uses_the_same_type() {
    let circuit = circuit(&MockClock::new());
    trip(&circuit);
    let rejected = || circuit.try_acquire().unwrap_err();
    let answer = |_: Rejected, request: u32| Ok::<_, BoxError>(request + 1);
    let boxed = Fallback::new(answer, BoxedErrors::default());
    assert_eq!(Rejection::<u32, u32, io::Error>::reject(&boxed, rejected(), 1).unwrap(), 2);
    let typed = Fallback::new(|_, _: u32| Ok(7), TypedErrors::default());
    let answer: Result<u32, Error<Infallible>> = typed.reject(rejected(), 1);
    assert_eq!(answer.unwrap(), 7);
    assert_eq!(rejected().retry_after(), Some(MINUTE));
}
