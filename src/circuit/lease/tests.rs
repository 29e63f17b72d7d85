//! Tests of leased probes: the calls that may be probes, the answers about the next call, and the waits.
//!
//! The file is longer than others, because all tests share the helpers at its top.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::task::{Context, Wake, Waker};

use super::super::{NextCall, Peek, Permit, Place, To};
use super::*;
use crate::clock::MockClock;
use crate::config::{Config, ConfigBuilder, OpenDuration};
use crate::outcome::Failure;
use crate::state::{By, Reason, RejectReason, Snapshot, State};

const LEASES: Duration = Duration::from_secs(5);
const OPEN_FOR: Duration = Duration::from_secs(10);
const DEADLINE: Duration = Duration::from_secs(30);

fn rig(change: impl FnOnce(ConfigBuilder) -> ConfigBuilder) -> (Circuit, MockClock) {
    let clock = MockClock::new();
    let settings = Config::builder("orders").consecutive_failures(1).clock(clock.clone());
    let settings = settings.open_for(OpenDuration::fixed(OPEN_FOR)).probe_deadline(DEADLINE);
    (Circuit::new(change(settings).build().expect("the settings are valid")), clock)
}

/// A half-open circuit whose probes are leased for [`LEASES`].
fn leased(change: impl FnOnce(ConfigBuilder) -> ConfigBuilder) -> (Circuit, MockClock) {
    let (circuit, clock) = rig(change);
    circuit.lease_probes(LEASES);
    circuit.reset(&by(), To::HalfOpen);
    (circuit, clock)
}

fn by() -> By {
    By::new("alice", "a test").expect("it is valid")
}

fn open(circuit: &Circuit) {
    circuit.try_acquire().expect("it is closed").failure(Failure::hard());
}

fn probed(circuit: &Circuit) -> Probed {
    circuit.probing().expect("it is half-open")
}

/// Returns the number of grants that no call has used, and the number of probes that have a slot.
fn slots(circuit: &Circuit) -> (u32, u32) {
    let Probed { granted, under_way, .. } = probed(circuit);
    (granted, under_way)
}

#[track_caller]
fn probe(circuit: &Circuit) -> Permit {
    let permit = circuit.try_acquire().expect("a slot is free");
    assert!(permit.is_probe());
    permit
}

/// Checks that every answer about the next call is a rejection, and that the next call is rejected.
#[track_caller]
fn rejects(circuit: &Circuit) {
    let status = circuit.status();
    assert_eq!((status.next_call, status.retry_after), (NextCall::Rejected, None));
    assert!(!circuit.would_admit() && !circuit.is_open(), "a half-open circuit without a slot is not open");
    assert!(matches!(circuit.peek(), Peek::ProbesTaken(_)), "{:?}", circuit.peek());
    let rejected = circuit.try_acquire().expect_err("no slot is free");
    assert_eq!((rejected.reason(), rejected.retry_after()), (RejectReason::HalfOpen, None));
}

/// Checks that every answer about the next call names a probe. Makes no call.
#[track_caller]
fn would_probe(circuit: &Circuit) {
    assert_eq!(circuit.status().next_call, NextCall::Probe);
    assert!(circuit.would_admit());
    assert_eq!(circuit.peek(), Peek::MayPass);
}

struct Bell(Sender<()>);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.send(()).expect("the test listens");
    }
}

/// Registers a task, and returns the channel that receives its wakes.
fn waiting(circuit: &Circuit) -> Receiver<()> {
    let (bell, woken) = channel();
    let waker = Waker::from(Arc::new(Bell(bell)));
    circuit.register_at(&mut Place::default(), &Context::from_waker(&waker));
    woken
}

#[test]
fn under_leases_no_call_probes_without_a_grant() {
    let (circuit, clock) = leased(|settings| settings.probes_in_flight(3).probes(3));
    let era = circuit.status().era;
    for _ in 0..10 {
        rejects(&circuit);
        clock.advance(LEASES / 2);
        circuit.lease_probes(LEASES);
    }
    let none = Probed { era, successes: 0, failures: 0, granted: 0, under_way: 0, oldest: Duration::ZERO };
    assert_eq!(circuit.probing(), Some(none));
}

