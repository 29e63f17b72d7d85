//! The kind and the text of the last failure, from the error to the sentence of a rejection.

use axum::body::Body;
use tower::{Layer, ServiceExt};
use tower_circuit_breaker::classify::{HttpClassifier, ReqwestClassifier};
use tower_circuit_breaker::outcome::FailureKind;
use tower_circuit_breaker::rejection::{GrpcRejection, HttpRejection};
use tower_circuit_breaker::{Circuit, CircuitBreakerLayer, Rejected};

use super::peer::{Answer, Nobody, Peer};
use super::{circuit, client, get};

/// Opens a circuit with calls to that URL.
async fn opened_by(url: &str) -> Circuit {
    let circuit = circuit();
    let layer = CircuitBreakerLayer::new(&circuit).classifier(ReqwestClassifier::new());
    for _ in 0..5 {
        drop(layer.layer(client()).oneshot(get(url)).await);
    }
    circuit
}

fn kind(circuit: &Circuit) -> Option<FailureKind> {
    circuit.status().transitions.last().and_then(|edge| edge.failure)
}

fn rejected(circuit: &Circuit) -> Rejected {
    circuit.try_acquire().unwrap_err()
}

#[tokio::test]
async fn a_refused_connection_and_an_unknown_host_are_told_apart() {
    let refused = opened_by(&Nobody::new().url).await;
    assert_eq!(kind(&refused), Some(FailureKind::Connect));
    let sentence = rejected(&refused).to_string();
    assert!(sentence.contains("last a failure of kind connect: Connection refused (os error "), "{sentence}");

    let unknown = opened_by("http://no-such-host.invalid/").await;
    assert_eq!(kind(&unknown), Some(FailureKind::Dns));
    let sentence = rejected(&unknown).to_string();
    assert!(sentence.contains("last a failure of kind dns: failed to lookup address information"), "{sentence}");
}

#[tokio::test]
async fn a_reset_before_the_answer_is_of_its_own_kind() {
    let peer = Peer::new(|_| Answer::Reset("")).await;
    let reset = opened_by(&peer.url("/")).await;
    assert_eq!(kind(&reset), Some(FailureKind::Reset), "{}", rejected(&reset));
}

#[tokio::test]
async fn statuses_are_told_apart_by_kind_and_text() {
    let peer = Peer::statuses().await;
    for (status, kind_of, text) in [
        (500, "http_500", "status 500 Internal Server Error"),
        (503, "http_503", "status 503 Service Unavailable"),
        (507, "http_5xx", "status 507 Insufficient Storage"),
    ] {
        let circuit = opened_by(&peer.url(&format!("/{status}"))).await;
        let sentence = rejected(&circuit).to_string();
        assert!(sentence.contains(&format!("last a failure of kind {kind_of}: {text}; ")), "{sentence}");
    }
}

#[tokio::test]
async fn the_text_has_nothing_of_an_address_but_its_host() {
    let url = Nobody::new().url.replace("http://", "http://ana:hunter2@");
    let refused = opened_by(&format!("{url}token-1234?key=hunter2")).await;
    let sentence = rejected(&refused).to_string();
    assert!(!sentence.contains("hunter2") && !sentence.contains("token-1234"), "{sentence}");

    let judge = |error: &reqwest::Error| error.status().is_some();
    let peer = Peer::statuses().await;
    let error = client().execute(get(&peer.url("/503?key=hunter2"))).await.unwrap().error_for_status().unwrap_err();
    assert!(judge(&error) && error.to_string().contains("hunter2"), "reqwest prints the whole URL");
    let circuit = circuit();
    for _ in 0..5 {
        let failure = *ReqwestClassifier::new().error(&error).as_failure().unwrap();
        circuit.try_acquire().unwrap().failure_because(failure, &error);
    }
    let sentence = rejected(&circuit).to_string();
    assert!(sentence.contains("503 Service Unavailable") && !sentence.contains("hunter2"), "{sentence}");
}

#[tokio::test]
async fn strangers_do_not_see_the_text_unless_the_rejection_is_explained() {
    let refused = opened_by(&Nobody::new().url).await;
    let secret = "Connection refused";
    let answer = async |rejection: HttpRejection| {
        let response = rejection.response::<Body>(&rejected(&refused));
        let body = axum::body::to_bytes(response.into_body(), 10_000).await.unwrap();
        String::from_utf8(body.to_vec()).unwrap()
    };
    for rejection in [HttpRejection::new(), HttpRejection::new().anonymous()] {
        let body = answer(rejection).await;
        assert!(!body.contains(secret) && !body.contains("connect"), "{body}");
    }
    assert!(answer(HttpRejection::new().explained()).await.contains(secret), "the owner has asked for it");
    for (rejection, shows) in [(GrpcRejection::new(), false), (GrpcRejection::new().explained(), true)] {
        let layer = CircuitBreakerLayer::new(&refused).classifier(HttpClassifier::new()).rejection(rejection);
        let inner = tower::service_fn(async |_: http::Request<Body>| {
            Ok::<_, std::convert::Infallible>(http::Response::new(Body::empty()))
        });
        let response = layer.layer(inner).oneshot(http::Request::new(Body::empty())).await.unwrap();
        let message = response.headers()["grpc-message"].to_str().unwrap().to_owned();
        assert_eq!(message.contains("Connection") || message.contains("connect"), shows, "{message}");
    }
}
