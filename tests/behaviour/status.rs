//! The sentence of a status, which programs print.

use std::sync::Arc;
use std::time::Duration;

use tower_circuit_breaker::circuit::To;
use tower_circuit_breaker::clock::MockClock;
use tower_circuit_breaker::state::{EarlierReason, Reason, Snapshot};
use tower_circuit_breaker::{Circuit, Outcome, State};

use crate::rig::{admit, alice, fail, open, probe, reject, rig, secs, succeed};

fn sentence(circuit: &Circuit) -> String {
    circuit.status().to_string()
}

#[test]
fn a_status_says_name_standing_reason_next_probe_and_counts() {
    let (circuit, clock) = rig(|settings| settings);
    assert_eq!(sentence(&circuit), "circuit `payments` is closed; calls: 0 succeeded, 0 failed, 0 rejected");
    succeed(&circuit, 2);
    open(&circuit);
    let rejected = reject(&circuit).to_string();
    let why = rejected.strip_suffix("; it lets a probe through in 5 s").expect("a wait");
    assert_eq!(
        sentence(&circuit),
        format!("{why}; it lets a probe through in 5 s; calls: 2 succeeded, 5 failed, 1 rejected")
    );
    clock.advance(Duration::from_secs(5));
    assert_eq!(
        sentence(&circuit),
        format!("{why}; the next call is a probe; calls: 2 succeeded, 5 failed, 1 rejected")
    );
    let first = admit(&circuit);
    let half_open = sentence(&circuit);
    assert!(
        half_open.starts_with("circuit `payments` is half-open; it opened because failures in a row weighed 5.0"),
        "{half_open}"
    );
    assert!(half_open.contains("; it admits no further probe now; calls: "), "{half_open}");
    first.success();
    succeed(&circuit, 2);
    let closed = sentence(&circuit);
    assert!(closed.starts_with("circuit `payments` is closed: ") && !closed.contains("probe is"), "{closed}");
}

#[test]
fn a_status_of_a_held_circuit_says_who_holds_it_and_for_how_long() {
    let (circuit, clock) = rig(|settings| settings);
    circuit.trip(&alice(), Some(Duration::from_secs(60)));
    clock.advance(Duration::from_secs(20));
    let held = sentence(&circuit);
    assert!(held.starts_with("circuit `payments` is forced open: ") && held.contains("alice"), "{held}");
    assert!(held.contains("; the hold ends in 40 s; calls: "), "{held}");
    circuit.disable(&alice(), None);
    let disabled = sentence(&circuit);
    assert!(disabled.starts_with("circuit `payments` is disabled: "), "{disabled}");
    assert!(disabled.contains("; it stays so until an operator ends it; "), "{disabled}");
    circuit.shadow(&alice());
    fail(&circuit, 5);
    let shadow = sentence(&circuit);
    assert!(shadow.starts_with("circuit `payments` (shadow) is open: failures in a row"), "{shadow}");
    assert!(shadow.contains("; calls go through all the same; "), "{shadow}");
}

#[test]
fn a_status_after_the_end_of_a_hold_gives_the_answer_to_the_next_call() {
    type Hold = fn(&Circuit);
    let trip: Hold = |circuit| drop(circuit.trip(&alice(), Some(secs(60))));
    let disable: Hold = |circuit| drop(circuit.disable(&alice(), Some(secs(60))));
    let manual = tower_circuit_breaker::config::Recovery::Manual;
    let closed = || rig(|settings| settings);
    let opened = || {
        let (circuit, clock) = rig(|settings| settings.recovery(manual));
        fail(&circuit, 5);
        (circuit, clock)
    };
    for ((circuit, clock), hold, expected) in [
        (closed(), trip, "; the hold is over; the next call is a probe; calls: "),
        (closed(), disable, "; the hold is over; calls: "),
        (opened(), trip, "; the hold is over; it stays open until an operator resets it; calls: "),
    ] {
        hold(&circuit);
        clock.advance(secs(70));
        let over = sentence(&circuit);
        assert!(over.contains(expected), "{over}");
        assert_eq!(circuit.status().held_for, Some(Duration::ZERO), "{over}");
        drop(circuit.try_acquire());
        let ended = sentence(&circuit);
        assert!(!ended.contains("; the hold"), "{ended}");
        assert_eq!(circuit.status().held_for, None, "{ended}");
    }
}

/// Returns a snapshot of another instance, or of the time before a restart.
fn elsewhere(state: State, earlier: EarlierReason) -> Snapshot {
    let mut snapshot = Snapshot::closed();
    (snapshot.state, snapshot.earlier) = (state, Some(Arc::new(earlier)));
    snapshot
}

