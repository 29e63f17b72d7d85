//! The audit of a registry without a store: what its circuits remember.

use crate::circuit::Circuit;
use crate::record::Timestamp;
use crate::state::Reason;
use crate::store::{AuditFilter, AuditRow};
use crate::telemetry::audit::told;

/// Returns the rows that pass, newest first.
pub(super) fn rows(circuits: &[Circuit], filter: &AuditFilter) -> Vec<AuditRow> {
    let mut rows: Vec<_> = circuits.iter().flat_map(of).filter(|row| filter.passes(row)).collect();
    rows.sort_by(|a, b| (b.timestamp, &b.id).cmp(&(a.timestamp, &a.id)));
    rows.truncate(filter.limit);
    rows
}

fn of(circuit: &Circuit) -> Vec<AuditRow> {
    let status = circuit.status();
    let edges = status.transitions.into_iter().filter(|edge| edge.reason != Reason::KillSwitch);
    let row = |edge: crate::state::Transition| {
        let (action, user, reason) = told(&edge);
        AuditRow {
            // Sorts as the eras do.
            id: format!("{}-{:016x}", circuit.name(), edge.era),
            service: circuit.name().to_owned(),
            action: action.to_owned(),
            reason,
            user: user.map(ToOwned::to_owned),
            timestamp: Timestamp::from(edge.wall),
            generation: edge.generation.get(),
            instance: String::new(),
        }
    };
    edges.map(row).collect()
}
