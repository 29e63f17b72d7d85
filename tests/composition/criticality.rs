//! The criticality of the calls of a layer.

use tower::{Layer, Service, ServiceExt};
use tower_circuit_breaker::clock::MockClock;
use tower_circuit_breaker::{Circuit, CircuitBreakerLayer, Criticality, Outcome};

use crate::parts::{Ask, MINUTE, Strict, settings, take_probe, trip};

/// A circuit that admits half of its calls.
fn limited() -> Circuit {
    let clock = MockClock::new();
    let circuit = Circuit::new(settings(&clock).ramp(10 * MINUTE).seed(1).build().unwrap());
    trip(&circuit);
    clock.advance(MINUTE);
    take_probe(&circuit).success();
    clock.advance(5 * MINUTE);
    circuit
}

#[tokio::test]
async fn a_layer_takes_the_criticality_from_the_request() {
    let circuit = limited();
    // Calls that should fail are sheddable here, so that the classifier below is seen as well.
    let criticality = |ask: &Ask| match ask {
        Ask::Fail => Criticality::Sheddable,
        Ask::Succeed | Ask::TimeOut | Ask::Hang | Ask::Panic => Criticality::Critical,
    };
    let layer = CircuitBreakerLayer::new(&circuit).classify_error(|_: &std::io::Error| Outcome::Ignored);
    let mut service = layer.criticality(criticality).layer(Strict::default());
    for call in 0..1_000 {
        let ask = if call % 10 < 6 { Ask::Fail } else { Ask::Succeed };
        let result = service.ready().await.expect("it is ready").call(ask).await;
        assert!(ask == Ask::Fail || result.is_ok(), "no critical call is rejected");
    }
    let totals = circuit.totals();
    assert!((450..550).contains(&totals.rejected), "half: {totals}");
    assert_eq!((totals.failures, totals.ignored), (5, 600 - totals.rejected), "the classifier judges as before");
}

#[tokio::test]
async fn a_closed_circuit_does_not_ask_for_the_criticality() {
    let circuit = Circuit::new(settings(&MockClock::new()).build().unwrap());
    let layer =
        CircuitBreakerLayer::new(&circuit).criticality(|_: &Ask| -> Criticality { unreachable!("not limited") });
    let mut service = layer.layer(Strict::default());
    service.ready().await.expect("it is ready").call(Ask::Succeed).await.expect("it is admitted");
}
