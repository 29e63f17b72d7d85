//! The heartbeats of this instance in its fleet.
//!
//! A heartbeat does not count towards the limit on operations at the same time. Therefore a heartbeat delays neither a
//! circuit nor an order. The failure of a heartbeat does not mark the link as down. A shutdown does not wait for an
//! ordinary heartbeat. A shutdown waits only for the entry that marks this instance as stopped, and only while the
//! store answers.

use super::jobs::{Begun, Ended, Lane};
use super::{Ledger, Task};
use crate::clock::Tick;
use crate::coordinator::desk::Now;
use crate::coordinator::membership::Heartbeat;
use crate::store::{Loaded, StoreError, Written};
use crate::telemetry;

/// The end of a heartbeat, which is a load or a write of the record of the fleet's members.
#[derive(Debug)]
pub(super) enum Beaten {
    Loaded(Result<Loaded, StoreError>),
    Written(Result<Written, StoreError>),
}

impl Task {
    /// Begins a heartbeat if one is due. While the store is down, heartbeats wait.
    pub(super) fn beat(&mut self, now: Tick) {
        if self.next_beat().is_none_or(|next| next > now) {
            return;
        }
        let Ledger { membership, who, link, dice, .. } = &mut self.ledger;
        let store = self.hub.store.clone();
        match membership.begin(who, now, link.time(now), dice) {
            Some(Heartbeat::Load(name)) => {
                let load = async move { store.load_many(&[name]).await };
                self.begin("load", Lane::Others, now, load, |result| Ended::Beaten(Beaten::Loaded(result)));
            }
            Some(Heartbeat::Write(write)) => {
                let write = async move { store.compare_and_set(&write).await };
                let ended = |result| Ended::Beaten(Beaten::Written(result));
                self.begin("compare_and_set", Lane::Others, now, write, ended);
            }
            None => {}
        }
    }

    /// Returns the time of the next heartbeat, if a heartbeat can begin.
    pub(super) fn next_beat(&self) -> Option<Tick> {
        self.ledger.membership.next().filter(|_| self.ledger.link.is_up())
    }

    /// Handles the end of a heartbeat.
    pub(super) fn beaten(&mut self, begun: Begun, beaten: Beaten, now: Tick) {
        let time = match &beaten {
            Beaten::Loaded(Ok(Loaded { now, .. }))
            | Beaten::Written(Ok(Written::Applied { now, .. } | Written::Conflict { now, .. })) => Some(*now),
            Beaten::Loaded(Err(_)) | Beaten::Written(Err(_)) => None,
        };
        if let Some(time) = time
            && self.ledger.link.is_up()
        {
            self.answered(begun, time, now);
        }
        let Ledger { membership, who, dice, link, .. } = &mut self.ledger;
        let at = |store| Now { here: now, store };
        let is_contested = match beaten {
            // The answer is not used. The store may have read its clock before the suspend of the machine.
            _ if begun.wake_ups != self.slept.wake_ups => {
                membership.failed(None, now);
                membership.wake_up(now);
                false
            }
            Beaten::Loaded(Ok(Loaded { entries, now })) => {
                membership.loaded(entries.into_iter().next().flatten().as_ref(), who, at(now))
            }
            Beaten::Written(Ok(Written::Applied { etag, now })) => {
                membership.written(etag, who, at(now));
                false
            }
            Beaten::Written(Ok(Written::Conflict { current, now })) => {
                membership.conflicted(current.as_ref(), who, at(now), dice)
            }
            Beaten::Loaded(Err(error)) | Beaten::Written(Err(error)) => {
                // The link already logs an outage of the whole store, so the error of the heartbeat is not logged then.
                let error = link.is_up().then(|| error.chain());
                membership.failed(error.as_deref(), now);
                false
            }
        };
        if is_contested {
            self.rename(now);
        }
        self.count_members(now);
    }

