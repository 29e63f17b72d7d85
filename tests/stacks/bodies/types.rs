//! What a tracked body fits into, and what it does not ask of others.

use std::convert::Infallible;
use std::io;
use std::rc::Rc;
use std::sync::mpsc::channel;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::routing::get;
use futures_util::FutureExt;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_circuit_breaker::body::{TrackedBodies, TrackedBodiesLayer, TrackedBody};
use tower_circuit_breaker::classify::DefaultClassifier;
use tower_circuit_breaker::clock::MockClock;
use tower_circuit_breaker::{CircuitBreakerLayer, Rejected};

use super::parts::*;

#[tokio::test]
async fn a_router_takes_the_layer_without_conversion() {
    let circuit = circuit(&MockClock::new());
    let unavailable = |_: Rejected| Response::builder().status(503).body(Body::from("later")).unwrap();
    let app = Router::new()
        .route("/", get(|| async { "done" }))
        .layer(CircuitBreakerLayer::new(&circuit).respond_with(unavailable).tracked_bodies());
    let request = || Request::new(Body::empty());
    let response = app.clone().oneshot(request()).await.unwrap();
    assert_eq!(counted(&circuit), UNTOLD);
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "done");
    assert_eq!(counted(&circuit), SUCCESS);
    trip(&circuit);
    let response = app.oneshot(request()).await.unwrap();
    assert_eq!(response.status(), 503);
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "later");
}

#[tokio::test]
async fn a_head_request_to_a_router_is_a_success_without_its_body() {
    let circuit = circuit(&MockClock::new());
    let refuse = |_: Rejected| Response::new(Body::empty());
    let app = Router::new()
        .route("/", get(|| async { "done" }))
        .layer(CircuitBreakerLayer::new(&circuit).respond_with(refuse).tracked_bodies());
    drop(app.oneshot(Request::head("/").body(Body::empty()).unwrap()).await.unwrap());
    assert_eq!(counted(&circuit), SUCCESS);
}

#[test]
fn a_generated_client_takes_the_service_for_its_channel() {
    type Tonic = tonic::body::Body;

    fn generated<T>(_: T)
    where
        T: tonic::client::GrpcService<Tonic> + Clone + Send + 'static,
        T::ResponseBody: http_body::Body<Data = Bytes> + Send + 'static,
        <T::ResponseBody as http_body::Body>::Error: Into<tower_circuit_breaker::BoxError> + Send,
        T::Future: Send,
    {
    }

    let circuit = circuit(&MockClock::new());
    let channel = service_fn(|_: Request<Tonic>| std::future::ready(Ok::<_, io::Error>(Response::new(Tonic::empty()))));
    generated(CircuitBreakerLayer::new(&circuit).tracked_bodies().layer(channel));
}

#[test]
fn a_named_service_keeps_its_name() {
    struct Named;

    impl tonic::server::NamedService for Named {
        const NAME: &'static str = "shop.Orders";
    }

    assert_eq!(<TrackedBodies<Named> as tonic::server::NamedService>::NAME, "shop.Orders");
}

#[test]
fn nothing_need_be_sent_cloned_or_static() {
    let word = String::from("borrowed");
    let circuit = circuit(&MockClock::new());
    // Neither request nor future nor body can be sent, and the service borrows.
    let inner = service_fn(|request: Request<Rc<()>>| {
        let (kept, word) = (request.into_body(), word.as_str());
        async move {
            let body = Full::new(Bytes::copy_from_slice(word.as_bytes()));
            Ok::<_, Infallible>(Response::new(body.map_frame(move |frame| {
                assert_eq!(Rc::strong_count(&kept), 1);
                frame
            })))
        }
    });
    let service = CircuitBreakerLayer::new(&circuit).tracked_bodies().layer(inner);
    let response = service.oneshot(Request::new(Rc::new(()))).now_or_never().unwrap().unwrap();
    let body = response.into_body().collect().now_or_never().unwrap().unwrap();
    assert_eq!((&*body.to_bytes(), counted(&circuit)), (&b"borrowed"[..], SUCCESS));
}

#[test]
fn a_default_body_is_the_default_of_the_inner_one() {
    let body = TrackedBody::<Full<Bytes>, DefaultClassifier, (), Infallible>::default();
    assert!(http_body::Body::is_end_stream(&body));
    assert!(body.collect().now_or_never().unwrap().unwrap().to_bytes().is_empty());
}

#[test]
fn debug_shows_layer_service_future_and_body() {
    let (circuit, (judge, _words)) = (circuit(&MockClock::new()), channel());
    let layer: TrackedBodiesLayer = CircuitBreakerLayer::new(&circuit).tracked_bodies();
    assert!(format!("{layer:?}").contains("payments"));
    let mut service = service(&circuit, &judge);
    assert_eq!(service.circuit().name(), "payments");
    assert!(format!("{:?}", layer.layer(())).contains("payments"));
    let context = &mut std::task::Context::from_waker(std::task::Waker::noop());
    assert!(service.poll_ready(context).is_ready());
    assert!(format!("{:?}", service.call(ok([]))).contains("Called"));
    let mut body = head(&mut service, ok([])).into_body();
    assert!(format!("{body:?}").contains("tracked: true"));
    read(&mut body);
    assert!(format!("{body:?}").contains("tracked: false"));
}
