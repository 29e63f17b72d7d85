//! The sizes of what is moved about for each call.
//!
//! A change here is a change of speed: a value that is written in pieces and then moved in larger ones makes the processor wait
//! for the writes, for longer than all the rest of a call. `scripts/bench-versions` shows what a new size costs.

use std::future::{Future, Ready};
use std::io;
use std::time::Duration;

use tower::{Layer, Service, service_fn};
use tower_circuit_breaker::classify::DefaultClassifier;
use tower_circuit_breaker::{Circuit, CircuitBreakerLayer, Config, Error, Outcome, Permit, Rejected};

const WORD: usize = size_of::<usize>();

#[test]
#[cfg(target_pointer_width = "64")]
fn permits_and_rejections_are_few_whole_words() {
    assert_eq!(size_of::<Permit>(), 3 * WORD, "the circuit, era and right, the start");
    assert_eq!(size_of::<Option<Permit>>(), 3 * WORD, "the reference to the circuit has a niche");
    assert_eq!(size_of::<Rejected>(), 2 * WORD, "the circuit, and what is said without it: two registers");
    assert_eq!(size_of::<Result<Permit, Rejected>>(), 3 * WORD, "no more than a permit");
    assert_eq!(size_of::<Error<io::Error>>(), 2 * WORD, "no more than a rejection");
    assert_eq!(size_of::<Circuit>(), WORD);
}

#[test]
#[cfg(target_pointer_width = "64")]
fn a_future_and_a_service_add_a_permit_and_a_few_words() {
    let circuit = Circuit::new(Config::new("payments").unwrap());
    let inner = service_fn(|request: u64| std::future::ready(Ok::<_, io::Error>(request)));
    let mut service = CircuitBreakerLayer::new(&circuit).typed_errors().layer(inner);
    let bare = size_of::<Ready<Result<u64, io::Error>>>();
    assert_eq!(
        size_of_val(&service.call(1)),
        bare + 4 * WORD,
        "the permit, and whether the call was judged and is polled"
    );
    assert_eq!(
        size_of_val(&service),
        8 * WORD,
        "circuit, readiness, when it was found open, its place among waiters, and its wait for readiness"
    );
}

/// The future of the caller is stored as it was given, and once more in the place where it is polled.
#[test]
fn a_call_beside_tower_holds_its_future_at_most_twice() {
    const FUTURE: usize = 1024;
    fn query() -> impl Future<Output = Result<u8, io::Error>> {
        let row = [0; FUTURE];
        async move {
            std::future::ready(()).await;
            Ok(row[0])
        }
    }
    let circuit = Circuit::new(Config::new("payments").unwrap());
    let permit = || circuit.try_acquire().unwrap();
    let limit = Duration::from_secs(1);
    let once = size_of_val(&query());
    for (name, size) in [
        ("call_with", size_of_val(&circuit.call_with(|_| Outcome::Success, query()))),
        ("call_classified", size_of_val(&circuit.call_classified(DefaultClassifier::default(), query()))),
        ("call_within", size_of_val(&circuit.call_within(limit, query()))),
        ("call of a permit", size_of_val(&permit().call(query()))),
        ("call_within of a permit", size_of_val(&permit().call_within(limit, query()))),
    ] {
        assert!(size < 3 * once, "{name}: {size} bytes for a future of {once}");
    }
    assert!(size_of_val(&circuit.call(query())) <= once + 8 * WORD, "`Call` polls the future in its place");
}
