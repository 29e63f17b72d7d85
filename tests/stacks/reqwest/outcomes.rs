//! What each response and each error counts as.

use axum::body::Bytes;
use futures_util::stream;
use http_body::Frame;
use http_body_util::StreamBody;
use reqwest::{Body, Client, Request};
use tower::timeout::TimeoutLayer;
use tower::{Layer, Service, ServiceBuilder, ServiceExt};
use tower_circuit_breaker::classify::{Classifier, ReqwestClassifier};
use tower_circuit_breaker::outcome::FailureKind;
use tower_circuit_breaker::{BoxError, CircuitBreakerLayer, Error, Failure, Outcome};

use super::peer::{Answer, Crowded, Nobody, OK, Peer};
use super::{SHORT, circuit, client, counted, get};

/// Makes one call through the client and says what it was counted as: successes, failures, their weight, ignored.
async fn outcome_of(client: Client, request: Request) -> (u64, u64, f64, u64) {
    let circuit = circuit();
    let layer = CircuitBreakerLayer::new(&circuit).classifier(ReqwestClassifier::new());
    drop(layer.layer(client).oneshot(request).await);
    counted(&circuit)
}

const SUCCESS: (u64, u64, f64, u64) = (1, 0, 0.0, 0);
const HARD: (u64, u64, f64, u64) = (0, 1, 1.0, 0);
const TIMEOUT: (u64, u64, f64, u64) = (0, 1, 0.5, 0);
const IGNORED: (u64, u64, f64, u64) = (0, 0, 0.0, 1);

#[tokio::test]
async fn statuses_count_as_in_http() {
    let peer = Peer::statuses().await;
    for (status, expected) in
        [(200, SUCCESS), (404, SUCCESS), (429, TIMEOUT), (500, HARD), (503, HARD), (408, TIMEOUT), (504, TIMEOUT)]
    {
        assert_eq!(outcome_of(client(), get(&peer.url(&format!("/{status}")))).await, expected, "{status}");
    }
    assert_eq!(peer.requests.get(), 7, "each was sent");
}

#[tokio::test]
async fn a_retry_after_is_read_from_the_response_also_for_overridden_statuses() {
    let peer = Peer::statuses().await;
    let respond = async |path| client().execute(get(&peer.url(path))).await.unwrap();
    let after = |outcome: Outcome| outcome.as_failure().and_then(Failure::retry_after).map(|after| after.as_secs());
    let judge = ReqwestClassifier::new().status(reqwest::StatusCode::NOT_FOUND, Failure::hard());
    assert_eq!(after(judge.response(&respond("/503/7").await)), Some(7));
    assert_eq!(after(judge.response(&respond("/503").await)), None);
    assert_eq!(after(judge.response(&respond("/404/9").await)), Some(9), "as set, with what the service asked for");
    assert_eq!(judge.response(&respond("/200/7").await), Outcome::Success);
}

#[tokio::test]
async fn an_error_of_error_for_status_is_judged_like_its_response() {
    let peer = Peer::statuses().await;
    let judge = ReqwestClassifier::new();
    for (status, expected) in [(404, Outcome::Success), (504, Outcome::timeout())] {
        let response = client().execute(get(&peer.url(&format!("/{status}")))).await.unwrap();
        assert_eq!(judge.error(&response.error_for_status().unwrap_err()), expected, "{status}");
    }
    let response = client().execute(get(&peer.url("/503"))).await.unwrap();
    let outcome = judge.response(&response);
    assert_eq!(outcome.as_failure().map(Failure::kind), Some(FailureKind::Named("http_503")));
    assert_eq!(judge.error(&response.error_for_status().unwrap_err()), outcome);
}

#[tokio::test]
async fn a_refused_connection_is_a_hard_failure() {
    assert_eq!(outcome_of(client(), get(&Nobody::new().url)).await, HARD);
}

#[tokio::test]
async fn a_reset_before_or_within_the_head_is_a_hard_failure() {
    for said in ["", "HTTP/1.1 200 OK\r\ncontent-len"] {
        let peer = Peer::new(move |_| Answer::Reset(said)).await;
        assert_eq!(outcome_of(client(), get(&peer.url("/"))).await, HARD, "after {said:?}");
        assert!(peer.requests.get() >= 1, "it was sent");
    }
}

#[tokio::test]
async fn an_answer_that_is_not_http_is_a_hard_failure() {
    let peer = Peer::new(|_| Answer::Whole("220 smtp.example ready\r\n")).await;
    assert_eq!(outcome_of(client(), get(&peer.url("/"))).await, HARD);
}

#[tokio::test]
async fn a_slow_head_is_a_timeout_unless_the_caller_gave_up_first() {
    let peer = Peer::new(|_| Answer::Stall("HTTP/1.1 200 OK\r\n")).await;
    let of_the_client = Client::builder().no_proxy().timeout(SHORT).build().unwrap();
    assert_eq!(outcome_of(of_the_client, get(&peer.url("/"))).await, TIMEOUT, "Client::builder().timeout");

    let between_reads = Client::builder().no_proxy().read_timeout(SHORT).build().unwrap();
    assert_eq!(outcome_of(between_reads, get(&peer.url("/"))).await, TIMEOUT, "Client::builder().read_timeout");

    let mut request = get(&peer.url("/"));
    *request.timeout_mut() = Some(SHORT);
    assert_eq!(outcome_of(client(), request).await, IGNORED, "RequestBuilder::timeout, by a clock that stands still");

    let circuit = circuit();
    let layer = CircuitBreakerLayer::new(&circuit).classifier(ReqwestClassifier::new());
    let limited = ServiceBuilder::new().layer(layer).layer(TimeoutLayer::new(SHORT)).service(client());
    limited.oneshot(get(&peer.url("/"))).await.unwrap_err();
    assert_eq!(counted(&circuit), TIMEOUT, "a TimeoutLayer below the breaker");
    assert_eq!(peer.requests.get(), 4, "all of them were sent");
}

