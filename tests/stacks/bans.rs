//! A provider that bans clients which go on after a 429: no request goes out until the time that its answer names.
//!
//! The provider is a server on loopback that counts requests. The circuits have a mock clock, so that no test waits.

#![expect(clippy::disallowed_types, clippy::disallowed_methods, reason = "loom does not run this")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ::axum::Router;
use ::axum::extract::Path;
use ::axum::http::{HeaderMap, StatusCode, header};
use ::axum::routing::get;
use ::reqwest::{Client, Request};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tower::{BoxError, Layer, Service, ServiceExt};
use tower_circuit_breaker::classify::ReqwestClassifier;
use tower_circuit_breaker::clock::MockClock;
use tower_circuit_breaker::config::ConfigBuilder;
use tower_circuit_breaker::keyed::Keyed;
use tower_circuit_breaker::state::Reason;
use tower_circuit_breaker::{Circuit, CircuitBreakerLayer, Config, Failure, OpenDuration, Registry, State};

/// Answers `/200`, `/429/60` with that status and `Retry-After`. `/late/429/60` waits until the test lets the answer go.
struct Provider {
    url: String,
    requests: Arc<AtomicUsize>,
    late: Arc<Semaphore>,
    _task: JoinSet<()>,
}

impl Provider {
    async fn start() -> Self {
        let (requests, late) = (Arc::<AtomicUsize>::default(), Arc::new(Semaphore::new(0)));
        let answer = |status: u16, wait: Option<String>| {
            let wait = wait.map(|wait| (header::RETRY_AFTER, wait.parse().unwrap()));
            (StatusCode::from_u16(status).unwrap(), wait.into_iter().collect::<HeaderMap>())
        };
        let gate = Arc::clone(&late);
        let counted = Arc::clone(&requests);
        let app = Router::new()
            .route("/{status}", get(async move |Path(status)| answer(status, None)))
            .route("/{status}/{wait}", get(async move |Path((status, wait))| answer(status, Some(wait))))
            .route(
                "/late/{status}/{wait}",
                get(async move |Path((status, wait))| {
                    gate.acquire().await.unwrap().forget();
                    answer(status, Some(wait))
                }),
            )
            .layer(tower::util::MapRequestLayer::new(move |request: ::axum::extract::Request| {
                counted.fetch_add(1, Ordering::SeqCst);
                request
            }));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let mut task = JoinSet::new();
        task.spawn(async { ::axum::serve(listener, app).await.unwrap() });
        Self { url, requests, late, _task: task }
    }

    fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }

    fn get(&self, path: &str) -> Request {
        Client::new().get(format!("{}{path}", self.url)).build().unwrap()
    }

    /// Waits until the provider has received that many requests.
    async fn received(&self, requests: usize) {
        while self.requests() < requests {
            tokio::task::yield_now().await;
        }
    }

    /// Sends a request that the provider must not receive, fifty times.
    async fn receives_nothing_from<S>(&self, client: &S, when: &str)
    where
        S: Service<Request, Error = BoxError> + Clone,
    {
        let before = self.requests();
        for _ in 0..50 {
            client.clone().oneshot(self.get("/200")).await.map(drop).expect_err(when);
        }
        assert_eq!(self.requests(), before, "{when}");
    }
}

fn settings(clock: &MockClock) -> ConfigBuilder {
    Config::builder("exchange").clock(clock.clone()).open_for(OpenDuration::fixed(secs(5))).probes(1)
}

fn rig(set: impl FnOnce(ConfigBuilder) -> ConfigBuilder) -> (Circuit, MockClock, impl Call) {
    let clock = MockClock::new();
    let circuit = Circuit::new(set(settings(&clock)).build().unwrap());
    let layer = CircuitBreakerLayer::new(&circuit).classifier(ReqwestClassifier::new().trips_on_retry_after());
    (circuit, clock, layer.layer(Client::new()))
}

trait Call:
    Service<Request, Response = ::reqwest::Response, Error = BoxError, Future: Send> + Clone + Send + 'static
{
}

impl<S> Call for S where
    S: Service<Request, Response = ::reqwest::Response, Error = BoxError, Future: Send> + Clone + Send + 'static
{
}

const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

#[tokio::test]
async fn one_answer_that_names_a_time_stops_all_requests_until_then() {
    let provider = Provider::start().await;
    for path in ["/429/60", "/503/60"] {
        let (circuit, clock, client) = rig(|settings| settings);
        for _ in 0..30 {
            client.clone().oneshot(provider.get("/200")).await.unwrap();
        }
        assert!(client.clone().oneshot(provider.get(path)).await.is_ok(), "the answer itself reaches the caller");
        provider.receives_nothing_from(&client, "at once").await;
        clock.advance(secs(60) - Duration::from_millis(1));
        provider.receives_nothing_from(&client, "before the time is over").await;
        clock.advance(Duration::from_millis(1));
        client.clone().oneshot(provider.get("/200")).await.unwrap();
        assert_eq!(circuit.state(), State::Closed);
    }
}