#[test]
fn one_grant_admits_one_probe() {
    let (circuit, _) = leased(|settings| settings.probes_in_flight(3).probes(5));
    let era = circuit.status().era;
    assert!(circuit.grant(era));
    would_probe(&circuit);
    assert_eq!(slots(&circuit), (1, 0));
    let first = probe(&circuit);
    assert_eq!(slots(&circuit), (0, 1));
    rejects(&circuit);
    first.success();
    assert_eq!(slots(&circuit), (0, 0), "the end of a probe withholds its slot");
    rejects(&circuit);
    assert!(circuit.grant(era) && circuit.grant(era));
    let two = [probe(&circuit), probe(&circuit)];
    rejects(&circuit);
    drop(two);
    assert_eq!((probed(&circuit).successes, slots(&circuit)), (1, (0, 0)));
}

#[test]
fn every_end_of_a_granted_probe_withholds_its_slot() {
    let ends: [fn(Permit); 4] = [Permit::success, |permit| permit.failure(Failure::hard()), Permit::cancel, drop];
    for end in ends {
        let (circuit, _) = leased(|settings| settings.probes(3).probe_failures_tolerated(3));
        assert!(circuit.grant(circuit.status().era));
        end(probe(&circuit));
        rejects(&circuit);
        assert_eq!(slots(&circuit), (0, 0));
    }
}

#[test]
fn a_granted_probe_counts_for_the_verdict_as_every_probe() {
    let (circuit, _) = leased(|settings| settings.probes(1));
    assert!(circuit.grant(circuit.status().era));
    probe(&circuit).success();
    assert_eq!((circuit.state(), circuit.probing()), (State::Closed, None));
    let (circuit, _) = leased(|settings| settings.probes(2));
    assert!(circuit.grant(circuit.status().era));
    probe(&circuit).failure(Failure::hard());
    assert_eq!((circuit.state(), circuit.probing()), (State::Open, None));
}

#[test]
fn without_leases_a_grant_makes_no_difference() {
    let (circuit, _) = rig(|settings| settings.probes_in_flight(2).probes(2));
    circuit.reset(&by(), To::HalfOpen);
    assert!(circuit.grant(circuit.status().era));
    let two = [probe(&circuit), probe(&circuit)];
    rejects(&circuit);
    drop(two);
    would_probe(&circuit);
}

#[test]
fn a_grant_of_another_era_frees_nothing() {
    let (circuit, _) = leased(|settings| settings);
    let before = circuit.status().era;
    assert!(circuit.grant(before));
    circuit.reset(&by(), To::HalfOpen);
    rejects(&circuit);
    assert!(!circuit.grant(before) && !circuit.grant(before + 2) && !circuit.grant(before + (1 << 14)));
    assert_eq!(slots(&circuit), (0, 0), "the grant of the earlier era ended with it");
    rejects(&circuit);
    circuit.reset(&by(), To::Closed);
    assert!(!circuit.grant(circuit.status().era), "a closed circuit starts no probes");
}

#[test]
fn withhold_takes_unused_grants_back_and_leaves_a_running_probe() {
    let (circuit, _) = leased(|settings| settings.probes_in_flight(2).probes(3));
    let era = circuit.status().era;
    assert!(circuit.grant(era) && circuit.grant(era));
    let running = probe(&circuit);
    circuit.withhold(era - 1);
    assert_eq!(slots(&circuit), (1, 1), "an earlier era has no grants any more");
    circuit.withhold(era);
    assert_eq!(slots(&circuit), (0, 1));
    rejects(&circuit);
    running.success();
    assert_eq!(probed(&circuit).successes, 1);
}