    /// Counts the live members, and passes the number to the desks, the registry and the metrics.
    pub(super) fn count_members(&mut self, now: Tick) {
        let Ledger { membership, who, .. } = &mut self.ledger;
        if !membership.is_kept() {
            return;
        }
        who.members = membership.count(now);
        telemetry::store::members(who.members.live);
        self.hub.findings.lock().members = membership.members(&who.id, now);
    }
}

#[cfg(all(test, not(breaker_loom)))]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock::{Clock, TokioClock};
    use crate::coordinator::Sharing;
    use crate::coordinator::hub::Coordinator;
    use crate::coordinator::membership::Members;
    use crate::registry::Registry;
    use crate::store::{Fault, FaultyStore, MemoryStore, Operation, StoreErrorKind};

    fn task(store: &FaultyStore<MemoryStore>, id: &str) -> (Registry, Task) {
        let builder = Registry::builder().store(store.clone()).sharing(Sharing::Quorum).fleet("orders").instance(id);
        let registry = builder.build().unwrap();
        let task = Task::new(&registry.companion::<Coordinator>().unwrap().0);
        (registry, task)
    }

    fn store() -> FaultyStore<MemoryStore> {
        FaultyStore::new(MemoryStore::with_clock(TokioClock::new()))
    }

    /// Lets the task run for this number of seconds. Returns the members that the task knows afterwards.
    async fn work(task: &mut Task, seconds: u64) -> Members {
        let time = Duration::from_secs(seconds);
        tokio::time::timeout(time, async { while task.step().await {} }).await.ok();
        task.ledger.who.members
    }

    fn members(live: u32, is_alone: bool) -> Members {
        Members { live: Some(live), is_alone }
    }

    #[tokio::test(start_paused = true)]
    async fn desks_know_the_members_and_whether_this_instance_is_alone() {
        let store = store();
        let (_a, mut a) = task(&store, "a");
        assert_eq!(a.ledger.who.members, Members::default(), "unknown is not alone");
        assert_eq!(work(&mut a, 18).await, members(1, false));
        assert_eq!(work(&mut a, 4).await, members(1, true), "after twenty seconds without others");
        let (_b, mut b) = task(&store, "b");
        assert_eq!(work(&mut b, 1).await, members(2, false), "the later instance");
        drop(b);
        assert_eq!(work(&mut a, 13).await, members(2, false), "the dead instance counts for thirty seconds");
        assert_eq!(work(&mut a, 35).await, members(1, false), "48 s after its last heartbeat");
        assert_eq!(work(&mut a, 5).await, members(1, true), "53 s after its last heartbeat");
    }

    #[tokio::test(start_paused = true)]
    async fn an_outage_of_the_store_makes_the_members_unknown() {
        let store = store();
        let (_a, mut a) = task(&store, "a");
        assert_eq!(work(&mut a, 30).await, members(1, true));
        store.faults().set(Operation::ALL, Fault::Fail(StoreErrorKind::Unavailable));
        assert_eq!(work(&mut a, 31).await, Members::default());
        store.faults().heal();
        assert_eq!(work(&mut a, 13).await, members(1, false), "the store has just come back");
        assert_eq!(work(&mut a, 25).await, members(1, true));
    }

    #[tokio::test(start_paused = true)]
    async fn a_suspend_of_the_machine_makes_the_members_unknown() {
        let store = store();
        let (_a, mut a) = task(&store, "a");
        assert_eq!(work(&mut a, 30).await, members(1, true));
        let now = a.ledger.clock.now();
        a.wake_up(now);
        a.count_members(now);
        assert_eq!(a.ledger.who.members, Members::default());
        assert_eq!(work(&mut a, 1).await, members(1, false));
    }

    #[tokio::test(start_paused = true)]
    async fn a_heartbeat_takes_no_room_of_the_link() {
        let store = store();
        let (_a, mut a) = task(&store, "a");
        store.faults().set(&[Operation::Load, Operation::CompareAndSet], Fault::Hang);
        work(&mut a, 1).await;
        assert!(a.ledger.membership.is_under_way() && a.under_way() == 0, "{:?}", a.jobs);
    }
}
