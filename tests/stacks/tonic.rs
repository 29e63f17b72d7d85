//! tonic over loopback, with the breaker in the client and in the server; rejections are read by tonic's own client.

#![expect(clippy::disallowed_types, reason = "loom does not run this")]

mod deadlines;
mod recognised;
mod refused;
mod streams;
mod stub;

use std::error::Error as StdError;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::net::TcpListener;
use tonic::transport::{Endpoint, Server};
use tonic::{Code, Status};
use tonic_types::StatusExt;
use tower::timeout::TimeoutLayer;
use tower::{Layer, ServiceBuilder};
use tower_circuit_breaker::classify::GrpcClassifier;
use tower_circuit_breaker::clock::MockClock;
use tower_circuit_breaker::event::{Ended, Event, Observer};
use tower_circuit_breaker::outcome::FailureKind;
use tower_circuit_breaker::rejection::{BoxedErrors, GrpcRejection};
use tower_circuit_breaker::{By, Circuit, CircuitBreakerLayer, Config, Failure, OpenDuration, Rejected, State};

use stub::{Client, Inventory, Running};

#[tokio::test]
async fn a_unary_call_counts_by_its_status() {
    let server = plain_server().await;
    let (circuit, log) = watched();
    let mut client = Client::new(client_layer(&circuit).layer(server.endpoint().connect_lazy()));

    assert_eq!(client.get("apples").await.unwrap(), "apples");
    assert_eq!(log.take(), [Ended::Success]);
    assert_eq!(client.get("not found").await.unwrap_err().code(), Code::NotFound);
    assert_eq!(log.take(), [Ended::Success], "the service did its job");
    assert_eq!(client.get("unavailable").await.unwrap_err().code(), Code::Unavailable);
    assert_eq!(log.take(), [failed("grpc_unavailable", None)]);
}

#[tokio::test]
async fn pushback_and_retry_info_of_a_server_extend_the_open_duration() {
    let server = plain_server().await;
    let (circuit, log) = watched();
    let mut client = Client::new(client_layer(&circuit).layer(server.endpoint().connect_lazy()));
    let after = Some(Duration::from_secs(42));

    client.get("pushback").await.unwrap_err();
    assert_eq!(log.take(), [failed("grpc_resource_exhausted", after)]);
    client.get("details").await.unwrap_err();
    assert_eq!(log.take(), [failed("grpc_unavailable", after)]);
    client.get("unavailable").await.unwrap_err();
    let status = client.get("apples").await.unwrap_err();
    assert_eq!(circuit.status().state, State::Open, "three in a row");
    assert_eq!(status.get_details_retry_info().unwrap().retry_delay, after, "longer than the 30 s that are set");
}

#[tokio::test]
async fn a_plain_layer_counts_a_stream_with_a_late_failure_as_success() {
    let server = plain_server().await;
    let (circuit, log) = watched();
    let mut client = Client::new(client_layer(&circuit).layer(server.endpoint().connect_lazy()));

    let mut answers = client.list("unavailable").await.unwrap();
    assert_eq!(log.take(), [Ended::Success], "at the head");
    answers.message().await.unwrap();
    assert_eq!(answers.message().await.unwrap_err().code(), Code::Unavailable);
    assert_eq!(log.take(), [], "it cannot know");
}

#[tokio::test]
async fn a_refused_connection_is_a_hard_failure() {
    let port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let (circuit, log) = watched();
    let dead = Endpoint::from_shared(format!("http://127.0.0.1:{port}")).unwrap().connect_lazy();
    let mut client = Client::new(client_layer(&circuit).layer(dead));

    for _ in 0..3 {
        assert_eq!(client.get("apples").await.unwrap_err().code(), Code::Unavailable);
        assert_eq!(log.take(), [Ended::Failure(Failure::hard().with_kind(FailureKind::Connect))]);
    }
    let why = circuit.status().transitions[0].because().to_string();
    assert!(why.contains("of kind connect: Connection refused"), "{why}");
    let status = client.get("apples").await.unwrap_err();
    assert!(status.message().starts_with("circuit `inventory` is open"), "{}", status.message());
}

#[tokio::test]
async fn a_server_that_dies_before_its_answer_is_a_hard_failure() {
    let inventory = Inventory::default();
    let server = server_of(inventory.clone()).await;
    let (circuit, log) = watched();
    let channel = client_layer(&circuit).layer(server.endpoint().connect_lazy());
    let mut client = Client::new(channel);

    let kill = async {
        while inventory.calls() == 0 {
            tokio::task::yield_now().await;
        }
        drop(server);
    };
    let (answer, ()) = tokio::join!(client.get("hang"), kill);
    answer.unwrap_err();
    assert_eq!(log.take(), [Ended::Failure(Failure::hard().with_kind(FailureKind::Reset))]);
}

