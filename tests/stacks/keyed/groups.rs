//! `KeyedBuilder::at_most_open`: the keys of one layer are one group.

use tower_circuit_breaker::{Circuit, Group, Reason};

use super::*;

fn states(by: &Keyed<ByText>, keys: &[&str]) -> Vec<State> {
    keys.iter().map(|key| by.circuit(key).unwrap().state()).collect()
}

/// Returns the suppressed opening of the key, as the status shows it.
fn shown(by: &Keyed<ByText>, key: &str) -> (String, u32, u32) {
    let suppressed = by.circuit(key).unwrap().status().suppressed.expect("it was suppressed");
    (suppressed.group.to_string(), suppressed.open, suppressed.members)
}

#[test]
fn at_most_the_share_of_the_keys_opens() {
    let (registry, clock) = (Registry::new(), MockClock::new());
    let by = keyed(&registry, &clock, |builder| builder.at_most_open(0.5));
    for key in ["a", "b", "c", "d"] {
        by.circuit(key).unwrap();
    }
    for key in ["a", "b", "c", "d"] {
        fail(&by, key, 5);
    }
    assert_eq!(states(&by, &["a", "b", "c", "d"]), [State::Open, State::Open, State::Closed, State::Closed]);
    assert_eq!(shown(&by, "c"), ("k:".to_owned(), 2, 4), "the prefix is the name of the group");
}

#[test]
fn an_evicted_key_gives_its_slot_back_although_its_circuit_lives() {
    let (registry, clock) = (Registry::new(), MockClock::new());
    let by = keyed(&registry, &clock, |builder| builder.at_most_open(0.5).max_keys(2));
    fail(&by, "a", 4);
    let (evicted, last) = (by.circuit("a").unwrap(), by.circuit("a").unwrap().try_acquire().unwrap());
    fail(&by, "b", 5);
    clock.advance(Duration::from_secs(1));
    assert_eq!(states(&by, &["b"]), [State::Open]);
    by.circuit("c").unwrap();
    assert_eq!(keys(&registry), ["b", "c"], "an open circuit stays");
    last.record(Outcome::failure());
    assert_eq!(evicted.state(), State::Open, "an evicted circuit has left its group, and needs no slot");
    fail(&by, "c", 5);
    assert_eq!(shown(&by, "c"), ("k:".to_owned(), 1, 2), "neither the evicted circuit nor a sample is a member");
}

#[test]
fn an_evicted_open_key_needs_a_slot_when_the_key_comes_back() {
    let (registry, clock) = (Registry::new(), MockClock::new());
    let by = keyed(&registry, &clock, |builder| builder.at_most_open(0.5).max_keys(1));
    fail(&by, "a", 5);
    by.circuit("b").unwrap();
    assert_eq!(keys(&registry), ["b"], "the open circuit was evicted");
    fail(&by, "b", 5);
    assert_eq!(states(&by, &["b"]), [State::Open], "the slot of the evicted circuit is free");
    // The successor of the evicted circuit takes over its opening while the other circuit is still a member with the slot.
    assert_eq!(states(&by, &["a"]), [State::Closed]);
}

#[test]
fn an_open_key_that_comes_back_is_open_if_a_slot_is_free() {
    let (registry, clock) = (Registry::new(), MockClock::new());
    let by = keyed(&registry, &clock, |builder| builder.at_most_open(0.5).max_keys(1));
    fail(&by, "a", 5);
    by.circuit("b").unwrap();
    assert_eq!(states(&by, &["a"]), [State::Open]);
    assert!(by.circuit("b").unwrap().status().suppressed.is_none());
}

/// Returns a layer whose template puts the circuits into the group.
fn in_group(registry: &Registry, clock: &MockClock, group: &Group) -> Keyed<ByText> {
    let settings = settings(clock).group(group);
    Keyed::builder(registry, move |_| settings.clone()).prefix("k:").by(BY_TEXT).unwrap()
}

const MINUTE: Duration = Duration::from_secs(60);

/// Calls each key with success, so that the key is in use.
fn use_keys(by: &Keyed<ByText>, keys: &[&str]) {
    for key in keys {
        by.circuit(key).unwrap().try_acquire().unwrap().success();
    }
}

fn open(by: &Keyed<ByText>, keys: &[&str]) -> usize {
    states(by, keys).iter().filter(|state| **state == State::Open).count()
}

const OLD: [&str; 4] = ["old-1", "old-2", "old-3", "old-4"];
const NEW: [&str; 4] = ["new-1", "new-2", "new-3", "new-4"];

