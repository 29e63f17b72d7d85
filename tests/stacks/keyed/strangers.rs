//! Keys that a stranger chooses. The harm is bounded to the circuits of the stranger's own keys.

use tower_circuit_breaker::RegistryError;
use tower_circuit_breaker::state::Reason;

use super::*;

/// A call that fails. Returns false if the circuit of the key rejects the call.
fn call(by: &Keyed<ByText>, key: &str) -> bool {
    let circuit = by.circuit(key).expect("the key is guarded");
    let Ok(permit) = circuit.try_acquire() else { return false };
    permit.record(Outcome::failure());
    true
}

/// The number of failing calls until the circuit of the victim rejects a call. Between two calls comes a flood of keys.
fn calls_until_open(by: &Keyed<ByText>, clock: &MockClock, mut flood: impl FnMut(u32)) -> Option<u32> {
    let opens = |n: &u32| {
        clock.advance(Duration::from_millis(100));
        let rejected = !call(by, "victim");
        flood(*n);
        rejected
    };
    (0..40).find(opens)
}

#[test]
fn a_flood_of_new_keys_does_not_delay_an_opening() {
    for flood in [0_u32, 900, 1_000, 1_200, 2_000, 100_000] {
        let (registry, clock) = (Registry::new(), MockClock::new());
        let by = keyed(&registry, &clock, |builder| builder);
        let new_keys = |n: u32| {
            // The largest flood comes once, because it takes a second.
            for key in 0..if flood > 2_000 && n != 2 { 0 } else { flood } {
                if key % 100 == 0 {
                    clock.advance(Duration::from_millis(1));
                }
                assert!(by.circuit(&format!("new-{n}-{key}")).is_some());
            }
        };
        assert_eq!(calls_until_open(&by, &clock, new_keys), Some(5), "{flood} new keys between two calls");
    }
}

#[test]
fn a_flood_of_failing_keys_delays_an_opening_by_few_calls() {
    // A stranger whose keys fail as often as the victim has to make a thousand times the calls of the victim.
    for (flood, calls, longest) in [(1_500, 1, 5), (10_000, 1, 8), (2_500, 4, 11), (2_500, 5, 12)] {
        let (registry, clock) = (Registry::new(), MockClock::new());
        let by = keyed(&registry, &clock, |builder| builder);
        let failing_keys = |n: u32| {
            for key in 0..flood {
                let key = format!("new-{n}-{key}");
                (0..calls).for_each(|_| assert!(call(&by, &key)));
            }
        };
        let opened = calls_until_open(&by, &clock, failing_keys);
        assert!(opened.is_some_and(|opened| opened <= longest), "{opened:?}: {flood} keys that fail {calls} times");
    }
}

#[test]
fn hosts_that_are_gone_for_long_do_not_hide_failing_hosts() {
    let (registry, clock) = (Registry::new(), MockClock::new());
    let by = keyed(&registry, &clock, |builder| builder.max_keys(16).idle(Duration::from_secs(600)));
    for host in 0..100 {
        let circuit = by.circuit(&format!("gone-{host}")).unwrap();
        (0..100).for_each(|_| circuit.try_acquire().unwrap().success());
        (0..4).for_each(|_| assert!(call(&by, &format!("gone-{host}"))));
    }
    clock.advance(Duration::from_secs(3_600));
    let failing_keys = |n: u32| (0..20).for_each(|key| assert!(call(&by, &format!("new-{n}-{key}"))));
    assert_eq!(calls_until_open(&by, &clock, failing_keys), Some(5));
}

#[test]
fn a_failure_that_comes_after_the_eviction_counts() {
    let (registry, clock) = (Registry::new(), MockClock::new());
    let by = keyed(&registry, &clock, |builder| builder.max_keys(8));
    for n in 0..7 {
        let Ok(permit) = by.circuit("slow").unwrap().try_acquire() else { break };
        for key in 0..200 {
            clock.advance(Duration::from_millis(20));
            assert!(call(&by, &format!("new-{n}-{key}")));
        }
        permit.record(Outcome::failure());
    }
    assert!(by.circuit("slow").unwrap().is_open(), "each call took longer than its circuit stayed");
}

#[test]
fn hosts_that_the_stranger_keeps_dead_leave_room_for_new_hosts() {
    let (registry, clock) = (Registry::new(), MockClock::new());
    let by = keyed(&registry, &clock, |builder| builder);
    fail(&by, "real", 5);
    (0..1_000).for_each(|key| while call(&by, &format!("dead-{key}")) {});
    assert!(call(&by, "honest"), "a new host is guarded at once");
    assert_eq!(by.status().unguarded, 0);
    assert!(by.circuit("real").unwrap().is_open(), "the open circuit of another host is kept");
    // The circuits of the dead hosts that were evicted for it are as open as they were.
    assert!((0..1_000).all(|key| !call(&by, &format!("dead-{key}"))));
}

#[test]
fn an_evicted_open_circuit_inherits_its_opening_and_its_end() {
    let (registry, clock) = (Registry::new(), MockClock::new());
    let by = keyed(&registry, &clock, |builder| builder.max_keys(1));
    fail(&by, "dead", 5);
    clock.advance(Duration::from_secs(2));
    by.circuit("other").unwrap();
    assert_eq!(keys(&registry), ["other"]);
    clock.advance(Duration::from_secs(2));
    let dead = by.circuit("dead").unwrap();
    assert_eq!(dead.status().retry_after, Some(Duration::from_secs(1)));
    assert_eq!(dead.status().transitions.last().map(|edge| edge.reason.clone()), Some(Reason::Restored));
}

