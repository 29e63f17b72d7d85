//! Calls of the clients of tonic and reqwest, judged by the classifiers of their protocols.

#[cfg(feature = "tonic")]
mod tonic {
    use ::tonic::{Code, Response, Status};
    use tokio::time::timeout;
    use tower_circuit_breaker::classify::{GrpcClassifier, GrpcCode, outcome_of};
    use tower_circuit_breaker::clock::MockClock;

    use crate::parts::{HARD, MINUTE, SUCCESS, circuit};

    /// A method of a client that tonic generated.
    async fn method(code: Code) -> Result<Response<u32>, Status> {
        if code == Code::Ok { Ok(Response::new(7)) } else { Err(Status::new(code, "as asked")) }
    }

    #[tokio::test]
    async fn a_generated_client_is_judged_by_its_codes() {
        let circuit = circuit(&MockClock::new());
        for code in [Code::NotFound, Code::InvalidArgument, Code::Ok, Code::AlreadyExists] {
            drop(circuit.call_classified(GrpcClassifier::tonic(), method(code)).await);
        }
        assert_eq!((circuit.totals().successes, circuit.totals().failures), (4, 0));
        drop(circuit.call_classified(GrpcClassifier::tonic(), method(Code::DeadlineExceeded)).await);
        assert_eq!((circuit.totals().failures, circuit.status().run), (1, 0.5));
        let own = GrpcClassifier::tonic().status(GrpcCode::NotFound, HARD);
        drop(circuit.call_classified(own, method(Code::NotFound)).await);
        assert_eq!((circuit.totals().failures, circuit.status().run), (2, 1.5), "a meaning of one's own");
    }

    #[tokio::test]
    async fn a_status_is_judged_under_a_permit_and_inside_a_timeout() {
        let circuit = circuit(&MockClock::new());
        let judge =
            |result: &Result<Response<u32>, Status>| result.as_ref().map_or_else(GrpcClassifier::of, |_| SUCCESS);
        let permit = circuit.try_acquire().unwrap();
        assert!(permit.judge(method(Code::NotFound).await, judge).is_err());
        let within = timeout(MINUTE, method(Code::Unavailable));
        let nested = |result: Result<&Result<Response<u32>, Status>, &tokio::time::error::Elapsed>| {
            result.map_or_else(|elapsed| outcome_of(elapsed), judge)
        };
        assert!(circuit.call_with(nested, within).await.unwrap().is_err());
        assert_eq!((circuit.totals().successes, circuit.totals().failures), (1, 1));
    }
}

#[cfg(feature = "reqwest")]
#[tokio::test]
async fn responses_of_reqwest_are_judged_by_their_status() {
    use crate::parts::{circuit, until_open};
    use tower_circuit_breaker::classify::ReqwestClassifier;
    use tower_circuit_breaker::clock::MockClock;

    let respond = async |status: u16| {
        let response = http::Response::builder().status(status).body("").unwrap();
        Ok::<_, reqwest::Error>(reqwest::Response::from(response))
    };
    let circuit = circuit(&MockClock::new());
    for status in [200, 404] {
        let response = circuit.call_classified(ReqwestClassifier::new(), respond(status)).await;
        assert_eq!(response.unwrap().status(), status);
    }
    assert_eq!(circuit.totals().successes, 2);
    for _ in until_open(&circuit) {
        assert_eq!(circuit.call_classified(ReqwestClassifier::new(), respond(500)).await.unwrap().status(), 500);
    }
    assert_eq!(circuit.totals().failures, 5);
}