#[tokio::test]
async fn a_slow_head_is_a_timeout_of_endpoint_or_layer() {
    let server = plain_server().await;
    let (circuit, log) = watched();
    let endpoint = server.endpoint().timeout(Duration::from_millis(50)).connect_lazy();
    let mut client = Client::new(client_layer(&circuit).layer(endpoint));
    assert_eq!(client.get("hang").await.unwrap_err().code(), Code::Cancelled, "so says tonic");
    assert_eq!(log.take(), [Ended::Failure(Failure::timeout())]);

    let (circuit, log) = watched();
    let layered = ServiceBuilder::new()
        .layer(client_layer(&circuit))
        .layer(TimeoutLayer::new(Duration::from_millis(50)))
        .service(server.endpoint().connect_lazy());
    Client::new(layered).get("hang").await.unwrap_err();
    assert_eq!(log.take(), [Ended::Failure(Failure::timeout())]);
}

#[tokio::test]
async fn a_rejection_in_the_client_reads_like_one_of_a_server() {
    let inventory = Inventory::default();
    let server = server_of(inventory.clone()).await;
    let (circuit, _) = watched();
    trip(&circuit);
    let mut client = Client::new(client_layer(&circuit).layer(server.endpoint().connect_lazy()));

    judge_rejection(&client.get("apples").await.unwrap_err());
    let mut answers = client.list("apples").await.unwrap();
    judge_rejection(&answers.message().await.unwrap_err());
    assert_eq!(inventory.calls(), 0, "it was not asked");
}

#[tokio::test]
async fn a_boxed_rejection_is_unknown_to_the_stub_but_in_its_sources() {
    let server = plain_server().await;
    let (circuit, _) = watched();
    trip(&circuit);
    let layer = client_layer(&circuit).rejection(BoxedErrors::default());
    let status = Client::new(layer.layer(server.endpoint().connect_lazy())).get("apples").await.unwrap_err();
    assert_eq!(status.code(), Code::Unknown);
    assert_eq!(Rejected::find(status.source().unwrap()).unwrap().circuit(), "inventory");
}

#[tokio::test]
async fn a_rejection_of_a_server_is_decoded_by_the_client() {
    let (circuit, log) = watched();
    let inventory = Inventory::default();
    let (service, layer) = (inventory.clone(), server_layer(&circuit).rejection(GrpcRejection::new().with_details()));
    let server = Running::start(|connections| {
        Server::builder().layer(layer).add_service(service).serve_with_incoming(connections)
    });
    let server = server.await;
    let mut client = Client::new(server.endpoint().connect_lazy());

    client.get("apples").await.unwrap();
    for _ in 0..3 {
        client.get("unavailable").await.unwrap_err();
    }
    let unavailable = failed("grpc_unavailable", None);
    assert_eq!(log.take(), [Ended::Success, unavailable, unavailable, unavailable]);
    judge_rejection(&client.get("apples").await.unwrap_err());
    judge_rejection(&client.list("apples").await.unwrap_err());
    assert_eq!(inventory.calls(), 4, "the handlers were not asked");
}

#[tokio::test]
async fn a_rejection_without_details_has_its_code_its_sentence_and_its_pushback() {
    let (circuit, _) = watched();
    trip(&circuit);
    let layer = server_layer(&circuit).rejection(GrpcRejection::new());
    let server = Running::start(|connections| {
        Server::builder().layer(layer).add_service(Inventory::default()).serve_with_incoming(connections)
    });
    let server = server.await;
    let status = Client::new(server.endpoint().connect_lazy()).get("apples").await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(
        status
            .message()
            .starts_with("circuit `inventory` is open, and this attempt went no further; try again in 30 s"),
        "{}",
        status.message()
    );
    assert_eq!(status.metadata().get("grpc-retry-pushback-ms").unwrap(), "30000");
    assert!(status.details().is_empty());
}

#[tokio::test]
async fn a_boxed_rejection_in_a_server_reaches_the_client_without_its_code() {
    let (circuit, _) = watched();
    trip(&circuit);
    let layer = server_layer(&circuit);
    let server = Running::start(|connections| {
        Server::builder().layer(layer).add_service(Inventory::default()).serve_with_incoming(connections)
    });
    let server = server.await;
    let status = Client::new(server.endpoint().connect_lazy()).get("apples").await.unwrap_err();
    assert_eq!(status.code(), Code::Internal, "{status}");
    assert!(!status.message().contains("circuit"), "{status}");
}

