//! The restore of a circuit from its record. The functions are pure, so that the rules can be tested without
//! a store.
//!
//! An instance restores its own entry from the record. The counts in the entry are restored only if they are recent. If
//! the record has no entry of the instance, the instance restores the published state. In a fleet, the decision of the
//! fleet replaces the published state. The decision also replaces the entry of the instance if the entry is older.

use std::sync::Arc;
use std::time::Duration;

use super::desk::Who;
use super::report::Recovered;
use crate::config::{Config, Recovery};
use crate::record::{CircuitRecord, Fleet, InstanceEntry, Operated, Timestamp};
use crate::state::{Act, EarlierReason, Generation, Mode, Snapshot, State};
use crate::window::{Tally, Window};

/// The state that a circuit takes at its restore, and the source of the state.
#[derive(Debug, PartialEq)]
pub(super) struct Restoration {
    pub(super) snapshot: Snapshot,
    pub(super) whose: Recovered,
}

/// Returns the state that the circuit of this instance adopts. Returns `None` if the record has no entry of this
/// instance, no published state and no act.
pub(super) fn restoration(record: &CircuitRecord, who: &Who, config: &Config, now: Timestamp) -> Option<Restoration> {
    let id = who.id.as_str();
    let own = record.instances.get(id).filter(|entry| !who.sharing.is_of_fleet() || is_newer(entry, record, who));
    let (mut snapshot, whose, acts, mode_before) = match own {
        Some(entry) => {
            let mut snapshot = Snapshot::closed();
            snapshot.state = entry.state;
            snapshot.open_for = entry.open_for(now);
            snapshot.tripped_for = entry.left_closed_at.map(|at| now.since(at));
            snapshot.attempt = entry.attempt;
            snapshot.probe_successes = entry.probe_successes;
            give(&mut snapshot, opening(record, entry), now);
            // The entry does not contain the time at which a half-open state began. If this instance has published the
            // state, the published state contains this time.
            let is_published = entry.state == State::HalfOpen && record.instance == id;
            snapshot.half_open_for = half_open_for(record, now).filter(|_| is_published);
            // Counts are restored only if they are recent. Old counts do not show the present health of the service.
            if now.since(entry.updated_at) <= remembered(config.window) {
                snapshot.run = entry.run;
                snapshot.tally = Tally::new(entry.calls, entry.score, entry.slow);
            }
            (snapshot, Recovered::Own, entry.acts, entry.mode)
        }
        None if record.generation == Generation::new(0) && record.operator.is_none() => return None,
        // In a fleet, the decision of the fleet is restored instead of the published state. An instance with an earlier
        // version of this crate may have published its own state.
        None if who.sharing.is_of_fleet() => {
            let mut snapshot = Snapshot::closed();
            // This instance can stay open for longer than the fleet, even while the fleet is half-open. A reset that is
            // newer than the entry has ended this open state.
            let reset = record.operator.as_ref().filter(|operated| operated.act == Act::Reset);
            let is_open = |entry: &&InstanceEntry| {
                entry.state == State::Open && reset.is_none_or(|reset| entry.acts >= reset.sequence)
            };
            let own = record.instances.get(id).filter(is_open);
            if let Some(entry) = own.filter(|_| record.state == State::Open) {
                (snapshot.state, snapshot.open_for) = (State::Open, entry.open_for(now));
            }
            decided(&mut snapshot, record, who, now);
            let lasts = |entry: &&InstanceEntry| entry.open_for(now).is_none_or(|left| !left.is_zero());
            if let Some(entry) = own.filter(|_| snapshot.state == State::HalfOpen).filter(lasts) {
                (snapshot.state, snapshot.open_for, snapshot.half_open_for) = (State::Open, entry.open_for(now), None);
            }
            (snapshot, Recovered::Published, 0, Mode::Automatic)
        }
        None => (published(record, id, now), Recovered::Published, 0, Mode::Automatic),
    };
    snapshot.generation = record.generation;
    snapshot.mode = config.first_mode();
    if let Some(operated) = &record.operator {
        let unknown_here = operated.sequence > acts;
        if unknown_here && operated.act == Act::Reset && own.is_some_and(|entry| entry.state != State::Closed) {
            // The reset is newer than the entry of this instance, so the state of the entry is obsolete.
            let closed = Snapshot::closed();
            snapshot = Snapshot { state: operated.to, generation: snapshot.generation, mode: snapshot.mode, ..closed };
            let reason = format!("{} by {}: {}", operated.act, operated.user, operated.reason);
            give(&mut snapshot, Some((EarlierReason::new(&reason), Some(operated.at))), now);
            snapshot.half_open_for = snapshot.earlier_for.filter(|_| operated.to == State::HalfOpen);
        }
        // This function does not restore a hold that is still in force. The task applies the hold later like
        // an act of another instance, so that rejections name the operator and the reason.
        if !operated.holds(now)
            && operated.mode == Mode::ForcedOpen
            && config.recovery == Recovery::Automatic
            && (mode_before == Mode::ForcedOpen || unknown_here)
        {
            // The operator's trip ended while this instance did not run. The end of such a trip leaves the
            // circuit half-open.
            snapshot.state = State::HalfOpen;
            snapshot.probe_successes = 0;
            snapshot.half_open_for = None;
        }
    }
    if snapshot.state != State::Closed {
        snapshot.run = 0.0;
        snapshot.tally = Tally::default();
        snapshot.closed_for = None;
    } else if who.sharing.is_of_fleet() {
        snapshot.closed_for = closed_for(record, &record.decision(who.follows()), now);
    }
    Some(Restoration { snapshot, whose })
}

