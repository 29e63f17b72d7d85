//! Counters that are registered at 0 before their first event, and the list of transitions that open a circuit.
//!
//! A query for the increase of a counter does not see the event that creates the series. Therefore every counter with
//! labels that are known in advance begins at 0. The counter of each transition to open or forced open begins at 0,
//! too, because alerts and panels count these transitions.

use metrics::Counter;

use super::rare::Series;

/// Increments a new counter by 0 and returns the counter. The increment keeps an exporter from dropping the series as
/// idle.
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

/// The transitions to open or forced open in the table of `circuit.rs`. Each entry has the old standing (state or
/// mode), the new standing and the possible reasons. The reason `restored` is possible from every standing. The reasons
/// `followed` and `fleet` keep the mode. Therefore they lead to open only from closed, half-open or open, and to forced
/// open only from forced open.
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
            "relapsed",
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
    ("forced_open", "forced_open", &["operator", "restored", "followed", "fleet"]),
    ("disabled", "forced_open", &["operator", "restored"]),
];

#[cfg(all(test, not(breaker_loom)))]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn snake_case(name: &str) -> String {
        let mut text = String::new();
        for (at, letter) in name.char_indices() {
            if letter.is_uppercase() && at > 0 {
                text.push('_');
            }
            text.extend(letter.to_lowercase());
        }
        text
    }

    #[test]
    fn every_edge_to_open_in_the_table_of_the_circuit_begins_at_zero() {
        let states = [("closed", "closed"), ("half-open", "half_open"), ("open", "open")];
        let mut edges = BTreeSet::new();
        for row in include_str!("../../circuit.rs").lines().filter_map(|line| line.strip_prefix("//! | ")) {
            let [from, to, _, reasons] = row.splitn(4, " | ").collect::<Vec<_>>()[..] else { continue };
            let is_snapshot = from == "any" && to.starts_with("the state of a snapshot");
            if !to.starts_with("open") && !is_snapshot {
                continue;
            }
            for (_, state) in states.iter().filter(|(name, _)| is_snapshot || from.split(", ").any(|one| one == *name))
            {
                let names = reasons.split('`').skip(1).step_by(2);
                edges.extend(names.map(|name| (*state, snake_case(name))));
            }
        }
        assert!(edges.len() > 15, "the table has other words: {edges:?}");
        for (from, reason) in edges {
            let listed =
                OPENINGS.iter().any(|(of, to, reasons)| *of == from && *to == "open" && reasons.contains(&&*reason));
            assert!(listed, "{from} to open because of {reason}");
        }
    }
}