#[test]
fn endpoints_that_a_deploy_has_replaced_do_not_raise_the_cap() {
    for of_layer in [true, false] {
        let (registry, clock) = (Registry::new(), MockClock::new());
        let by = if of_layer {
            keyed(&registry, &clock, |builder| builder.at_most_open(0.5))
        } else {
            in_group(&registry, &clock, &Group::new("endpoints"))
        };
        use_keys(&by, &OLD);
        clock.advance(MINUTE);
        use_keys(&by, &NEW);
        NEW.iter().for_each(|key| fail(&by, key, 5));
        assert_eq!(open(&by, &NEW), 2, "the group of the layer: {of_layer}");
    }
}

#[test]
fn a_refresh_of_all_metrics_does_not_raise_the_cap() {
    let (registry, clock) = (Registry::new(), MockClock::new());
    let by = keyed(&registry, &clock, |builder| builder.at_most_open(0.5));
    use_keys(&by, &OLD);
    clock.advance(MINUTE);
    use_keys(&by, &NEW);
    for _ in 0..3 {
        registry.refresh_metrics();
        NEW.iter().filter(|key| states(&by, &[key]) == [State::Closed]).for_each(|key| fail(&by, key, 5));
        assert_eq!(open(&by, &NEW), 2);
        clock.advance(Duration::from_secs(2));
    }
}

#[test]
fn an_opening_that_comes_from_outside_finds_only_the_slots_of_keys_in_use() {
    let (registry, clock) = (Registry::new(), MockClock::new());
    let by = keyed(&registry, &clock, |builder| builder.at_most_open(0.5));
    use_keys(&by, &OLD);
    let opened = Circuit::new(settings(&clock).build().unwrap());
    (0..5).for_each(|_| opened.try_acquire().unwrap().record(Outcome::failure()));
    clock.advance(MINUTE);
    use_keys(&by, &NEW);
    NEW.iter().for_each(|key| {
        by.circuit(key).unwrap().adopt(&opened.snapshot(), Reason::Followed);
    });
    assert_eq!(
        NEW.map(|key| by.circuit(key).unwrap().standing().state)
            .iter()
            .filter(|state| **state != State::Closed)
            .count(),
        2
    );
}

#[test]
fn an_open_circuit_that_no_call_uses_keeps_its_slot_for_ten_minutes() {
    let (registry, clock) = (Registry::new(), MockClock::new());
    let by = keyed(&registry, &clock, |builder| builder.at_most_open(0.5));
    use_keys(&by, &["a", "b"]);
    fail(&by, "gone", 5);
    for _ in 0..9 {
        clock.advance(MINUTE);
        use_keys(&by, &["a", "b"]);
    }
    fail(&by, "a", 5);
    assert_eq!(states(&by, &["a"]), [State::Closed]);
    clock.advance(MINUTE);
    use_keys(&by, &["b"]);
    fail(&by, "a", 1);
    assert_eq!(states(&by, &["gone", "a"]), [State::Open, State::Open]);
    // The question has used the key, so that it counts again within a second. The group closes no circuit.
    clock.advance(Duration::from_secs(1));
    fail(&by, "b", 5);
    assert_eq!(shown(&by, "b"), ("k:".to_owned(), 2, 3));
}

#[test]
fn keys_that_are_called_every_two_minutes_open_one_after_the_other_only_with_slots() {
    let (registry, clock) = (Registry::new(), MockClock::new());
    let by = keyed(&registry, &clock, |builder| builder.at_most_open(0.5));
    for minute in 0..20 {
        let key = if minute % 2 == 0 { "a" } else { "b" };
        let circuit = by.circuit(key).unwrap();
        (0..5).filter_map(|_| circuit.try_acquire().ok()).for_each(|permit| permit.record(Outcome::failure()));
        drop(circuit);
        clock.advance(MINUTE);
    }
    assert_eq!(open(&by, &["a", "b"]), 1);
}

#[test]
fn an_open_circuit_that_callers_avoid_keeps_its_slot_until_the_wait_is_over() {
    let (registry, clock) = (Registry::new(), MockClock::new());
    let template = {
        let clock = clock.clone();
        move |_: &str| settings(&clock).open_for(OpenDuration::fixed(15 * MINUTE))
    };
    let by = Keyed::builder(&registry, template).prefix("k:").at_most_open(0.5).by(BY_TEXT).unwrap();
    use_keys(&by, &["a", "b"]);
    fail(&by, "down", 5);
    for _ in 0..14 {
        clock.advance(MINUTE);
        fail(&by, "a", 5);
        assert_eq!(states(&by, &["a"]), [State::Closed]);
    }
    clock.advance(MINUTE);
    fail(&by, "a", 1);
    assert_eq!(states(&by, &["a"]), [State::Open]);
}