/// Returns the published state as a snapshot for the circuit of the instance with this id.
pub(super) fn published(record: &CircuitRecord, id: &str, now: Timestamp) -> Snapshot {
    let mut snapshot = Snapshot::closed();
    snapshot.generation = record.generation;
    snapshot.state = record.state;
    snapshot.attempt = record.half_open_attempts;
    snapshot.open_for = record.open_for(now);
    // The name of the instance that published the state is added to the reason. No name is added if this instance
    // opened its own circuit, or if the record has no name.
    let is_own = record.instance.is_empty() || record.instance == id && record.state == State::Open;
    let published = reason(record);
    let named = |(earlier, at): Reasoned| (if is_own { earlier } else { earlier.on(&record.instance) }, at);
    give(&mut snapshot, published.map(named), now);
    snapshot.half_open_for = half_open_for(record, now);
    snapshot.tripped_for = record.left_closed_at.filter(|_| record.state != State::Closed).map(|at| now.since(at));
    snapshot
}

/// Returns true if the entry is at least as new as the decision of the fleet, or if both are closed. An entry and a
/// decision with equal times were written together.
fn is_newer(entry: &InstanceEntry, record: &CircuitRecord, who: &Who) -> bool {
    let fleet = record.decision(who.follows());
    entry.updated_at >= fleet.since || entry.state == State::Closed && fleet.state == State::Closed
}

/// Writes the decision of a fleet into the snapshot of a circuit. The mode and the sums of the window stay. The run
/// (the weight of the failures since the last success) becomes zero if the state changes.
///
/// If the circuit and the fleet are both open, the circuit stays open until the later of the two end times. The service
/// may have asked this instance to wait until that time (`Retry-After`).
pub(super) fn decided(snapshot: &mut Snapshot, record: &CircuitRecord, who: &Who, now: Timestamp) {
    let fleet = record.decision(who.follows());
    let own_end = (snapshot.state == State::Open).then_some(snapshot.open_for);
    if snapshot.state != fleet.state {
        snapshot.run = 0.0;
    }
    (snapshot.state, snapshot.generation) = (fleet.state, record.generation);
    snapshot.open_for = None;
    if fleet.state == State::Open {
        let left = fleet.open_for(now);
        snapshot.open_for = own_end.map_or(left, |own| own.zip(left).map(|(own, left)| own.max(left)));
        snapshot.attempt = fleet.attempt;
    }
    let since = Some(fleet.since).filter(|at| *at <= now);
    let ago = since.map(|at| now.since(at));
    snapshot.half_open_for = ago.filter(|_| fleet.state == State::HalfOpen);
    snapshot.closed_for = closed_for(record, &fleet, now);
    snapshot.tripped_for = snapshot.tripped_for.or(ago).filter(|_| fleet.state != State::Closed);
    if !fleet.reason.is_empty() {
        let reason = EarlierReason::new(&fleet.reason);
        // A decision by votes or counts has the names of the instances in its reason. The reason of a state that one
        // other instance has published lacks the name of that instance, so the name is added here.
        let is_of_another = record.is_decided_by_one(who.follows()) && ![&who.id, ""].contains(&&*fleet.instance);
        give(snapshot, Some((if is_of_another { reason.on(&fleet.instance) } else { reason }, since)), now);
    }
}

