//! Keyed circuits and the settings and log lines of their registry.

use std::borrow::Cow;

use tower_circuit_breaker::Registry;
use tower_circuit_breaker::keyed::Keyed;
use tower_circuit_breaker::store::{Fault, Operation, StoreErrorKind};

use crate::lines::Lines;
use crate::rig::{builder, fail, faulty, memory, secs, settings};

type ByText = fn(&String) -> Option<Cow<'_, str>>;

const BY_TEXT: ByText = |request| Some(request.as_str().into());

fn by_host(registry: &Registry, max: usize) -> Keyed<ByText> {
    Keyed::builder(registry, settings).prefix("host:").max_keys(max).by(BY_TEXT).unwrap()
}

#[tokio::test(start_paused = true)]
async fn the_log_has_the_numbers_of_restored_and_of_left_out_keys() {
    let store = memory();
    let before = builder(&store, "a").build().unwrap();
    before.start().unwrap();
    let layer = by_host(&before, 10);
    for key in ["a", "b", "c"] {
        fail(&layer.circuit(key).unwrap(), 5);
    }
    assert!(before.shutdown(secs(1)).await.is_complete());
    let lines = Lines::collect();
    let registry = builder(&store, "a").build().unwrap();
    let _layer = by_host(&registry, 2);
    assert_eq!(registry.restore(secs(1)).await.unwrap().left_out, 1);
    assert_eq!(
        lines.with(""),
        [
            "2 keyed circuits `host:…` come back from the store",
            "1 keyed circuit `host:…` of the store is left out, because there is room for 2; each comes back with its \
             first call",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_record_that_cannot_be_loaded_keeps_no_other_key_from_coming_back() {
    let store = faulty();
    let before = builder(&store, "a").build().unwrap();
    before.start().unwrap();
    let layer = by_host(&before, 100);
    for key in 0..60 {
        fail(&layer.circuit(&key.to_string()).unwrap(), 5);
    }
    assert!(before.shutdown(secs(1)).await.is_complete());
    let damage = Fault::Fail(StoreErrorKind::Corrupt);
    store.faults().set_for("host:7", &[Operation::Load], damage);
    let registry = builder(&store, "a").build().unwrap();
    let _layer = by_host(&registry, 100);
    let report = registry.restore(secs(1)).await.unwrap();
    assert_eq!((report.is_complete(), report.circuits.len()), (true, 59), "{report}");
    assert!(!report.circuits.contains_key("host:7"));
}

#[test]
fn a_time_to_live_for_a_name_that_no_circuit_has_is_refused() {
    let long = "x".repeat(201);
    for name in ["", "*", "host:*:443", "*a", "a b", "a\n", &long] {
        let error = builder(&memory(), "a").ttl_of(name, secs(60), secs(60)).build().unwrap_err().to_string();
        assert!(
            error.starts_with("ttl_of is `") && error.contains("allowed is a name of 1 to 200 bytes, or"),
            "{error}"
        );
    }
    for name in ["payments", "host:*"] {
        assert!(builder(&memory(), "a").ttl_of(name, secs(60), secs(60)).build().is_ok(), "{name}");
    }
}
