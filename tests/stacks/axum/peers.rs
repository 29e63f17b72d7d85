//! What a peer over loopback sees of a guarded server, decoded by its own client.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::response::IntoResponse;
use axum::routing::get;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::BodyExt;
use serde_json::Value;
use tower::{ServiceBuilder, ServiceExt};
use tower_circuit_breaker::classify::HttpClassifier;
use tower_circuit_breaker::clock::MockClock;
use tower_circuit_breaker::rejection::HttpRejection;
use tower_circuit_breaker::{Circuit, CircuitBreakerLayer, Config, OpenDuration, Rejected, State};

use super::faults::{Servers, client};

/// A server whose status the test sets, guarded, and its clock.
struct Guarded {
    status: Arc<AtomicU16>,
    clock: MockClock,
    circuit: Circuit,
    uri: String,
    _servers: Servers,
}

impl Guarded {
    async fn start() -> Self {
        let (status, clock) = (Arc::new(AtomicU16::new(200)), MockClock::new());
        let circuit = circuit(&clock);
        let said = status.clone();
        let app = Router::new()
            .route("/", get(async move || StatusCode::from_u16(said.load(Ordering::Relaxed)).unwrap()))
            .layer(
                CircuitBreakerLayer::new(&circuit).classifier(HttpClassifier::new()).rejection(HttpRejection::new()),
            );
        let mut servers = Servers::default();
        let uri = servers.start(app).await;
        Self { status, clock, circuit, uri, _servers: servers }
    }

    async fn ask(&self, method: Method, accept: &str) -> Response<Body> {
        let request = Request::builder().method(method).uri(&self.uri).header(header::ACCEPT, accept);
        client().oneshot(request.body(Body::empty()).unwrap()).await.unwrap()
    }

    async fn status(&self) -> u16 {
        self.ask(Method::GET, "*/*").await.status().as_u16()
    }
}

#[tokio::test]
async fn a_peer_reads_the_rejection_and_returns_after_its_retry_after() {
    let server = Guarded::start().await;
    assert_eq!(server.status().await, 200);
    server.status.store(500, Ordering::Relaxed);
    for _ in 0..5 {
        assert_eq!(server.status().await, 500);
    }

    let response = server.ask(Method::GET, "application/json").await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(response.headers()[header::CONTENT_TYPE], "application/problem+json");
    assert!(response.extensions().get::<Rejected>().is_none(), "extensions do not travel");
    let wait: u64 = response.headers()[header::RETRY_AFTER].to_str().unwrap().parse().unwrap();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    let problem: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!((problem["status"].as_u64(), problem["retry_after_ms"].as_u64()), (Some(503), Some(wait * 1_000)));

    server.status.store(200, Ordering::Relaxed);
    server.clock.advance(Duration::from_secs(wait));
    for _ in 0..3 {
        assert_eq!(server.status().await, 200);
    }
    assert_eq!(server.circuit.status().state, State::Closed);
}

#[tokio::test]
async fn a_peer_gets_text_on_request_and_no_body_for_a_head() {
    let server = Guarded::start().await;
    server.status.store(502, Ordering::Relaxed);
    for _ in 0..5 {
        assert_eq!(server.status().await, 502);
    }
    assert_eq!(server.circuit.status().state, State::Open);
    let response = server.ask(Method::GET, "text/plain").await;
    assert_eq!(response.headers()[header::CONTENT_TYPE], "text/plain; charset=utf-8");
    let length = response.headers()[header::CONTENT_LENGTH].clone();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(body, "circuit `orders` is open, and this attempt went no further; try again in 5 s\n");
    assert_eq!(length, body.len().to_string());

    let response = server.ask(Method::HEAD, "text/plain").await;
    assert_eq!(
        (response.status(), &response.headers()[header::CONTENT_LENGTH]),
        (StatusCode::SERVICE_UNAVAILABLE, &length)
    );
    assert!(response.into_body().collect().await.unwrap().to_bytes().is_empty());
}

#[tokio::test]
async fn a_client_circuit_stays_open_for_the_retry_after_of_the_server() {
    for (value, expected) in [(Some("40"), 40), (None, 5)] {
        let mut servers = Servers::default();
        let busy = async move || {
            let mut response = StatusCode::SERVICE_UNAVAILABLE.into_response();
            if let Some(value) = value {
                response.headers_mut().insert(header::RETRY_AFTER, header::HeaderValue::from_static(value));
            }
            response
        };
        let uri = servers.start(Router::new().route("/", get(busy))).await;
        let circuit = circuit(&MockClock::new());
        let client = ServiceBuilder::new()
            .layer(CircuitBreakerLayer::new(&circuit).classifier(HttpClassifier::new()).rejection(HttpRejection::new()))
            .service(client());
        let ask = async || client.clone().oneshot(Request::get(&uri).body(Body::empty()).unwrap()).await.unwrap();
        for _ in 0..5 {
            assert!(ask().await.extensions().get::<Rejected>().is_none(), "the server's own 503");
        }
        let response = ask().await;
        let rejected = response.extensions().get::<Rejected>().unwrap();
        assert_eq!(rejected.retry_after(), Some(Duration::from_secs(expected)), "Retry-After: {value:?}");
    }
}

#[tokio::test]
async fn a_date_as_retry_after_counts_from_the_date_of_the_response() {
    let mut servers = Servers::default();
    let busy = async || {
        // A server whose clock is decades behind.
        let headers =
            [(header::DATE, "Sun, 06 Nov 1994 08:49:37 GMT"), (header::RETRY_AFTER, "Sun, 06 Nov 1994 08:50:07 GMT")];
        (StatusCode::SERVICE_UNAVAILABLE, headers)
    };
    let uri = servers.start(Router::new().route("/", get(busy))).await;
    let circuit = circuit(&MockClock::new());
    let layer = CircuitBreakerLayer::new(&circuit).classifier(HttpClassifier::new()).rejection(HttpRejection::new());
    let client = ServiceBuilder::new().layer(layer).service(client());
    for _ in 0..5 {
        client.clone().oneshot(Request::get(&uri).body(Body::empty()).unwrap()).await.unwrap();
    }
    assert_eq!(circuit.status().retry_after, Some(Duration::from_secs(30)));
}

fn circuit(clock: &MockClock) -> Circuit {
    let open_for = OpenDuration::fixed(Duration::from_secs(5));
    Circuit::new(Config::builder("orders").clock(clock.clone()).open_for(open_for).build().unwrap())
}
