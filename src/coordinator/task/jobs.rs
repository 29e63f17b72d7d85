//! The operations that are under way: what may begin, and what its end means.

use core::time::Duration;

use tokio::task::{Id, JoinError};

use super::{Ledger, Task};
use crate::clock::{Clock, Tick};
use crate::coordinator::desk::{Now, Ticket, Via};
use crate::coordinator::link::backoff;
use crate::store::{Etag, Loaded, StoreError, StoreErrorKind, Watch, Written};
use crate::telemetry;

/// What an operation is for.
#[derive(Debug)]
pub(super) enum Job {
    /// The desks, and their turns when it began.
    Load(Vec<(usize, u64)>),
    Write(usize, Box<Ticket>),
    /// What a desk deletes.
    Delete(usize),
    /// The id of the last row.
    Audit(String),
    /// Old rows of the audit are deleted.
    Trim,
    Watch,
}

impl Job {
    const fn name(&self) -> &'static str {
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
        let ready: Vec<usize> = self.to_write.iter().copied().collect();
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
            let store = self.shared.store.clone();
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
            if !desk.in_flight {
                asked.push((at, desk.turn));
            }
        }
        if asked.is_empty() {
            return false;
        }
        let names: Vec<String> = asked.iter().map(|(at, _)| self.ledger.desks[*at].name().to_owned()).collect();
        let store = self.shared.store.clone();
        let load = async move { Answer::Loaded(store.load_many(&names).await) };
        self.begin(Job::Load(asked), now, load, Answer::Loaded);
        true
    }

    fn append(&mut self, now: Tick) -> bool {
        // Without the store's time a row cannot be dated.
        let Some(time) = self.ledger.link.time(now) else { return false };
        let rows = self.ledger.outbox.batch(now, time);
        let Some(last) = rows.last().map(|row| row.id.clone()) else { return false };
        let store = self.shared.store.clone();
        self.audit_under_way = true;
        let append = async move { Answer::Audited(store.append_audit(&rows).await) };
        self.begin(Job::Audit(last), now, append, Answer::Audited);
        true
    }

    /// Lets the store delete what is too old, seldom, and never twice at once.
    fn trim(&mut self, now: Tick) {
        let (Some(kept), Some(time)) = (self.shared.terms.audit_kept, self.ledger.link.time(now)) else { return };
        self.next_trim = now.saturating_add(TRIM_EVERY.mul_f64(0.5 + self.ledger.dice.share()));
        let store = self.shared.store.clone();
        let before = time.saturating_sub(kept);
        let trim = async move { Answer::Trimmed(store.trim_audit(before).await) };
        self.begin(Job::Trim, now, trim, Answer::Trimmed);
    }

    fn delete(&mut self, at: usize, etag: Option<Etag>, now: Tick) -> bool {
        let desk = &mut self.ledger.desks[at];
        let Some(etag) = etag else {
            let told = desk.forgotten();
            self.note(at, told, now);
            return false;
        };
        desk.in_flight = true;
        desk.turn += 1;
        let (store, name) = (self.shared.store.clone(), desk.name().to_owned());
        let delete = async move { Answer::Deleted(store.delete(&name, &etag).await) };
        self.begin(Job::Delete(at), now, delete, Answer::Deleted);
        true
    }

    fn write(&mut self, at: usize, now: Tick) -> bool {
        let Ledger { desks, who, link, .. } = &mut self.ledger;
        let (desk, Some(time)) = (&mut desks[at], link.time(now)) else { return false };
        if desk.in_flight || now < desk.retry_at {
            return false;
        }
        if !desk.is_loaded() {
            self.to_load.insert(at);
            return false;
        }
        if let Some(etag) = desk.deletes() {
            return self.delete(at, etag, now);
        }
        let terms = &self.shared.terms;
        let ttl = terms.ttl_of.get(desk.name()).copied().unwrap_or(terms.ttl);
        let Some((write, ticket)) = desk.candidate(who, Now { here: now, store: time }, ttl) else {
            if !desk.wants(now) {
                self.to_write.remove(&at);
            }
            return false;
        };
        desk.in_flight = true;
        desk.turn += 1;
        let store = self.shared.store.clone();
        let write = async move { Answer::Written(store.compare_and_set(&write).await) };
        self.begin(Job::Write(at, Box::new(ticket)), now, write, Answer::Written);
        true
    }

    fn begin<T: 'static>(
        &mut self,
        job: Job,
        now: Tick,
        operation: impl Future<Output = Answer> + Send + 'static,
        lost: fn(Result<T, StoreError>) -> Answer,
    ) {
        let deadline = self.shared.terms.timeout;
        let (kind, name, clock) = (self.shared.store.kind(), job.name(), self.ledger.clock);
        let operation = async move {
            let answer = tokio::time::timeout(deadline, operation)
                .await
                .unwrap_or_else(|_| lost(Err(StoreError::timed_out(format!("no answer within {deadline:?}")))));
            telemetry::store::operation(kind, name, answer.result(), clock.now().saturating_since(now));
            answer
        };
        // A JoinSet aborts what it holds when it is dropped: nothing outlives the task.
        let handle = self.jobs.spawn(operation);
        self.under_way.insert(handle.id(), (job, now));
    }

    pub(super) fn ended(&mut self, ended: Result<(Id, Answer), JoinError>) {
        let now = self.ledger.clock.now();
        let (id, answer) = match ended {
            Ok((id, answer)) => (id, Some(answer)),
            Err(error) => (error.id(), None),
        };
        let Some((job, began)) = self.under_way.remove(&id) else { return };
        let panicked = || StoreError::timed_out("the store panicked");
        match (job, answer) {
            (Job::Load(asked), Some(Answer::Loaded(Ok(loaded)))) => self.loaded(&asked, &loaded, now),
            (Job::Load(asked), answer) => {
                let desks = &self.ledger.desks;
                // Some may be gone since.
                self.to_load.extend(asked.iter().map(|(at, _)| *at).filter(|at| desks.get(*at).is_some()));
                self.failed("load", answer.and_then(Answer::error).unwrap_or_else(panicked), now);
            }
            (Job::Write(at, ticket), Some(Answer::Written(Ok(written)))) => {
                self.wrote(at, *ticket, written, began, now);
            }
            (Job::Delete(at), Some(Answer::Deleted(Ok(deleted)))) => {
                self.ledger.link.succeeded(now, None);
                let desk = &mut self.ledger.desks[at];
                desk.in_flight = false;
                desk.turn += 1;
                if deleted {
                    let told = desk.forgotten();
                    self.note(at, told, now);
                } else {
                    // Somebody has written meanwhile.
                    desk.unload();
                    self.to_load.insert(at);
                }
            }
            (Job::Write(at, _) | Job::Delete(at), answer) => {
                let error = answer.and_then(Answer::error).unwrap_or_else(panicked);
                let desk = &mut self.ledger.desks[at];
                desk.in_flight = false;
                desk.turn += 1;
                // It was written or not: only the store knows.
                desk.unload();
                self.to_load.insert(at);
                // Backs off by itself too: that the store answers other questions says nothing about this one.
                desk.failures = desk.failures.saturating_add(1);
                desk.retry_at = now.saturating_add(backoff(desk.failures, &mut self.ledger.dice));
                if error.kind() == StoreErrorKind::Refused {
                    // It would be refused again; the others need not wait for that.
                    desk.retry_at = now.saturating_add(REFUSED_AGAIN.mul_f64(0.5 + self.ledger.dice.share()));
                    self.ledger.link.note(now, "compare_and_set", &error);
                    self.make_way(at, now);
                } else {
                    self.failed("compare_and_set", error, now);
                }
            }
            (Job::Audit(last), Some(Answer::Audited(Ok(())))) => {
                self.audit_under_way = false;
                self.ledger.audit_failures = 0;
                self.ledger.outbox.taken(&last);
                self.ledger.link.succeeded(now, None);
            }
            (Job::Audit(_), answer) => {
                self.audit_under_way = false;
                // A store of two tiers keeps records without its audit: they go on being written.
                let Ledger { link, dice, audit_failures, .. } = &mut self.ledger;
                *audit_failures = audit_failures.saturating_add(1);
                self.audit_at = now.saturating_add(backoff(*audit_failures, dice));
                link.note(now, "append_audit", &answer.and_then(Answer::error).unwrap_or_else(panicked));
            }
            (Job::Trim, Some(Answer::Trimmed(Ok(more)))) => {
                if more {
                    self.next_trim = now.saturating_add(TRIM_ON.mul_f64(0.5 + self.ledger.dice.share()));
                }
            }
            (Job::Trim, answer) => {
                let error = answer.and_then(Answer::error).unwrap_or_else(panicked);
                self.ledger.link.note(now, "trim_audit", &error);
            }
            (Job::Watch, Some(Answer::Watching(Ok(watch)))) => {
                // What changed before it watched, it has not seen.
                if watch.is_some() {
                    self.to_load.extend(self.ledger.desks.numbers());
                }
                self.watch = watch;
            }
            (Job::Watch, answer) => {
                let error = answer.and_then(Answer::error).unwrap_or_else(panicked);
                self.ledger.link.note(now, "watch", &error);
                self.watch_at = Some(now.saturating_add(WATCH_FAILED.mul_f64(0.5 + self.ledger.dice.share())));
            }
        }
    }

    #[expect(clippy::needless_pass_by_value, reason = "nobody needs the error any more")]
    fn failed(&mut self, operation: &'static str, error: StoreError, now: Tick) {
        let Ledger { link, dice, .. } = &mut self.ledger;
        link.failed(now, operation, &error, dice);
        self.shared.tell_progress();
    }

    fn loaded(&mut self, asked: &[(usize, u64)], loaded: &Loaded, now: Tick) {
        self.ledger.link.succeeded(now, Some(loaded.now));
        let now = Now { here: now, store: loaded.now };
        for ((at, turn), entry) in asked.iter().zip(&loaded.entries) {
            let Ledger { desks, who, link, .. } = &mut self.ledger;
            // What was written meanwhile is newer; and a desk may be gone, or be another's.
            let Some(desk) = desks.get_mut(*at).filter(|desk| desk.turn == *turn) else { continue };
            let from = entry.as_ref().map_or(link.kind(), |entry| self.shared.store.origin(&entry.etag));
            let told = desk.found(entry.as_ref(), Via::Answer, from, who, now);
            self.settle(*at, told, now.here);
        }
    }

    fn wrote(&mut self, at: usize, ticket: Ticket, written: Written, began: Tick, now: Tick) {
        let Ledger { desks, who, link, dice, .. } = &mut self.ledger;
        let desk = &mut desks[at];
        desk.in_flight = false;
        desk.turn += 1;
        let told = match written {
            Written::Applied { etag, now: store } => {
                link.succeeded(now, Some(store));
                desk.written(ticket, etag, who, Now { here: now, store })
            }
            Written::Conflict { current, now: store } => {
                link.succeeded(now, Some(store));
                desk.conflicts += 1;
                if desk.conflicts >= MANY_CONFLICTS {
                    desk.conflicts = 0;
                    let took = now.saturating_since(began).max(Duration::from_millis(10));
                    desk.retry_at = now.saturating_add(took.saturating_mul(10).mul_f64(dice.share()));
                }
                let from = current.as_ref().map_or(link.kind(), |current| self.shared.store.origin(&current.etag));
                desk.found(current.as_ref(), Via::Answer, from, who, Now { here: now, store })
            }
        };
        self.settle(at, told, now);
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

    fn error(self) -> Option<StoreError> {
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
/// After so many conflicts in a row a desk lets others go first.
const MANY_CONFLICTS: u32 = 8;
/// How often old rows of the audit are deleted, and how long after that where there are more.
const TRIM_EVERY: Duration = Duration::from_secs(3600);
const TRIM_ON: Duration = Duration::from_secs(10);
const REFUSED_AGAIN: Duration = Duration::from_secs(10);
const WATCH_FAILED: Duration = Duration::from_secs(5);
