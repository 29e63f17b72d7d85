//! reqwest-middleware is not tower: ten lines around a call of the circuit. The first function is the recipe of docs/stacks.md.

use futures_util::future::BoxFuture;
use http::Extensions;
use reqwest::{Request, Response};
use reqwest_middleware::{ClientBuilder, ClientWithMiddleware, Error, Next, Result};
use tower_circuit_breaker::classify::ReqwestClassifier;
use tower_circuit_breaker::{Circuit, Rejected, State};

use super::peer::{Answer, ERROR, Nobody, OK, Peer};
use super::{SHORT, circuit, client, counted, get, trip};

fn breaker(
    circuit: Circuit,
) -> impl for<'a> Fn(Request, &'a mut Extensions, Next<'a>) -> BoxFuture<'a, Result<Response>> {
    move |request, extensions, next| {
        let (circuit, judge) = (circuit.clone(), ReqwestClassifier::new().for_request(&request));
        Box::pin(async move {
            let judge = |result: std::result::Result<&Response, &Error>| match result {
                Ok(response) => judge.response(response),
                Err(Error::Reqwest(error)) => judge.error(error),
                Err(Error::Middleware(error)) => judge.error(error.as_ref()),
            };
            circuit.call_with(judge, next.run(request, extensions)).await.map_err(|error| match error {
                tower_circuit_breaker::Error::Rejected(rejected) => Error::middleware(rejected),
                tower_circuit_breaker::Error::Inner(error) => error,
            })
        })
    }
}

/// The error is anyhow's inside, which hides the rejection from `source`.
fn rejection(error: &Error) -> Option<&Rejected> {
    match error {
        Error::Middleware(error) => error.downcast_ref(),
        Error::Reqwest(error) => Rejected::find(error),
    }
}

fn guarded(circuit: &Circuit, client: reqwest::Client) -> ClientWithMiddleware {
    ClientBuilder::new(client).with(breaker(circuit.clone())).build()
}

#[tokio::test]
async fn middleware_counts_responses_and_errors_like_tower() {
    let peer = Peer::new(|number| match number {
        0 => Answer::Whole(OK),
        1 => Answer::Whole(ERROR),
        _ => Answer::Stall(""),
    });
    let (peer, circuit) = (peer.await, circuit());
    let client = guarded(&circuit, client());
    client.get(peer.url("/")).send().await.unwrap();
    assert_eq!(counted(&circuit), (1, 0, 0.0, 0));
    client.get(peer.url("/")).send().await.unwrap();
    assert_eq!(counted(&circuit), (1, 1, 1.0, 0));
    client.get(peer.url("/")).timeout(SHORT).send().await.unwrap_err();
    assert_eq!(counted(&circuit), (1, 1, 1.0, 1), "the caller's own, by a clock that stands still");
    client.execute(get("mailto:ana@example.org")).await.unwrap_err();
    assert_eq!(counted(&circuit), (1, 1, 1.0, 2));
}

#[tokio::test]
async fn a_rejection_is_downcast_from_the_middlewares_error() {
    let (circuit, nobody) = (circuit(), Nobody::new());
    let client = guarded(&circuit, client());
    for _ in 0..5 {
        let error = client.get(&nobody.url).send().await.unwrap_err();
        assert!(error.is_connect() && rejection(&error).is_none(), "{error:?}");
    }
    assert_eq!(circuit.status().state, State::Open);
    let error = client.get(&nobody.url).send().await.unwrap_err();
    assert_eq!(rejection(&error).map(Rejected::circuit), Some("payments"));
    assert!(error.to_string().starts_with("circuit `payments` is open: "), "{error}");
}

#[tokio::test]
async fn a_rejection_of_an_inner_middleware_is_ignored_by_the_outer_one() {
    let (outer, inner) = (circuit(), circuit());
    trip(&inner);
    let client = ClientBuilder::new(client()).with(breaker(outer.clone())).with(breaker(inner)).build();
    let error = client.get("http://127.0.0.1/").send().await.unwrap_err();
    assert!(rejection(&error).is_some(), "{error:?}");
    assert_eq!(counted(&outer), (0, 0, 0.0, 1));
}

#[tokio::test]
async fn a_request_that_is_dropped_midway_counts_as_cancelled() {
    let peer = Peer::new(|_| Answer::Stall("")).await;
    let circuit = circuit();
    let client = guarded(&circuit, client());
    tokio::time::timeout(SHORT, client.get(peer.url("/")).send()).await.unwrap_err();
    assert_eq!(circuit.totals().cancelled, 1);
}