#[test]
fn a_circuit_probes_by_itself_once_its_leases_are_not_renewed() {
    let (circuit, clock) = leased(|settings| settings.probes_in_flight(2).probes(3));
    clock.advance(LEASES / 2);
    assert_eq!(circuit.peek(), Peek::ProbesTaken(LEASES / 2));
    circuit.lease_probes(LEASES);
    clock.advance(LEASES - Duration::from_nanos(1));
    rejects(&circuit);
    assert_eq!(circuit.peek(), Peek::ProbesTaken(Duration::from_nanos(1)));
    clock.advance(Duration::from_nanos(1));
    would_probe(&circuit);
    let two = [probe(&circuit), probe(&circuit)];
    rejects(&circuit);
    drop(two);
}

#[test]
fn a_grant_when_the_leases_run_out_admits_no_extra_probe() {
    let (circuit, clock) = leased(|settings| settings.probes(3));
    assert!(circuit.grant(circuit.status().era));
    let granted = probe(&circuit);
    clock.advance(LEASES);
    rejects(&circuit);
    circuit.lease_probes(LEASES);
    assert!(circuit.grant(circuit.status().era), "the grant waits for the probe under way");
    rejects(&circuit);
    granted.success();
    probe(&circuit).success();
    rejects(&circuit);
}

#[test]
fn a_circuit_whose_leases_end_at_once_wakes_its_tasks() {
    let (circuit, _) = leased(|settings| settings);
    let woken = waiting(&circuit);
    circuit.lease_probes(LEASES);
    circuit.lease_probes(2 * LEASES);
    assert!(woken.try_recv().is_err(), "a renewal wakes no task");
    circuit.lease_probes(LEASES);
    assert!(woken.try_recv().is_ok(), "the task waits for the later end");
    let woken = waiting(&circuit);
    circuit.lease_probes(Duration::ZERO);
    assert!(woken.try_recv().is_ok());
    would_probe(&circuit);
    let woken = waiting(&circuit);
    circuit.lease_probes(Duration::ZERO);
    assert!(woken.try_recv().is_err(), "nothing has changed");
}

#[test]
fn a_renewal_takes_no_lock() {
    let (circuit, clock) = leased(|settings| settings);
    clock.advance(LEASES / 2);
    let _cold = circuit.inner().cold.lock();
    circuit.lease_probes(LEASES);
    assert_eq!(circuit.peek(), Peek::ProbesTaken(LEASES));
}

#[test]
fn a_grant_wakes_the_waiting_tasks() {
    let (circuit, _) = leased(|settings| settings);
    let era = circuit.status().era;
    let woken = waiting(&circuit);
    assert!(!circuit.grant(era - 1));
    circuit.withhold(era);
    assert!(woken.try_recv().is_err(), "nothing was granted");
    assert!(circuit.grant(era));
    assert!(woken.try_recv().is_ok());
}

#[test]
fn a_wait_for_a_grant_also_ends_when_the_running_probe_is_overdue() {
    let (circuit, clock) = leased(|settings| settings.probes_in_flight(2).probes(3));
    circuit.lease_probes(DEADLINE * 3);
    assert!(circuit.grant(circuit.status().era));
    let _running = probe(&circuit);
    clock.advance(DEADLINE / 3);
    assert_eq!(circuit.peek(), Peek::ProbesTaken(DEADLINE - DEADLINE / 3));
    circuit.lease_probes(LEASES);
    assert_eq!(circuit.peek(), Peek::ProbesTaken(LEASES));
}

#[test]
fn after_a_cancelled_probe_a_grant_admits_both_requests_of_a_hedge() {
    let (circuit, _) = leased(|settings| settings.probes(3));
    let era = circuit.status().era;
    assert!(circuit.grant(era));
    probe(&circuit).cancel();
    rejects(&circuit);
    assert!(circuit.grant(era));
    assert_eq!(slots(&circuit), (2, 0));
    let (first, second) = (probe(&circuit), probe(&circuit));
    rejects(&circuit);
    first.success();
    second.cancel();
    assert_eq!((probed(&circuit).successes, slots(&circuit)), (1, (0, 0)));
}

#[test]
fn grants_do_not_add_up_the_slots_for_hedges() {
    let (circuit, _) = leased(|settings| settings.probes_in_flight(4).probes(9));
    let era = circuit.status().era;
    assert!(circuit.grant(era));
    for _ in 0..3 {
        probe(&circuit).cancel();
        assert!(circuit.grant(era));
        assert_eq!(slots(&circuit), (2, 0), "one probe, and one for a hedge");
    }
}

