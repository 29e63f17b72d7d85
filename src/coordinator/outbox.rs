//! The outbox, which holds audit rows until the store has them, in bounded memory.
//!
//! The rows of transitions must not take the room of the rows of operators. Therefore the rows of operators have their
//! own queue, which is sent first (`queues.rs`). A row that the store always refuses must not block the other rows.
//! Therefore a refused batch is made smaller until the refused row is found.
//!
//! A store does not report whether it refuses one row or all rows. To find this out, the outbox sends a *notice*, a
//! short row of this crate about the refused rows.
//!
//! | the store | then |
//! |---|---|
//! | refuses a batch | the next batch is half as long |
//! | refuses a single row | the row is a suspect and waits, and the other rows are sent |
//! | refuses as many single rows one after the other as the field `trust` says | the notice is sent |
//! | has refused a single row, and no other row can be sent now | the notice is sent |
//! | takes the notice | the suspects are sent once more, one at a time |
//! | refuses a suspect once more | the row is set aside (given up), and the caller logs the row |
//! | refuses the notice, and has taken no row since it refused the first suspect | all rows wait for a backoff, then the oldest suspect is sent alone, and if it is refused, one other row is sent alone |
//! | does not answer to a single row, but answers other operations | the row waits longer, and the other rows are sent |
//!
//! A row is set aside only if the store has taken another row between the two refusals of the row. Otherwise rows would
//! be lost while the store refuses all rows, for example because a permission or a table is missing. The caller decides
//! when the next batch is sent.

mod notice;
mod queues;
#[cfg(test)]
mod tests;

use std::time::Duration;

use crate::clock::Tick;
use crate::record::Timestamp;
use crate::store::AuditRow;
use crate::store::health::doubled;
use notice::notice;
use queues::{Kind, Queues, Trial, Waiting};

/// The audit rows that wait for the store, and the search for rows that the store refuses.
#[derive(Debug)]
pub(super) struct Outbox {
    queues: Queues,
    /// The number of rows that were given up because the store refused them, since the first start of the task.
    refused: u64,
    /// The largest number of rows in the next batch. A failed batch halves the number, unless the whole store is down.
    /// A stored batch doubles the number.
    width: usize,
    /// True if a queue has a suspect (a row that the store refused when the row was sent alone). While false, the
    /// search for suspects is skipped, because the search visits all rows.
    has_tried: bool,
    /// The number of batches and notices that the store has taken.
    taken: u64,
    /// The number of consecutive refusals of single rows. A taken batch, a taken notice and a failed notice reset the
    /// number.
    in_a_row: usize,
    /// The number of consecutive refusals of single rows after which a notice is sent. A stored notice doubles the
    /// number, so that a thousand refused rows need few notices.
    trust: usize,
    /// The notice whose result is not known yet.
    notice: Option<AuditRow>,
    /// `Some` after the store has refused a notice, because the store may refuse all rows then. The value is the kind
    /// of the one row in the next attempt. `None` once the store takes a row.
    stuck: Option<Stuck>,
}

/// The kind of the single row in the next attempt, while the store may refuse all rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stuck {
    /// The oldest suspect (a row that was refused alone). If the store takes rows again, this choice keeps the rows in
    /// their order.
    Oldest,
    /// A row that was not refused yet. The store may take this row, even if it refuses notices and suspects.
    Another,
}

/// The audit rows of one write to the store.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) rows: Vec<AuditRow>,
    pub(super) sent: Sent,
}

/// The content of a batch. The numbers identify the rows, so that the outbox finds them after the answer.
#[derive(Debug)]
pub(super) enum Sent {
    Rows(Vec<u64>),
    Notice,
}

/// The consequence of a failed batch.
#[derive(Debug, PartialEq)]
pub(super) enum Next {
    /// The next batch can be sent now, because it differs from the failed batch.
    Now,
    /// The next batch must wait for a backoff.
    Later,
    /// The store refused this row again, so the row was given up. The next batch can be sent now.
    SetAside(Box<AuditRow>),
}

/// The failure of a batch.
#[derive(Debug, Clone, Copy)]
pub(super) struct Failed {
    /// True if the store answered and would refuse the batch again.
    pub(super) is_refused: bool,
    /// True if the store answers other operations.
    pub(super) is_up: bool,
}

impl Outbox {
    /// Creates an outbox with room for `capacity` rows of operators and as many other rows.
    pub(super) fn new(incarnation: &str, capacity: usize) -> Self {
        Self {
            queues: Queues::new(incarnation, capacity),
            refused: 0,
            width: BATCH,
            has_tried: false,
            taken: 0,
            in_a_row: 0,
            trust: 1,
            notice: None,
            stuck: None,
        }
    }

