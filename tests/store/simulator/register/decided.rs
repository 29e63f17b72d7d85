//! The promises of each accepted write about the fleet. They hold while no data was lost and no second register brings
//! decisions, because then each write continues the record before.

use tower_circuit_breaker::State;
use tower_circuit_breaker::coordinator::Sharing;
use tower_circuit_breaker::record::{CircuitRecord, Lease, Timestamp};
use tower_circuit_breaker::state::Generation;

/// The probes that close the fleet, which are those of the default settings.
const PROBES: u32 = 3;

/// Returns the decision of the fleet. Under `Sharing::Follow` a newer published state is a decision.
pub(crate) fn decision(record: &CircuitRecord, sharing: Sharing) -> (State, Generation) {
    let decided = record.fleet.as_ref().map_or((State::Closed, Generation::new(0)), |it| (it.state, it.generation));
    let published = (record.state, record.generation);
    if sharing == Sharing::Follow && published.1 > decided.1 { published } else { decided }
}

/// Returns the promise that the write breaks.
pub(super) fn broken(
    before: &CircuitRecord,
    after: &CircuitRecord,
    sharing: Sharing,
    now: Timestamp,
) -> Option<&'static str> {
    let (was, round) = decision(before, sharing);
    let needed = if sharing == Sharing::Follow { 1 } else { 2 };
    if after.generation > before.generation && after.reason.starts_with("reset by") {
        return None;
    }
    let fleet = after.fleet.as_ref()?;
    if decision(after, sharing).1 == round {
        return in_round(after, fleet.state, round, now);
    }
    if (fleet.state, fleet.generation) != (after.state, after.generation) {
        return Some("the decision is not the published state");
    }
    let leases: Vec<_> = leases(after, round).collect();
    let failed = leases.iter().filter(|lease| lease.failed_at.is_some()).count();
    let passed: u32 = leases.iter().map(|lease| lease.passed).sum();
    let says = |text: &str| fleet.reason.contains(text);
    match (was, fleet.state) {
        (State::Closed, State::Open) if fleet.merged => {
            let failing = after.instances.values().filter(|entry| entry.score > 0.0).count();
            (failing < 2).then_some("the failures of one instance opened the fleet")
        }
        (State::Closed, State::Open) => {
            let votes = after.instances.values().filter_map(|entry| entry.vote.as_ref());
            let votes = votes.filter(|vote| vote.on == round && vote.until > fleet.since).count();
            (votes < needed).then_some("too few votes opened the fleet")
        }
        (State::Open, State::HalfOpen) => {
            let until = before.fleet.as_ref().and_then(|fleet| fleet.until);
            until.is_none_or(|until| until > fleet.since).then_some("the fleet probed before the end of the opening")
        }
        (State::Closed, State::HalfOpen) => (!says("forced opening is over")).then_some("a closed fleet probed"),
        (State::HalfOpen, State::Closed) => {
            let is_quiet = says("no probe failed in") && passed > 0 && failed == 0;
            (passed < PROBES && !is_quiet).then_some("too few probes closed the fleet")
        }
        (State::HalfOpen, State::Open) => {
            let is_enough =
                failed >= 2 || failed == 1 && says("no probe of another instance passed") || says("gave no verdict");
            (!is_enough).then_some("the fleet reopened without a failed round")
        }
        _ => Some("a decision that no command makes"),
    }
}

/// Returns the promise that a record breaks within a round.
fn in_round(record: &CircuitRecord, state: State, round: Generation, now: Timestamp) -> Option<&'static str> {
    if state != State::HalfOpen {
        return None;
    }
    let pending = leases(record, round).filter(|lease| lease.until.is_some_and(|until| until > now)).count();
    let passed: u32 = leases(record, round).map(|lease| lease.passed).sum();
    if pending > 1 {
        Some("two probes at once")
    } else if passed + u32::from(pending == 1) > PROBES {
        Some("more probes than needed")
    } else {
        None
    }
}

fn leases(record: &CircuitRecord, round: Generation) -> impl Iterator<Item = &Lease> {
    record.instances.values().filter_map(|entry| entry.lease.as_ref()).filter(move |lease| lease.round == round)
}
