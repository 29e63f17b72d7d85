//! Rejections in a client of tonic: UNAVAILABLE, and found in the `Status` that the stub returns.

use http::{Request, Response};
use tonic::body::Body;
use tower::{BoxError, ServiceExt, service_fn};
use tower_circuit_breaker::retry::{RetryPolicy, idempotent};

use super::*;

/// Checks a rejection in the status that a stub returned.
fn judge(status: &Status, place: &str) {
    assert_eq!(status.code(), Code::Unavailable, "{place}");
    assert_eq!(status.message(), "circuit `inventory` is open, and this attempt went no further; try again in 30 s");
    assert_eq!(status.metadata().get("grpc-retry-pushback-ms").unwrap(), "30000", "{place}");
    let rejected = Rejected::find(status).unwrap_or_else(|| panic!("{place}: not found"));
    assert_eq!((rejected.circuit(), rejected.retry_after()), ("inventory", Some(Duration::from_secs(30))), "{place}");
    let boxed: BoxError = status.clone().into();
    assert!(Rejected::find(boxed.as_ref()).is_some(), "{place}, boxed");
}

fn layer(circuit: &Circuit) -> CircuitBreakerLayer<GrpcClassifier, GrpcRejection> {
    CircuitBreakerLayer::new(circuit).classifier(GrpcClassifier::tonic()).rejection(GrpcRejection::new())
}

#[tokio::test]
async fn a_rejection_is_unavailable_and_found_in_the_status_of_the_stub() {
    let server = plain_server().await;
    let (circuit, _) = watched();
    trip(&circuit);
    let channel = || server.endpoint().connect_lazy();

    judge(&Client::new(layer(&circuit).layer(channel())).get("apples").await.unwrap_err(), "unary");
    let mut answers = Client::new(layer(&circuit).layer(channel())).list("apples").await.unwrap();
    judge(&answers.message().await.unwrap_err(), "streaming, at the first message");
    let tracked = layer(&circuit).tracked_bodies();
    judge(&Client::new(tracked.clone().layer(channel())).get("apples").await.unwrap_err(), "tracked");
    let limit = TimeoutLayer::new(Duration::from_secs(2));
    let boxed = || ServiceBuilder::new().layer(layer(&circuit)).layer(limit.clone()).service(channel());
    judge(&Client::new(boxed()).get("apples").await.unwrap_err(), "boxed errors");
    judge(&Client::new(boxed()).list("apples").await.unwrap_err(), "boxed errors, streaming");
    let by_status = ServiceBuilder::new()
        .layer(layer(&circuit))
        .map_err(|error: tonic::transport::Error| Status::from_error(error.into()))
        .service(channel());
    judge(&Client::new(by_status).get("apples").await.unwrap_err(), "statuses as errors");
    let buffered = tower::buffer::Buffer::new(boxed(), 4);
    judge(&Client::new(buffered).get("apples").await.unwrap_err(), "inside a buffer");
}

#[tokio::test]
async fn a_caller_tries_the_next_endpoint_after_a_rejection_and_not_after_an_answer() {
    let (first, second) = (plain_server().await, plain_server().await);
    let (circuit, _) = watched();
    let mut clients =
        [&first, &second].map(|server| Client::new(layer(&circuit).layer(server.endpoint().connect_lazy())));
    let status = clients[0].get("unavailable").await.unwrap_err();
    assert_eq!((status.code(), Rejected::find(&status).is_some()), (Code::Unavailable, false), "the server's own");
    trip(&circuit);
    let status = clients[0].get("apples").await.unwrap_err();
    assert!(Rejected::find(&status).is_some());
    circuit.reset(&By::new("ops", "a test").unwrap(), tower_circuit_breaker::circuit::To::Closed);
    assert_eq!(clients[1].get("apples").await.unwrap(), "apples");
}

#[tokio::test]
async fn a_server_answers_in_headers_whatever_the_errors_inside_are() {
    let (circuit, _) = watched();
    trip(&circuit);
    let rejecting = layer(&circuit).layer(Inventory::default());
    let plain = Running::start(|incoming| Server::builder().add_service(rejecting).serve_with_incoming(incoming)).await;
    let limited =
        ServiceBuilder::new().layer(layer(&circuit)).layer(TimeoutLayer::new(Duration::from_secs(2))).into_inner();
    let boxed = Running::start(|incoming| {
        Server::builder().layer(limited).add_service(Inventory::default()).serve_with_incoming(incoming)
    });
    for server in [plain, boxed.await] {
        let mut client = Client::new(server.endpoint().connect_lazy());
        for status in [client.get("apples").await.unwrap_err(), client.list("apples").await.unwrap_err()] {
            assert_eq!(status.code(), Code::Unavailable);
            assert!(status.message().starts_with("circuit `inventory` is open, and"), "{status}");
            assert_eq!(status.metadata().get("grpc-retry-pushback-ms").unwrap(), "30000");
            assert!(Rejected::find(&status).is_none(), "a rejection in the server is no rejection here");
        }
    }
}

#[tokio::test]
async fn an_outer_breaker_ignores_the_rejection_of_an_inner_one_in_every_form() {
    let server = plain_server().await;
    let (inner, _) = watched();
    trip(&inner);
    for limited in [false, true] {
        let (outer, log) = watched();
        let channel = server.endpoint().connect_lazy();
        let inside = layer(&inner);
        let error = if limited {
            let limit = TimeoutLayer::new(Duration::from_secs(2));
            let stack = ServiceBuilder::new().layer(layer(&outer)).layer(inside).layer(limit).service(channel);
            Client::new(stack).get("apples").await
        } else {
            Client::new(layer(&outer).layer(inside.layer(channel))).get("apples").await
        };
        judge(&error.unwrap_err(), "through the outer breaker");
        assert_eq!(log.take(), [Ended::Ignored]);
    }
}

#[tokio::test]
async fn a_retry_that_looks_in_responses_knows_the_rejection_in_boxed_errors() {
    let (circuit, _) = watched();
    trip(&circuit);
    let policy = RetryPolicy::builder()
        .classifier(GrpcClassifier::tonic())
        .repeat(idempotent::<()>)
        .build()
        .unwrap()
        .in_responses();
    let inner = service_fn(async |_: Request<()>| Ok::<_, BoxError>(Response::new(Body::empty())));
    let stack =
        ServiceBuilder::new().layer(tower::retry::RetryLayer::new(policy)).layer(layer(&circuit)).service(inner);
    let error = stack.oneshot(Request::new(())).await.unwrap_err();
    assert!(Rejected::find(error.as_ref()).is_some());
    assert_eq!(circuit.totals().rejected, 1, "it is not repeated");
}

#[tokio::test]
async fn a_status_for_a_handler_is_that_of_the_layer() {
    let (circuit, _) = watched();
    trip(&circuit);
    let rejected = circuit.try_acquire().unwrap_err();
    judge(&GrpcRejection::new().status(&rejected), "a handler");
    let details = GrpcRejection::new().with_details().status(&rejected);
    assert_eq!(details.get_details_error_info().unwrap().reason, "CIRCUIT_OPEN");
    assert!(Rejected::find(&details).is_some());
    let response: Response<String> = details.into_http();
    assert_eq!(response.headers()["grpc-status"], "14");
}
