//! The counters of transitions and of failures of a [named](crate::outcome::FailureKind::Named) kind. The handles of
//! these counters are not kept.
//!
//! Each use registers the series. A series begins with its first event, except for the transitions that `born`
//! registers. [`Rare`] remembers the series, so that a refresh can register dropped series again.

use std::collections::BTreeSet;

use metrics::{Counter, counter};

use super::handles::{FAILURES, TRANSITIONS};
use crate::state::Transition;
use crate::sync::Mutex;

/// The series of one label that have had an event.
#[derive(Debug, Default)]
pub(super) struct Rare(Mutex<BTreeSet<Series>>);

/// One series of the circuits with one `service`. The variant is the metric, and the fields are the other labels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Series {
    Failures { kind: &'static str },
    Transitions { from: &'static str, to: &'static str, reason: &'static str },
}

impl Rare {
    pub(super) fn count(&self, label: &str, series: Series) {
        let mut known = self.0.lock();
        if known.len() < MOST {
            known.insert(series);
        }
        // No code of a recorder runs under the lock.
        drop(known);
        series.counter(label).increment(1);
    }

    /// Registers the remembered series again. The increment of 0 keeps an exporter from dropping the series as idle.
    pub(super) fn renew(&self, label: &str) {
        let known = self.0.lock().clone();
        known.into_iter().for_each(|series| series.counter(label).increment(0));
    }
}

impl Series {
    pub(super) fn of(edge: &Transition) -> Self {
        Self::Transitions { from: edge.from.as_str(), to: edge.to.as_str(), reason: edge.reason.as_str() }
    }

    pub(super) fn counter(self, label: &str) -> Counter {
        let service = label.to_owned();
        match self {
            Self::Failures { kind } => counter!(FAILURES, "service" => service, "kind" => kind),
            Self::Transitions { from, to, reason } => {
                counter!(TRANSITIONS, "service" => service, "from" => from, "to" => to, "reason" => reason)
            }
        }
    }
}

/// The largest number of series that are remembered for a label. Programs have fewer series, because the names of kinds
/// and transitions are constants.
const MOST: usize = 256;