    /// Adds a row for a change at the tick `at`, unless the outbox already has a row with the same id. A row without an
    /// id gets an id. If the queue is full, its oldest row is lost and counted.
    pub(super) fn push(&mut self, at: Tick, row: AuditRow) {
        self.queues.push(1, at, row);
    }

    /// Takes the ids of the operators' rows that were lost since the last call. Callers that wait for these rows must
    /// be notified of the loss.
    pub(super) fn take_lost(&mut self) -> Vec<String> {
        std::mem::take(&mut self.queues.lost_acts)
    }

    /// Adds the row of an act once more, unless the row waits already. The row goes to the queue of the rows without a
    /// user. After a restart, the rows of all acts are repeated at once, and would fill the queue of the operators'
    /// rows.
    pub(super) fn push_repeated(&mut self, at: Tick, row: AuditRow) {
        if !self.queues.contains(&row.id) {
            self.queues.push_as(Kind::Machines, 1, at, row);
        }
    }

    /// Adds a row that reports `stands_for` lost rows. If this row is lost too, the next report counts its `stands_for`
    /// rows again.
    pub(super) fn push_for(&mut self, stands_for: u64, at: Tick, row: AuditRow) {
        self.queues.push(stands_for, at, row);
    }

    /// Returns true if the row with this id waits for the store.
    pub(super) fn contains(&self, id: &str) -> bool {
        self.queues.contains(id)
    }

    pub(super) fn len(&self) -> usize {
        self.queues.len()
    }

    /// Returns the number of waiting rows about acts of operators.
    pub(super) fn people(&self) -> usize {
        self.queues.people.len()
    }

    /// Returns the number of rows that were lost because their queue was full.
    pub(super) const fn lost(&self) -> u64 {
        self.queues.lost
    }

    /// Returns the number of rows that were given up because the store refused them.
    pub(super) const fn refused(&self) -> u64 {
        self.refused
    }

    /// Returns the next batch, with rows dated by the clock of the store. `store` is the time of the store at the tick
    /// `now`. The rows stay in the outbox until [`stored`](Self::stored) removes them, because the write may fail.
    /// Returns `None` if no row can be sent now.
    ///
    /// The rows of operators are chosen first. The rows of one batch are in the order of their changes.
    pub(super) fn batch(&mut self, now: Tick, store: Timestamp) -> Option<Batch> {
        self.queues.report_missing(now);
        self.has_tried = self.has_tried && self.queues.iter().any(|waiting| waiting.trial != Trial::None);
        let tried = || self.queues.iter().filter(|_| self.has_tried);
        let is_suspect = |waiting: &&Waiting| matches!(waiting.trial, Trial::Suspect { .. });
        let suspects = tried().filter(is_suspect).count();
        let is_time = self.stuck.is_none() && (self.in_a_row >= self.trust || suspects >= MOST_SUSPECTS);
        if suspects > 0 && is_time {
            return self.send_notice(store);
        }
        let rests = |waiting: &&Waiting| waiting.not_before > now;
        let oldest = tried().find(|waiting| is_suspect(waiting) && !rests(waiting));
        let oldest = oldest.filter(|_| self.stuck == Some(Stuck::Oldest));
        let is_due = |waiting: &&Waiting| waiting.trial == Trial::None && !rests(waiting);
        let people: Vec<_> = self.queues.people.iter().filter(is_due).take(self.width).collect();
        let again = tried().find(|waiting| waiting.trial == Trial::Again && !rests(waiting));
        // A suspect is sent again before the rows that are no suspects, unless a row of an operator can be sent, or the
        // last attempt was a refused single row. After such a refusal the store may refuse all rows, so the rows that
        // are no suspects are tried first.
        let again_first = again.filter(|_| people.is_empty() && self.in_a_row == 0);
        let mut chosen = match oldest.or(again_first) {
            Some(alone) => vec![alone],
            None => {
                let room = self.width.saturating_sub(people.len());
                people.into_iter().chain(self.queues.machines.iter().filter(is_due).take(room)).collect()
            }
        };
        chosen.extend(again.filter(|_| chosen.is_empty()));
        if chosen.is_empty() {
            return match self.stuck {
                _ if suspects == 0 => None,
                None => self.send_notice(store),
                // The store has refused the notice too, so the rows are perhaps not at fault. All suspects become
                // normal rows again and are sent again. A further notice now would report these rows as refused. This
                // could be wrong, because the store may take these rows when it takes rows again.
                Some(_) => {
                    self.clear_suspects();
                    self.batch(now, store)
                }
            };
        }
        chosen.sort_by_key(|waiting| waiting.number);
        let dated = |waiting: &&Waiting| {
            let age: Duration = now.saturating_since(waiting.at);
            AuditRow { timestamp: store.saturating_sub(age), ..waiting.row.clone() }
        };
        let rows = chosen.iter().map(dated).collect();
        Some(Batch { rows, sent: Sent::Rows(chosen.iter().map(|waiting| waiting.number).collect()) })
    }

