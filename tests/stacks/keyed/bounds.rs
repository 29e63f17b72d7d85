//! How many keys there may be, and who goes.

use tower_circuit_breaker::circuit::To;

use super::*;

const MINUTE: Duration = Duration::from_secs(60);

#[test]
fn the_least_recently_used_key_is_evicted_first() {
    let (registry, clock) = (Registry::new(), MockClock::new());
    let by = keyed(&registry, &clock, |builder| builder.max_keys(3));
    for key in ["a", "b", "c", "a"] {
        by.circuit(key).unwrap();
        clock.advance(Duration::from_secs(1));
    }
    by.circuit("d").unwrap();
    assert_eq!(keys(&registry), ["a", "c", "d"]);
    clock.advance(Duration::from_secs(1));
    by.circuit("e").unwrap();
    assert_eq!(keys(&registry), ["a", "d", "e"]);
    assert_eq!((by.status().keys, by.status().evicted), (3, 2));
}

#[test]
fn an_eighth_of_the_keys_is_evicted_at_once() {
    let (registry, clock) = (Registry::new(), MockClock::new());
    let by = keyed(&registry, &clock, |builder| builder.max_keys(80));
    for n in 0..81 {
        by.circuit(&format!("key-{n:02}")).unwrap();
        clock.advance(Duration::from_millis(100));
    }
    assert_eq!((by.status().keys, by.status().evicted), (71, 10));
    assert_eq!(keys(&registry)[0], "key-10");
}

#[test]
fn held_circuits_are_not_evicted_for_new_keys() {
    let (registry, clock) = (Registry::new(), MockClock::new());
    let by = keyed(&registry, &clock, |builder| builder.max_keys(7));
    by.circuit("forced").unwrap().trip(&alice(), None);
    by.circuit("disabled").unwrap().disable(&alice(), None);
    by.circuit("shadow").unwrap().shadow(&alice());
    by.circuit("half-open").unwrap().reset(&alice(), To::HalfOpen);
    fail(&by, "open", 5);
    clock.advance(Duration::from_secs(1));
    for n in 0..100 {
        assert!(by.circuit(&format!("key-{n}")).is_some());
        clock.advance(Duration::from_millis(100));
    }
    let kept: Vec<_> = keys(&registry).into_iter().filter(|name| !name.starts_with("key-")).collect();
    assert_eq!(kept, ["disabled", "forced", "half-open", "open", "shadow"], "healthy circuits are evicted first");
}

#[test]
fn new_keys_pass_unguarded_while_operators_hold_all_circuits() {
    let (registry, clock) = (Registry::new(), MockClock::new());
    let by = keyed(&registry, &clock, |builder| builder.max_keys(2));
    for key in ["a", "b"] {
        by.circuit(key).unwrap().trip(&alice(), None);
    }
    for _ in 0..10 {
        assert!(by.circuit("healthy").is_none(), "no key is rejected because of other keys");
    }
    assert!(by.circuit("a").unwrap().try_acquire().is_err());
    assert_eq!((by.status().keys, by.status().unguarded, by.status().evicted), (2, 10, 0));
    by.circuit("b").unwrap().resume(&alice());
    clock.advance(Duration::from_secs(2));
    assert!(by.circuit("healthy").is_some(), "one is not held any more");
    assert_eq!(keys(&registry), ["a", "healthy"]);
}

#[test]
fn a_circuit_configured_in_shadow_may_be_evicted() {
    let (registry, clock) = (Registry::new(), MockClock::new());
    let settings = settings(&clock).shadow();
    let by = Keyed::builder(&registry, move |_| settings.clone()).prefix("k:").max_keys(1).by(BY_TEXT).unwrap();
    by.circuit("a").unwrap();
    by.circuit("b").unwrap();
    assert_eq!(keys(&registry), ["b"]);
}

#[test]
fn an_idle_key_is_forgotten_when_the_next_one_comes() {
    let (registry, clock) = (Registry::new(), MockClock::new());
    let by = keyed(&registry, &clock, |builder| builder.idle(10 * MINUTE));
    by.circuit("a").unwrap();
    by.circuit("b").unwrap();
    clock.advance(9 * MINUTE);
    by.circuit("b").unwrap();
    clock.advance(2 * MINUTE);
    assert_eq!(keys(&registry), ["a", "b"], "nothing runs in the background");
    by.circuit("c").unwrap();
    assert_eq!(keys(&registry), ["b", "c"]);
}

#[test]
fn an_idle_circuit_that_rejects_or_is_held_stays() {
    let (registry, clock) = (Registry::new(), MockClock::new());
    let open_for = OpenDuration::fixed(Duration::from_secs(7200));
    let settings = settings(&clock).open_for(open_for);
    let by = Keyed::builder(&registry, move |_| settings.clone()).prefix("k:").idle(MINUTE).by(BY_TEXT).unwrap();
    by.circuit("disabled").unwrap().disable(&alice(), None);
    by.circuit("forced").unwrap().trip(&alice(), None);
    fail(&by, "open", 5);
    by.circuit("closed").unwrap();
    clock.advance(60 * MINUTE);
    by.circuit("new").unwrap();
    assert_eq!(keys(&registry), ["disabled", "forced", "new", "open"]);
}

