//! The operations that are under way: what they are, and which may begin.

use std::time::Duration;

use super::{Ledger, Task};
use crate::clock::{Clock, Tick};
use crate::coordinator::desk::{Now, Step, Ticket};
use crate::coordinator::desks::DeskId;
use crate::store::{Loaded, StoreError, StoreErrorKind, Watch, Written};
use crate::telemetry;

/// What an operation is for.
#[derive(Debug)]
pub(super) enum Job {
    /// The desks, and their turns when it began.
    Load(Vec<(DeskId, u64)>),
    Write(DeskId, Box<Ticket>),
    /// What a desk deletes.
    Delete(DeskId),
    /// The id of the last row.
    Audit(String),
    /// Old rows of the audit are deleted.
    Trim,
    Watch,
}

impl Job {
    pub(super) const fn name(&self) -> &'static str {
        match self {
            Self::Load(_) => "load",
            Self::Write(..) => "compare_and_set",
            Self::Delete(_) => "delete",
            Self::Audit(_) => "append_audit",
            Self::Trim => "trim_audit",
            Self::Watch => "watch",
        }
    }

    /// Whether a shutdown need not wait for it.
    pub(super) const fn is_idle(&self) -> bool {
        matches!(self, Self::Watch | Self::Load(_) | Self::Trim)
    }
}

/// What came of it.
#[derive(Debug)]
pub(super) enum Answer {
    Loaded(Result<Loaded, StoreError>),
    Written(Result<Written, StoreError>),
    Deleted(Result<bool, StoreError>),
    Trimmed(Result<bool, StoreError>),
    Audited(Result<(), StoreError>),
    Watching(Result<Option<Watch>, StoreError>),
}

impl Task {
    /// Begins what is due and has room: to load first, since nothing is written over what is not known.
    pub(super) fn launch(&mut self, now: Tick) {
        let watching = self.under_way.values().filter(|(job, _)| matches!(job, Job::Watch)).count();
        let mut room = self.ledger.link.room(now).saturating_sub(self.jobs.len() - watching);
        while room > 0 && !self.to_load.is_empty() {
            if self.load(now) {
                room -= 1;
            }
        }
        let audits = !self.audit_under_way && self.audit_at <= now && self.ledger.outbox.len() > 0;
        if room > 0 && audits && self.append(now) {
            room -= 1;
        }
        let ready: Vec<DeskId> = self.to_write.iter().copied().collect();
        for at in ready {
            if room == 0 {
                break;
            }
            if self.write(at, now) {
                room -= 1;
            }
        }
        if room > 0 && self.next_trim <= now && self.ledger.link.is_up() {
            self.trim(now);
        }
        if self.watch_at.is_some_and(|at| at <= now) && self.ledger.link.is_up() && watching == 0 {
            self.watch_at = None;
            let store = self.hub.store.clone();
            self.begin(Job::Watch, now, async move { Answer::Watching(store.watch().await) }, Answer::Watching);
        }
    }

    fn load(&mut self, now: Tick) -> bool {
        let mut asked = Vec::new();
        while asked.len() < BATCH
            && let Some(at) = self.to_load.pop_first()
        {
            let desk = &self.ledger.desks[at];
            // Its answer will say what is there.
            if !desk.is_writing() {
                asked.push((at, desk.turn()));
            }
        }
        if asked.is_empty() {
            return false;
        }
        let names: Vec<String> = asked.iter().map(|(at, _)| self.ledger.desks[*at].name().to_owned()).collect();
        let store = self.hub.store.clone();
        let load = async move { Answer::Loaded(store.load_many(&names).await) };
        self.begin(Job::Load(asked), now, load, Answer::Loaded);
        true
    }

    fn append(&mut self, now: Tick) -> bool {
        // Without the store's time a row cannot be dated.
        let Some(time) = self.ledger.link.time(now) else { return false };
        let rows = self.ledger.outbox.batch(now, time);
        let Some(last) = rows.last().map(|row| row.id.clone()) else { return false };
        let store = self.hub.store.clone();
        self.audit_under_way = true;
        let append = async move { Answer::Audited(store.append_audit(&rows).await) };
        self.begin(Job::Audit(last), now, append, Answer::Audited);
        true
    }

