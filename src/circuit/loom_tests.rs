//! Loom models of the circuit's protocols. Each model runs two or three threads in every order, or in every order with
//! at most three interruptions if there are too many orders, and checks a rule of [`circuit`](super). A straggler is a
//! call that ends after its era.
//!
//! This file has the fixtures, and the files below have the models by subject. The clock stands still, and reports use
//! a channel of std, so that only the atomics and locks of the circuit are steps of a model. `scripts/loom-mutants`
//! breaks one step of the code at a time, and checks that a model fails:
//!
//! | model | faults that make the model fail |
//! |---|---|
//! | [`edges`] | |
//! | `loom_two_failures_that_complete_a_run_trip_once` | `change` does not compare eras |
//! | `loom_two_failures_that_complete_a_score_trip_once` | a sum or a bucket is stored instead of exchanged |
//! | `loom_two_failures_that_complete_a_rate_trip_once` | the exchange in `Tagged::update` has no Release |
//! | `loom_a_retry_after_of_the_evidence_is_a_floor` | the `Retry-After` is stored after the run, or `Tagged::get` is Relaxed |
//! | `loom_two_quarters_of_a_failure_end_the_trust` | a failure drops the bit of the trust |
//! | `loom_a_success_beside_a_quarter_of_a_failure_ends_the_trust` | a success keeps the bit of the trust |
//! | `loom_the_last_of_several_doubts_sees_all` | a doubt is added after the verdict |
//! | `loom_a_verdict_has_one_winner` | `change` does not compare eras |
//! | `loom_a_time_to_wait_holds_whichever_outcome_comes_first` | a failure that trips at once counts only in its own era, or `leave_alone_from_now` does not try again |
//! | `loom_every_change_begins_an_era_of_its_own` | `change_any` loads the word before the lock |
//! | `loom_a_rejected_caller_knows_the_deadline` | the word is stored or loaded Relaxed, or stored before the data of its era |
//! | `loom_a_reopened_circuit_admits_no_call` | the word is stored or loaded Relaxed, or stored before the data of its era |
//! | `loom_a_status_is_of_one_era` | `status` loads the word before the lock |
//! | `loom_a_circuit_is_spread_while_its_era_changes` | `spread` loads the word before the lock, or a change undoes the spreading |
//! | `loom_a_health_probe_of_an_ended_era_lets_no_call_probe` | the success of a check ignores its era |
//! | `loom_a_health_probe_beside_a_due_call_makes_one_transition` | `change` does not compare eras |
//! | [`probes`] | |
//! | `loom_callers_past_the_deadline_make_one_transition` | `change` does not compare eras |
//! | `loom_callers_past_the_deadline_find_every_slot` | a new era without a deadline overwrites the deadline, or the slots are freed after the word is stored |
//! | `loom_three_callers_take_two_slots` | a slot is loaded and stored instead of exchanged |
//! | `loom_a_probe_that_ends_gives_its_slot_back` | a slot is not freed |
//! | `loom_a_round_admits_no_more_probes_than_its_verdict_can_use` | `can_use_another` ignores the successes |
//! | `loom_an_overdue_slot_is_given_back_once` | `reclaim` also frees the slot of a probe that is not overdue |
//! | `loom_the_late_end_of_an_overdue_probe_frees_no_slot_of_another` | a late end frees the slot of the next probe |
//! | `loom_a_stragglers_probe_frees_no_later_slot` | a change of a slot ignores the era |
//! | `loom_a_stragglers_probe_stays_out_of_the_next_verdict` | `record` does not compare eras |
//! | `loom_a_grant_reaches_no_later_era` | a change of a slot ignores the era, or an era begins with free slots |
//! | `loom_two_callers_take_one_grant_once` | a slot is loaded and stored instead of exchanged, or a call ignores the leases |
//! | `loom_a_grant_is_taken_or_taken_back` | `withhold` takes the slot of a probe |
//! | `loom_a_grant_beside_the_end_of_a_probe_admits_one_call` | the slot of an ended probe is free |
//! | `loom_leases_that_end_beside_a_grant_admit_no_extra_probe` | the probes under way are not counted |
//! | `loom_a_call_of_a_later_era_finds_the_leases` | the word is stored Relaxed |
//! | [`evidence`] | |
//! | `loom_a_stragglers_failure_stays_out_of_the_next_era` | a number, a slot or a bucket ignores its era |
//! | `loom_the_first_failure_of_an_era_is_counted` | the run of the era begins after the word is stored |
//! | `loom_no_call_is_missing_from_the_totals` | a call that is too late for its bucket is not counted |
//! | `loom_a_failure_takes_no_success_back` | the count of failures is written or read Relaxed |
//! | [`groups`] | |
//! | `loom_two_members_that_fail_take_one_slot` | a slot is loaded and stored instead of exchanged |
//! | `loom_a_slot_is_free_only_after_the_closing` | a slot is given back before the word of the closing, or is given back or taken Relaxed |
//! | `loom_a_member_that_leaves_takes_no_slot_along` | a circuit that has left takes a slot, keeps its slot, or leaves after the lock |
//! | `loom_members_that_leave_lose_no_slot` | the count of members is loaded and stored |
//! | `loom_two_failures_of_a_member_are_not_suppressed_by_its_own_slot` | an opening is suppressed without the lock in an era in which none was suppressed before |
//! | [`hanging`] | |
//! | `loom_a_slow_call_that_ends_is_not_counted_twice` | the end is counted after the window, a fence is missing, or `weigh` reads the window after the hanging calls |
//! | `loom_a_call_hangs_in_the_era_of_its_permit` | the start of a call counts in a later era than its permit |
//! | [`limit`] | |
//! | `loom_the_end_of_a_limit_ends_no_later_limit` | `settle_limit` does not read the ramp again |
//! | `loom_the_end_of_a_limit_hides_no_deadline` | `settle_limit` loads the word before the lock, or stores the word Relaxed |
//! | `loom_a_limit_that_is_over_is_cleared_by_the_next_call` | `settle_limit` keeps the bit |
//! | `loom_the_next_failure_begins_the_throttle` | a failure does not set the bit |
//! | `loom_a_call_that_finds_a_limit_knows_its_ramp` | `resume_limit` stores the word Relaxed, or before the ramp |
//! | [`waiting`] | |
//! | `loom_a_waiter_is_woken_or_sees_both_changes` | the flag is stored instead of exchanged, is exchanged with a weaker ordering, or is raised before the task is added |
//! | `loom_two_waiters_are_woken_or_see_the_change` | the flag is stored instead of exchanged, or is exchanged with a weaker ordering |
//! | `loom_a_slot_waiter_is_woken_or_finds_the_slot` | `judge` wakes the tasks before the slot is free, or does not wake the tasks |
//! | `loom_a_waiter_for_a_grant_is_woken_or_finds_the_slot` | `grant` wakes the tasks before the slot is free, or does not wake the tasks |
//! | `loom_a_waiter_for_the_end_of_the_leases_is_woken_or_sees_it` | `lease_probes` wakes the tasks before the end, or does not wake the tasks |
//! | `loom_a_waiter_for_a_health_probe_is_woken_or_may_pass` | a success wakes the tasks before the era is cleared, or does not wake the tasks |
//! | `loom_a_waiter_sleeps_through_no_lost_race_for_a_grant` | a call that was counted without a slot does not wake the tasks |
//! | `loom_a_poll_for_a_change_is_woken_or_sees_it` | `change_any` wakes the tasks before the word is stored, or `poll_changed` does not check again |
//! | `loom_a_waiter_for_the_restore_is_woken_or_sees_it` | `restored` wakes the tasks before the word is stored, or does not wake the tasks |
//! | `loom_a_rule_met_while_the_wait_ends_is_not_lost` | `change` compares words, or `restored` loads the word before the lock |
//! | `loom_the_end_of_the_wait_hides_no_deadline` | `restored` stores the word Relaxed |
//! | `loom_one_caller_sums_up_the_rejections` | a thread whose exchange has failed tries again |

