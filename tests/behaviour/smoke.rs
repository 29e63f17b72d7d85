use std::time::Duration;
use tower_circuit_breaker::clock::MockClock;
use tower_circuit_breaker::{Circuit, Config, Failure, State};
#[test]
fn opens_and_closes() {
    let clock = MockClock::new();
    let circuit = Circuit::new(Config::builder("payments").clock(clock.clone()).seed(1).build().unwrap());
    for _ in 0..5 {
        circuit.try_acquire().unwrap().failure(Failure::hard());
    }
    let r = circuit.try_acquire().unwrap_err();
    println!("{r}\n{r:?}");
    assert_eq!(circuit.status().state, State::Open);
    clock.advance(Duration::from_secs(6));
    for _ in 0..3 {
        let p = circuit.try_acquire().unwrap();
        println!("{}", circuit.try_acquire().unwrap_err());
        assert!(p.is_probe());
        p.success();
    }
    println!("{:#?}", circuit.status());
    println!("{}", circuit.config().explain());
    assert_eq!(circuit.status().state, State::Closed);
}