    /// Lets the store delete what is too old, seldom, and never twice at once.
    fn trim(&mut self, now: Tick) {
        let (Some(kept), Some(time)) = (self.hub.terms.audit_kept, self.ledger.link.time(now)) else { return };
        self.next_trim = now.saturating_add(TRIM_EVERY.mul_f64(0.5 + self.ledger.dice.share()));
        let store = self.hub.store.clone();
        let before = time.saturating_sub(kept);
        let trim = async move { Answer::Trimmed(store.trim_audit(before).await) };
        self.begin(Job::Trim, now, trim, Answer::Trimmed);
    }

    fn write(&mut self, at: DeskId, now: Tick) -> bool {
        let Ledger { desks, who, link, .. } = &mut self.ledger;
        let (desk, Some(time)) = (&mut desks[at], link.time(now)) else { return false };
        if !desk.may_write(now) {
            return false;
        }
        let terms = &self.hub.terms;
        let ttl = terms.ttl_of.get(desk.name()).copied().unwrap_or(terms.ttl);
        let store = self.hub.store.clone();
        match desk.begin(who, Now { here: now, store: time }, ttl) {
            Step::Nothing => {
                if !desk.wants_write(now) {
                    self.to_write.remove(&at);
                }
                return false;
            }
            Step::Load => {
                self.to_load.insert(at);
                return false;
            }
            Step::Write(write, ticket) => {
                let write = async move { Answer::Written(store.compare_and_set(&write).await) };
                self.begin(Job::Write(at, ticket), now, write, Answer::Written);
            }
            Step::Delete(etag) => {
                let name = desk.name().to_owned();
                let delete = async move { Answer::Deleted(store.delete(&name, &etag).await) };
                self.begin(Job::Delete(at), now, delete, Answer::Deleted);
            }
            Step::Forgotten(report) => {
                self.note(at, report, now);
                return false;
            }
        }
        true
    }

    fn begin<T: 'static>(
        &mut self,
        job: Job,
        now: Tick,
        operation: impl Future<Output = Answer> + Send + 'static,
        lost: fn(Result<T, StoreError>) -> Answer,
    ) {
        let deadline = self.hub.terms.timeout;
        let (kind, name, clock) = (self.hub.store.kind(), job.name(), self.ledger.clock);
        let operation = async move {
            let answer = tokio::time::timeout(deadline, operation)
                .await
                .unwrap_or_else(|_| lost(Err(StoreError::no_answer_within(deadline))));
            telemetry::store::operation(kind, name, answer.result(), clock.now().saturating_since(now));
            answer
        };
        // A JoinSet aborts what it holds when it is dropped: nothing outlives the task.
        let handle = self.jobs.spawn(operation);
        self.under_way.insert(handle.id(), (job, now));
    }
}

impl Answer {
    const fn result(&self) -> &'static str {
        match self.kind() {
            Some(kind) => kind.as_str(),
            None => "ok",
        }
    }

    const fn kind(&self) -> Option<StoreErrorKind> {
        match self {
            Self::Loaded(Err(error))
            | Self::Written(Err(error))
            | Self::Deleted(Err(error))
            | Self::Trimmed(Err(error))
            | Self::Audited(Err(error))
            | Self::Watching(Err(error)) => Some(error.kind()),
            Self::Loaded(Ok(_))
            | Self::Written(Ok(_))
            | Self::Deleted(Ok(_))
            | Self::Trimmed(Ok(_))
            | Self::Audited(Ok(()))
            | Self::Watching(Ok(_)) => None,
        }
    }

    pub(super) fn error(self) -> Option<StoreError> {
        match self {
            Self::Loaded(result) => result.err(),
            Self::Written(result) => result.err(),
            Self::Deleted(result) | Self::Trimmed(result) => result.err(),
            Self::Audited(result) => result.err(),
            Self::Watching(result) => result.err(),
        }
    }
}

/// How many names are asked for at once.
const BATCH: usize = 256;
/// How often old rows of the audit are deleted, and how long after that where there are more.
const TRIM_EVERY: Duration = Duration::from_secs(3600);