#[tokio::test]
async fn without_the_choice_one_answer_opens_nothing() {
    let (provider, clock) = (Provider::start().await, MockClock::new());
    let circuit = Circuit::new(settings(&clock).build().unwrap());
    let client = CircuitBreakerLayer::new(&circuit).classifier(ReqwestClassifier::new()).layer(Client::new());
    client.oneshot(provider.get("/429/60")).await.unwrap();
    assert_eq!(circuit.state(), State::Closed);
}

#[tokio::test]
async fn a_probe_that_is_asked_to_wait_stops_all_requests_until_then() {
    let provider = Provider::start().await;
    let (circuit, clock, client) = rig(|settings| settings.probes(3).probe_failures_tolerated(2));
    circuit.try_acquire().unwrap().failure(Failure::hard().trips_at_once());
    clock.advance(secs(5));
    let other = tokio::spawn(client.clone().oneshot(provider.get("/late/429/90")));
    provider.received(1).await;
    provider.late.add_permits(1);
    assert_eq!(other.await.unwrap().unwrap().status(), 429);
    assert_eq!(circuit.status().retry_after, Some(secs(90)));
    provider.receives_nothing_from(&client, "after the probe").await;
    clock.advance(secs(89));
    provider.receives_nothing_from(&client, "a second too early").await;
}

#[tokio::test]
async fn a_late_answer_of_an_earlier_state_stops_all_requests_as_well() {
    let provider = Provider::start().await;
    // The calls begin while the circuit is closed. The answer comes while the circuit is in the state that `until` leaves.
    type Until = fn(&Circuit, &MockClock);
    let open: Until = |circuit, _| circuit.try_acquire().unwrap().failure(Failure::hard().trips_at_once());
    let half_open: Until = |circuit, clock| {
        circuit.try_acquire().unwrap().failure(Failure::hard().trips_at_once());
        clock.advance(secs(5));
        circuit.try_acquire().unwrap().ignore();
    };
    let closed: Until = |circuit, clock| {
        circuit.try_acquire().unwrap().failure(Failure::hard().trips_at_once());
        clock.advance(secs(5));
        circuit.try_acquire().unwrap().success();
    };
    for (state, until) in [(State::Open, open), (State::HalfOpen, half_open), (State::Closed, closed)] {
        let (circuit, clock, client) = rig(|settings| settings);
        let before = provider.requests();
        let calls: Vec<_> =
            (0..20).map(|_| tokio::spawn(client.clone().oneshot(provider.get("/late/429/60")))).collect();
        provider.received(before + 20).await;
        until(&circuit, &clock);
        assert_eq!(circuit.state(), state);
        let transitions = circuit.status().transitions.len();
        provider.late.add_permits(20);
        for call in calls {
            assert_eq!(call.await.unwrap().unwrap().status(), 429);
        }
        let status = circuit.status();
        assert_eq!((status.state, status.retry_after), (State::Open, Some(secs(60))), "late while {state}");
        assert_eq!(status.transitions.len(), transitions + 1, "twenty answers change the circuit once");
        assert_eq!(status.transitions.last().unwrap().reason, Reason::AtOnce);
        clock.advance(secs(59));
        provider.receives_nothing_from(&client, "after a late answer").await;
    }
}

#[tokio::test]
async fn a_ban_of_one_host_stops_the_requests_to_that_host_only() {
    let (banning, other) = (Provider::start().await, Provider::start().await);
    let (clock, registry) = (MockClock::new(), Registry::new());
    let template = settings(&clock);
    let per_host = Keyed::builder(&registry, move |_| template.clone())
        .prefix("host:")
        .by(|request: &Request| Some(request.url().authority().to_owned().into()))
        .unwrap();
    let layer = CircuitBreakerLayer::keyed(per_host).classifier(ReqwestClassifier::new().trips_on_retry_after());
    let client = layer.layer(Client::new());
    client.clone().oneshot(banning.get("/503/60")).await.unwrap();
    banning.receives_nothing_from(&client, "at once").await;
    clock.advance(secs(59));
    banning.receives_nothing_from(&client, "before the time is over").await;
    client.clone().oneshot(other.get("/200")).await.unwrap();
    clock.advance(secs(1));
    client.oneshot(banning.get("/200")).await.unwrap();
}

#[tokio::test]
async fn without_tower_a_ban_stops_the_calls_as_well() {
    let (provider, clock) = (Provider::start().await, MockClock::new());
    let circuit = Circuit::new(settings(&clock).build().unwrap());
    let classifier = ReqwestClassifier::new().trips_on_retry_after();
    let call = || {
        let sent = Client::new().execute(provider.get("/429/60"));
        circuit.call_classified(classifier.clone(), sent)
    };
    call().await.unwrap();
    for _ in 0..50 {
        call().await.map(drop).unwrap_err();
    }
    assert_eq!(provider.requests(), 1);
}