#[test]
fn a_grant_without_a_withheld_slot_is_refused() {
    let (circuit, _) = leased(|settings| settings);
    let era = circuit.status().era;
    assert!(circuit.grant(era) && circuit.grant(era), "one slot in flight, and one for a hedge");
    assert!(!circuit.grant(era));
    let _one = probe(&circuit);
    rejects(&circuit);
}

#[test]
fn a_restored_half_open_circuit_waits_for_a_grant() {
    let (circuit, clock) = rig(|settings| settings.probes(3));
    circuit.lease_probes(LEASES);
    let half_open = Snapshot { state: State::HalfOpen, probe_successes: 2, ..Snapshot::closed() };
    circuit.adopt(&half_open, Reason::Restored).expect("it was closed");
    rejects(&circuit);
    assert_eq!(probed(&circuit).successes, 2);
    clock.advance(LEASES);
    would_probe(&circuit);
    circuit.lease_probes(LEASES);
    assert!(circuit.grant(circuit.status().era));
    probe(&circuit).success();
    assert_eq!(circuit.state(), State::Closed);
}

#[test]
fn an_overdue_probe_shows_its_age_and_loses_its_slot_withheld() {
    let (circuit, clock) = leased(|settings| settings.probes(3));
    circuit.lease_probes(DEADLINE * 4);
    assert!(circuit.grant(circuit.status().era));
    let overdue = probe(&circuit);
    clock.advance(DEADLINE);
    let Probed { under_way, oldest, .. } = probed(&circuit);
    assert_eq!((under_way, oldest), (1, DEADLINE), "no call has come");
    rejects(&circuit);
    assert_eq!(slots(&circuit), (0, 0), "the call took the slot back");
    rejects(&circuit);
    overdue.success();
    assert_eq!(probed(&circuit).successes, 1, "a late success counts");
    rejects(&circuit);
}

#[test]
fn the_circuit_ends_no_round_without_a_verdict_while_probes_are_leased() {
    let round = || {
        let (circuit, clock) = leased(|settings| settings.probes(3).quiet_after(DEADLINE * 2));
        circuit.lease_probes(DEADLINE * 4);
        let era = circuit.status().era;
        assert!(circuit.grant(era));
        (circuit, clock, era)
    };
    let (slow, clock, era) = round();
    let overdue = probe(&slow);
    clock.advance(DEADLINE * 3);
    rejects(&slow);
    assert_eq!(slow.status().era, era, "the wait for leases is a part of the era");
    clock.advance(DEADLINE);
    assert!(slow.try_acquire().is_ok(), "without leases the circuit probes by itself");
    drop(overdue);

    let (quiet, clock, era) = round();
    probe(&quiet).success();
    clock.advance(DEADLINE * 3);
    rejects(&quiet);
    assert_eq!(quiet.status().era, era, "the fleet decides that a service is quiet");
    clock.advance(DEADLINE);
    quiet.try_acquire().expect("without leases the quiet service is well").success();
    assert_eq!(quiet.status().transitions.last().map(|edge| edge.reason.as_str()), Some("quiet_service"));
}

#[test]
fn the_first_question_after_an_opening_requests_a_lease() {
    type Ask = fn(&Circuit) -> bool;
    let questions: [(&str, Ask); 5] = [
        ("would_admit", Circuit::would_admit),
        ("is_open", Circuit::is_open),
        ("peek", |circuit| circuit.peek() == Peek::MayPass),
        ("status", |circuit| circuit.status().next_call == NextCall::Probe),
        ("a call", |circuit| circuit.try_acquire().is_ok()),
    ];
    let begins: [fn(&Circuit); 2] = [open, |circuit| {
        circuit.trip(&by(), Some(OPEN_FOR));
    }];
    for begin in begins {
        for (name, ask) in questions {
            let (circuit, clock) = rig(|settings| settings);
            begin(&circuit);
            let era = circuit.status().era;
            circuit.lease_probes(OPEN_FOR + LEASES);
            assert_eq!(ask(&circuit), name == "is_open", "{name}: the opening is not over");
            clock.advance(OPEN_FOR);
            assert!(!ask(&circuit), "{name}: no grant is there");
            let status = circuit.status();
            assert_eq!((status.state, status.era), (State::HalfOpen, era + 1), "{name}");
            rejects(&circuit);
            assert!(circuit.grant(era + 1));
            would_probe(&circuit);
        }
    }
}

