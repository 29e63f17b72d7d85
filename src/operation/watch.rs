//! A watch for changes of the records in a store, for a display or a script.

use std::collections::{BTreeMap, VecDeque};
use std::task::Poll;
use std::time::Duration;

use super::operator::BATCH;
use super::{Operator, Shown};
use crate::pattern::is_reserved;
use crate::store::{Etag, StoreError, Watch, WatchEvent};

/// A watch for changes of the records in a store. The first changes report each record that is already in the store.
/// Created by [`Operator::watch`].
#[derive(Debug)]
#[must_use = "changes are reported only by `next`"]
pub struct Changes {
    operator: Operator,
    watch: Option<Watch>,
    begun: bool,
    /// True if records in the store may have changed since the records were last listed.
    due: bool,
    known: BTreeMap<String, Etag>,
    ready: VecDeque<Change>,
}

/// A change of one record, with the new record. A deleted record is a change without a record.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Change {
    /// The name of the circuit.
    pub name: String,
    /// The new record, or `None` if the record was deleted.
    pub shown: Option<Shown>,
}

impl Changes {
    pub(super) fn new(operator: Operator) -> Self {
        Self { operator, watch: None, begun: false, due: true, known: BTreeMap::new(), ready: VecDeque::new() }
    }

    /// Waits for the next change. The first calls return all present records. If the store reports changes, a later
    /// change is returned after a pause of 50 ms, plus 50 ms for each 256 known records. The pause is 200 ms for 1000
    /// records. If the store does not report changes, a query every two seconds finds the change. Of several quick
    /// changes to one record, only the last change is returned.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the store failed or did not answer in time. The next call then waits for a report of the
    /// store, at most two seconds, and queries the store again.
    ///
    /// # Cancel safety
    ///
    /// No change is lost if the future is dropped while it waits.
    pub async fn next(&mut self) -> Result<Change, StoreError> {
        loop {
            if let Some(change) = self.ready.pop_front() {
                return Ok(change);
            }
            if !self.due {
                self.wait().await;
            }
            if !self.begun {
                // The watch begins before the records are first listed, so that no change in between is missed. If the
                // watch cannot begin, the store is polled.
                self.watch = self.operator.store_watch().await.unwrap_or_default();
                self.begun = true;
            }
            let shown = self.operator.list().await;
            // `due` is also cleared if the list failed, so that the next call waits before it queries the store again.
            self.due = false;
            self.compare(shown?);
        }
    }

    /// Returns the next change that is already known, or `None` if no further change is known. Does not wait, and does
    /// not query the store. After [`next`](Self::next), this method returns the other changes that the same query
    /// found.
    pub fn ready(&mut self) -> Option<Change> {
        self.ready.pop_front()
    }

    async fn wait(&mut self) {
        let reported = async {
            match &mut self.watch {
                // Records with reserved names list the members of fleets. Their changes are heartbeats of the members,
                // and not changes of circuits.
                Some(watch) => loop {
                    match watch.next().await {
                        Some(WatchEvent::Changed { name, .. }) if is_reserved(&name) => {}
                        event => break event.is_some(),
                    }
                },
                None => std::future::pending().await,
            }
        };
        // Listing the records finds all changes, so the name in the event is not needed. Most stores do not report
        // writes that change only the counts of calls. The next poll finds such writes.
        let reported = tokio::time::timeout(POLL, reported).await;
        // `due` is set before the pause below. If the future is dropped during the pause, the next call still lists the
        // records, and no change is lost.
        self.due = true;
        if reported != Ok(true) {
            self.watch = self.watch.take().filter(|_| reported.is_err());
            return;
        }
        // Other programs can send many reports. Therefore the records are listed only once for all reports that arrive
        // during a pause. The pause is longer if there are more records to list.
        let lists = u32::try_from(self.known.len() / BATCH + 1).unwrap_or(u32::MAX);
        tokio::time::sleep(MERGED_WITHIN.saturating_mul(lists)).await;
        let is_there = |watch: &mut Watch| matches!(watch.next_ready(), Poll::Ready(Some(_)));
        for _ in 0..MERGED_AT_MOST {
            if !self.watch.as_mut().is_some_and(is_there) {
                break;
            }
        }
    }

    fn compare(&mut self, shown: Vec<Shown>) {
        let mut gone = std::mem::take(&mut self.known);
        for shown in shown {
            let changed = gone.remove(&shown.name).as_ref() != Some(&shown.etag);
            self.known.insert(shown.name.clone(), shown.etag.clone());
            if changed {
                self.ready.push_back(Change { name: shown.name.clone(), shown: Some(shown) });
            }
        }
        self.ready.extend(gone.into_keys().map(|name| Change { name, shown: None }));
    }
}

/// The longest time until a change is found if the store does not report the change.
const POLL: Duration = Duration::from_secs(2);
/// The pause after a report of the store, for each batch of up to [`BATCH`] known records.
const MERGED_WITHIN: Duration = Duration::from_millis(50);
/// The largest number of reports that are read before the records are listed. Listing the records finds the changes of
/// all these reports.
const MERGED_AT_MOST: usize = 4096;
