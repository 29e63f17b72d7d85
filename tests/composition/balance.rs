//! Under `tower::balance`: an endpoint whose circuit is open pends, so it is taken out of rotation.

mod groups;

use std::convert::Infallible;
use std::future::Future;
use std::hash::{BuildHasherDefault, DefaultHasher, Hash};
use std::io;
use std::task::Poll;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::join_all;
use futures_util::stream;
use tokio::sync::mpsc;
use tower::balance::p2c::Balance;
use tower::discover::{Change, Discover, ServiceList};
use tower::load::{CompleteOnResponse, PendingRequests};
use tower::util::BoxService;
use tower::util::rng::HasherRng;
use tower::{BoxError, Layer, Service, ServiceExt, service_fn};
use tower_circuit_breaker::clock::TokioClock;
use tower_circuit_breaker::{Circuit, CircuitBreakerLayer, Rejected, State, WhenOpen};

use crate::parts::{Count, MINUTE, circuit, operator, poll, state, trip};

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

type Guarded = PendingRequests<BoxService<(), (), BoxError>>;

impl Endpoint {
    /// A new service that goes to this endpoint, with the endpoint's circuit.
    fn guarded(&self, when_open: WhenOpen) -> Guarded {
        let called = self.clone();
        let layer = CircuitBreakerLayer::new(&self.circuit).when_open(when_open);
        let service = layer.layer(service_fn(move |()| called.clone().answer()));
        PendingRequests::new(service.boxed(), CompleteOnResponse::default())
    }
}

fn balance(
    endpoints: &[&Endpoint],
    when_open: WhenOpen,
) -> impl Service<(), Response = (), Error = BoxError, Future: Future + Unpin> + use<> {
    let guarded: Vec<Guarded> = endpoints.iter().map(|endpoint| endpoint.guarded(when_open)).collect();
    balance_over(ServiceList::new(guarded))
}

fn balance_over<D>(endpoints: D) -> impl Service<(), Response = (), Error = BoxError, Future: Future + Unpin> + use<D>
where
    D: Discover<Service = Guarded, Key: Clone + Hash, Error: Into<BoxError>> + Unpin,
{
    // The same choices in every run.
    let random = HasherRng::with_hasher(BuildHasherDefault::<DefaultHasher>::default());
    Balance::from_rng(endpoints, random)
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

/// Makes `calls` calls at the same time, and returns how many failed. What fails at once has failed before the next call.
async fn failed_at_once<S>(service: &mut S, calls: usize) -> usize
where
    S: Service<(), Error = BoxError, Future: Unpin>,
{
    let (mut failed, mut under_way) = (0, Vec::new());
    for _ in 0..calls {
        let mut call = service.ready().now_or_never().expect("an endpoint is ready").unwrap().call(());
        match poll(&mut call) {
            Poll::Ready(result) => failed += usize::from(result.is_err()),
            Poll::Pending => under_way.push(call),
        }
    }
    failed + join_all(under_way).await.iter().filter(|result| result.is_err()).count()
}

#[tokio::test(start_paused = true)]
async fn a_dead_endpoint_fails_five_calls_when_pending_and_most_when_rejecting() {
    for when_open in [WhenOpen::Pend, WhenOpen::Reject] {
        let [(dead, kill), (second, _), (third, _)] = endpoints();
        let mut service = balance(&[&dead, &second, &third], when_open);
        kill.send_replace(true);
        let errors = failed_at_once(&mut service, 120).await;
        let asked = [&dead, &second, &third].map(|endpoint| endpoint.asked.get());
        let rejected = dead.circuit.status().totals.rejected;
        println!("{when_open:?}: {errors} errors, asked {asked:?}, {rejected} rejected");
        assert_eq!(asked[0], 5, "{when_open:?}: five open it");
        if when_open == WhenOpen::Pend {
            assert_eq!((errors, rejected), (5, 0));
        } else {
            // Of three, two are drawn, and the one that fails fast always looks the less loaded.
            assert!((70..=90).contains(&errors), "{errors}");
            assert_eq!(rejected + 5, errors as u64);
        }

        kill.send_replace(false);
        tokio::time::advance(MINUTE).await;
        // The probe takes its time, and until it has ended the rest goes elsewhere.
        failed(&mut service, 30, 1).await;
        assert_eq!(state(&dead.circuit), State::Closed, "{when_open:?}");
        let before = dead.asked.get();
        assert_eq!(failed_at_once(&mut service, 120).await, 0, "{when_open:?}: full recovery");
        let share = dead.asked.get() - before;
        assert!((30..=50).contains(&share), "{when_open:?}: it has its third again: {share}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_is_removed_and_added_back_is_still_open() {
    let [(dead, kill), (alive, _)] = endpoints();
    kill.send_replace(true);
    let (change, mut changes) = mpsc::unbounded_channel();
    let insert = |key, endpoint: &Endpoint| change.send(Change::Insert(key, endpoint.guarded(WhenOpen::Pend))).unwrap();
    let changed =
        stream::poll_fn(move |context| changes.poll_recv(context).map(|change| change.map(Ok::<_, Infallible>)));
    let mut service = balance_over(changed);
    insert("dead", &dead);
    insert("alive", &alive);
    assert_eq!(failed_at_once(&mut service, 60).await, 5);

    change.send(Change::Remove("dead")).unwrap();
    assert_eq!(failed_at_once(&mut service, 60).await, 0);
    // A new service: what is known of the endpoint is in the circuit, which the application keeps, as in a `Registry`.
    insert("dead", &dead);
    assert_eq!(failed_at_once(&mut service, 60).await, 0);
    assert_eq!((dead.asked.get(), dead.circuit.status().totals.rejected), (5, 0), "nothing of it was forgotten");

    kill.send_replace(false);
    tokio::time::advance(MINUTE).await;
    assert_eq!(failed(&mut service, 30, 1).await, 0);
    assert_eq!(state(&dead.circuit), State::Closed);
    assert!(dead.asked.get() > 10, "it has its share again: {}", dead.asked.get());
}

#[tokio::test(start_paused = true)]
async fn an_added_endpoint_takes_the_call_that_waits_for_pending_endpoints() {
    let [(open, _), (added, _)] = endpoints();
    trip(&open.circuit);
    let (change, mut changes) = mpsc::unbounded_channel();
    let changed =
        stream::poll_fn(move |context| changes.poll_recv(context).map(|change| change.map(Ok::<_, Infallible>)));
    let mut service = balance_over(changed);
    change.send(Change::Insert("open", open.guarded(WhenOpen::Pend))).unwrap();
    assert!(service.ready().now_or_never().is_none(), "all pend");
    change.send(Change::Insert("added", added.guarded(WhenOpen::Pend))).unwrap();
    assert_eq!(failed_at_once(&mut service, 1).await, 0);
    assert_eq!((open.asked.get(), added.asked.get()), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn a_dead_endpoint_costs_its_trip_and_one_probe_a_minute() {
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
