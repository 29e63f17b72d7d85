//! What changes in a store, for who looks on.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::{Operator, Shown};
use crate::store::{Etag, StoreError, Watch};

/// What changes in a store, from [`Operator::watch`] on.
#[derive(Debug)]
#[must_use = "nothing is told to who does not ask"]
pub struct Changes {
    operator: Operator,
    watch: Option<Watch>,
    begun: bool,
    /// Whether there may be something new.
    due: bool,
    known: BTreeMap<String, Etag>,
    ready: VecDeque<Change>,
}

/// What is under a name now.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Change {
    /// The name.
    pub name: String,
    /// What is there. `None`: nothing any more.
    pub shown: Option<Shown>,
}

impl Changes {
    pub(super) fn new(operator: Operator) -> Self {
        Self { operator, watch: None, begun: false, due: true, known: BTreeMap::new(), ready: VecDeque::new() }
    }

    /// Waits for the next change: first of all what there is, then what is written, at once where the store tells of it, and
    /// within two seconds where it does not. Of changes in quick succession the last is told.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the store could not be asked. The next call waits for two seconds, and asks again.
    ///
    /// # Cancel safety
    ///
    /// Dropped while waiting, no change is lost.
    pub async fn next(&mut self) -> Result<Change, StoreError> {
        loop {
            if let Some(change) = self.ready.pop_front() {
                return Ok(change);
            }
            if !self.due {
                self.wait().await;
                self.due = true;
            }
            if !self.begun {
                // Before the first look, so that nothing happens in between. One that cannot watch now is polled.
                self.watch = self.operator.store_watch().await.unwrap_or_default();
                self.begun = true;
            }
            let shown = self.operator.list().await;
            // Also after a failure: then only after a wait.
            self.due = false;
            self.compare(shown?);
        }
    }

    async fn wait(&mut self) {
        let told = async {
            match &mut self.watch {
                Some(watch) => watch.next().await.is_some(),
                None => std::future::pending().await,
            }
        };
        // It tells of each write, also of counts: one look for all of them.
        if tokio::time::timeout(POLL, told).await == Ok(false) {
            self.watch = None;
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

/// How long a change may take that the store does not tell of.
const POLL: Duration = Duration::from_secs(2);
