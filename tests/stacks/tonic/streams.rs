//! Streams: the end of the body decides, when bodies are tracked.

use tonic::transport::channel::Channel;

use super::*;

#[tokio::test]
async fn a_tracked_unary_call_counts_when_its_trailers_are_in() {
    let server = plain_server().await;
    let (circuit, log) = watched();
    let mut client = Client::new(client_layer(&circuit).tracked_bodies().layer(server.endpoint().connect_lazy()));
    assert_eq!(client.get("apples").await.unwrap(), "apples");
    assert_eq!(log.take(), [Ended::Success]);
    client.get("unavailable").await.unwrap_err();
    assert_eq!(log.take(), [failed("grpc_unavailable", None)], "trailers-only, once");
}

#[tokio::test]
async fn a_stream_is_judged_by_the_status_at_its_end() {
    let server = plain_server().await;
    for (wish, code, expected) in [
        ("apples", None, Ended::Success),
        ("unavailable", Some(Code::Unavailable), failed("grpc_unavailable", None)),
        ("pushback", Some(Code::Unavailable), failed("grpc_unavailable", Some(Duration::from_secs(42)))),
        ("not found", Some(Code::NotFound), Ended::Success),
    ] {
        let (circuit, log) = watched();
        let mut client = tracked(&circuit, &server);
        let mut answers = client.list(wish).await.unwrap();
        assert_eq!(answers.message().await.unwrap().unwrap().text, "one", "{wish}");
        assert_eq!(log.take(), [], "{wish}: it has only begun");
        assert_eq!(answers.message().await.err().map(|status| status.code()), code, "{wish}");
        assert_eq!(log.take(), [expected], "{wish}");
    }
}

#[tokio::test]
async fn streams_that_end_in_unavailable_open_the_circuit() {
    let server = plain_server().await;
    let (circuit, _) = watched();
    let mut client = tracked(&circuit, &server);
    for _ in 0..3 {
        let mut answers = client.list("unavailable").await.unwrap();
        while answers.message().await.is_ok_and(|message| message.is_some()) {}
    }
    judge_rejection(&client.list("apples").await.unwrap().message().await.unwrap_err());
}

#[tokio::test]
async fn a_stream_dropped_midway_is_cancelled() {
    let server = plain_server().await;
    let (circuit, log) = watched();
    let mut client = tracked(&circuit, &server);
    let mut answers = client.list("hang").await.unwrap();
    answers.message().await.unwrap();
    drop(answers);
    assert_eq!(log.take(), [Ended::Cancelled]);
}

#[tokio::test]
async fn a_stream_whose_server_dies_is_a_failure() {
    let server = plain_server().await;
    let (circuit, log) = watched();
    let mut client = tracked(&circuit, &server);
    let mut answers = client.list("hang").await.unwrap();
    answers.message().await.unwrap();
    drop(server);
    answers.message().await.unwrap_err();
    let ended = log.take();
    assert!(matches!(ended[..], [Ended::Failure(failure)] if failure.weight().as_f64() >= 1.0), "{ended:?}");
}

#[tokio::test]
async fn a_stream_reset_by_the_server_is_a_failure_despite_tonics_cancelled() {
    let inventory = Inventory::default();
    let server = server_of(inventory.clone()).await;
    let (circuit, log) = watched();
    let mut client = tracked(&circuit, &server);
    let mut answers = client.list("panic").await.unwrap();
    answers.message().await.unwrap();
    inventory.panic.notify_one();
    assert_eq!(answers.message().await.unwrap_err().code(), Code::Cancelled);
    assert_eq!(log.take(), [Ended::Failure(Failure::hard())]);
}

#[tokio::test]
async fn a_server_learns_of_its_own_streams_by_their_trailers() {
    let (circuit, log) = watched();
    let layer = server_layer(&circuit).rejection(GrpcRejection::new().with_details()).tracked_bodies();
    let guarded = layer.layer(Inventory::default());
    let server =
        Running::start(|connections| Server::builder().add_service(guarded).serve_with_incoming(connections)).await;
    let mut client = Client::new(server.endpoint().connect_lazy());

    let mut answers = client.list("unavailable").await.unwrap();
    while answers.message().await.is_ok_and(|message| message.is_some()) {}
    log.until_told().await;
    assert_eq!(log.take(), [failed("grpc_unavailable", None)]);

    trip(&circuit);
    judge_rejection(&client.list("apples").await.unwrap_err());
}

#[tokio::test]
async fn a_tracked_layer_around_the_whole_server_works_as_well() {
    let (circuit, log) = watched();
    let layer = server_layer(&circuit).rejection(GrpcRejection::new()).tracked_bodies();
    let server = Running::start(|connections| {
        Server::builder().layer(layer).add_service(Inventory::default()).serve_with_incoming(connections)
    });
    let server = server.await;
    let mut client = Client::new(server.endpoint().connect_lazy());
    assert_eq!(client.get("apples").await.unwrap(), "apples");
    log.until_told().await;
    assert_eq!(log.take(), [Ended::Success]);
}

type Tracked = tower_circuit_breaker::body::TrackedBodies<Channel, GrpcClassifier, GrpcRejection>;

fn tracked(circuit: &Circuit, server: &Running) -> Client<Tracked> {
    Client::new(client_layer(circuit).tracked_bodies().layer(server.endpoint().connect_lazy()))
}
