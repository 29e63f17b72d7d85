//! The members of a fleet, which are the instances that share a store and a fleet name.
//!
//! The number of members determines the quorum. If the number is too high, the fleet opens too late, but each instance
//! still opens its own circuit. If the number is too low, few instances decide for all. An instance that is alone opens
//! its fleet without the vote of another instance. Therefore an instance that does not know the number is never treated
//! as alone.
//!
//! The record of the fleet (`record/member.rs`) has an entry for each instance. An instance writes its entry again at
//! each heartbeat. The second heartbeat follows 2 s after the first one, and later heartbeats follow every 10 s. The
//! answer of the store shows the entries of all other instances. After a conflict and at a shutdown, the next heartbeat
//! does not wait for its usual time. A first heartbeat that an outage has delayed is written as soon as the store
//! answers.
//!
//! | knowledge | number of live members | alone |
//! |---|---|---|
//! | no answer yet, or no answer for 30 s | unknown | no |
//! | an answer names another live member | that member counts until its entry is 30 s old or marked as stopped | no |
//! | answers name no other live member | 1 | yes, after 20 s without another live member |
//!
//! The members are also unknown if a later version of this crate has written the record, or if the stored bytes are not
//! a record.

mod others;
mod quorum;

use std::time::Duration;

use super::desk::{Now, Who};
use super::terms::Terms;
use crate::clock::Tick;
use crate::random::Dice;
use crate::record::{
    CircuitRecord, Command, Effect, InstanceEntry, MEMBERS_KEPT, Member, Timestamp, apply, join, record_of,
};
use crate::store::{Etag, Hint, Versioned, Write};
use crate::telemetry;
use crate::telemetry::lines::{Lines, Omitted};
use others::Others;
pub(super) use quorum::Quorum;

/// The live members of the fleet, according to the record in the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Members {
    /// The number of live members, including this instance. `None` if the store has not answered in the last 30 s.
    pub(super) live: Option<u32>,
    /// True if the record has shown no other live member for 20 s.
    pub(super) is_alone: bool,
}

/// The membership of this instance in its fleet. The struct contains the state of the heartbeats, and the known
/// members.
#[derive(Debug)]
pub(super) struct Membership {
    /// The name of the record that lists the members of the fleet.
    name: String,
    /// True if this instance writes heartbeats. False under `Sharing::Advise`, where no decision needs the number of
    /// members and an idle instance must write nothing.
    is_kept: bool,
    /// All copies of the record that this process has loaded or written, merged into one record.
    known: CircuitRecord,
    /// The version of the record in the store. A write expects this version. `Some(None)` if the store has no record.
    /// `None` if the version is unknown, for example before the first load and after a failure.
    stored: Option<Option<Etag>>,
    others: Others,
    /// The last entry that this instance has written to the store, with the id of this instance at that time.
    written: Option<(String, InstanceEntry)>,
    /// The record in the write that is under way. `None` if no write is under way.
    sent: Option<CircuitRecord>,
    is_under_way: bool,
    /// The time of the next operation on the record.
    next: Tick,
    /// The number of conflicts since the last successful write.
    conflicts: u32,

    /// The start of this instance, as a tick of this process and as a time of the store. The time of the store is
    /// `None` before the first heartbeat.
    started: (Tick, Option<Timestamp>),
    phase: Phase,
    /// Limits the rate of the log lines about failed heartbeats.
    failures: Lines,
}

/// The phase of an instance between its start and its shutdown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Runs,
    /// A shutdown has begun. The last entry of this instance, which marks its stop, is not written yet.
    Stops,
    Stopped,
}

/// The next operation on the record.
#[derive(Debug)]
pub(super) enum Heartbeat {
    Load(String),
    Write(Write),
}

impl Membership {
    pub(super) fn new(terms: &Terms, started: Tick) -> Self {
        let name = record_of(&terms.fleet);
        Self {
            is_kept: terms.sharing.is_of_fleet(),
            known: CircuitRecord::unknown(&name),
            name,
            stored: None,
            others: Others::default(),
            written: None,
            sent: None,
            is_under_way: false,
            next: started,
            conflicts: 0,
            started: (started, None),
            phase: Phase::Runs,
            failures: Lines::default(),
        }
    }

    pub(super) const fn is_kept(&self) -> bool {
        self.is_kept
    }

    pub(super) const fn is_under_way(&self) -> bool {
        self.is_under_way
    }

    /// Returns the time of the next operation on the member record. `None` while an operation is under way, and if no
    /// more operation will follow.
    pub(super) fn next(&self) -> Option<Tick> {
        (self.is_kept && !self.is_under_way && self.phase != Phase::Stopped).then_some(self.next)
    }