#[test]
fn a_key_in_use_counts_although_it_is_seldom_called() {
    let (registry, clock) = (Registry::new(), MockClock::new());
    let by = keyed(&registry, &clock, |builder| builder.at_most_open(0.5));
    for _ in 0..3 {
        use_keys(&by, &OLD);
        clock.advance(MINUTE - Duration::from_millis(500));
    }
    OLD.iter().for_each(|key| fail(&by, key, 5));
    assert_eq!(open(&by, &OLD), 2);
}

/// Lets a minute pass without a use of a key, and the group count twice.
fn a_minute_without_lookups(registry: &Registry, clock: &MockClock) {
    clock.advance(MINUTE);
    registry.refresh_metrics();
    clock.advance(Duration::from_secs(1));
}

#[test]
fn a_circuit_with_a_handle_of_the_application_counts_although_its_key_is_not_used() {
    let (registry, clock) = (Registry::new(), MockClock::new());
    let by = keyed(&registry, &clock, |builder| builder.at_most_open(0.5));
    let mut handles = OLD.map(|key| by.circuit(key).unwrap()).to_vec();
    let fail = |circuit: &Circuit| (0..5).for_each(|_| circuit.try_acquire().unwrap().record(Outcome::failure()));
    for _ in 0..12 {
        a_minute_without_lookups(&registry, &clock);
        handles.iter().filter(|circuit| circuit.state() == State::Closed).for_each(fail);
        assert_eq!(handles.iter().filter(|circuit| circuit.state() == State::Open).count(), 2);
    }
    handles.retain(|circuit| circuit.state() == State::Closed);
    clock.advance(10 * MINUTE);
    handles[0].try_acquire().unwrap().record(Outcome::failure());
    assert_eq!(handles[0].state(), State::Open, "the open circuits without a handle keep no slots");
}

#[test]
fn the_first_failures_by_handles_open_at_most_as_many_circuits_as_the_group_has_slots() {
    let (registry, clock) = (Registry::new(), MockClock::new());
    let by = keyed(&registry, &clock, |builder| builder.at_most_open(0.5));
    let handles = OLD.map(|key| by.circuit(key).unwrap());
    clock.advance(MINUTE);
    for _ in 0..3 {
        for circuit in handles.iter().filter(|circuit| circuit.state() == State::Closed) {
            (0..5).filter_map(|_| circuit.try_acquire().ok()).for_each(|permit| permit.record(Outcome::failure()));
        }
        let open = handles.iter().filter(|circuit| circuit.state() == State::Open).count();
        assert!((1..=2).contains(&open), "{open}");
        clock.advance(Duration::from_secs(1));
    }
    assert_eq!(handles.iter().filter(|circuit| circuit.state() == State::Open).count(), 2);
}

#[test]
fn a_call_under_way_keeps_its_circuit_in_the_group() {
    let (registry, clock) = (Registry::new(), MockClock::new());
    let by = keyed(&registry, &clock, |builder| builder.at_most_open(0.5));
    let _streams: Vec<_> = OLD.iter().map(|key| by.circuit(key).unwrap().try_acquire().unwrap()).collect();
    a_minute_without_lookups(&registry, &clock);
    use_keys(&by, &["a", "b"]);
    fail(&by, "a", 5);
    fail(&by, "b", 5);
    assert_eq!(open(&by, &["a", "b"]), 2, "four streams and two new keys have three slots");
}

#[test]
fn a_handle_of_a_status_page_does_not_make_a_circuit_look_used() {
    let (registry, clock) = (Registry::new(), MockClock::new());
    let by = keyed(&registry, &clock, |builder| builder.at_most_open(0.5));
    use_keys(&by, &OLD);
    clock.advance(MINUTE);
    use_keys(&by, &NEW);
    let page = registry.circuits();
    fail(&by, "new-1", 5);
    drop(page);
    NEW[1..].iter().for_each(|key| fail(&by, key, 5));
    assert_eq!(open(&by, &NEW), 2);
}

#[test]
fn members_and_open_circuits_of_a_group_are_those_in_use() {
    let (registry, clock, group) = (Registry::new(), MockClock::new(), Group::new("endpoints"));
    let by = in_group(&registry, &clock, &group);
    fail(&by, "gone", 5);
    use_keys(&by, &["a", "b", "c"]);
    assert_eq!((group.members(), group.open(), group.open_slots()), (4, 1, 2));
    clock.advance(10 * MINUTE);
    use_keys(&by, &["a", "b", "c"]);
    registry.refresh_metrics();
    assert_eq!((group.members(), group.open(), group.open_slots()), (3, 0, 1), "a refresh counts again");
    drop(by);
    assert_eq!((group.members(), group.open()), (0, 0));
    let alone = Circuit::new(settings(&clock).group(&group).build().unwrap());
    clock.advance(MINUTE);
    alone.refresh_metrics();
    assert_eq!(group.members(), 1, "a circuit without a layer is a member while it exists");
}

