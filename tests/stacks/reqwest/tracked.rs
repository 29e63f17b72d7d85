//! Bodies that are tracked to their end: in `http`'s types, which is what is tracked, and back.

use http::Method;
use reqwest::{Body, Client, Request, Response, ResponseBuilderExt};
use tower::util::BoxCloneSyncService;
use tower::{BoxError, ServiceBuilder, ServiceExt};
use tower_circuit_breaker::classify::ReqwestClassifier;
use tower_circuit_breaker::{Circuit, CircuitBreakerLayer, Rejected};

use super::peer::{Answer, ERROR, HALF, OK, Peer};
use super::{SHORT, circuit, counted, get, trip};

/// The recipe of docs/stacks.md: a client whose calls end with the bodies of their responses.
fn tracked(circuit: &Circuit, client: Client) -> BoxCloneSyncService<Request, Response, BoxError> {
    let breaker = CircuitBreakerLayer::new(circuit).classifier(ReqwestClassifier::new()).tracked_bodies();
    let stack = ServiceBuilder::new()
        .map_response(|response: http::Response<_>| Response::from(response.map(Body::wrap)))
        .filter(|request: Request| http::Request::<Body>::try_from(request))
        .layer(breaker)
        .filter(|request: http::Request<Body>| Request::try_from(request))
        .map_response(with_url)
        .service(client);
    BoxCloneSyncService::new(stack)
}

/// Converts a response and keeps its URL, which `http::Response::from` drops.
fn with_url(response: Response) -> http::Response<Body> {
    let url = http::Response::builder().url(response.url().clone()).body(()).expect("nothing in it is invalid");
    let mut response = http::Response::<Body>::from(response);
    response.extensions_mut().extend(url.into_parts().0.extensions);
    response
}

fn client() -> Client {
    Client::builder().no_proxy().read_timeout(SHORT).build().unwrap()
}

#[tokio::test]
async fn a_call_ends_with_its_body() {
    for (answer, expected) in [
        (Answer::Whole(OK), (1, 0, 0.0, 0)),
        (Answer::Reset(HALF), (0, 1, 1.0, 0)),
        (Answer::Stall(HALF), (0, 1, 0.5, 0)),
    ] {
        let peer = Peer::new(move |_| answer).await;
        let circuit = circuit();
        let response = tracked(&circuit, client()).oneshot(get(&peer.url("/"))).await.unwrap();
        assert_eq!(counted(&circuit), (0, 0, 0.0, 0), "nothing is known at the head");
        let body = response.bytes().await;
        assert_eq!(counted(&circuit), expected, "{body:?}");
        assert_eq!(body.is_err_and(|error| error.is_timeout()), matches!(answer, Answer::Stall(_)), "as without it");
    }
}

#[tokio::test]
async fn the_requests_own_timeout_comes_through_the_conversions() {
    let peer = Peer::new(|_| Answer::Stall(HALF)).await;
    let circuit = circuit();
    let mut request = get(&peer.url("/"));
    *request.timeout_mut() = Some(SHORT);
    let response = tracked(&circuit, super::client()).oneshot(request).await.unwrap();
    assert!(response.bytes().await.unwrap_err().is_timeout());
    assert_eq!(counted(&circuit), (0, 0, 0.0, 1), "the caller's own, by a clock that stands still");
}

#[tokio::test]
async fn a_failed_head_does_not_wait_and_keeps_the_url() {
    let peer = Peer::new(|_| Answer::Whole(ERROR)).await;
    let circuit = circuit();
    let response = tracked(&circuit, client()).oneshot(get(&peer.url("/a?b=c"))).await.unwrap();
    assert_eq!(counted(&circuit), (0, 1, 1.0, 0));
    assert_eq!(response.url().as_str(), peer.url("/a?b=c"));
}

#[tokio::test]
async fn an_unread_body_is_a_cancelled_call() {
    let peer = Peer::new(|_| Answer::Whole(OK)).await;
    let circuit = circuit();
    drop(tracked(&circuit, client()).oneshot(get(&peer.url("/"))).await.unwrap());
    assert_eq!((circuit.totals().cancelled, counted(&circuit)), (1, (0, 0, 0.0, 0)));
}

#[tokio::test]
async fn a_rejection_comes_through_the_conversions() {
    let circuit = circuit();
    trip(&circuit);
    let mut request = get("http://127.0.0.1/");
    *request.method_mut() = Method::POST;
    let error = tracked(&circuit, client()).oneshot(request).await.unwrap_err();
    assert!(Rejected::find(error.as_ref()).is_some(), "{error:?}");
}