    /// Removes the rows of a batch, because the store has them.
    pub(super) fn stored(&mut self, sent: &Sent) {
        self.taken += 1;
        self.in_a_row = 0;
        match sent {
            Sent::Rows(numbers) => {
                match self.stuck.take() {
                    Some(Stuck::Oldest) => self.clear_suspects(),
                    Some(Stuck::Another) => drop(self.retry_suspects(self.taken)),
                    None => {}
                }
                self.queues.remove(numbers);
                self.width = (self.width * 2).min(BATCH);
            }
            Sent::Notice => {
                self.notice = None;
                self.trust = (self.trust * 2).min(MOST_SUSPECTS);
                self.retry_suspects(u64::MAX);
            }
        }
    }

    /// Handles a batch that the store has not taken, and returns the consequence for the next batch.
    pub(super) fn failed(&mut self, sent: &Sent, failed: Failed, now: Tick) -> Next {
        let numbers = match sent {
            Sent::Notice => return self.notice_failed(failed),
            Sent::Rows(numbers) => numbers,
        };
        let [number] = numbers[..] else {
            // During an outage of the whole store, a shorter batch would fail too.
            if failed.is_refused || failed.is_up {
                self.width = (numbers.len() / 2).max(1);
            }
            return if failed.is_refused { Next::Now } else { Next::Later };
        };
        let (taken, stuck) = (self.taken, self.stuck);
        let Some(waiting) = self.queues.find(number) else { return Next::Later };
        match (failed.is_refused, waiting.trial) {
            (true, Trial::Again) => {
                self.refused = self.refused.saturating_add(1);
                return self.queues.take(number).map_or(Next::Now, Next::SetAside);
            }
            (true, Trial::None | Trial::Suspect { .. }) => {
                waiting.trial = Trial::Suspect { taken };
                self.has_tried = true;
                self.in_a_row += 1;
                self.stuck = stuck.map(|last| if last == Stuck::Oldest { Stuck::Another } else { Stuck::Oldest });
                return if stuck == Some(Stuck::Another) { Next::Later } else { Next::Now };
            }
            (false, _) if failed.is_up => {
                waiting.not_before = now.saturating_add(doubled(FIRST_REST, waiting.failures, LONGEST_REST));
                waiting.failures = waiting.failures.saturating_add(1);
            }
            (false, _) => {}
        }
        Next::Later
    }

    fn notice_failed(&mut self, failed: Failed) -> Next {
        if !failed.is_refused && !failed.is_up {
            // The store may have taken the notice although no answer came. The next attempt has the same id, so that
            // the store keeps only one notice.
            return Next::Later;
        }
        self.notice = None;
        self.trust = 1;
        self.in_a_row = 0;
        if self.retry_suspects(self.taken) {
            return Next::Now;
        }
        self.width = 1;
        self.stuck = Some(Stuck::Oldest);
        let taken = self.taken;
        for waiting in self.queues.iter_mut() {
            if waiting.trial == Trial::Again {
                waiting.trial = Trial::Suspect { taken };
            }
        }
        Next::Later
    }

    /// Clears the suspicion of all rows. The store probably refused all rows, so no single row was the reason.
    fn clear_suspects(&mut self) {
        for waiting in self.queues.iter_mut() {
            waiting.trial = Trial::None;
        }
    }

    /// Marks each suspect for one more attempt if the store had taken fewer than `before` batches when it refused the
    /// suspect. Returns true if at least one suspect was marked.
    fn retry_suspects(&mut self, before: u64) -> bool {
        let mut found = false;
        for waiting in self.queues.iter_mut() {
            if matches!(waiting.trial, Trial::Suspect { taken } if taken < before) {
                waiting.trial = Trial::Again;
                found = true;
            }
        }
        found
    }

    /// Returns the batch with the notice about the suspects. The notice keeps its id until its result is known.
    fn send_notice(&mut self, store: Timestamp) -> Option<Batch> {
        if self.notice.is_none() {
            let id = self.queues.id();
            let suspects = self.queues.iter().filter(|waiting| matches!(waiting.trial, Trial::Suspect { .. }));
            self.notice = notice(id, suspects.map(|waiting| &waiting.row));
        }
        let row = AuditRow { timestamp: store, ..self.notice.clone()? };
        Some(Batch { rows: vec![row], sent: Sent::Notice })
    }
}

/// The largest number of rows in one write.
const BATCH: usize = 128;
/// The number of suspects at which a notice is sent, even if `trust` is not reached. This number is also the largest
/// value of `trust`. Each suspect is sent a second time after the notice, so more suspects would cost too many writes.
const MOST_SUSPECTS: usize = 64;
/// The wait of a row after the first time that the row was sent alone and got no answer.
const FIRST_REST: Duration = Duration::from_secs(1);
const LONGEST_REST: Duration = Duration::from_secs(30);
