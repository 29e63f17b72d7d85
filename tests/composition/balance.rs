//! Under `tower::balance`: an endpoint whose circuit is open pends, so it is taken out of rotation.

use std::future::Future;
use std::hash::{BuildHasherDefault, DefaultHasher};
use std::io;
use std::time::Duration;

use futures_util::future::join_all;
use tower::balance::p2c::Balance;
use tower::discover::ServiceList;
use tower::load::{CompleteOnResponse, PendingRequests};
use tower::util::rng::HasherRng;
use tower::{BoxError, Layer, Service, ServiceExt, service_fn};
use tower_circuit_breaker::clock::TokioClock;
use tower_circuit_breaker::{Circuit, CircuitBreakerLayer, Rejected, State, WhenOpen};

use crate::parts::{Count, MINUTE, circuit, operator, state, trip};

/// An endpoint that dies and comes back at a time: dead, it fails at once, else it takes 10 ms.
#[derive(Clone)]
struct Endpoint {
    circuit: Circuit,
    asked: Count,
    dead: tokio::sync::watch::Receiver<bool>,
}

impl Endpoint {
    async fn answer(self) -> Result<(), io::Error> {
        self.asked.add();
        if *self.dead.borrow() {
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
        Ok(())
    }
}

fn endpoints<const N: usize>() -> [(Endpoint, tokio::sync::watch::Sender<bool>); N] {
    let clock = TokioClock::new();
    std::array::from_fn(|_| {
        let (kill, dead) = tokio::sync::watch::channel(false);
        (Endpoint { circuit: circuit(&clock), asked: Count::default(), dead }, kill)
    })
}

fn balance(
    endpoints: &[&Endpoint],
    when_open: WhenOpen,
) -> impl Service<(), Response = (), Error = BoxError, Future: Future> + use<> {
    let guarded = endpoints.iter().map(|&endpoint| {
        let called = endpoint.clone();
        let layer = CircuitBreakerLayer::new(&endpoint.circuit).when_open(when_open);
        let service = layer.layer(service_fn(move |()| called.clone().answer()));
        PendingRequests::new(service, CompleteOnResponse::default())
    });
    // The same choices in every run.
    let random = HasherRng::with_hasher(BuildHasherDefault::<DefaultHasher>::default());
    Balance::from_rng(ServiceList::new(guarded.collect::<Vec<_>>()), random)
}

/// Makes `calls` calls, `at_once` at a time, and returns how many failed.
async fn failed<S>(service: &mut S, calls: usize, at_once: usize) -> usize
where
    S: Service<(), Error = BoxError>,
{
    let mut failed = 0;
    for _ in 0..calls / at_once {
        let mut under_way = Vec::new();
        for _ in 0..at_once {
            let ready = tokio::time::timeout(60 * MINUTE, service.ready()).await.expect("an endpoint is alive");
            under_way.push(ready.expect("a breaker's readiness never fails").call(()));
        }
        failed += join_all(under_way).await.iter().filter(|result| result.is_err()).count();
    }
    failed
}

#[tokio::test(start_paused = true)]
async fn a_dead_endpoint_costs_its_trip_and_a_probe_a_minute_and_comes_back() {
    let [(dying, kill), (second, _), (third, _)] = endpoints();
    let mut service = balance(&[&dying, &second, &third], WhenOpen::Pend);
    assert_eq!(failed(&mut service, 120, 3).await, 0);
    let before = dying.asked.get();
    assert!(before > 20, "it is one of three: {before}");

    kill.send_replace(true);
    let errors = failed(&mut service, 600, 3).await;
    assert_eq!(state(&dying.circuit), State::Open);
    assert!((5..=7).contains(&errors), "five to trip it, and what was on its way: {errors}");
    assert_eq!(dying.circuit.status().totals.rejected, 0, "no call is sent to be rejected");

    tokio::time::advance(MINUTE).await;
    let errors = failed(&mut service, 300, 3).await;
    assert_eq!(errors, 1, "the probe");
    assert_eq!(dying.circuit.status().attempt, 2);

    kill.send_replace(false);
    tokio::time::advance(MINUTE).await;
    let before = dying.asked.get();
    assert_eq!(failed(&mut service, 300, 3).await, 0);
    assert_eq!(state(&dying.circuit), State::Closed);
    assert!(dying.asked.get() - before > 50, "it has its share again: {}", dying.asked.get() - before);
}

#[tokio::test(start_paused = true)]
async fn a_dead_endpoint_that_rejects_instead_attracts_the_calls() {
    let [(dead, kill), (second, _), (third, _)] = endpoints();
    kill.send_replace(true);
    let mut service = balance(&[&dead, &second, &third], WhenOpen::Reject);
    let errors = failed(&mut service, 600, 3).await;
    assert!(errors > 100, "who fails fast looks idle, which is what `Pend` is for: {errors}");
    assert_eq!(dead.asked.get(), 5);
}

#[tokio::test(start_paused = true)]
async fn with_every_endpoint_open_calls_wait_for_the_first_deadline() {
    let [(first, _), (second, _)] = endpoints();
    let mut service = balance(&[&first, &second], WhenOpen::Pend);
    trip(&first.circuit);
    second.circuit.trip(&operator(), None);
    let waiting = tokio::time::timeout(MINUTE - Duration::from_secs(1), service.ready()).await;
    assert!(waiting.is_err(), "all pend");
    assert!(tokio::time::timeout(Duration::from_secs(2), service.ready()).await.is_ok());
    let error = service.call(()).await.err();
    assert!(error.is_none_or(|error| Rejected::find(error.as_ref()).is_none()));
    assert_eq!((first.asked.get(), second.asked.get()), (1, 0));
}