    /// Returns the number of live members, and whether this instance is alone.
    pub(super) fn count(&mut self, now: Tick) -> Members {
        self.others.count(now)
    }

    /// Returns all members in the record, live or not, for `Registry::members`.
    pub(super) fn members(&self, id: &str, now: Tick) -> Vec<Member> {
        self.others.members(&self.known, id, now)
    }

    /// Returns the next operation, which is under way from now on. `store` is the time of the store, or `None` if the
    /// time is not known. Returns `None` if the entry of this instance cannot be written into the record.
    pub(super) fn begin(
        &mut self,
        who: &Who,
        now: Tick,
        store: Option<Timestamp>,
        dice: &mut Dice,
    ) -> Option<Heartbeat> {
        self.next = now.saturating_add(EVERY.mul_f64(0.8 + dice.share() * 0.4));
        let (Some(expected), Some(store)) = (self.stored.clone(), store) else {
            self.is_under_way = true;
            return Some(Heartbeat::Load(self.name.clone()));
        };
        if self.written.is_none() {
            // The instances of a fleet often start together, so the first answer shows only few of them. The second
            // heartbeat comes early to find the other instances.
            self.next = now.saturating_add(SECOND_AFTER.mul_f64(0.8 + dice.share() * 0.4));
        }
        let mut record = self.known.clone();
        record.keep_members(&who.id, store, |id| self.others.has(id, now));
        let entry = self.entry(who, Now { here: now, store });
        let is_applied = apply(&mut record, &Command::Evidence(who.id.clone(), entry), store) == Effect::Applied;
        let Some(bytes) = record.encode().ok().filter(|_| is_applied) else {
            self.give_up_mark();
            return None;
        };
        self.is_under_way = true;
        self.sent = Some(record);
        let (name, ttl) = (self.name.clone(), Some(MEMBERS_KEPT));
        // The write sends no hint (notice to other instances), because no instance waits for a heartbeat.
        Some(Heartbeat::Write(Write { name, expected, bytes, ttl, hint: Hint::None }))
    }

    fn entry(&mut self, who: &Who, now: Now) -> InstanceEntry {
        let (started, since) = &mut self.started;
        let since = *since.get_or_insert_with(|| now.store.saturating_sub(now.here.saturating_since(*started)));
        let known = self.known.instances.get(&who.id).map_or(0, |entry| entry.sequence);
        let last = self.written.as_ref().map_or(0, |(_, entry)| entry.sequence);
        let mut entry = InstanceEntry::closed(&who.incarnation);
        entry.sequence = known.max(last).saturating_add(1).max(now.store.as_millis());
        entry.updated_at = now.store;
        entry.stopped = (self.phase == Phase::Stops).then_some(entry.sequence);
        entry.since = Some(since);
        entry.version = Some(env!("CARGO_PKG_VERSION").to_owned());
        entry
    }

    /// Notes that the store has made the write.
    pub(super) fn written(&mut self, etag: Etag, who: &Who, now: Now) {
        self.is_under_way = false;
        self.conflicts = 0;
        self.stored = Some(Some(etag));
        let Some(record) = self.sent.take() else { return };
        if let Some((id, entry)) = record.instances.get_key_value(&who.id) {
            self.written = Some((id.clone(), entry.clone()));
            if self.phase == Phase::Stops && entry.is_stopped() {
                self.phase = Phase::Stopped;
            }
        }
        self.known = record;
        self.others.observe(&self.known, &who.id, now);
    }

    /// Notes the answer to a load.
    ///
    /// Returns true if another running process has the id of this instance.
    pub(super) fn loaded(&mut self, value: Option<&Versioned>, who: &Who, now: Now) -> bool {
        self.is_under_way = false;
        if self.found(value, who, now) {
            self.next = now.here;
        }
        self.is_contested(who)
    }

    /// Notes a conflict, because another instance has written the record first. After the first conflict, the next
    /// attempt follows immediately. After further conflicts, the next attempt waits a random time, because many
    /// instances may write at the same time.
    ///
    /// Returns true if another running process has the id of this instance.
    pub(super) fn conflicted(&mut self, value: Option<&Versioned>, who: &Who, now: Now, dice: &mut Dice) -> bool {
        (self.is_under_way, self.sent) = (false, None);
        self.conflicts = self.conflicts.saturating_add(1);
        if self.found(value, who, now) {
            // The end of the process must not wait for other instances.
            let is_at_once = self.conflicts == 1 || self.phase == Phase::Stops;
            let wait = if is_at_once { Duration::ZERO } else { PAUSE.mul_f64(dice.share()) };
            self.next = now.here.saturating_add(wait);
        }
        if self.conflicts >= ENDED_AFTER {
            self.give_up_mark();
        }
        self.is_contested(who)
    }