#[test]
fn a_page_reads_the_answer_and_requests_no_lease() {
    let (circuit, clock) = rig(|settings| settings);
    open(&circuit);
    circuit.lease_probes(OPEN_FOR + LEASES);
    clock.advance(OPEN_FOR);
    let status = circuit.status_with(1);
    assert_eq!((status.state, status.next_call, status.retry_after), (State::Open, NextCall::Rejected, None));
    circuit.refresh_metrics();
    assert_eq!(circuit.state(), State::Open);
    clock.advance(LEASES);
    assert_eq!(circuit.status_with(1).next_call, NextCall::Probe);
    circuit.lease_probes(Duration::ZERO);
    would_probe(&circuit);
    assert_eq!(circuit.state(), State::Open, "without leases a question changes nothing");
}

#[cfg(feature = "keyed")]
#[test]
fn an_unused_circuit_is_judged_as_if_probes_were_not_leased() {
    let (circuit, clock) = rig(|settings| settings);
    open(&circuit);
    circuit.lease_probes(OPEN_FOR + LEASES);
    assert!(!circuit.would_admit_without_leases(), "the opening is not over");
    clock.advance(OPEN_FOR);
    assert!(circuit.would_admit_without_leases());
    assert_eq!(circuit.state(), State::Open);
    rejects(&circuit);
    assert!(circuit.would_admit_without_leases(), "half-open, and no probe is under way");
    assert!(circuit.grant(circuit.status().era));
    let _probe = probe(&circuit);
    assert!(!circuit.would_admit_without_leases());
}

#[test]
fn a_circuit_in_shadow_probes_without_a_grant() {
    let (circuit, clock) = rig(ConfigBuilder::shadow);
    open(&circuit);
    circuit.lease_probes(OPEN_FOR + LEASES);
    clock.advance(OPEN_FOR);
    would_probe(&circuit);
    assert_eq!(circuit.state(), State::Open, "the question changes nothing");
    probe(&circuit).success();
    assert_eq!(circuit.state(), State::HalfOpen);
}

#[test]
fn a_circuit_under_a_hold_or_the_kill_switch_gets_no_grant() {
    let (circuit, clock) = leased(|settings| settings);
    circuit.disable(&by(), Some(OPEN_FOR));
    circuit.lease_probes(OPEN_FOR + LEASES);
    assert_eq!((circuit.probing(), circuit.grant(circuit.status().era)), (None, false));
    clock.advance(OPEN_FOR);
    assert_eq!(circuit.status_with(0).next_call, NextCall::Rejected, "the state beneath is half-open");
    rejects(&circuit);
    assert!(circuit.grant(circuit.status().era), "the questions ended the hold, so that a lease can be requested");
    circuit.trip(&by(), None);
    assert_eq!((circuit.probing(), circuit.grant(circuit.status().era)), (None, false));
}

#[test]
fn a_call_inside_a_granted_probe_passes() {
    let (circuit, _) = leased(|settings| settings);
    assert!(circuit.grant(circuit.status().era));
    let outer = probe(&circuit);
    let inner = outer.noted(|| circuit.try_acquire()).expect("it is a part of the probe");
    assert!(!inner.is_probe());
}

#[test]
fn the_text_of_a_status_names_the_lease_it_waits_for() {
    let (circuit, _) = leased(|settings| settings);
    assert!(circuit.status().to_string().contains("; its next probe waits for a lease"), "{}", circuit.status());
    assert!(circuit.grant(circuit.status().era));
    let _probe = probe(&circuit);
    assert!(circuit.status().to_string().contains("; it admits no further probe now"), "{}", circuit.status());
}