#[test]
fn a_share_outside_its_range_is_ignored_although_no_key_is_in_use() {
    let (registry, clock, group) = (Registry::new(), MockClock::new(), Group::new("endpoints"));
    let by = in_group(&registry, &clock, &group);
    use_keys(&by, &OLD);
    clock.advance(MINUTE);
    registry.refresh_metrics();
    assert_eq!((group.members(), group.clone().at_most_open(1.5).share()), (0, 0.5));
}

#[test]
fn an_idle_key_whose_circuit_is_called_by_a_handle_is_not_evicted() {
    let (registry, clock) = (Registry::new(), MockClock::new());
    let by = keyed(&registry, &clock, |builder| builder.idle(MINUTE));
    let handle = by.circuit("a").unwrap();
    use_keys(&by, &["b"]);
    clock.advance(2 * MINUTE);
    use_keys(&by, &["c"]);
    assert_eq!(keys(&registry), ["a", "c"]);
    drop(handle);
    clock.advance(2 * MINUTE);
    use_keys(&by, &["d"]);
    assert_eq!(keys(&registry), ["d"]);
}

#[test]
fn two_layers_are_two_groups() {
    let (registry, clock) = (Registry::new(), MockClock::new());
    let one = keyed(&registry, &clock, |builder| builder.at_most_open(0.5));
    let other = keyed(&registry, &clock, |builder| builder.prefix("j:").at_most_open(0.5));
    fail(&one, "a", 5);
    fail(&other, "a", 5);
    assert_eq!((states(&one, &["a"]), states(&other, &["a"])), (vec![State::Open], vec![State::Open]));
}

#[test]
fn without_at_most_open_the_group_of_the_template_counts() {
    let (registry, clock, group) = (Registry::new(), MockClock::new(), Group::new("hosts"));
    let template = settings(&clock).group(&group);
    let of = |prefix: &str| {
        let template = template.clone();
        Keyed::builder(&registry, move |_| template.clone()).prefix(prefix)
    };
    let by = of("k:").by(BY_TEXT).unwrap();
    assert_eq!(group.members(), 0, "the sample of the template is no member");
    by.circuit("a").unwrap();
    by.circuit("b").unwrap();
    assert_eq!(group.members(), 2);
    let own = of("j:").at_most_open(1.0).by(BY_TEXT).unwrap();
    own.circuit("a").unwrap();
    assert_eq!(group.members(), 2, "the group of the layer replaces the group of the template");
    drop(by);
    assert_eq!(group.members(), 0, "the circuits leave with the layer");
}

#[test]
fn a_share_of_keys_outside_its_range_is_refused() {
    let (registry, clock) = (Registry::new(), MockClock::new());
    for share in [0.0, -1.0, 1.5, f64::NAN, f64::INFINITY] {
        let error = builder(&registry, &clock).at_most_open(share).by(BY_TEXT).unwrap_err();
        assert_eq!(error.to_string(), format!("at_most_open is {share}, allowed is more than 0 and at most 1"));
    }
    keyed(&registry, &clock, |builder| builder.at_most_open(1.0));
}

#[test]
fn threads_that_create_evict_and_fail_keys_leave_no_slot_behind() {
    let (registry, clock, group) = (Registry::new(), MockClock::new(), Group::new("hosts"));
    let template = settings(&clock).group(&group).consecutive_failures(1);
    let by = Keyed::builder(&registry, move |_| template.clone()).prefix("k:").max_keys(8).by(BY_TEXT).unwrap();
    thread::scope(|scope| {
        for thread in 0..4_u64 {
            let (by, clock) = (&by, &clock);
            scope.spawn(move || {
                for n in 0..300_u64 {
                    let circuit = by.circuit(&format!("key-{}", (n * 7 + thread * 13) % 40));
                    if let Some(Ok(permit)) = circuit.map(|circuit| circuit.try_acquire()) {
                        permit.record(Outcome::failure());
                    }
                    clock.advance(Duration::from_millis(20));
                }
            });
        }
    });
    assert_eq!(group.members() as usize, registry.circuits().len());
    drop(by);
    assert_eq!((group.members(), group.open()), (0, 0));
}