mod edges;
mod evidence;
mod groups;
mod hanging;
mod limit;
mod probes;
mod waiting;

use std::sync::{Arc, mpsc};
use std::task::{Wake, Waker};
use std::time::Duration;
use std::time::SystemTime;

use loom::model::Builder;
use loom::thread::{self, JoinHandle};

use super::{Circuit, Permit, To};
use crate::clock::{Clock, Tick};
use crate::config::{Config, ConfigBuilder, OpenDuration};
use crate::error::Rejected;
use crate::event::{Event, Observer};
use crate::outcome::{Failure, Weight};
use crate::state::{By, Reason, Snapshot, Standing, State};
use crate::sync::{AtomicU32, Relaxed};

/// Runs the model in every order of the threads' steps that loom distinguishes, and with every value that a load may
/// return.
fn in_every_order(model: impl Fn() + Send + Sync + 'static) {
    let mut builder = Builder::new();
    builder.preemption_bound = None;
    builder.check(model);
}

/// Runs the model in the orders in which a thread is interrupted at most three times, because some models have too many
/// orders.
fn in_most_orders(model: impl Fn() + Send + Sync + 'static) {
    let mut builder = Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(model);
}

/// A clock that stands still, so that reading the clock is no step of the model.
#[derive(Debug)]
struct Stopped;

impl Clock for Stopped {
    fn now(&self) -> Tick {
        NOW
    }

    fn wall(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH
    }
}

/// The settings of the models, with no rule, openings of ten seconds, and one probe under way at a time.
fn rules() -> ConfigBuilder {
    Config::builder("model")
        .without_failure_rate()
        .without_consecutive_failures()
        .open_for(OpenDuration::fixed(TEN))
        .seed(1)
        .clock(Stopped)
}

fn circuit(config: ConfigBuilder) -> Circuit {
    Circuit::new(config.build().expect("the model's settings are valid"))
}

