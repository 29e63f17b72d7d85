//! The errors of calls, as the errors of a library and as results of a call outside.

use std::future::pending;
use std::io;

use tower::{Layer, service_fn};
use tower_circuit_breaker::call::Elapsed;
use tower_circuit_breaker::clock::{MockClock, TokioClock};
use tower_circuit_breaker::{Circuit, CircuitBreakerLayer, Error, Rejected, WithinError};

use super::{SECOND, query};
use crate::parts::{Ask, ask, circuit, obey, trip};

#[derive(Debug)]
enum ClientError {
    Unavailable(Rejected),
    TooSlow(Elapsed),
    Io(io::Error),
}

impl From<Rejected> for ClientError {
    fn from(rejected: Rejected) -> Self {
        Self::Unavailable(rejected)
    }
}

impl From<Elapsed> for ClientError {
    fn from(elapsed: Elapsed) -> Self {
        Self::TooSlow(elapsed)
    }
}

impl From<io::Error> for ClientError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

#[tokio::test(start_paused = true)]
async fn an_error_becomes_the_error_of_a_library_in_one_step() {
    async fn get(circuit: &Circuit) -> Result<u32, ClientError> {
        circuit.call(query()).await.map_err(Error::merge)
    }

    async fn get_within(circuit: &Circuit) -> Result<u32, ClientError> {
        let rows = circuit
            .call_within(SECOND, pending::<io::Result<u32>>())
            .await
            .map_err(WithinError::merge::<ClientError>)?;
        Ok(rows)
    }

    let circuit = circuit(&TokioClock::new());
    assert!(matches!(get(&circuit).await, Err(ClientError::Io(_))));
    assert!(matches!(get_within(&circuit).await, Err(ClientError::TooSlow(elapsed)) if elapsed.limit() == SECOND));
    trip(&circuit);
    assert!(matches!(get(&circuit).await, Err(ClientError::Unavailable(_))));
    assert!(matches!(get_within(&circuit).await, Err(ClientError::Unavailable(_))));
}

#[test]
fn a_layer_returns_the_error_of_a_library() {
    let circuit = circuit(&MockClock::new());
    let mut service = CircuitBreakerLayer::new(&circuit).errors_as::<ClientError>().layer(service_fn(obey));
    let ClientError::Io(error) = ask(&mut service, Ask::Fail).unwrap().unwrap_err() else { panic!("it was called") };
    assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    trip(&circuit);
    let ClientError::Unavailable(rejected) = ask(&mut service, Ask::Succeed).unwrap().unwrap_err() else {
        panic!("it was not called")
    };
    assert_eq!(rejected.circuit(), "payments");
}

#[tokio::test(start_paused = true)]
async fn a_breaker_outside_recognises_the_timeout_and_the_rejection_of_a_breaker_inside() {
    let clock = TokioClock::new();
    let (outer, inner) = (circuit(&clock), circuit(&clock));
    let hangs = async || outer.call(inner.call_within(SECOND, pending::<io::Result<u32>>())).await;
    assert!(hangs().await.is_err());
    assert_eq!((outer.totals().failures, outer.status().run), (1, 0.5));
    trip(&inner);
    assert!(hangs().await.is_err());
    assert_eq!((outer.totals().ignored, outer.totals().failures), (1, 1));
}
