//! Counters that are registered at 0 before their first event, with the list of transitions that open a circuit.
//!
//! A query for the increase of a counter does not see the event that creates the series. Therefore every counter with
//! labels that are known in advance begins at 0. The counter of each transition to open or forced open begins at 0,
//! too, because alerts and panels count these transitions.

use metrics::Counter;

use super::rare::Series;

/// Increments a new counter by 0 and returns the counter. The increment shows an exporter that the series is not idle.
pub(super) fn counter(counter: Counter) -> Counter {
    counter.increment(0);
    counter
}

/// Registers the counters of the transitions that open a circuit or force it open.
pub(super) fn transitions(label: &str) {
    for (from, to, reasons) in OPENINGS {
        for reason in *reasons {
            Series::Transitions { from, to, reason }.counter(label).increment(0);
        }
    }
}

/// The edges of the table in `circuit.rs` that lead to open or forced open, each as the old standing, the new standing
/// and the reasons. A restore, or the adoption of a snapshot of another instance, is possible in every standing.
const OPENINGS: &[(&str, &str, &[&str])] = &[
    (
        "closed",
        "open",
        &[
            "consecutive_failures",
            "failure_rate",
            "failure_score",
            "slow_call_rate",
            "unproven",
            "at_once",
            "advised",
            "restored",
            "followed",
            "fleet",
        ],
    ),
    ("half_open", "open", &["probe_failed", "no_success", "no_verdict", "at_once", "restored", "followed", "fleet"]),
    ("open", "open", &["at_once", "restored", "followed", "fleet", "operator"]),
    ("forced_open", "open", &["operator", "hold_ended", "restored"]),
    ("disabled", "open", &["operator", "hold_ended", "restored"]),
    ("closed", "forced_open", &["operator", "restored"]),
    ("half_open", "forced_open", &["operator", "restored"]),
    ("open", "forced_open", &["operator", "restored"]),
    ("forced_open", "forced_open", &["operator", "restored", "followed"]),
    ("disabled", "forced_open", &["operator", "restored"]),
];
