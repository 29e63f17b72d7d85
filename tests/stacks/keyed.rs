//! A circuit per key: which circuit a request gets, and what that keeps apart.

mod bounds;
mod groups;
mod labels;
mod names;
mod restart;
mod store;
mod strangers;

use std::borrow::Cow;
use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use ::http::Request;
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_circuit_breaker::clock::MockClock;
use tower_circuit_breaker::config::ConfigBuilder;
use tower_circuit_breaker::keyed::{Keyed, KeyedBuilder};
use tower_circuit_breaker::{
    BoxError, By, CircuitBreakerLayer, Config, OpenDuration, Outcome, Registry, Rejected, State,
};

/// What a request of these tests is: its key, if it has one.
type Key = Option<&'static str>;
type ByText = fn(&String) -> Option<Cow<'_, str>>;

const BY_TEXT: ByText = by_text;

#[expect(clippy::ptr_arg, reason = "the request is a `String`")]
fn by_text(request: &String) -> Option<Cow<'_, str>> {
    Some(request.as_str().into())
}

fn settings(clock: &MockClock) -> ConfigBuilder {
    let open_for = OpenDuration::fixed(Duration::from_secs(5));
    Config::builder("replaced").clock(clock.clone()).open_for(open_for).without_shipped_observers()
}

fn builder(registry: &Registry, clock: &MockClock) -> KeyedBuilder {
    let settings = settings(clock);
    Keyed::builder(registry, move |_| settings.clone()).prefix("k:")
}

fn keyed(registry: &Registry, clock: &MockClock, change: impl FnOnce(KeyedBuilder) -> KeyedBuilder) -> Keyed<ByText> {
    change(builder(registry, clock)).by(BY_TEXT).unwrap()
}

/// Returns the names of the circuits in the registry, without the prefix of these tests.
fn keys(registry: &Registry) -> Vec<String> {
    let key = |name: &str| name.strip_prefix("k:").unwrap_or(name).to_owned();
    registry.circuits().iter().map(|circuit| key(circuit.name())).collect()
}

fn fail(keyed: &Keyed<ByText>, key: &str, times: u32) {
    for _ in 0..times {
        keyed.circuit(key).unwrap().try_acquire().unwrap().record(Outcome::failure());
    }
}

fn alice() -> By {
    By::new("alice", "a test").unwrap()
}

/// A service that fails for the requests that say so.
async fn answer(request: Request<bool>) -> Result<(), BoxError> {
    if *request.body() { Err("down".into()) } else { Ok(()) }
}

fn request(uri: &str, tenant: &str, fails: bool) -> Request<bool> {
    Request::builder().uri(uri).header("x-tenant", tenant).body(fails).unwrap()
}

/// Fails the first of the requests until its circuit opens, and returns the names that there are then, and whether the other is
/// let through.
async fn open_first<S>(
    registry: &Registry,
    mut service: S,
    one: fn() -> Request<bool>,
    other: fn() -> Request<bool>,
) -> Vec<String>
where
    S: Service<Request<bool>, Response = (), Error = BoxError>,
{
    for _ in 0..5 {
        assert!(service.ready().await.unwrap().call(one()).await.is_err());
    }
    let error = service.ready().await.unwrap().call(one()).await.unwrap_err();
    assert!(Rejected::find(error.as_ref()).is_some(), "{error}");
    service.ready().await.unwrap().call(other()).await.expect("the other key is another's circuit");
    keys(registry)
}

#[tokio::test]
async fn only_the_circuit_of_the_host_that_is_down_opens() {
    let (registry, clock) = (Registry::new(), MockClock::new());
    let by = builder(&registry, &clock).by(|request: &Request<bool>| request.uri().host().map(Cow::Borrowed)).unwrap();
    let service = CircuitBreakerLayer::keyed(by).layer(service_fn(answer));
    let (one, other) = (|| request("http://a.example/x", "", true), || request("http://b.example/x", "", false));
    assert_eq!(open_first(&registry, service, one, other).await, ["a.example", "b.example"]);
}

#[tokio::test]
async fn a_grpc_method_and_a_tenant_can_be_keys() {
    let (registry, clock) = (Registry::new(), MockClock::new());
    let by = builder(&registry, &clock).by(|request: &Request<bool>| Some(request.uri().path().into())).unwrap();
    let service = CircuitBreakerLayer::keyed(by).layer(service_fn(answer));
    let (one, other) = (|| request("/shop.Orders/Get", "", true), || request("/shop.Orders/List", "", false));
    assert_eq!(open_first(&registry, service, one, other).await, ["/shop.Orders/Get", "/shop.Orders/List"]);

    let registry = Registry::new();
    let by = builder(&registry, &clock).prefix("tenant:");
    let by = by.by(|request: &Request<bool>| Some(request.headers().get("x-tenant")?.to_str().ok()?.into())).unwrap();
    let service = CircuitBreakerLayer::keyed(by).layer(service_fn(answer));
    let (one, other) = (|| request("/", "acme", true), || request("/", "corp", false));
    assert_eq!(open_first(&registry, service, one, other).await, ["tenant:acme", "tenant:corp"]);
}

