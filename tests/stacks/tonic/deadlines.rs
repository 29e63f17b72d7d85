//! Deadlines that tonic's own server ends with CANCELLED, over loopback.

use tower_circuit_breaker::Outcome;

use super::*;

#[tokio::test]
async fn a_hung_tonic_server_fails_each_call_with_a_deadline() {
    let server = plain_server().await;
    let circuit = circuit();
    let mut client = Client::new(client_layer(&circuit).layer(server.endpoint().connect_lazy()));
    for _ in 0..10 {
        // The timers of the client and of the server race, and both must count.
        client.get_within(Duration::from_millis(60), "hang").await.unwrap_err();
    }
    let totals = circuit.totals();
    assert_eq!((totals.failures, totals.ignored), (10, 0));
}

#[tokio::test]
async fn a_timeout_of_tonics_server_weighs_like_deadline_exceeded() {
    let server = Running::start(|connections| {
        let mut server = Server::builder().timeout(Duration::from_millis(20));
        server.add_service(Inventory::default()).serve_with_incoming(connections)
    });
    let server = server.await;
    for deadline in [None, Some(Duration::from_secs(30))] {
        let (circuit, log) = watched();
        let mut client = Client::new(client_layer(&circuit).tracked_bodies().layer(server.endpoint().connect_lazy()));
        let status = match deadline {
            None => client.get("hang").await.unwrap_err(),
            Some(deadline) => client.get_within(deadline, "hang").await.unwrap_err(),
        };
        assert_eq!((status.code(), status.message()), (Code::Cancelled, "Timeout expired"), "so says tonic");
        let kind = deadline.map_or(FailureKind::Timeout, |_| FailureKind::Deadline);
        assert_eq!(log.take(), [Ended::Failure(Failure::timeout().with_kind(kind))]);
        assert_eq!(GrpcClassifier::of(&status), Outcome::timeout(), "outside a stack");
    }
}

fn circuit() -> Circuit {
    Circuit::new(Config::builder("inventory").without_failure_rate().build().unwrap())
}
