//! A client with a circuit, and servers with real faults: what each counts as.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::routing::get;
use http::{Request, Response};
use http_body_util::BodyExt;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tower::{Service, ServiceBuilder, ServiceExt};
use tower_circuit_breaker::classify::{BodyClassifier, HttpClassifier};
use tower_circuit_breaker::clock::MockClock;
use tower_circuit_breaker::outcome::FailureKind;
use tower_circuit_breaker::rejection::HttpRejection;
use tower_circuit_breaker::{BoxError, Circuit, CircuitBreakerLayer, Config, Failure, Outcome, Rejected, State};

/// Servers that end with the test.
#[derive(Default)]
pub(super) struct Servers(JoinSet<io::Result<()>>);

impl Servers {
    pub(super) async fn start(&mut self, app: Router) -> String {
        let listener = TcpListener::bind(LOOPBACK).await.unwrap();
        let address = listener.local_addr().unwrap();
        self.0.spawn(async move { axum::serve(listener, app).await });
        uri(address)
    }

    /// A server that reads the request's head, writes `answer` and closes the connection.
    async fn cut_off(&mut self, answer: &'static str) -> String {
        self.hang_up(b"\r\n\r\n", answer).await
    }

    /// A server that writes `answer` and resets the connection: the kernel does so where a request was not read to its end.
    async fn reset(&mut self, answer: &'static str) -> String {
        self.hang_up(b"GET", answer).await
    }

    async fn hang_up(&mut self, after: &'static [u8], answer: &'static str) -> String {
        let listener = TcpListener::bind(LOOPBACK).await.unwrap();
        let address = listener.local_addr().unwrap();
        self.0.spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await?;
                let mut head = Vec::new();
                while !head.ends_with(after) {
                    head.push(stream.read_u8().await?);
                }
                stream.write_all(answer.as_bytes()).await?;
            }
        });
        uri(address)
    }
}

/// hyper's client, with bodies that a rejection can be made of.
pub(super) fn client()
-> impl Service<Request<Body>, Response = Response<Body>, Error = hyper_util::client::legacy::Error, Future: Send> + Clone
{
    let client: Client<HttpConnector, Body> = Client::builder(TokioExecutor::new()).build_http();
    ServiceBuilder::new().map_response(|response: Response<_>| response.map(Body::new)).service(client)
}

#[tokio::test]
async fn a_refused_connection_is_a_hard_failure() {
    let listener = TcpListener::bind(LOOPBACK).await.unwrap();
    let uri = uri(listener.local_addr().unwrap());
    drop(listener);
    assert_eq!(calls_until_open(&uri).await, 5);
}

#[tokio::test]
async fn a_connection_cut_off_within_the_head_is_a_hard_failure() {
    let mut servers = Servers::default();
    let uri = servers.cut_off("HTTP/1.1 200 OK\r\ncontent-le").await;
    assert_eq!(calls_until_open(&uri).await, 5);
}

#[tokio::test]
async fn a_connection_that_is_reset_midway_is_a_hard_failure() {
    let mut servers = Servers::default();
    let uri = servers.reset("HTTP/1.1 200 OK\r\ncontent-le").await;
    assert_eq!(calls_until_open(&uri).await, 5);
}

#[tokio::test]
async fn a_head_that_does_not_come_is_a_timeout_below_the_breaker() {
    let mut servers = Servers::default();
    let uri = servers.start(Router::new().route("/", get(std::future::pending::<()>))).await;
    let circuit = circuit();
    let service = ServiceBuilder::new()
        .layer(CircuitBreakerLayer::new(&circuit).classifier(HttpClassifier::new()).rejection(HttpRejection::new()))
        .timeout(Duration::from_millis(20))
        .service(client());
    for _ in 0..10 {
        assert_eq!(circuit.status().state, State::Closed);
        let error: BoxError = service.clone().oneshot(request(&uri)).await.unwrap_err();
        assert!(error.is::<tower::timeout::error::Elapsed>(), "{error}");
    }
    let response = service.oneshot(request(&uri)).await.unwrap();
    let rejected = response.extensions().get::<Rejected>().unwrap();
    assert_eq!(rejected.why().unwrap().failure, Some(FailureKind::Timeout));
}

#[tokio::test]
async fn waiting_for_the_end_makes_a_cut_off_body_a_hard_failure() {
    let mut servers = Servers::default();
    let uri = servers.cut_off("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nten bytes.").await;
    let (head, end) = judged(&uri).await;
    assert_eq!((head, end), (None, Failure::hard().with_kind(FailureKind::Body).into()));
}

#[tokio::test]
async fn a_complete_body_keeps_the_outcome_of_its_head() {
    let mut servers = Servers::default();
    let uri = servers.cut_off("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nten bytes.").await;
    let (head, end) = judged(&uri).await;
    assert_eq!((head, end), (None, Outcome::Success));
}

/// What `until_end_of_body` says of the head, and then of the body as it came.
async fn judged(uri: &str) -> (Option<Outcome>, Outcome) {
    async fn judge<C>(classifier: C, response: Response<Body>) -> (Option<Outcome>, Outcome)
    where
        C: BodyClassifier<Request<Body>, Body, BoxError, Call = ()>,
    {
        let head = classifier.head(&mut (), &response, Duration::ZERO);
        let end = match response.into_body().collect().await {
            Ok(body) => classifier.end((), body.trailers(), Duration::ZERO),
            Err(error) => classifier.body_error((), &error, Duration::ZERO),
        };
        (head, end)
    }
    let response = client().oneshot(request(uri)).await.unwrap();
    judge(HttpClassifier::new().until_end_of_body(), response).await
}

/// Calls until the circuit rejects, and returns how many calls there were.
async fn calls_until_open(uri: &str) -> usize {
    let circuit = circuit();
    let service = ServiceBuilder::new()
        .layer(CircuitBreakerLayer::new(&circuit).classifier(HttpClassifier::new()).rejection(HttpRejection::new()))
        .service(client());
    let mut calls = 0;
    while let Err(error) = service.clone().oneshot(request(uri)).await {
        calls += 1;
        assert!(calls <= 100, "it never opens: {error}");
    }
    assert_eq!(circuit.status().state, State::Open, "the answer was the rejection");
    calls
}

fn circuit() -> Circuit {
    Circuit::new(Config::builder("orders").clock(MockClock::new()).build().unwrap())
}

fn request(uri: &str) -> Request<Body> {
    Request::get(uri).body(Body::empty()).unwrap()
}

fn uri(address: SocketAddr) -> String {
    format!("http://{address}/")
}

const LOOPBACK: (&str, u16) = ("127.0.0.1", 0);