#[tokio::test]
async fn a_service_behind_a_circuit_keeps_its_name() {
    let (circuit, log) = watched();
    let guarded = server_layer(&circuit).rejection(GrpcRejection::new().with_details()).layer(Inventory::default());
    let server =
        Running::start(|connections| Server::builder().add_service(guarded).serve_with_incoming(connections)).await;
    let mut client = Client::new(server.endpoint().connect_lazy());
    assert_eq!(client.get("apples").await.unwrap(), "apples", "the router finds it");
    assert_eq!(log.take(), [Ended::Success]);
    trip(&circuit);
    judge_rejection(&client.get("apples").await.unwrap_err());
}

#[tokio::test]
async fn a_client_whose_deadline_is_over_cancels_the_call_in_the_server() {
    let (circuit, log) = watched();
    let layer = server_layer(&circuit).rejection(GrpcRejection::new());
    let inventory = Inventory::default();
    let service = inventory.clone();
    let server = Running::start(|connections| {
        Server::builder().layer(layer).add_service(service).serve_with_incoming(connections)
    });
    let server = server.await;
    let mut client = Client::new(server.endpoint().connect_lazy());
    tokio::select! {
        answer = client.get("hang") => panic!("it does not answer: {answer:?}"),
        () = async { while inventory.calls() == 0 { tokio::task::yield_now().await } } => {}
    }
    drop(client);
    log.until_told().await;
    assert_eq!(log.take(), [Ended::Cancelled], "too early to say anything about the service");
}

/// Reads a rejection by an open circuit as a generated client would.
fn judge_rejection(status: &Status) {
    assert_eq!(status.code(), Code::Unavailable);
    assert!(
        status
            .message()
            .starts_with("circuit `inventory` is open, and this attempt went no further; try again in 30 s"),
        "{}",
        status.message()
    );
    assert_eq!(status.metadata().get("grpc-retry-pushback-ms").unwrap(), "30000");
    assert_eq!(status.get_details_retry_info().unwrap().retry_delay, Some(Duration::from_secs(30)));
    let info = status.get_details_error_info().unwrap();
    assert_eq!((&*info.reason, &*info.domain), ("CIRCUIT_OPEN", "tower-circuit-breaker"));
    assert_eq!(info.metadata["service"], "inventory");
}

fn client_layer(circuit: &Circuit) -> CircuitBreakerLayer<GrpcClassifier, GrpcRejection> {
    CircuitBreakerLayer::new(circuit).classifier(GrpcClassifier::tonic()).rejection(GrpcRejection::new().with_details())
}

fn server_layer(circuit: &Circuit) -> CircuitBreakerLayer<GrpcClassifier> {
    CircuitBreakerLayer::new(circuit).classifier(GrpcClassifier::new())
}

async fn plain_server() -> Running {
    server_of(Inventory::default()).await
}

async fn server_of(inventory: Inventory) -> Running {
    Running::start(|connections| Server::builder().add_service(inventory).serve_with_incoming(connections)).await
}

/// A circuit that three failures in a row open for 30 s, by a clock that stands still, and what its calls end with.
fn watched() -> (Circuit, Log) {
    let log = Log::default();
    let config = Config::builder("inventory")
        .clock(MockClock::new())
        .consecutive_failures(3)
        .without_failure_rate()
        .open_for(OpenDuration::fixed(Duration::from_secs(30)))
        .observer(log.clone());
    (Circuit::new(config.build().unwrap()), log)
}

fn trip(circuit: &Circuit) {
    circuit.reset(&By::new("ops", "a test").unwrap(), tower_circuit_breaker::circuit::To::Closed);
    for _ in 0..3 {
        circuit.try_acquire().unwrap().failure(Failure::hard());
    }
}

fn failed(kind: &'static str, retry_after: Option<Duration>) -> Ended {
    let failure = Failure::hard().with_kind(FailureKind::Named(kind));
    Ended::Failure(retry_after.map_or(failure, |after| failure.with_retry_after(after)))
}

/// How the calls ended.
#[derive(Debug, Clone, Default)]
struct Log {
    ended: Arc<Mutex<Vec<Ended>>>,
    told: Arc<tokio::sync::Notify>,
}

impl Log {
    fn take(&self) -> Vec<Ended> {
        std::mem::take(&mut self.ended.lock().unwrap())
    }

    /// Waits until at least one call has ended.
    async fn until_told(&self) {
        while self.ended.lock().unwrap().is_empty() {
            self.told.notified().await;
        }
    }
}

impl Observer for Log {
    fn on_event(&self, _: &str, event: &Event<'_>) {
        if let Event::Finished { ended, .. } = event {
            self.ended.lock().unwrap().push(*ended);
            self.told.notify_one();
        }
    }

    fn wants_calls(&self) -> bool {
        true
    }
}