    /// Joins the record in the store with the known record. Returns true if the next write can replace the record, and
    /// false if a later version of this crate has written the record.
    fn found(&mut self, value: Option<&Versioned>, who: &Who, now: Now) -> bool {
        self.stored = Some(value.map(|value| value.etag.clone()));
        match value.map(|value| CircuitRecord::decode(&self.name, &value.bytes, now.store)) {
            None => {}
            Some(Ok(record)) if record.is_writable() => self.known = join(&self.known, &record),
            Some(Ok(_later)) => {
                self.stored = None;
                self.others.forget(now.here);
                self.give_up_mark();
                return false;
            }
            Some(Err(_)) => {
                // The stored bytes are not a record, so the next write replaces them. The members are unknown until the
                // answer to that write.
                self.others.forget(now.here);
                return true;
            }
        }
        self.others.observe(&self.known, &who.id, now);
        self.known.keep_members(&who.id, now.store, |id| self.others.has(id, now.here));
        // Another instance may have dropped the entry of this instance from a full record. The entry is added again,
        // because this instance is still a member.
        if let Some((id, own)) = self.written.as_ref().filter(|(id, _)| *id == who.id) {
            self.known.instances.entry(id.clone()).or_insert_with(|| own.clone());
        }
        true
    }

    /// Returns true if another process with the id of this instance has replaced the entry that this process wrote.
    fn is_contested(&self, who: &Who) -> bool {
        let Some((id, own)) = self.written.as_ref().filter(|(id, _)| *id == who.id) else { return false };
        let present = self.known.instances.get(id);
        present.is_some_and(|entry| entry.incarnation != who.incarnation && entry.sequence > own.sequence)
    }

    /// Notes that the operation has failed. The next heartbeat comes at its usual time and begins with a load, because
    /// the failed write may have reached the store. Logs the reason at most once a minute, unless `error` is `None`.
    pub(super) fn failed(&mut self, error: Option<&str>, now: Tick) {
        (self.is_under_way, self.sent, self.stored) = (false, None, None);
        self.give_up_mark();
        if let Some(error) = error
            && let Some(more) = self.failures.next(now)
        {
            telemetry::lines::warn(format_args!(
                "the members of the fleet are not known, so that an opening of the fleet needs at least two votes: {error}{}",
                Omitted(more)
            ));
        }
    }

    /// Lets a delayed first heartbeat begin now, because the store answers again.
    pub(super) fn answers_again(&mut self, now: Tick) {
        if self.written.is_none() {
            self.next = self.next.min(now);
        }
    }

    /// Handles a suspend of the machine, which has ended. Lets a heartbeat begin now, and forgets the members. The age
    /// of the entries of the members is unknown, because the clock of this process may have stopped during the suspend.
    pub(super) fn wake_up(&mut self, now: Tick) {
        self.others.forget(now);
        (self.stored, self.next) = (None, now);
    }

    /// Prepares the membership for the next task, because the answers to the operations of the last task are lost.
    pub(super) fn restart(&mut self, now: Tick) {
        (self.is_under_way, self.sent, self.stored) = (false, None, None);
        (self.phase, self.next) = (Phase::Runs, now);
    }

    /// Plans a last entry, which marks this instance as stopped. No last entry is needed if the store has no entry of
    /// this instance and no write is under way.
    pub(super) fn stop(&mut self, now: Tick) {
        let has_entry = self.written.is_some() || self.sent.is_some();
        self.phase = if has_entry { Phase::Stops } else { Phase::Stopped };
        self.next = now;
    }

    /// Withdraws the stop, because the task continues.
    pub(super) fn go_on(&mut self, now: Tick) {
        (self.phase, self.next) = (Phase::Runs, now);
    }

    /// Returns true if a shutdown has begun and the entry that marks the stop is not written yet.
    pub(super) fn owes_mark(&self) -> bool {
        self.phase == Phase::Stops
    }

    /// Gives up the write of the entry that marks the stop. The other instances then notice the stop after 30 s.
    pub(super) fn give_up_mark(&mut self) {
        if self.phase == Phase::Stops {
            self.phase = Phase::Stopped;
        }
    }
}

/// The mean time between two heartbeats. The actual time is 80 % to 120 % of this time.
const EVERY: Duration = Duration::from_secs(10);
/// The mean time from the first heartbeat to the second one.
const SECOND_AFTER: Duration = Duration::from_secs(2);
/// The longest random wait between a conflict and the next attempt.
const PAUSE: Duration = Duration::from_secs(1);
/// The number of conflicts in a row after which a shutdown gives up the entry that marks the stop of the instance.
const ENDED_AFTER: u32 = 8;