#[test]
fn a_permit_of_an_evicted_circuit_still_counts() {
    let (registry, clock) = (Registry::new(), MockClock::new());
    let by = keyed(&registry, &clock, |builder| builder.max_keys(1));
    let evicted = by.circuit("a").unwrap();
    let permit = evicted.try_acquire().unwrap();
    by.circuit("b").unwrap();
    assert!(registry.get("k:a").is_none());
    permit.record(Outcome::failure());
    assert_eq!(evicted.totals().failures, 1);
    assert_eq!(by.circuit("a").unwrap().totals().failures, 0, "the key has a new circuit");
}

#[test]
fn a_full_registry_lets_new_keys_pass_unguarded() {
    let (registry, clock) = (Registry::with_limit(2), MockClock::new());
    let other = registry.circuit(settings(&clock).build().unwrap()).unwrap();
    let by = keyed(&registry, &clock, |builder| builder.max_keys(2));
    drop(by.circuit("a").unwrap().trip(&alice(), None));
    assert!(by.circuit("b").is_none());
    assert_eq!(by.status().unguarded, 1);
    assert!(registry.get(other.name()).is_some(), "circuits of the application are not evicted");
}

#[test]
fn a_full_registry_makes_room_among_the_keys() {
    let (registry, clock) = (Registry::with_limit(2), MockClock::new());
    registry.circuit(settings(&clock).build().unwrap()).unwrap();
    let by = keyed(&registry, &clock, |builder| builder.max_keys(2));
    by.circuit("a").unwrap();
    assert!(by.circuit("b").is_some());
    assert_eq!(keys(&registry), ["b", "replaced"]);
}

/// A registry without room for further circuits, of which most belong to the application.
fn crowded(limit: usize, free: usize, clock: &MockClock) -> Registry {
    let registry = Registry::with_limit(limit);
    for n in free..limit {
        let config = Config::builder(&format!("app-{n}")).clock(clock.clone()).without_shipped_observers();
        registry.circuit(config.build().unwrap()).unwrap();
    }
    registry
}

#[test]
fn a_full_registry_costs_a_layer_an_eighth_of_its_present_keys() {
    let clock = MockClock::new();
    let registry = crowded(200, 16, &clock);
    let by = keyed(&registry, &clock, |builder| builder.max_keys(200));
    for n in 0..16 {
        by.circuit(&format!("key-{n:02}")).unwrap();
        clock.advance(Duration::from_millis(100));
    }
    assert!(by.circuit("new").is_some());
    assert_eq!((by.status().keys, by.status().evicted), (15, 2));
    assert!(by.circuit("key-02").is_some() && registry.get("k:key-00").is_none());
}

#[test]
fn a_full_registry_gets_no_room_from_refused_keys() {
    let clock = MockClock::new();
    let registry = crowded(8, 3, &clock);
    let settings = settings(&clock);
    let template = move |name: &str| settings.clone().probes(u32::from(!name.contains("refused")));
    let by = Keyed::builder(&registry, template).prefix("k:").by(BY_TEXT).unwrap();
    assert!(by.circuit("refused").is_none());
    for key in ["a", "b", "c", "d"] {
        clock.advance(Duration::from_millis(100));
        assert!(by.circuit(key).is_some(), "{key} gets the room of a circuit");
    }
    assert_eq!(by.status().evicted, 1);
}

#[test]
fn the_circuits_leave_the_registry_with_the_last_clone() {
    let (registry, clock) = (Registry::new(), MockClock::new());
    let by = keyed(&registry, &clock, |builder| builder);
    let clone = by.clone();
    by.circuit("a").unwrap();
    drop(by);
    assert_eq!(keys(&registry), ["a"]);
    drop(clone);
    assert!(registry.circuits().is_empty());
}

#[test]
fn impossible_settings_of_keys_are_refused_at_build_time() {
    let (registry, clock) = (Registry::with_limit(100), MockClock::new());
    type Change = fn(KeyedBuilder) -> KeyedBuilder;
    let changes: [(&str, Change); 7] = [
        ("max_keys is 0, allowed is 1 to the registry's limit of 100", |builder| builder.max_keys(0)),
        ("max_keys is 101, allowed is 1 to the registry's limit of 100", |builder| builder.max_keys(101)),
        ("idle is 0 s, allowed is 1 s to 365 days", |builder| builder.idle(Duration::ZERO)),
        (
            "prefix is \"a b\" (3 bytes), allowed is 1 to 100 bytes of printable text without spaces, at the end",
            |builder| builder.prefix("a b"),
        ),
        ("prefix is \"\" (0 bytes)", |builder| builder.prefix("")),
        ("prefix is \"host\" (4 bytes)", |builder| builder.prefix("host")),
        ("prefix is \"", |builder| builder.prefix(&"x".repeat(101))),
    ];
    for (message, change) in changes {
        let error = change(builder(&registry, &clock)).by(BY_TEXT).unwrap_err().to_string();
        assert!(error.starts_with(message), "{error}");
    }
    let template = || Keyed::builder(&registry, |name| Config::builder(name).probes(0));
    assert!(template().prefix("k:").by(BY_TEXT).unwrap_err().to_string().starts_with("probes is 0"));
    assert!(
        template().by(BY_TEXT).unwrap_err().to_string().starts_with("prefix is missing, allowed is 1 to 100 bytes")
    );
    assert!(keyed(&registry, &clock, |builder| builder.max_keys(1)).circuit("a").is_some(), "no error keeps a prefix");
}
