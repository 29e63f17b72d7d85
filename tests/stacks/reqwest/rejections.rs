//! What a caller of a rejected call gets.

use std::error::Error as StdError;

use reqwest::{StatusCode, header};
use tower::{Layer, ServiceExt};
use tower_circuit_breaker::classify::ReqwestClassifier;
use tower_circuit_breaker::clock::MockClock;
use tower_circuit_breaker::rejection::ReqwestRejection;
use tower_circuit_breaker::state::RejectReason;
use tower_circuit_breaker::{BoxError, Circuit, CircuitBreakerLayer, Error, Rejected, State};

use super::peer::{Answer, ERROR, Nobody, OK, Peer};
use super::{circuit, client, counted, get, settings, trip};

#[tokio::test]
async fn a_rejection_response_has_retry_after_url_and_rejection() {
    let peer = Peer::new(|_| Answer::Whole(OK)).await;
    let circuit = circuit();
    trip(&circuit);
    let layer = CircuitBreakerLayer::new(&circuit).classifier(ReqwestClassifier::new());
    let client = layer.rejection(ReqwestRejection::new()).layer(client());
    let url = peer.url("/orders?page=2");
    // The error type is the client's own.
    let response: Result<reqwest::Response, reqwest::Error> = client.oneshot(get(&url)).await;
    let response = response.unwrap();
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(response.headers()[header::RETRY_AFTER], "60");
    assert_eq!(response.url().as_str(), url);
    let rejected = response.extensions().get::<Rejected>().expect("it says that it was no answer of the service");
    assert_eq!((rejected.circuit(), rejected.reason()), ("payments", RejectReason::Tripped));
    let error = response.error_for_status().unwrap_err();
    assert_eq!(
        (error.status(), error.url().map(reqwest::Url::as_str)),
        (Some(StatusCode::SERVICE_UNAVAILABLE), Some(&*url))
    );
    assert_eq!(peer.requests.get(), 0, "the peer saw nothing of it");
}

#[tokio::test]
async fn a_response_makes_no_promise_where_no_time_is_known() {
    let clock = MockClock::new();
    let circuit = Circuit::new(settings(&clock).build().unwrap());
    trip(&circuit);
    clock.advance(std::time::Duration::from_secs(61));
    let _probe = circuit.try_acquire().unwrap();
    let client = CircuitBreakerLayer::new(&circuit).rejection(ReqwestRejection::new()).layer(client());
    let response = client.oneshot(get("http://127.0.0.1/")).await.unwrap();
    assert_eq!(response.headers().get(header::RETRY_AFTER), None);
    assert_eq!(response.extensions().get::<Rejected>().map(Rejected::reason), Some(RejectReason::HalfOpen));
    assert_eq!(response.bytes().await.unwrap(), "");
}

#[tokio::test]
async fn an_error_of_the_client_stays_unchanged() {
    let circuit = circuit();
    let layer = CircuitBreakerLayer::new(&circuit).classifier(ReqwestClassifier::new());
    let client = layer.rejection(ReqwestRejection::new()).layer(client());
    let error: reqwest::Error = client.oneshot(get(&Nobody::new().url)).await.unwrap_err();
    assert!(error.is_connect(), "{error:?}");
    assert_eq!(counted(&circuit), (0, 1, 1.0, 0));
}

#[tokio::test]
async fn by_default_boxed_errors_hold_the_rejection_or_the_clients_error() {
    let circuit = circuit();
    let client = CircuitBreakerLayer::new(&circuit).classifier(ReqwestClassifier::new()).layer(client());
    let error: BoxError = client.clone().oneshot(get(&Nobody::new().url)).await.unwrap_err();
    assert!(error.downcast_ref().is_some_and(reqwest::Error::is_connect), "{error:?}");
    trip(&circuit);
    let error: BoxError = client.oneshot(get("http://127.0.0.1/")).await.unwrap_err();
    let rejected = Rejected::find(error.as_ref()).expect("it is a rejection");
    assert_eq!(rejected.retry_after(), Some(std::time::Duration::from_secs(60)));
    assert!(error.to_string().starts_with("circuit `payments` is open: "), "{error}");
}

#[tokio::test]
async fn typed_errors_are_matched_on() {
    let circuit = circuit();
    let layer = CircuitBreakerLayer::new(&circuit).classifier(ReqwestClassifier::new()).typed_errors();
    let client = layer.layer(client());
    let Error::Inner(error) = client.clone().oneshot(get(&Nobody::new().url)).await.unwrap_err() else {
        panic!("the circuit was closed");
    };
    assert!(error.is_connect(), "{error:?}");
    trip(&circuit);
    let error = client.oneshot(get("http://127.0.0.1/")).await.unwrap_err();
    assert!(matches!(error, Error::Rejected(_)), "{error:?}");
    assert!(error.source().is_some(), "it is an error with a source");
}

#[tokio::test]
async fn a_peer_that_comes_back_is_found_by_the_probe() {
    let peer = Peer::new(|number| Answer::Whole(if number < 5 { ERROR } else { OK })).await;
    let clock = MockClock::new();
    let circuit = Circuit::new(settings(&clock).build().unwrap());
    let layer = CircuitBreakerLayer::new(&circuit).classifier(ReqwestClassifier::new());
    let client = layer.rejection(ReqwestRejection::new()).layer(client());
    let status = async || client.clone().oneshot(get(&peer.url("/"))).await.unwrap().status();
    for call in 0..5 {
        assert_eq!(status().await, StatusCode::INTERNAL_SERVER_ERROR, "call {call}");
    }
    assert_eq!((status().await, peer.requests.get()), (StatusCode::SERVICE_UNAVAILABLE, 5), "rejected, not sent");
    clock.advance(std::time::Duration::from_secs(61));
    assert_eq!((status().await, peer.requests.get()), (StatusCode::OK, 6));
    assert_eq!(circuit.status().state, State::Closed);
}
