//! Bodies of an answer that a fallback waits for, after a rejection of a breaker with tracked bodies.

use std::future::ready;

use axum::body::Body;
use http::{Request, Response};
use http_body_util::BodyExt;
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_circuit_breaker::body::TrackedBody;
use tower_circuit_breaker::classify::HttpClassifier;
use tower_circuit_breaker::clock::MockClock;
use tower_circuit_breaker::rejection::HttpRejection;
use tower_circuit_breaker::{BoxError, Circuit, CircuitBreakerLayer, Config};

use super::parts::circuit;

fn answer(text: &'static str) -> Response<Body> {
    let frames = [if text == "down" { Err(BoxError::from(text)) } else { Ok(text) }];
    Response::new(Body::from_stream(futures_util::stream::iter(frames)))
}

#[tokio::test]
async fn a_chain_of_endpoints_judges_streams_to_their_end() {
    let [eu, us] = [(); 2].map(|()| circuit(&MockClock::new()));
    let client = |text| service_fn(move |_: Request<Body>| ready(Ok::<_, BoxError>(answer(text))));
    let layer = |circuit: &Circuit| {
        CircuitBreakerLayer::new(circuit)
            .classifier(HttpClassifier::new().until_end_of_body())
            .rejection(HttpRejection::new())
            .tracked_bodies()
    };
    let second = layer(&us).layer(client("all of it"));
    let first = layer(&eu).fallback_async(move |_, request| second.clone().oneshot(request));
    let mut service = first.layer(client("down"));
    while !eu.is_open() {
        let response = service.ready().await.unwrap().call(Request::default()).await.unwrap();
        response.into_body().collect().await.unwrap_err();
    }
    let response = service.ready().await.unwrap().call(Request::default()).await.unwrap();
    assert_eq!(us.totals().successes, 0, "the body has only begun");
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "all of it");
    assert_eq!(us.totals().successes, 1);
    assert_eq!(eu.totals().rejected, 1);
}

#[tokio::test]
async fn a_fallback_that_waits_answers_with_an_untracked_body() {
    let circuit = Circuit::new(Config::new("eu").unwrap());
    let layer = CircuitBreakerLayer::new(&circuit).tracked_bodies().fallback_async(async |_, _: Request<Body>| {
        Ok::<_, BoxError>(Response::new(TrackedBody::from(Body::from("old"))))
    });
    let mut service =
        layer.layer(service_fn(async |_: Request<Body>| Err::<Response<Body>, _>(BoxError::from("down"))));
    while !circuit.is_open() {
        service.ready().await.unwrap().call(Request::default()).await.unwrap_err();
    }
    let response = service.ready().await.unwrap().call(Request::default()).await.unwrap();
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "old");
}
