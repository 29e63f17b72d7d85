//! One attempt to carry out an order on the stored record. After the attempt, the order is carried out or refused, or
//! must be tried again because another writer has changed the record.

use std::time::Duration;

use super::{Operator, store};
use crate::keep::Ttl;
use crate::operation::{Order, Refused};
use crate::record::{CircuitRecord, Command, Effect, OperatorCommand, Timestamp, apply};
use crate::state::State;
use crate::state::admissible::{Facts, admissible};
use crate::state::order_hash::Earlier;
use crate::store::{Hint, Store, StoreError, StoreErrorKind, Versioned, Write, Written};

/// An order, and the results of earlier attempts for this order.
pub(super) struct Attempt<'a> {
    pub(super) name: &'a str,
    pub(super) order: &'a Order,
    /// The highest number of a change that an earlier attempt has sent to the store. An earlier write may still arrive
    /// at the store, so the next attempt uses a higher number.
    pub(super) proposed: u64,
    /// The error of the last write that timed out. The store may have made this write, which carries out the order.
    pub(super) lost: Option<StoreError>,
    /// True if the order was already in the record, and no attempt of this call can have written the order.
    pub(super) repeated: bool,
}

/// The result of an attempt that has succeeded. The record contains the order, or was deleted by the order.
pub(super) struct Stored {
    /// The number of the latest change in the record, which is a transition or an order. Zero if the record was
    /// deleted.
    pub(super) generation: u64,
    /// The time of the attempt by the clock of the store. The audit row gets this time.
    pub(super) now: Timestamp,
    /// The tier of the store that does not have the new record yet. `None` if every tier has the record.
    pub(super) lacking: Option<&'static str>,
}

impl Stored {
    const fn new(generation: u64, now: Timestamp) -> Self {
        Self { generation, now, lacking: None }
    }
}

/// The result of one attempt. `Ok(None)` means that the order must be tried again.
type Tried = Result<Option<Stored>, Refused>;

impl Attempt<'_> {
    pub(super) fn failed(&self, error: &StoreError) -> Refused {
        store(error, self.lost.is_some())
    }

    /// Converts the error of a write into the result of the attempt. After a timeout, the result is `Ok(None)`, so that
    /// the next attempt loads the record and sees whether the store has made the write. Any other error is returned as
    /// a refusal.
    fn retried(&mut self, error: StoreError) -> Tried {
        if error.kind() != StoreErrorKind::TimedOut {
            return Err(self.failed(&error));
        }
        self.lost = Some(error);
        Ok(None)
    }
}

impl Operator {
    /// Deletes the stored record. Refuses the order if the instances use a cache that this store does not have, or if
    /// an earlier order has the same id. Also refuses the order if the circuit has changed after the change that the
    /// operator has seen.
    pub(super) async fn try_forget(
        &self,
        attempt: &mut Attempt<'_>,
        entry: Option<Versioned>,
        now: Timestamp,
    ) -> Tried {
        let Some(Versioned { bytes, etag }) = entry else {
            // If an earlier delete timed out, a missing value shows that the store has made the delete.
            return if attempt.lost.is_some() {
                Ok(Some(Stored::new(0, now)))
            } else {
                Err(self.no_record_for_order(attempt.name).await)
            };
        };
        // A value that is not a record is deleted without the check of `seen` below, because the value contains no
        // number of a change.
        let record = CircuitRecord::decode(attempt.name, &bytes, now).ok();
        record.as_ref().map_or(Ok(()), |record| self.check_tiers(record, now))?;
        let last = record.as_ref().and_then(|record| record.operator.as_ref());
        if last.is_some_and(|last| last.earlier(attempt.order.command_id()) != Earlier::None) {
            return Err(Refused::IdUsed { id: attempt.order.command_id().to_owned() });
        }
        let latest = record.map(|record| record.latest());
        if let (Some(seen), Some(now)) = (attempt.order.seen, latest)
            && seen < now
        {
            return Err(Refused::Stale { seen, now });
        }
        match self.within_timeout(self.store.delete(attempt.name, &etag)).await {
            Ok(deleted) => Ok(deleted.then_some(Stored::new(0, now))),
            Err(error) => attempt.retried(error),
        }
    }

