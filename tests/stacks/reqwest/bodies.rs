//! What becomes of a body after its head: nothing the plain layer sees, unless it is read, or tracked, inside.

use reqwest::{Client, Response};
use tower::{Layer, Service, ServiceBuilder, ServiceExt};
use tower_circuit_breaker::classify::ReqwestClassifier;
use tower_circuit_breaker::{BoxError, Circuit, CircuitBreakerLayer};

use super::peer::{Answer, ERROR, HALF, OK, Peer};
use super::{SHORT, circuit, client, counted, get};

#[tokio::test]
async fn a_plain_layer_has_judged_before_the_body_stalls_or_breaks_off() {
    for answer in [Answer::Stall(HALF), Answer::Reset(HALF)] {
        let peer = Peer::new(move |_| answer).await;
        let circuit = circuit();
        let client = Client::builder().no_proxy().read_timeout(SHORT).build().unwrap();
        let guarded = CircuitBreakerLayer::new(&circuit).classifier(ReqwestClassifier::new()).layer(client);
        let response = guarded.oneshot(get(&peer.url("/"))).await.unwrap();
        response.bytes().await.unwrap_err();
        assert_eq!(counted(&circuit), (1, 0, 0.0, 0));
    }
}

/// The recipe for bodies that fit in memory: read them inside.
fn whole(
    circuit: &Circuit,
    client: Client,
) -> impl Service<reqwest::Request, Response = impl AsRef<[u8]>, Error = BoxError> {
    let judge = ReqwestClassifier::new();
    ServiceBuilder::new()
        .layer(CircuitBreakerLayer::new(circuit).classify_error(move |error: &reqwest::Error| judge.error(error)))
        .and_then(|response: Response| async { response.error_for_status()?.bytes().await })
        .service(client)
}

#[tokio::test]
async fn a_body_that_is_read_inside_counts_to_its_end() {
    for (answer, expected) in [
        (Answer::Whole(OK), (1, 0, 0.0, 0)),
        (Answer::Whole(ERROR), (0, 1, 1.0, 0)),
        (Answer::Reset(HALF), (0, 1, 1.0, 0)),
        (Answer::Stall(HALF), (0, 1, 0.5, 0)),
    ] {
        let peer = Peer::new(move |_| answer).await;
        let circuit = circuit();
        let mut request = get(&peer.url("/"));
        if matches!(answer, Answer::Stall(_)) {
            *request.timeout_mut() = Some(SHORT);
        }
        let read = whole(&circuit, client()).oneshot(request).await;
        assert_eq!(counted(&circuit), expected, "{:?}", read.map(|body| body.as_ref().len()));
    }
}
