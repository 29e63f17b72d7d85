//! Around services of every kind: boxed, borrowed, on one thread, not `Clone`, with errors that are none.

use std::cell::Cell;
use std::convert::Infallible;
use std::future::{Ready, ready};
use std::rc::Rc;
use std::task::{Context, Poll};

use futures_util::FutureExt;
use tower::util::{BoxCloneService, BoxCloneSyncService, BoxService};
use tower::{BoxError, Layer, Service, ServiceExt, service_fn};
use tower_circuit_breaker::clock::MockClock;
use tower_circuit_breaker::{CircuitBreaker, CircuitBreakerLayer, Error};

use crate::parts::{Ask, HARD, SUCCESS, Strict, ask, circuit, obey, poll, rejection, trip, until_open};

#[test]
fn boxed_services_accept_the_breaker() {
    let circuit = circuit(&MockClock::new());
    let layer = CircuitBreakerLayer::new(&circuit);
    let mut once: BoxService<Ask, &str, BoxError> = layer.layer(service_fn(obey)).boxed();
    let mut cloned: BoxCloneService<Ask, &str, BoxError> = layer.layer(Strict::default()).boxed_clone();
    let mut synced = BoxCloneSyncService::new(layer.layer(service_fn(obey)));
    let mut inside = layer.layer(cloned.clone());
    assert!(ask(&mut once, Ask::Succeed).unwrap().is_ok());
    assert!(ask(&mut cloned, Ask::Succeed).unwrap().is_ok());
    assert!(ask(&mut synced, Ask::Succeed).unwrap().is_ok());
    assert!(ask(&mut inside, Ask::Succeed).unwrap().is_ok());
    trip(&circuit);
    rejection(ask(&mut once, Ask::Succeed));
    rejection(ask(&mut cloned, Ask::Succeed));
    rejection(ask(&mut synced, Ask::Succeed));
    rejection(ask(&mut inside, Ask::Succeed));
}

#[test]
fn services_that_borrow_and_stay_on_one_thread_are_accepted() {
    let circuit = circuit(&MockClock::new());
    let (calls, name) = (Rc::new(Cell::new(0)), String::from("borrowed"));
    let name = name.as_str();
    let mut service = CircuitBreakerLayer::new(&circuit)
        .classify(|result: Result<&&str, &&str>| result.map_or_else(|_| HARD, |_| SUCCESS))
        .typed_errors()
        .layer(service_fn(|request: Ask| {
            calls.set(calls.get() + 1);
            ready(if request == Ask::Fail { Err(name) } else { Ok(name) })
        }));
    assert_eq!(ask(&mut service, Ask::Succeed).unwrap().unwrap(), "borrowed");
    for _ in until_open(&circuit) {
        assert!(matches!(ask(&mut service, Ask::Fail).unwrap(), Err(Error::Inner("borrowed"))));
    }
    assert!(matches!(ask(&mut service, Ask::Succeed).unwrap(), Err(Error::Rejected(_))));
    assert_eq!(calls.get(), 6);
}

#[test]
fn a_service_without_clone_whose_error_is_unit_needs_typed_errors() {
    /// Not `Clone`, with an error that is nothing.
    struct Once;

    impl Service<Ask> for Once {
        type Response = Infallible;
        type Error = ();
        type Future = Ready<Result<Infallible, ()>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ()>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, _: Ask) -> Self::Future {
            ready(Err(()))
        }
    }

    let circuit = circuit(&MockClock::new());
    let mut service = CircuitBreakerLayer::new(&circuit).typed_errors().layer(Once);
    for _ in until_open(&circuit) {
        assert!(matches!(ask(&mut service, Ask::Succeed).unwrap(), Err(Error::Inner(()))));
    }
    assert!(matches!(ask(&mut service, Ask::Succeed).unwrap(), Err(Error::Rejected(_))));
}

#[test]
fn the_inner_service_can_be_named_reached_and_taken_out() {
    struct Client {
        http: CircuitBreaker<Strict>,
    }

    let circuit = circuit(&MockClock::new());
    let inner = Strict::default();
    let mut client = Client { http: CircuitBreakerLayer::new(&circuit).layer(inner.clone()) };
    assert!(ask(&mut client.http, Ask::Succeed).unwrap().is_ok());
    assert_eq!(client.http.circuit().name(), "payments");
    assert_eq!(client.http.get_ref().calls.get(), 1);
    // Past the breaker, for what must not be guarded: polled ready and called on its own.
    assert!(ask(client.http.get_mut(), Ask::Fail).unwrap().is_err());
    assert_eq!(circuit.status().totals.failures, 0);
    assert_eq!(client.http.into_inner().calls.get(), 2);
}

#[test]
fn a_call_through_a_reference_is_guarded_as_well() {
    let circuit = circuit(&MockClock::new());
    let mut service = CircuitBreakerLayer::new(&circuit).layer(service_fn(obey));
    let mut by_reference = &mut service;
    assert!(ask(&mut by_reference, Ask::Fail).unwrap().is_err());
    let mut call = by_reference.ready().now_or_never().unwrap().unwrap().call(Ask::Hang).boxed();
    assert!(poll(&mut call).is_pending());
    drop(call);
    let totals = circuit.status().totals;
    assert_eq!((totals.failures, totals.cancelled), (1, 1));
}