    /// Applies the order to the record, and writes the record to the store.
    pub(super) async fn try_act(&self, attempt: &mut Attempt<'_>, entry: Option<Versioned>, now: Timestamp) -> Tried {
        let (name, order) = (attempt.name, attempt.order);
        let (mut record, expected) = match entry {
            Some(entry) => {
                let record = CircuitRecord::decode(name, &entry.bytes, now).map_err(|error| Refused::Corrupt {
                    problem: error.to_string(),
                    can_forget: !error.is_unreadable(),
                })?;
                (record, Some(entry.etag))
            }
            None if order.create => (CircuitRecord::unknown(name), None),
            None => return Err(self.no_record_for_order(name).await),
        };
        if !record.is_writable() {
            return Err(Refused::Unwritable { version: record.version });
        }
        self.check_tiers(&record, now)?;
        if !self.judge(name, &record, order, now)? {
            // If an earlier write timed out, that write has probably put the order into the record. The order is then
            // not reported as repeated.
            attempt.repeated = attempt.lost.is_none();
            return Ok(Some(Stored::new(record.latest().get(), now)));
        }
        let command = self.command(order, &record, attempt.proposed);
        match apply(&mut record, &Command::Operated(command), now) {
            Effect::Applied | Effect::Known => {}
            // None of these effects is expected. The command names the last order in this record as the previous order,
            // so the command is not superseded. The command has not expired, because its age is zero. The record is
            // writable.
            effect @ (Effect::Superseded | Effect::Expired | Effect::Unwritable) => {
                let why = format!("{effect:?} by the stored record").to_lowercase();
                return Err(Refused::Superseded { why });
            }
        }
        attempt.proposed = attempt.proposed.max(record.latest().get());
        let bytes =
            record.encode().map_err(|problem| Refused::Corrupt { problem: problem.to_string(), can_forget: true })?;
        let Ttl { open, other } = Ttl::default();
        let ttl = record.ttl(open, other, now);
        match self
            .within_timeout(self.store.compare_and_set(&Write {
                name: name.to_owned(),
                expected,
                bytes,
                ttl,
                hint: Hint::Any,
            }))
            .await
        {
            Ok(Written::Applied { etag, now }) => {
                let lacking = self.store.lacking(&etag);
                Ok(Some(Stored { generation: record.latest().get(), now, lacking }))
            }
            Ok(Written::Conflict { .. }) => Ok(None),
            Err(error) => attempt.retried(error),
        }
    }

    /// Refuses the order if the instances use a cache in front of a store, and this operator does not use the cache.
    /// The instances read the cache, so they might not see the order. Among the entries of the instances that are not
    /// gone, the latest entry shows the tiers in use. Older entries may name tiers that the fleet no longer uses.
    fn check_tiers(&self, record: &CircuitRecord, now: Timestamp) -> Result<(), Refused> {
        let living = record.instances.values().filter(|entry| !entry.is_gone(now));
        let last = living.max_by_key(|entry| entry.sequence).and_then(|entry| entry.tiers.clone());
        match last {
            Some(tiers) if !self.ignores_tiers && self.store.tiers().is_none() => {
                Err(Refused::OneTier { tiers, store: self.store.kind().to_owned() })
            }
            _ => Ok(()),
        }
    }

    /// Checks if the order is allowed on this record. Returns true if the order must be written, and false if the
    /// record already contains the order.
    fn judge(&self, name: &str, record: &CircuitRecord, order: &Order, now: Timestamp) -> Result<bool, Refused> {
        let id = order.command_id();
        let tripped_for = record.tripped_at(now).map(|at| now.since(at));
        let facts = Facts {
            name,
            earlier: record.operator.as_ref().map_or(Earlier::None, |last| last.earlier(id)),
            latest: record.latest(),
            cooldown: tripped_for.map_or(Duration::ZERO, |past| self.cooldown.saturating_sub(past)),
            held: record.held(now).is_some(),
            undisturbed: record.state == State::Closed
                && record.fleet.as_ref().is_none_or(|fleet| fleet.state == State::Closed)
                && record.held(now).is_none()
                && !record.instances.values().any(|entry| entry.is_tripped(now)),
        };
        admissible(order, &facts)
    }

    fn command(&self, order: &Order, record: &CircuitRecord, proposed: u64) -> OperatorCommand {
        OperatorCommand {
            id: order.command_id().to_owned(),
            replaced: Vec::new(),
            act: order.act,
            to: order.to.into(),
            hold: order.hold,
            by: order.by.clone(),
            age: Duration::ZERO,
            on: record.operator.as_ref().map_or(0, |last| last.sequence),
            after: proposed,
            instance: self.instance.to_string(),
            incarnation: self.incarnation.to_string(),
            era: 0,
            in_fleet: false,
        }
    }
}
