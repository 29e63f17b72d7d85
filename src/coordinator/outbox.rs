//! The outbox, which holds audit rows until the store has them, in order and in bounded memory.

use std::collections::VecDeque;
use std::time::Duration;

use crate::clock::Tick;
use crate::record::Timestamp;
use crate::store::AuditRow;

/// The audit rows that wait for the store. The id of a row consists of the incarnation and a number, so that a store
/// keeps a row once if it is written twice.
#[derive(Debug)]
pub(super) struct Outbox {
    incarnation: String,
    next: u64,
    rows: VecDeque<Waiting>,
    /// The number of rows that were lost because the outbox was full, and that no row reports yet.
    missing: u64,
    capacity: usize,
}

/// A row with the tick of its change. The row gets its time by the clock of the store only when it is written, because
/// that clock may be unknown at the time of the change.
#[derive(Debug)]
struct Waiting {
    at: Tick,
    row: AuditRow,
    /// The number of rows that are lost with this row. 1 for most rows, and more for a row that reports lost rows.
    stands_for: u64,
}

impl Outbox {
    pub(super) fn new(incarnation: &str, capacity: usize) -> Self {
        Self { incarnation: incarnation.to_owned(), next: 0, rows: VecDeque::new(), missing: 0, capacity }
    }

    /// Adds a row for a change at the tick `at`, and gives the row an id if it has none. A row whose id is present
    /// already is not added. If the outbox is full, the oldest row is lost and counted.
    pub(super) fn push(&mut self, at: Tick, row: AuditRow) {
        self.push_for(1, at, row);
    }

    /// Adds a row that reports `stands_for` lost rows. If this row is lost too, all rows that it reports are counted
    /// again.
    pub(super) fn push_for(&mut self, stands_for: u64, at: Tick, mut row: AuditRow) {
        if row.id.is_empty() {
            row.id = self.id();
        } else if self.rows.iter().any(|waiting| waiting.row.id == row.id) {
            return;
        }
        while self.rows.len() >= self.capacity
            && let Some(lost) = self.rows.pop_front()
        {
            self.missing = self.missing.saturating_add(lost.stands_for);
        }
        self.rows.push_back(Waiting { at, row, stands_for });
    }

    /// Returns true if the row with this id waits for the store.
    pub(super) fn contains(&self, id: &str) -> bool {
        self.rows.iter().any(|waiting| waiting.row.id == id)
    }

    pub(super) fn len(&self) -> usize {
        self.rows.len() + usize::from(self.missing > 0)
    }

    /// Returns the oldest rows, dated by the time of the store at the tick `now`. The rows stay in the outbox until
    /// [`taken`](Self::taken) removes them, because the write may fail.
    pub(super) fn batch(&mut self, now: Tick, store: Timestamp) -> Vec<AuditRow> {
        if self.missing > 0 {
            let lost = AuditRow {
                id: self.id(),
                service: String::new(),
                action: "missing".to_owned(),
                reason: format!("{} rows were lost, because the store was down and the outbox was full", self.missing),
                user: None,
                timestamp: Timestamp::default(),
                generation: 0,
                instance: self.rows.front().map(|first| first.row.instance.clone()).unwrap_or_default(),
            };
            let stands_for = std::mem::take(&mut self.missing);
            self.rows.push_front(Waiting { at: now, row: lost, stands_for });
        }
        let dated = |Waiting { at, row, .. }: &Waiting| {
            let age: Duration = now.saturating_since(*at);
            AuditRow { timestamp: store.saturating_sub(age), ..row.clone() }
        };
        self.rows.iter().take(BATCH).map(dated).collect()
    }

    /// Removes all rows up to the row with the id `last`, because the store has them.
    pub(super) fn taken(&mut self, last: &str) {
        if let Some(at) = self.rows.iter().position(|waiting| waiting.row.id == last) {
            self.rows.drain(..=at);
        }
    }

    fn id(&mut self) -> String {
        self.next += 1;
        format!("{}-{:08x}", self.incarnation, self.next)
    }
}

/// The largest number of rows in one write.
const BATCH: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    fn row(action: &str) -> AuditRow {
        AuditRow {
            id: String::new(),
            service: "payments".to_owned(),
            action: action.to_owned(),
            reason: String::new(),
            user: None,
            timestamp: Timestamp::default(),
            generation: 0,
            instance: "here".to_owned(),
        }
    }

    #[test]
    fn one_row_reports_the_number_of_rows_that_did_not_fit() {
        let mut outbox = Outbox::new("abc", 3);
        for n in 0..5 {
            outbox.push(Tick::from_nanos(n * 1_000_000_000), row(&n.to_string()));
        }
        let rows = outbox.batch(Tick::from_nanos(10_000_000_000), Timestamp::from_millis(100_000));
        let actions: Vec<_> = rows.iter().map(|row| row.action.as_str()).collect();
        assert_eq!(actions, ["missing", "2", "3", "4"]);
        assert!(rows[0].reason.starts_with("2 rows"), "{}", rows[0].reason);
        assert_eq!(rows[1].timestamp.as_millis(), 92_000, "dated by its age");
        assert_eq!(outbox.batch(Tick::ZERO, Timestamp::default()).len(), 4, "they stay until they are taken");
        outbox.taken(&rows[2].id);
        assert_eq!(outbox.len(), 1);
    }

    #[test]
    fn a_lost_row_that_reports_missing_rows_passes_on_its_count() {
        let mut outbox = Outbox::new("abc", 3);
        outbox.push_for(7, Tick::ZERO, row("missing"));
        for n in 0..5 {
            outbox.push(Tick::ZERO, row(&n.to_string()));
            // The test does not call `taken`, as after a failed write, so the rows stay in the outbox.
            let rows = outbox.batch(Tick::ZERO, Timestamp::default());
            assert!(rows.len() <= 4, "{} rows wait, but only 3 rows and the report of the others may", rows.len());
        }
        let rows = outbox.batch(Tick::ZERO, Timestamp::default());
        let kept = rows.iter().filter(|row| row.action != "missing").count();
        assert_eq!((rows.len(), kept), (4, 3));
        assert!(rows[0].reason.starts_with("9 rows"), "{}", rows[0].reason);
    }

    #[test]
    fn rows_that_were_missing_before_are_counted_with_later_ones() {
        let mut outbox = Outbox::new("abc", 3);
        let push = |outbox: &mut Outbox, rows: u64| (0..rows).for_each(|_| outbox.push(Tick::ZERO, row("opened")));
        let batch = |outbox: &mut Outbox| outbox.batch(Tick::ZERO, Timestamp::default());
        push(&mut outbox, 7);
        assert!(batch(&mut outbox)[0].reason.starts_with("4 rows"));
        // The write has failed, so the rows stay in the outbox, and more rows follow.
        push(&mut outbox, 3);
        let rows = batch(&mut outbox);
        assert!(rows[0].reason.starts_with("7 rows"), "{}", rows[0].reason);
        assert_eq!(rows.len(), 4);
    }
}
