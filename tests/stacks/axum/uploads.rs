//! A proxy whose clients break off their uploads: the body of a request belongs to the client and not to the service.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State as Shared;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use futures_util::{StreamExt, stream};
use http::{Request, StatusCode};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tower::{ServiceBuilder, ServiceExt};
use tower_circuit_breaker::classify::{GrpcClassifier, HttpClassifier, outcome_of};
use tower_circuit_breaker::clock::MockClock;
use tower_circuit_breaker::rejection::HttpRejection;
use tower_circuit_breaker::{BoxError, Circuit, CircuitBreakerLayer, Config, Outcome, State};

use super::faults::{Servers, client};

/// The circuit and the address of the upstream, and the notice that a request is being sent on.
type Upstream = (Circuit, String, Arc<Notify>);

/// Sends a request on to the upstream, as the recipe of a reverse proxy does.
async fn forward(Shared((circuit, upstream, begun)): Shared<Upstream>, mut request: Request<Body>) -> Response {
    begun.notify_one();
    *request.uri_mut() = upstream.parse().unwrap();
    let layer = CircuitBreakerLayer::new(&circuit);
    let service = ServiceBuilder::new()
        .layer(layer.classifier(HttpClassifier::for_handlers()).rejection(HttpRejection::new()))
        .timeout(Duration::from_secs(60))
        .service(client());
    service.oneshot(request).await.map_or_else(|_| StatusCode::BAD_GATEWAY.into_response(), IntoResponse::into_response)
}

/// Sends a head that announces a body, and a part of the body, and breaks off.
async fn break_off(proxy: SocketAddr, sent: &str, begun: &Notify) {
    let mut stream = TcpStream::connect(proxy).await.unwrap();
    stream.write_all(format!("POST / HTTP/1.1\r\nhost: proxy\r\n{sent}").as_bytes()).await.unwrap();
    begun.notified().await;
    stream.shutdown().await.unwrap();
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).await.ok();
}

#[tokio::test]
async fn clients_that_break_off_their_uploads_do_not_open_the_circuit_of_the_upstream() {
    let mut servers = Servers::default();
    let length = async |body: Bytes| body.len().to_string();
    let upstream = servers.start(Router::new().route("/", post(length))).await;
    let circuit = circuit();
    let begun = Arc::new(Notify::new());
    let app = Router::new().route("/", post(forward)).with_state((circuit.clone(), upstream, begun.clone()));
    let proxy: SocketAddr =
        servers.start(app).await.trim_start_matches("http://").trim_end_matches('/').parse().unwrap();
    for (sent, ignored) in [
        ("content-length: 100\r\n\r\nten bytes.", 6),
        ("transfer-encoding: chunked\r\n\r\na\r\nten bytes.\r\n", 12),
        ("transfer-encoding: chunked\r\n\r\na\r\nten bytes.\r\nxyz\r\n", 18),
    ] {
        for _ in 0..6 {
            break_off(proxy, sent, &begun).await;
        }
        let totals = circuit.totals();
        assert_eq!((totals.ignored, totals.failures, totals.cancelled), (ignored, 0, 0), "{sent:?}");
    }
    assert_eq!(circuit.state(), State::Closed);
}

/// A body that breaks off once the server has the head of its request.
fn broken(arrived: &Arc<Notify>) -> Body {
    let first = stream::iter([Ok(Bytes::from_static(b"ten bytes."))]);
    let arrived = arrived.clone();
    let end = stream::once(async move {
        arrived.notified().await;
        Err(io::Error::from(io::ErrorKind::UnexpectedEof))
    });
    Body::from_stream(first.chain(end))
}

#[tokio::test]
async fn a_request_body_that_fails_over_http_2_is_ignored() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let uri = format!("http://{}/", listener.local_addr().unwrap());
    let (arrived, mut server) = (Arc::new(Notify::new()), JoinSet::new());
    let notice = arrived.clone();
    server.spawn(async move {
        let mut kept = Vec::new();
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let mut connection = h2::server::handshake(stream).await.unwrap();
            while let Some(Ok(request)) = connection.accept().await {
                kept.push(request);
                notice.notify_one();
            }
        }
    });
    let client: Client<HttpConnector, Body> = Client::builder(TokioExecutor::new()).http2_only(true).build_http();
    let error = client.request(Request::post(&uri).body(broken(&arrived)).unwrap()).await.unwrap_err();
    assert_eq!(outcome_of(&error), Outcome::Ignored, "{error:?}");
    let circuit = circuit();
    let service = ServiceBuilder::new()
        .layer(CircuitBreakerLayer::new(&circuit).classifier(GrpcClassifier::new()))
        .map_err(BoxError::from)
        .service(client);
    for _ in 0..6 {
        let request = Request::post(&uri).header("content-type", "application/grpc").body(broken(&arrived)).unwrap();
        assert!(service.clone().oneshot(request).await.is_err());
    }
    let totals = circuit.totals();
    assert_eq!((circuit.state(), totals.ignored, totals.failures), (State::Closed, 6, 0));
}

#[tokio::test]
async fn a_request_that_hyper_refuses_to_send_is_ignored() {
    let refused: [fn(Request<Body>) -> Request<Body>; 3] = [
        |mut request| {
            *request.version_mut() = http::Version::HTTP_3;
            request
        },
        |mut request| {
            *request.uri_mut() = "/without/host".parse().unwrap();
            request
        },
        |mut request| {
            *request.uri_mut() = "https://127.0.0.1/".parse().unwrap();
            request
        },
    ];
    for change in refused {
        let request = change(Request::post("http://127.0.0.1:9/").body(Body::empty()).unwrap());
        let client: Client<HttpConnector, Body> = Client::builder(TokioExecutor::new()).build_http();
        let error = client.request(request).await.unwrap_err();
        assert_eq!(outcome_of(&error), Outcome::Ignored, "{error:?}");
    }
}

fn circuit() -> Circuit {
    Circuit::new(Config::classic("upstream").clock(MockClock::new()).build().unwrap())
}