#[tokio::test]
async fn a_connect_that_times_out_counts_as_a_timeout() {
    let crowded = Crowded::new().await;
    let client = Client::builder().no_proxy().connect_timeout(SHORT).build().unwrap();
    let error = client.execute(get(&crowded.url)).await.unwrap_err();
    assert!(error.is_timeout() && error.is_connect(), "{error:?}");
    assert_eq!(outcome_of(client, get(&crowded.url)).await, TIMEOUT);
}

#[tokio::test]
async fn a_request_that_cannot_be_made_is_ignored() {
    let url = "mailto:ana@example.org";
    let error = client().execute(get(url)).await.unwrap_err();
    assert!(error.is_builder(), "{error:?}");
    assert_eq!(outcome_of(client(), get(url)).await, IGNORED);
}

#[tokio::test]
async fn a_redirect_that_the_policy_refuses_to_follow_is_ignored() {
    let peer = Peer::statuses().await;
    let url = peer.url("/302"); // it leads to itself
    let error = client().execute(get(&url)).await.unwrap_err();
    assert!(error.is_redirect(), "{error:?}");
    assert_eq!(outcome_of(client(), get(&url)).await, IGNORED);
}

#[tokio::test]
async fn a_request_whose_own_body_fails_is_ignored() {
    let peer = Peer::new(|_| Answer::Stall("")).await;
    let chunks = [Ok(Frame::data(Bytes::from("first"))), Err(std::io::Error::other("the file is gone"))];
    let mut request = get(&peer.url("/"));
    *request.method_mut() = reqwest::Method::POST;
    *request.body_mut() = Some(Body::wrap(StreamBody::new(stream::iter(chunks))));
    assert_eq!(outcome_of(client(), request).await, IGNORED);
}

#[tokio::test]
async fn a_body_cut_off_below_the_breaker_is_a_hard_failure() {
    let peer = Peer::new(|_| Answer::Reset(super::peer::HALF)).await;
    let response = client().execute(get(&peer.url("/"))).await.unwrap();
    let error = response.bytes().await.unwrap_err();
    assert_eq!(
        ReqwestClassifier::new().error(&error),
        Failure::hard().with_kind(FailureKind::Body).into(),
        "{error:?}"
    );
}

/// Asks the classifier about an error of that type.
fn judged<E: 'static>(error: &E) -> Outcome {
    let judge = ReqwestClassifier::new();
    Classifier::<(), reqwest::Response, E>::finish(&judge, None, Err(error), SHORT)
}

#[tokio::test]
async fn an_error_of_reqwest_is_found_inside_every_wrapper() {
    let peer = Peer::new(|_| Answer::Stall("")).await;
    let url = peer.url("/");
    let client = Client::builder().no_proxy().timeout(SHORT).build().unwrap();
    let timeout = async || client.execute(get(&url)).await.unwrap_err();
    assert_eq!(judged(&timeout().await), Outcome::timeout());
    assert_eq!(judged(&BoxError::from(timeout().await)), Outcome::timeout());
    assert_eq!(judged(&std::io::Error::other(timeout().await)), Outcome::timeout());
    assert_eq!(judged(&BoxError::from(std::io::Error::other(timeout().await))), Outcome::timeout());
    assert_eq!(judged(&Error::Inner(timeout().await)), Outcome::timeout());
    assert_eq!(judged(&Error::Inner(BoxError::from(timeout().await))), Outcome::timeout());
}

#[tokio::test]
async fn a_rejection_of_a_breaker_inside_is_ignored_in_every_form() {
    let inside = circuit();
    super::trip(&inside);
    let rejected = inside.try_acquire().unwrap_err();
    assert_eq!(judged(&rejected.clone()), Outcome::Ignored);
    assert_eq!(judged(&BoxError::from(rejected.clone())), Outcome::Ignored);
    assert_eq!(judged(&Error::<reqwest::Error>::Rejected(rejected.clone())), Outcome::Ignored);
    assert_eq!(judged(&Error::<BoxError>::Rejected(rejected)), Outcome::Ignored);
}

#[tokio::test]
async fn an_error_of_readiness_keeps_a_kind_that_says_more_than_not_ready() {
    let judge = ReqwestClassifier::new();
    let refused = client().execute(get(&Nobody::new().url)).await.unwrap_err();
    let outcome = Classifier::<(), reqwest::Response, _>::ready_error(&judge, &refused);
    assert_eq!(outcome, Failure::hard().with_kind(FailureKind::Connect).into());
}

#[tokio::test]
async fn a_client_is_guarded_by_value_and_by_reference() {
    let peer = Peer::new(|_| Answer::Whole(OK)).await;
    let (circuit, client) = (circuit(), client());
    let layer = CircuitBreakerLayer::new(&circuit).classifier(ReqwestClassifier::new());
    let mut by_value = layer.layer(client.clone());
    by_value.ready().await.unwrap().call(get(&peer.url("/"))).await.unwrap();
    let by_reference = layer.layer(&client);
    let response = by_reference.oneshot(get(&peer.url("/"))).await.unwrap();
    assert_eq!(response.text().await.unwrap(), "done");
    assert_eq!(counted(&circuit), (2, 0, 0.0, 0));
}