#[test]
fn the_status_and_the_rejections_of_a_half_open_circuit_give_the_same_cause() {
    type Story = fn(&Circuit, &MockClock);
    fn follow_half_open(circuit: &Circuit) {
        let waited = EarlierReason::new("the open duration of 5 s has passed").on("orders-1");
        circuit.adopt(&elsewhere(State::HalfOpen, waited), Reason::Followed);
    }
    let stories: [(Story, Option<&str>); 6] = [
        // A trip over a closed circuit.
        (
            |circuit, clock| {
                circuit.trip(&alice(), Some(secs(60)));
                clock.advance(secs(60));
            },
            Some("; it opened because tripped by alice: maintenance"),
        ),
        // An operator has disabled the circuit since its opening.
        (
            |circuit, clock| {
                drop(probe(circuit, clock));
                circuit.disable(&alice(), None);
                circuit.resume(&alice());
            },
            None,
        ),
        (|circuit, _| drop(circuit.reset(&alice(), To::HalfOpen)), None),
        // The half-open state of another instance, whose reason says that the wait is over.
        (
            |circuit, _| follow_half_open(circuit),
            Some("; it was half-open on instance `orders-1`: the open duration of 5 s has passed"),
        ),
        // The same half-open state after an opening of this instance.
        (
            |circuit, _| {
                open(circuit);
                follow_half_open(circuit);
            },
            Some("; it opened because failures in a row weighed 5.0, the limit is 5.0, last a failure of kind error"),
        ),
        (
            |circuit, _| {
                let opening = EarlierReason::new("failures weighed 9.0");
                circuit.adopt(&elsewhere(State::HalfOpen, opening), Reason::Restored);
            },
            Some("; it was opened, before this restart: failures weighed 9.0"),
        ),
    ];
    for (number, (story, cause)) in stories.into_iter().enumerate() {
        let (circuit, clock) = rig(|settings| settings);
        story(&circuit, &clock);
        let _probe = admit(&circuit);
        let cause = cause.unwrap_or_default();
        assert_eq!(
            reject(&circuit).to_string(),
            format!("circuit `payments` is half-open and admits no further probe now{cause}"),
            "story {number}"
        );
        let status = sentence(&circuit);
        let begin = format!("circuit `payments` is half-open{cause}; it admits no further probe now; calls: ");
        assert!(status.starts_with(&begin), "story {number}: {status}");
    }
}

#[test]
fn a_rejection_by_an_adopted_opening_says_open_before_the_reason() {
    for (reason, because) in [
        (Reason::AtOnce, "open: a failure asked for no more calls"),
        (Reason::Restored, "open, before this restart: failures weighed 9.0"),
        (Reason::Followed, "open: failures weighed 9.0"),
    ] {
        let (circuit, _clock) = rig(|settings| settings);
        circuit.adopt(&elsewhere(State::Open, EarlierReason::new("failures weighed 9.0")), reason);
        let begin = format!("circuit `payments` is {because}; it lets a probe through in 5 s");
        assert_eq!(reject(&circuit).to_string(), begin);
        assert!(sentence(&circuit).starts_with(&begin), "{}", sentence(&circuit));
    }
}

#[test]
fn a_status_of_manual_recovery_waits_for_an_operator() {
    let (circuit, _clock) = rig(|settings| settings.recovery(tower_circuit_breaker::config::Recovery::Manual));
    fail(&circuit, 5);
    assert!(sentence(&circuit).contains("; it stays open until an operator resets it; "), "{}", sentence(&circuit));
    circuit.reset(&alice(), To::HalfOpen);
    assert!(sentence(&circuit).contains("; the next call is a probe; "), "{}", sentence(&circuit));
}

#[test]
fn totals_name_the_other_counts_only_if_there_are_any() {
    let (circuit, _clock) = rig(|settings| settings);
    admit(&circuit).record(Outcome::Ignored);
    admit(&circuit).cancel();
    assert_eq!(circuit.totals().to_string(), "0 succeeded, 0 failed, 0 rejected, 1 ignored, 1 cancelled");
    circuit.shadow(&alice());
    fail(&circuit, 5);
    succeed(&circuit, 2);
    let mut totals = circuit.totals();
    assert_eq!(
        totals.to_string(),
        "2 succeeded, 5 failed, 0 rejected, 1 ignored, 1 cancelled, 2 only rejected in shadow"
    );
    (totals.load_shed, totals.ignored, totals.would_reject) = (3, 0, 0);
    assert_eq!(totals.to_string(), "2 succeeded, 5 failed, 0 rejected, 3 shed, 1 cancelled");
}

#[test]
fn a_status_under_the_kill_switch_says_only_that_calls_go_through() {
    let (circuit, _clock) = rig(|settings| settings);
    open(&circuit);
    let mut status = circuit.status();
    status.bypassed = true;
    assert_eq!(
        status.to_string(),
        "circuit `payments` lets every call through, whatever its state, because CIRCUIT_BREAKER_DISABLED names it; \
         calls: 0 succeeded, 5 failed, 0 rejected"
    );
}
