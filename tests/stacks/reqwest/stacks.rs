//! The client under tower's own layers.

use std::future::{Ready, ready};

use reqwest::{Request, Response, StatusCode};
use tower::retry::{Policy, RetryLayer};
use tower::timeout::TimeoutLayer;
use tower::util::BoxCloneSyncService;
use tower::{ServiceBuilder, ServiceExt};
use tower_circuit_breaker::classify::ReqwestClassifier;
use tower_circuit_breaker::rejection::ReqwestRejection;
use tower_circuit_breaker::{BoxError, Circuit, CircuitBreakerLayer, Rejected, State};

use super::peer::{Answer, ERROR, OK, Peer};
use super::{SHORT, circuit, client, counted, get, trip};

/// Tries again while a try fails, but not after a rejection.
#[derive(Clone)]
struct UnlessRejected {
    tries: usize,
}

impl Policy<Request, Response, BoxError> for UnlessRejected {
    type Future = Ready<()>;

    fn retry(&mut self, _: &mut Request, result: &mut Result<Response, BoxError>) -> Option<Ready<()>> {
        let again = match result {
            Ok(response) => response.status().is_server_error(),
            Err(error) => Rejected::find(error.as_ref()).is_none(),
        };
        self.tries = self.tries.checked_sub(1)?;
        again.then(|| ready(()))
    }

    fn clone_request(&mut self, request: &Request) -> Option<Request> {
        request.try_clone()
    }
}

type Client = BoxCloneSyncService<Request, Response, BoxError>;

fn retried(circuit: &Circuit, tries: usize) -> Client {
    let stack = ServiceBuilder::new()
        .layer(RetryLayer::new(UnlessRejected { tries }))
        .layer(CircuitBreakerLayer::new(circuit).classifier(ReqwestClassifier::new()))
        .layer(TimeoutLayer::new(SHORT))
        .service(client());
    BoxCloneSyncService::new(stack)
}

#[tokio::test]
async fn each_try_counts_and_the_first_that_succeeds_is_the_answer() {
    let peer = Peer::new(|number| match number {
        0 => Answer::Stall(""),
        1 => Answer::Whole(ERROR),
        _ => Answer::Whole(OK),
    });
    let (peer, circuit) = (peer.await, circuit());
    let response = retried(&circuit, 5).oneshot(get(&peer.url("/"))).await.unwrap();
    assert_eq!(response.text().await.unwrap(), "done");
    assert_eq!((peer.requests.get(), counted(&circuit)), (3, (1, 2, 0.0, 0)));
}

#[tokio::test]
async fn tries_end_with_their_own_rejection() {
    let peer = Peer::new(|_| Answer::Whole(ERROR)).await;
    let circuit = circuit();
    let error = retried(&circuit, 100).oneshot(get(&peer.url("/"))).await.unwrap_err();
    assert!(Rejected::find(error.as_ref()).is_some(), "{error:?}");
    assert_eq!((peer.requests.get(), circuit.totals().rejected), (5, 1));
}

#[tokio::test]
async fn a_breaker_outside_ignores_the_rejections_of_an_inner_breaker() {
    let (outer, inner) = (circuit(), circuit());
    trip(&inner);
    let classified = |circuit| CircuitBreakerLayer::new(circuit).classifier(ReqwestClassifier::new());
    let boxed = ServiceBuilder::new().layer(classified(&outer)).layer(classified(&inner)).service(client());
    boxed.oneshot(get("http://127.0.0.1/")).await.unwrap_err();
    assert_eq!(counted(&outer), (0, 0, 0.0, 1));
    let typed =
        ServiceBuilder::new().layer(classified(&outer)).layer(classified(&inner).typed_errors()).service(client());
    typed.oneshot(get("http://127.0.0.1/")).await.unwrap_err();
    assert_eq!(counted(&outer), (0, 0, 0.0, 2));
    let answering = classified(&inner).rejection(ReqwestRejection::new());
    let answered = ServiceBuilder::new().layer(classified(&outer)).layer(answering).service(client());
    assert_eq!(answered.oneshot(get("http://127.0.0.1/")).await.unwrap().status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!((counted(&outer), outer.status().state), ((0, 0, 0.0, 3), State::Closed));
}

#[tokio::test]
async fn a_timeout_outside_is_a_call_dropped_midway() {
    let peer = Peer::new(|_| Answer::Stall("")).await;
    let circuit = circuit();
    let breaker = CircuitBreakerLayer::new(&circuit).classifier(ReqwestClassifier::new());
    let client = ServiceBuilder::new().layer(TimeoutLayer::new(SHORT)).layer(breaker).service(client());
    client.oneshot(get(&peer.url("/"))).await.unwrap_err();
    assert_eq!((circuit.totals().cancelled, counted(&circuit)), (1, (0, 0, 0.0, 0)), "early, by this clock");
}
