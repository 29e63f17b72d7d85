//! Over loopback: an axum server, and hyper-util's client behind the layer, or the layer inside the server.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::response::IntoResponse;
use axum::routing::get;
use futures_util::{StreamExt, stream};
use http::{HeaderMap, Method, Request, Response, StatusCode, Version, header};
use http_body_util::BodyExt;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tokio::net::TcpListener;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinSet;
use tower::{Layer, ServiceBuilder, ServiceExt};
use tower_circuit_breaker::classify::HttpClassifier;
use tower_circuit_breaker::clock::MockClock;
use tower_circuit_breaker::event::{Ended, Event, Observer};
use tower_circuit_breaker::outcome::FailureKind;
use tower_circuit_breaker::{Circuit, CircuitBreakerLayer, Config, Failure, Outcome, Rejected, State};
use tower_http::timeout::ResponseBodyTimeoutLayer;

use super::parts::{CANCELLED, FAILURE, SUCCESS, Script, Step, UNTOLD, counted};

/// Tells of every call that ended, to a test that waits for it.
#[derive(Debug)]
struct Finished(UnboundedSender<Ended>);

impl Observer for Finished {
    fn on_event(&self, _: &str, event: &Event<'_>) {
        if let Event::Finished { ended, .. } = event {
            self.0.send(*ended).ok();
        }
    }

    fn wants_calls(&self) -> bool {
        true
    }
}

fn circuit() -> (Circuit, UnboundedReceiver<Ended>) {
    let (tell, told) = unbounded_channel();
    let config = Config::classic("downloads").clock(MockClock::new()).observer(Finished(tell));
    (Circuit::new(config.build().unwrap()), told)
}

/// A server that ends with the test.
async fn serve(app: Router) -> (SocketAddr, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut server = JoinSet::new();
    server.spawn(async move { axum::serve(listener, app).await.unwrap() });
    (address, server)
}

fn downloads() -> Router {
    let chunk = || stream::iter([Ok::<_, io::Error>(Bytes::from_static(b"one chunk, "))]);
    let breaks = move || async move {
        let first = chunk();
        let reset = stream::once(async {
            // Not with the first chunk, which the client is to have seen.
            tokio::task::yield_now().await;
            Err(io::ErrorKind::ConnectionReset.into())
        });
        Body::from_stream(first.chain(reset))
    };
    let hangs = move || async move { Body::from_stream(chunk().chain(stream::pending())) };
    let whole = move || async move { Body::from_stream(chunk().chain(chunk())) };
    let counted_out = move || async move {
        let length = HeaderMap::from_iter([(header::CONTENT_LENGTH, "22".parse().unwrap())]);
        (length, Body::from_stream(chunk().chain(chunk())))
    };
    let proxied = move || async move {
        let mut response = counted_out().await.into_response();
        *response.version_mut() = Version::HTTP_2;
        response
    };
    let sized = || async { Body::new(Script::new([Step::Data("one chunk, "), Step::Data("one chunk, ")])) };
    Router::new()
        .route("/proxied", get(proxied))
        .route("/sized", get(sized))
        .route("/breaks", get(breaks))
        .route("/hangs", get(hangs))
        .route("/whole", get(whole))
        .route("/counted", get(counted_out))
        .route("/nothing", get(|| async { StatusCode::NO_CONTENT }))
}

fn client() -> Client<HttpConnector, Body> {
    Client::builder(TokioExecutor::new()).build_http()
}

fn request(address: SocketAddr, method: Method, path: &str) -> Request<Body> {
    Request::builder().method(method).uri(format!("http://{address}{path}")).body(Body::empty()).unwrap()
}

#[tokio::test]
async fn a_response_reset_midway_is_a_failure_and_opens_the_circuit() {
    let (address, _server) = serve(downloads()).await;
    let (circuit, _told) = circuit();
    let service = CircuitBreakerLayer::new(&circuit).tracked_bodies().layer(client());
    for _ in 0..5 {
        let response = service.clone().oneshot(request(address, Method::GET, "/breaks")).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK, "the head knows nothing of it");
        assert!(response.into_body().collect().await.is_err());
    }
    assert_eq!((counted(&circuit), circuit.status().state), ((0, 5, 0), State::Open));
    let error = service.oneshot(request(address, Method::GET, "/breaks")).await.unwrap_err();
    assert!(Rejected::find(error.as_ref()).is_some());
}