#[test]
fn after_the_idle_time_only_a_circuit_that_rejects_is_inherited() {
    // An open circuit rejects calls for 5 s. A circuit that inherits nothing is closed after one failure.
    for (failures, seconds, opens) in [(4, 1, true), (4, 3, false), (5, 3, true), (5, 6, false)] {
        let (registry, clock) = (Registry::new(), MockClock::new());
        let by = keyed(&registry, &clock, |builder| builder.max_keys(1).idle(Duration::from_secs(2)));
        fail(&by, "a", failures);
        by.circuit("b").unwrap();
        clock.advance(Duration::from_secs(seconds));
        call(&by, "a");
        assert_eq!(by.circuit("a").unwrap().is_open(), opens, "{failures} failures, away for {seconds} s");
    }
}

#[test]
fn an_evicted_closed_circuit_inherits_its_openings_in_a_row() {
    // The third opening in a row lasts 20 s. Each 20 s in closed take one opening back.
    for (closed_for, attempt, next) in [(15, 3, 40), (30, 2, 20), (57, 1, 10), (60, 0, 5)] {
        let (registry, clock) = (Registry::new(), MockClock::new());
        let doubling = settings(&clock).open_for(OpenDuration::default().jitter(0.0));
        let by = Keyed::builder(&registry, move |_| doubling.clone()).prefix("k:").max_keys(1).by(BY_TEXT).unwrap();
        for lasts in [5, 10, 20] {
            fail(&by, "ill", 5);
            clock.advance(Duration::from_secs(lasts));
            (0..3).for_each(|_| by.circuit("ill").unwrap().try_acquire().unwrap().success());
        }
        clock.advance(Duration::from_secs(closed_for));
        by.circuit("other").unwrap();
        assert_eq!(keys(&registry), ["other"]);
        clock.advance(Duration::from_secs(2));
        // The circuit of `ill` is evicted a second time, which does not restore an opening that was taken back.
        for key in ["ill", "other", "ill"] {
            by.circuit(key).unwrap();
        }
        let ill = by.circuit("ill").unwrap();
        assert_eq!((ill.status().state, ill.status().attempt), (State::Closed, attempt), "closed for {closed_for} s");
        fail(&by, "ill", 5);
        assert_eq!(ill.status().retry_after, Some(Duration::from_secs(next)), "closed for {closed_for} s");
    }
}

#[test]
fn a_key_never_uses_a_circuit_that_the_application_made() {
    let (registry, clock) = (Registry::new(), MockClock::new());
    let named = |name: &str| Config::builder(name).clock(clock.clone()).build().unwrap();
    let own = registry.circuit(named("payments")).unwrap();
    let clashing = registry.circuit(named("host:payments")).unwrap();
    let refused = keyed_with(&registry, &clock, "host:").unwrap_err().to_string();
    let expected = "prefix is \"host:\", allowed is a prefix that begins no other name, and the registry has the circuit \
                    `host:payments`";
    assert_eq!(refused, expected);

    let by = keyed_with(&registry, &clock, "peer:").unwrap();
    for key in ["payments", "host:payments", ":payments", "", "other"] {
        while call(&by, key) {}
    }
    assert_eq!((own.state(), clashing.state()), (State::Closed, State::Closed));
    assert_eq!((own.totals().failures, clashing.totals().failures), (0, 0));
}

#[test]
fn the_names_of_keys_are_refused_to_the_application() {
    let (registry, clock) = (Registry::new(), MockClock::new());
    let by = keyed_with(&registry, &clock, "host:").unwrap();
    call(&by, "payments");
    for name in ["host:payments", "host:unused", "host:"] {
        let error = registry.circuit(Config::new(name).unwrap()).unwrap_err();
        assert!(matches!(&error, RegistryError::Keyed { prefix, .. } if prefix == "host:"), "{error}");
        let expected =
            format!("circuit `{name}` needs another name: names that begin with `host:` belong to keyed circuits");
        assert_eq!(error.to_string(), expected);
    }
    assert!(registry.circuit(Config::new("host").unwrap()).is_ok());
    drop(by);
    assert!(registry.circuit(Config::new("host:payments").unwrap()).is_ok(), "the layer is gone");
}

#[test]
fn two_layers_never_share_a_name() {
    let (registry, clock) = (Registry::new(), MockClock::new());
    let first = keyed_with(&registry, &clock, "host:").unwrap();
    for prefix in ["host:", "host:eu:", "host:a-"] {
        let error = keyed_with(&registry, &clock, prefix).unwrap_err().to_string();
        assert!(error.ends_with("keys of another layer have names that begin with `host:`"), "{error}");
    }
    assert!(keyed_with(&registry, &clock, "hosts:").is_ok(), "neither prefix begins the other");
    drop(first);
    let longer = keyed_with(&registry, &clock, "host:eu:").unwrap();
    assert!(keyed_with(&registry, &clock, "host:").is_err());
    drop(longer);
    assert!(keyed_with(&registry, &clock, "host:").is_ok());
}

fn keyed_with(
    registry: &Registry,
    clock: &MockClock,
    prefix: &str,
) -> Result<Keyed<ByText>, tower_circuit_breaker::config::ConfigError> {
    builder(registry, clock).prefix(prefix).by(BY_TEXT)
}
