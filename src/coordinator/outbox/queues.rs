//! The queues of the outbox, one for the rows of operators and one for all other rows.
//!
//! Each queue has a bound. The oldest row of a full queue is lost and counted, and another audit row reports the number
//! of lost rows.

use std::collections::VecDeque;

use crate::clock::Tick;
use crate::record::Timestamp;
use crate::store::AuditRow;
use crate::telemetry::audit::MISSING;

/// The rows that wait for the store. A row without an id gets an id, which consists of the incarnation (the id of this
/// start of the process) and a number. If a row is written twice, the store keeps only one row with this id.
#[derive(Debug)]
pub(super) struct Queues {
    incarnation: String,
    /// The number of ids so far.
    ids: u64,
    /// The number of rows that were added at the end of a queue so far.
    pushed: u64,
    /// The number of rows so far that reported lost rows.
    reports: u64,
    /// The rows with a user, which are the acts of operators and their results.
    pub(super) people: VecDeque<Waiting>,
    /// The rows without a user, and the rows of acts that are added once more (`Outbox::push_repeated`).
    pub(super) machines: VecDeque<Waiting>,
    /// The number of lost rows that no other row reports yet. A row is lost if its queue is full.
    missing: u64,
    /// The number of rows that were lost, since the first start of the task.
    pub(super) lost: u64,
    /// The ids of the rows with a user that were lost since the last call of `Outbox::take_lost`.
    pub(super) lost_acts: Vec<String>,
    /// The largest number of rows in each queue.
    capacity: usize,
}

/// A waiting row, with the tick of its change. The row gets its time by the clock of the store only when it is written,
/// because the time of the store may be unknown at the change.
#[derive(Debug)]
pub(super) struct Waiting {
    /// The place of the row in the order of all rows. A row that reports lost rows has a number below [`FIRST`],
    /// because the lost rows were older than all other rows.
    pub(super) number: u64,
    pub(super) at: Tick,
    pub(super) row: AuditRow,
    /// The number of rows that count as lost if this row is lost. The number is 1 for most rows, and higher for a row
    /// that reports lost rows.
    stands_for: u64,
    pub(super) trial: Trial,
    /// The number of times that the row was sent alone and the store did not answer.
    pub(super) failures: u32,
    /// The earliest time at which the row is sent again.
    pub(super) not_before: Tick,
}

/// The result of sending a row alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trial {
    /// The row was not refused alone.
    None,
    /// The store refused the row when the row was sent alone. `taken` is the number of batches that the store had taken
    /// before the refusal.
    Suspect { taken: u64 },
    /// The store has taken another batch since the refusal. The row will be sent once more, alone.
    Again,
}

/// The queue in which a row waits.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    People,
    Machines,
}

impl Queues {
    pub(super) fn new(incarnation: &str, capacity: usize) -> Self {
        Self {
            incarnation: incarnation.to_owned(),
            ids: 0,
            pushed: 0,
            reports: 0,
            people: VecDeque::new(),
            machines: VecDeque::new(),
            missing: 0,
            lost: 0,
            lost_acts: Vec::new(),
            capacity,
        }
    }

    /// Adds a row to its queue, unless a row with the same id waits already. If the row is lost later, it counts as
    /// `stands_for` lost rows.
    pub(super) fn push(&mut self, stands_for: u64, at: Tick, row: AuditRow) {
        if row.id.is_empty() || !self.contains(&row.id) {
            let kind = if row.user.is_some() { Kind::People } else { Kind::Machines };
            self.push_as(kind, stands_for, at, row);
        }
    }

    /// Adds a row to the end of a queue, and gives the row an id if it has none.
    pub(super) fn push_as(&mut self, kind: Kind, stands_for: u64, at: Tick, mut row: AuditRow) {
        if row.id.is_empty() {
            row.id = self.id();
        }
        // Cuts texts that are too long, because a table with a limit would refuse the row. The texts of this crate are
        // shorter than the limits.
        row.bound();
        self.pushed += 1;
        let number = FIRST.saturating_add(self.pushed);
        let queue = match kind {
            Kind::People => &mut self.people,
            Kind::Machines => &mut self.machines,
        };
        while queue.len() >= self.capacity
            && let Some(oldest) = queue.pop_front()
        {
            self.missing = self.missing.saturating_add(oldest.stands_for);
            self.lost = self.lost.saturating_add(u64::from(oldest.number >= FIRST));
            if oldest.row.user.is_some() {
                self.lost_acts.push(oldest.row.id);
            }
        }
        queue.push_back(Waiting::new(number, at, row, stands_for));
    }

    /// Adds a row that reports the number of lost rows, if rows were lost.
    pub(super) fn report_missing(&mut self, now: Tick) {
        if self.missing == 0 {
            return;
        }
        let lost = AuditRow {
            id: self.id(),
            service: String::new(),
            action: MISSING.to_owned(),
            reason: format!("{} rows were lost, because the store was down and the outbox was full", self.missing),
            user: None,
            timestamp: Timestamp::default(),
            generation: 0,
            instance: self.iter().next().map(|first| first.row.instance.clone()).unwrap_or_default(),
        };
        let stands_for = std::mem::take(&mut self.missing);
        self.reports += 1;
        self.machines.push_front(Waiting::new(self.reports, now, lost, stands_for));
    }

    pub(super) fn len(&self) -> usize {
        self.people.len() + self.machines.len() + usize::from(self.missing > 0)
    }

    /// Returns true if the row with this id waits.
    pub(super) fn contains(&self, id: &str) -> bool {
        self.iter().any(|waiting| waiting.row.id == id)
    }

    /// Returns all rows, the rows of operators first.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Waiting> {
        self.people.iter().chain(&self.machines)
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Waiting> {
        self.people.iter_mut().chain(&mut self.machines)
    }

    pub(super) fn find(&mut self, number: u64) -> Option<&mut Waiting> {
        self.iter_mut().find(|waiting| waiting.number == number)
    }

    /// Removes the rows with these numbers. The numbers must be in ascending order.
    pub(super) fn remove(&mut self, numbers: &[u64]) {
        let is_meant = |waiting: &Waiting| numbers.binary_search(&waiting.number).is_ok();
        let mut left = numbers.len();
        for queue in [&mut self.people, &mut self.machines] {
            // Most batches consist of the first rows of the queues. Then the other rows need not be visited.
            while queue.front().is_some_and(is_meant) {
                queue.pop_front();
                left -= 1;
            }
        }
        if left > 0 {
            for queue in [&mut self.people, &mut self.machines] {
                queue.retain(|waiting| !is_meant(waiting));
            }
        }
    }

    /// Removes and returns a row.
    pub(super) fn take(&mut self, number: u64) -> Option<Box<AuditRow>> {
        for queue in [&mut self.people, &mut self.machines] {
            if let Some(at) = queue.iter().position(|waiting| waiting.number == number) {
                return queue.remove(at).map(|waiting| Box::new(waiting.row));
            }
        }
        None
    }

    /// Creates the id of a row.
    pub(super) fn id(&mut self) -> String {
        self.ids += 1;
        format!("{}-{:08x}", self.incarnation, self.ids)
    }
}

impl Waiting {
    const fn new(number: u64, at: Tick, row: AuditRow, stands_for: u64) -> Self {
        Self { number, at, row, stands_for, trial: Trial::None, failures: 0, not_before: Tick::ZERO }
    }
}

/// One less than the number of the first added row. Reports of lost rows have smaller numbers.
const FIRST: u64 = 1 << 32;
