//! Health probes at real addresses: HTTP endpoints of axum and of raw sockets, and a gRPC health service of tonic.

#![expect(clippy::disallowed_methods, reason = "tasks are spawned as an application does")]

mod grpc;

use std::time::Duration;

use ::axum::Router;
use ::axum::http::StatusCode;
use ::axum::response::Redirect;
use ::axum::routing::get;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tower_circuit_breaker::state::{HealthResult, HealthStatus};
use tower_circuit_breaker::{Circuit, Config, Failure, State};

/// An open circuit that checks the address every 10 ms.
fn open(address: &str) -> Circuit {
    let settings = Config::builder("payments").consecutive_failures(1).health(address);
    let settings = settings.health_every(Duration::from_millis(10)).health_deadline(Duration::from_secs(5));
    let circuit = Circuit::new(settings.build().unwrap());
    circuit.try_acquire().unwrap().failure(Failure::hard());
    circuit
}

/// Runs health probes until the first result.
async fn first_result(address: &str) -> (State, HealthStatus) {
    let circuit = open(address);
    let run = tokio::spawn(circuit.health_probe().unwrap().run().unwrap());
    let health = loop {
        match circuit.status().health.filter(|health| health.last.is_some()) {
            Some(health) => break health,
            None => tokio::task::yield_now().await,
        }
    };
    run.abort();
    (circuit.state(), health)
}

/// Asserts that the result is a failure with this text.
async fn fails(address: &str, text: &str) {
    let (state, health) = first_result(address).await;
    assert_eq!((state, health.last), (State::Open, Some(HealthResult::Failed)), "{address}: {health:?}");
    let last = health.last_text.unwrap_or_default();
    assert!(last.contains(text), "{address}: {last}");
}

/// Asserts that the result is a failure, whose text depends on the system.
async fn fails_somehow(address: &str) {
    let (state, health) = first_result(address).await;
    assert_eq!((state, health.last), (State::Open, Some(HealthResult::Failed)), "{address}: {health:?}");
}

async fn passes(address: &str) {
    let (state, health) = first_result(address).await;
    assert_eq!((state, health.last), (State::HalfOpen, Some(HealthResult::Passed)), "{address}: {health:?}");
}

async fn bind() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    (listener, address)
}

/// A server of HTTP/1 that answers each connection with these bytes.
async fn raw(answer: Vec<u8>) -> String {
    let (listener, address) = bind().await;
    tokio::spawn(async move {
        while let Ok((mut connection, _)) = listener.accept().await {
            let answer = answer.clone();
            tokio::spawn(async move {
                let mut request = [0; 1024];
                let length = connection.read(&mut request).await.unwrap_or(0);
                assert!(request[..length].starts_with(b"GET /healthz?deep=1 HTTP/1.1\r\nhost: 127.0.0.1:"));
                connection.write_all(&answer).await.ok();
                // The answer is complete without the end of the connection.
                std::future::pending::<()>().await;
            });
        }
    });
    format!("http://{address}/healthz?deep=1")
}

#[tokio::test]
async fn an_http_endpoint_is_healthy_with_a_status_of_2xx() {
    let (listener, address) = bind().await;
    let router = Router::new()
        .route("/ok", get(|| async { "fine" }))
        .route("/empty", get(|| async { StatusCode::NO_CONTENT }))
        .route("/moved", get(|| async { Redirect::permanent("/ok") }))
        .route("/down", get(|| async { StatusCode::SERVICE_UNAVAILABLE }));
    tokio::spawn(async move { ::axum::serve(listener, router).await });
    passes(&format!("http://{address}/ok")).await;
    let port = address.rsplit_once(':').unwrap().1;
    passes(&format!("http://localhost:{port}/ok")).await;
    passes(&format!("http://{address}/empty")).await;
    fails(&format!("http://{address}/moved"), "the status is 308").await;
    fails(&format!("http://{address}/down"), "the status is 503").await;
    fails(&format!("http://{address}/"), "the status is 404").await;
}

#[tokio::test]
async fn an_answer_that_is_endless_or_foreign_is_a_failure() {
    passes(&raw(b"HTTP/1.1 200 OK\r\n".to_vec()).await).await;
    passes(&raw(b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n".to_vec()).await).await;
    fails(&raw(b"SSH-2.0-OpenSSH\r\n".to_vec()).await, "not HTTP/1").await;
    let endless = [b"HTTP/1.1 103 Early Hints\r\nx: ".to_vec(), vec![b'x'; 100_000]].concat();
    fails(&raw(endless).await, "longer than 8 KiB").await;
    let (listener, address) = bind().await;
    tokio::spawn(async move {
        while let Ok((connection, _)) = listener.accept().await {
            drop(connection);
        }
    });
    fails_somehow(&format!("http://{address}/")).await;
}

#[tokio::test]
async fn an_address_without_a_server_is_a_failure() {
    let (listener, address) = bind().await;
    drop(listener);
    // A name that no name server knows, by RFC 6761.
    fails_somehow("http://payments.invalid/healthz").await;
    for scheme in ["http", "grpc"] {
        fails_somehow(&format!("{scheme}://{address}")).await;
    }
}

/// The address of a server of HTTP/1, as if it were one of gRPC.
async fn raw_http() -> String {
    let (listener, address) = bind().await;
    let router = Router::new().route("/", get(|| async { "fine" }));
    tokio::spawn(async move { ::axum::serve(listener, router).await });
    format!("grpc://{address}")
}