fn observed(config: ConfigBuilder) -> (Circuit, mpsc::Receiver<Report>) {
    let (sender, reports) = mpsc::channel();
    (circuit(config.observer(Reporter(sender))), reports)
}

#[derive(Debug, PartialEq, Eq)]
enum Report {
    Edge(u64, State),
    Rejections,
}

#[derive(Debug)]
struct Reporter(mpsc::Sender<Report>);

impl Observer for Reporter {
    fn on_event(&self, _circuit: &str, event: &Event<'_>) {
        let report = match event {
            Event::Transition(edge) => Report::Edge(edge.era, edge.to.state),
            Event::Rejections { .. } => Report::Rejections,
            Event::Refresh { .. }
            | Event::Finished { .. }
            | Event::Rejected { .. }
            | Event::Fallback { .. }
            | Event::Sums { .. }
            | Event::Stale
            | Event::Forgotten
            | Event::Fleet { .. }
            | Event::FleetProbes { .. }
            | Event::Suppressed { .. }
            | Event::FleetDeclined
            | Event::HealthBegan
            | Event::HealthProbe { .. }
            | Event::SystemLoad { .. } => return,
        };
        self.0.send(report).expect("the model listens");
    }
}

fn all(reports: &mpsc::Receiver<Report>) -> Vec<Report> {
    reports.try_iter().collect()
}

struct Bell(mpsc::Sender<()>);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.send(()).expect("the model listens");
    }
}

/// Returns a waker, and a channel that receives a message for each wake.
fn waker() -> (Waker, mpsc::Receiver<()>) {
    let (bell, woken) = mpsc::channel();
    (Arc::new(Bell(bell)).into(), woken)
}

fn by() -> By {
    By::new("model", "to begin with").expect("a valid name")
}

fn close(circuit: &Circuit) {
    circuit.reset(&by(), To::Closed);
}

fn half_open(circuit: &Circuit) {
    circuit.reset(&by(), To::HalfOpen);
}

/// Returns a circuit that is closed on trust, because three probes ended without a verdict.
fn on_trust(config: ConfigBuilder) -> Circuit {
    let circuit = circuit(config);
    half_open(&circuit);
    (0..3).for_each(|_| drop(call(&circuit)));
    assert_eq!(era_and_state(&circuit).1, State::Closed);
    circuit
}

fn quarter() -> Failure {
    Failure::new(Weight::new(0.25).expect("more than 0"))
}

/// Opens the circuit for no time at all, so that the next caller finds the open duration over.
fn past_deadline(circuit: &Circuit) {
    let mut over = Snapshot::closed();
    over.state = State::Open;
    over.open_for = Some(Duration::ZERO);
    circuit.adopt(&over, Reason::Restored).expect("it was closed");
}

/// Makes the circuit half-open by a restore, so that no health probe of this process has begun the era.
fn half_open_before_this_process(circuit: &Circuit) {
    let mut before = Snapshot::closed();
    before.state = State::HalfOpen;
    circuit.adopt(&before, Reason::Restored).expect("it was closed");
}

fn call(circuit: &Circuit) -> Permit {
    circuit.try_acquire().expect("it is closed, or a slot is free")
}

fn era_and_state(circuit: &Circuit) -> (u64, State) {
    let (era, Standing { state, .. }) = circuit.inner().era_and_standing();
    (era, state)
}

fn fail(permit: Permit) {
    permit.failure(Failure::hard());
}

/// Runs two calls that fail at the same time.
fn fail_two(circuit: &Circuit) {
    let (one, other) = (call(circuit), call(circuit));
    beside(|| fail(one), || fail(other));
}

/// Runs two callers at the same time. The permits outlive both calls.
fn acquire_two(circuit: &Circuit) -> [Result<Permit, Rejected>; 2] {
    let its = circuit.clone();
    beside(move || its.try_acquire(), || circuit.try_acquire()).into()
}

/// Runs `aside` on another thread at the same time as `here`.
fn beside<A: 'static, H>(aside: impl FnOnce() -> A + Send + 'static, here: impl FnOnce() -> H) -> (A, H) {
    let thread = spawn(aside);
    begin();
    let here = here();
    (joined(thread), here)
}

fn spawn<T: 'static>(act: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    thread::spawn(|| {
        begin();
        act()
    })
}

fn joined<T>(thread: JoinHandle<T>) -> T {
    thread.join().expect("it does not panic")
}

/// Runs the first step of every thread.
///
/// Loom swaps two steps that access the same word, but compares a step only with the last access of that word. If
/// thread A loads a word, and thread B then loads and stores the same word, loom compares the store of B only with the
/// load of B. So loom misses the order in which B stores before A loads. Every thread begins with a step on `START`, so
/// that loom also tries the orders in which each thread runs first.
fn begin() {
    START.fetch_add(1, Relaxed);
}

loom::lazy_static! {
    static ref START: AtomicU32 = AtomicU32::new(0);
}

const NOW: Tick = Tick::from_nanos(1_000_000_000_000);
const TEN: Duration = Duration::from_secs(10);