/// Returns the time since the fleet closed. The circuit continues its ramp (the gradual return to all calls) as if the
/// ramp had begun this time ago. `None` if the fleet is not closed, or if an operator has closed the fleet by a reset,
/// because no ramp follows a reset.
fn closed_for(record: &CircuitRecord, fleet: &Fleet, now: Timestamp) -> Option<Duration> {
    let is_of = |operated: &Operated| fleet.reason.starts_with(&format!("{} by {}", operated.act, operated.user));
    let is_reset = record.operator.as_ref().is_some_and(|operated| operated.act == Act::Reset && is_of(operated));
    (fleet.state == State::Closed && fleet.generation.get() > 0 && !is_reset).then(|| now.since(fleet.since))
}

/// The urgency of restoring a keyed circuit before its first call. Circuits with a greater urgency are restored first.
#[cfg(feature = "keyed")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Urgency {
    /// True if the circuit rejects calls or an operator holds the circuit.
    binds: bool,
    /// True if this instance has written the state. A circuit of this instance is more urgent than others, because this
    /// instance calls the service.
    is_own: bool,
    /// The time at which the state in the record was written last.
    updated_at: Timestamp,
}

/// Returns the urgency of restoring a keyed circuit before its first call, or `None` if the restore can wait for the
/// first call. A circuit that an operator holds never waits. Any other circuit can wait if it is closed. It can also
/// wait if it would admit the next call and its state was last written at least `idle` ago, because it would soon be
/// evicted from memory again.
#[cfg(feature = "keyed")]
pub(super) fn urgency(record: &CircuitRecord, who: &Who, idle: Duration, now: Timestamp) -> Option<Urgency> {
    let entry = record.instances.get(&who.id);
    let own = entry.map(|entry| (entry.state, entry.open_for(now), entry.updated_at, true));
    let published = (record.state, record.open_for(now), record.updated_at, false);
    let states = [own, Some(published).filter(|_| entry.is_none() || who.sharing.is_of_fleet())];
    let is_held = record.held(now).is_some();
    let urgency = |(state, open_for, updated_at, is_own): (State, Option<Duration>, Timestamp, bool)| {
        let rejects = state == State::Open && open_for.is_none_or(|left| !left.is_zero());
        let is_recent = state != State::Closed && now.since(updated_at) < idle;
        let binds = rejects || is_held;
        (binds || is_recent).then_some(Urgency { binds, is_own, updated_at })
    };
    states.into_iter().flatten().filter_map(urgency).max()
}

/// The reason of a state, and the time at which the state began.
type Reasoned = (EarlierReason, Option<Timestamp>);

/// Returns the reason why the circuit of this instance opened. An entry from an older version has no reason. Then the
/// result is the reason of the published state, if the start of this instance that wrote the entry has also published
/// that state.
fn opening(record: &CircuitRecord, entry: &InstanceEntry) -> Option<Reasoned> {
    let is_open = record.state == State::Open && entry.state == State::Open;
    match entry.opening() {
        Some(opening) => Some((EarlierReason::new(&opening.reason), opening.at)),
        None if is_open && record.incarnation == entry.incarnation => reason(record),
        None => None,
    }
}

/// Returns the reason of the published state, with the time at which the state began.
fn reason(record: &CircuitRecord) -> Option<Reasoned> {
    (!record.reason.is_empty()).then(|| (EarlierReason::new(&record.reason), record.last_state_change))
}

/// Returns the time for which the published state has been half-open. `None` for another state, or if the recorded
/// start is unknown or lies in the future.
fn half_open_for(record: &CircuitRecord, now: Timestamp) -> Option<Duration> {
    let began = record.last_state_change.filter(|at| *at <= now && record.state == State::HalfOpen);
    began.map(|at| now.since(at))
}

/// Sets the reason of the state in the snapshot, and the time since the state began. A time in the future is dropped,
/// because a state cannot have begun in the future.
fn give(snapshot: &mut Snapshot, reasoned: Option<Reasoned>, now: Timestamp) {
    let (earlier, at) = reasoned.unzip();
    snapshot.earlier = earlier.map(Arc::new);
    snapshot.earlier_for = at.flatten().filter(|at| *at <= now).map(|at| now.since(at));
}

/// Returns the age up to which the counts in an entry are restored. This is the length of the window, and at least a
/// minute.
fn remembered(window: Window) -> Duration {
    let minute = Duration::from_secs(60);
    window.length().map_or(minute, |length| length.max(minute))
}