#[tokio::test]
async fn a_request_without_a_key_is_unguarded() {
    let (registry, clock) = (Registry::new(), MockClock::new());
    let by = builder(&registry, &clock).by(|key: &Key| key.map(Cow::Borrowed)).unwrap();
    let fails = service_fn(|_: Key| async { Err::<(), BoxError>("down".into()) });
    let mut service = CircuitBreakerLayer::keyed(by.clone()).layer(fails);
    for _ in 0..20 {
        let error = service.ready().await.unwrap().call(None).await.unwrap_err();
        assert!(Rejected::find(error.as_ref()).is_none(), "nobody counts its failures: {error}");
    }
    assert!(registry.circuits().is_empty());
    assert_eq!(by.status().unguarded, 0, "it was not meant to be guarded");
}

#[tokio::test]
async fn the_inner_service_is_polled_even_while_a_circuit_rejects() {
    let (registry, clock) = (Registry::new(), MockClock::new());
    let by = builder(&registry, &clock).by(|key: &Key| key.map(Cow::Borrowed)).unwrap();
    by.circuit("a").unwrap().trip(&alice(), None);
    let (inner, mut handle) = tower_test::mock::pair::<Key, ()>();
    let mut service = tower_test::mock::Spawn::new(CircuitBreakerLayer::keyed(by).layer(inner));
    handle.allow(0);
    assert!(service.poll_ready().is_pending(), "whose request comes nobody knows yet");
    handle.allow(1);
    assert!(service.is_woken() && service.poll_ready().is_ready());
    assert!(service.call(Some("a")).await.is_err());
    let passes = async {
        let (request, response) = handle.next_request().await.unwrap();
        response.send_response(());
        request
    };
    assert!(service.poll_ready().is_ready(), "a rejected call leaves it ready");
    let (answer, request) = tokio::join!(service.call(Some("b")), passes);
    assert!(answer.is_ok());
    assert_eq!(request, Some("b"));
}

#[tokio::test]
async fn a_call_that_was_not_polled_ready_is_rejected() {
    let (registry, clock) = (Registry::new(), MockClock::new());
    let by = builder(&registry, &clock).by(|key: &Key| key.map(Cow::Borrowed)).unwrap();
    let mut service = CircuitBreakerLayer::keyed(by).layer(service_fn(|_: Key| async { Ok::<_, BoxError>(()) }));
    let error = service.call(Some("a")).await.unwrap_err();
    assert!(Rejected::find(error.as_ref()).is_some(), "{error}");
}

#[test]
fn the_template_may_differ_for_one_key() {
    let registry = Registry::new();
    let by = Keyed::builder(&registry, |name| match name {
        "host:slow" => Config::builder(name).consecutive_failures(1),
        _ => Config::builder(name).consecutive_failures(2),
    });
    let by = by.prefix("host:").by(BY_TEXT).unwrap();
    fail(&by, "slow", 1);
    fail(&by, "fast", 1);
    let state = |key: &str| by.circuit(key).unwrap().status().state;
    assert_eq!((state("slow"), state("fast")), (State::Open, State::Closed));
}

#[test]
fn two_threads_that_meet_a_new_key_get_the_same_circuit() {
    let (registry, clock) = (Registry::new(), MockClock::new());
    let by = keyed(&registry, &clock, |builder| builder);
    for round in 0..200 {
        let (key, start) = (format!("key-{round}"), Barrier::new(2));
        let meet = || {
            start.wait();
            by.circuit(&key).unwrap().try_acquire().unwrap().record(Outcome::Success);
        };
        thread::scope(|scope| {
            scope.spawn(meet);
            meet();
        });
        assert_eq!(
            registry.get(&format!("k:{key}")).unwrap().totals().successes,
            2,
            "both calls are in the one that is registered"
        );
    }
    assert_eq!((by.status().keys, by.status().unguarded), (200, 0));
}

#[test]
fn threads_that_bring_and_evict_keys_never_break_the_cap() {
    let (registry, clock) = (Registry::new(), MockClock::new());
    let by = keyed(&registry, &clock, |builder| builder.max_keys(8));
    thread::scope(|scope| {
        for thread in 0..4 {
            let (by, registry) = (by.clone(), &registry);
            scope.spawn(move || {
                for n in 0..2_000 {
                    let circuit = by.circuit(&format!("key-{}", (n * 7 + thread) % 40)).expect("all are at rest");
                    circuit.try_acquire().unwrap().record(Outcome::Success);
                    assert!(registry.circuits().len() <= 8);
                }
            });
        }
    });
    let status = by.status();
    assert_eq!(status.keys, registry.circuits().len(), "who is known is registered, and nobody else");
    assert!(status.keys <= 8 && status.evicted > 0 && status.unguarded == 0, "{status:?}");
}