#[tokio::test]
async fn a_body_that_stalls_below_a_body_timeout_is_a_failure() {
    let (address, _server) = serve(downloads()).await;
    let (circuit, _told) = circuit();
    let service = ServiceBuilder::new()
        .layer(CircuitBreakerLayer::new(&circuit).tracked_bodies())
        .layer(ResponseBodyTimeoutLayer::new(Duration::from_millis(50)))
        .service(client());
    let response = service.oneshot(request(address, Method::GET, "/hangs")).await.unwrap();
    assert_eq!(counted(&circuit), UNTOLD);
    let error = response.into_body().collect().await.unwrap_err();
    assert!(error.is::<tower_http::timeout::TimeoutError>(), "{error}");
    assert_eq!(counted(&circuit), FAILURE);
}

#[tokio::test]
async fn the_waiting_http_classifier_judges_by_the_end_of_the_body() {
    let (address, _server) = serve(downloads()).await;
    for (path, outcome, told) in [
        ("/breaks", Some(Failure::hard().with_kind(FailureKind::Body).into()), FAILURE),
        ("/hangs", Some(Outcome::failure()), FAILURE),
        ("/whole", None, SUCCESS),
        ("/counted", None, SUCCESS),
        ("/nothing", None, SUCCESS),
    ] {
        let (circuit, mut ends) = circuit();
        let service = ServiceBuilder::new()
            .layer(
                CircuitBreakerLayer::new(&circuit)
                    .classifier(HttpClassifier::new().until_end_of_body())
                    .tracked_bodies(),
            )
            .layer(ResponseBodyTimeoutLayer::new(Duration::from_millis(200)))
            .service(client());
        let response = service.oneshot(request(address, Method::GET, path)).await.unwrap();
        assert!(response.status().is_success(), "{path}: the head is well");
        let body = response.into_body().collect().await;
        assert_eq!(body.is_err(), outcome.is_some(), "{path}");
        let expected = outcome.and_then(|outcome| outcome.as_failure().copied()).map_or(Ended::Success, Ended::Failure);
        assert_eq!((ends.recv().await, counted(&circuit)), (Some(expected), told), "{path}");
        let run = circuit.status().run;
        assert!((run - f64::from(u8::from(outcome.is_some()))).abs() < f64::EPSILON, "{path}: {run}");
    }
}

#[tokio::test]
async fn a_completely_read_body_is_one_success_with_or_without_length() {
    let (address, _server) = serve(downloads()).await;
    for (method, path, length) in [
        (Method::GET, "/whole", 22),
        (Method::GET, "/counted", 22),
        (Method::GET, "/nothing", 0),
        (Method::HEAD, "/counted", 0),
    ] {
        let (circuit, _told) = circuit();
        let service = CircuitBreakerLayer::new(&circuit).tracked_bodies().layer(client());
        let response = service.oneshot(request(address, method.clone(), path)).await.unwrap();
        assert_eq!(response.into_body().collect().await.unwrap().to_bytes().len(), length);
        assert_eq!(counted(&circuit), SUCCESS, "{method} {path}");
    }
}

#[tokio::test]
async fn a_server_counts_a_completely_sent_body_as_a_success() {
    let (circuit, mut told) = circuit();
    let busy = |_: Rejected| Response::builder().status(503).body(Body::empty()).unwrap();
    let layer = CircuitBreakerLayer::new(&circuit).respond_with(busy).tracked_bodies();
    let (address, _server) = serve(downloads().layer(layer)).await;
    for (method, path) in [
        (Method::GET, "/whole"),
        // hyper counts the bytes, and does not poll for the end.
        (Method::GET, "/counted"),
        // Neither of what came over HTTP/2, as to a proxy, nor where the body alone knows its length.
        (Method::GET, "/proxied"),
        (Method::GET, "/sized"),
        (Method::GET, "/nothing"),
        // The router drops the body.
        (Method::HEAD, "/whole"),
        (Method::HEAD, "/counted"),
    ] {
        let response = client().request(request(address, method.clone(), path)).await.unwrap();
        response.into_body().collect().await.unwrap();
        assert_eq!(told.recv().await, Some(Ended::Success), "{method} {path}");
    }
    assert_eq!(counted(&circuit), (7, 0, 0));
}

#[tokio::test]
async fn a_server_whose_client_goes_away_midway_counts_a_cancelled_call() {
    let (circuit, mut told) = circuit();
    let busy = |_: Rejected| Response::builder().status(503).body(Body::empty()).unwrap();
    let layer = CircuitBreakerLayer::new(&circuit).respond_with(busy).tracked_bodies();
    let (address, _server) = serve(downloads().layer(layer)).await;
    let client = client();
    let mut response = client.request(request(address, Method::GET, "/hangs")).await.unwrap();
    assert!(response.frame().await.unwrap().is_ok());
    assert_eq!(counted(&circuit), UNTOLD);
    drop((response, client));
    assert_eq!(told.recv().await, Some(Ended::Cancelled));
    assert_eq!(counted(&circuit), CANCELLED);
}
