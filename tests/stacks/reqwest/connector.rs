//! A breaker around connecting only, by `ClientBuilder::connector_layer`. Its type must be `BoxError`, so boxed errors it is.

use std::time::Duration;

use reqwest::{Client, StatusCode};
use tower::timeout::TimeoutLayer;
use tower_circuit_breaker::classify::ReqwestClassifier;
use tower_circuit_breaker::{Circuit, CircuitBreakerLayer, Config, Outcome, Rejected, State};

use super::peer::{Answer, Crowded, ERROR, Nobody, OK, Peer};
use super::{SHORT, circuit, counted, get, trip};

fn client(circuit: &Circuit) -> Client {
    Client::builder().no_proxy().connector_layer(CircuitBreakerLayer::new(circuit)).build().unwrap()
}

#[tokio::test]
async fn a_connector_layer_counts_connects_and_no_requests() {
    let peer = Peer::new(|number| Answer::Whole(if number == 0 { OK } else { ERROR })).await;
    let circuit = circuit();
    let client = client(&circuit);
    let response = client.execute(get(&peer.url("/"))).await.unwrap();
    assert_eq!(response.text().await.unwrap(), "done"); // read to its end, so that the connection is used again
    for _ in 0..2 {
        let response = client.execute(get(&peer.url("/"))).await.unwrap();
        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(response.bytes().await.unwrap(), "");
    }
    assert_eq!(counted(&circuit), (1, 0, 0.0, 0), "one connect, three requests");
}

#[tokio::test]
async fn refused_connects_open_the_circuit_and_the_rejection_is_found() {
    let (circuit, nobody) = (circuit(), Nobody::new());
    let client = client(&circuit);
    for _ in 0..5 {
        let error = client.execute(get(&nobody.url)).await.unwrap_err();
        assert!(error.is_connect() && Rejected::find(&error).is_none(), "{error:?}");
    }
    assert_eq!(circuit.status().state, State::Open);
    let error = client.execute(get(&nobody.url)).await.unwrap_err();
    assert!(error.is_connect(), "{error:?}");
    let rejected = Rejected::find(&error).expect("it is a rejection");
    assert_eq!((rejected.circuit(), rejected.retry_after()), ("payments", Some(Duration::from_secs(60))));
}

#[tokio::test]
async fn a_rejected_connect_is_ignored_by_a_breaker_around_the_whole_call() {
    let circuit = circuit();
    trip(&circuit);
    let error = client(&circuit).execute(get("http://127.0.0.1/")).await.unwrap_err();
    assert_eq!(ReqwestClassifier::new().error(&error), Outcome::Ignored, "{error:?}");
}

#[tokio::test]
async fn a_pooled_connection_is_used_while_the_circuit_is_open() {
    let peer = Peer::new(|_| Answer::Whole(OK)).await;
    let circuit = circuit();
    let client = client(&circuit);
    for _ in 0..2 {
        let response = client.execute(get(&peer.url("/"))).await.unwrap();
        assert_eq!(response.text().await.unwrap(), "done");
        if circuit.status().state == State::Closed {
            trip(&circuit);
        }
    }
    assert_eq!(circuit.totals().rejected, 0, "nobody asked it");
}

#[tokio::test]
async fn a_timeout_layer_below_the_breaker_counts_half_as_a_reqwest_timeout() {
    let (circuit, crowded) = (circuit(), Crowded::new().await);
    // The first layer is the innermost.
    let builder = Client::builder().no_proxy().connector_layer(TimeoutLayer::new(SHORT));
    let client = builder.connector_layer(CircuitBreakerLayer::new(&circuit)).build().unwrap();
    let error = client.execute(get(&crowded.url)).await.unwrap_err();
    assert!(error.is_timeout() && error.is_connect(), "{error:?}");
    assert_eq!(counted(&circuit), (0, 1, 0.5, 0));
    // By then it is a type of reqwest's own, which no walk through the sources knows.
    assert_eq!(ReqwestClassifier::new().error(&error), Outcome::timeout());
}

#[tokio::test]
async fn a_connect_dropped_by_a_timeout_layer_above_counts_only_late() {
    let crowded = Crowded::new().await;
    for (counts_after, expected) in [(Duration::from_secs(30), (1, 0.0)), (Duration::from_millis(10), (0, 0.5))] {
        let circuit = Circuit::new(Config::classic("payments").cancelled_counts_after(counts_after).build().unwrap());
        let builder = Client::builder().no_proxy().connector_layer(CircuitBreakerLayer::new(&circuit));
        let client = builder.connector_layer(TimeoutLayer::new(SHORT)).build().unwrap();
        let error = client.execute(get(&crowded.url)).await.unwrap_err();
        assert!(error.is_timeout(), "{error:?}");
        let status = circuit.status();
        assert_eq!((status.totals.cancelled, status.run), expected, "counted after {counts_after:?}");
    }
}

/// It is set twice: for TCP below the breaker, and around all of it. Either may be first.
#[tokio::test]
async fn the_clients_connect_timeout_weighs_half_above_cancelled_counts_after() {
    let crowded = Crowded::new().await;
    let circuit =
        Circuit::new(Config::classic("payments").cancelled_counts_after(Duration::from_millis(10)).build().unwrap());
    let builder = Client::builder().no_proxy().connect_timeout(SHORT);
    let client = builder.connector_layer(CircuitBreakerLayer::new(&circuit)).build().unwrap();
    let error = client.execute(get(&crowded.url)).await.unwrap_err();
    assert!(error.is_timeout(), "{error:?}");
    assert_eq!((circuit.status().run, circuit.status().state), (0.5, State::Closed));
}
