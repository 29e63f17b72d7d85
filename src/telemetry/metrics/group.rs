//! The metrics of a circuit in a group, which are its suppressed openings and the share of the group that is open.
//!
//! Circuits without a group have neither series. The share belongs to the group and not to the circuit, so that each member
//! sets the same gauge. A member reads the numbers again after it has set the gauge, so that the newest numbers are set last.

use metrics::{Counter, counter, gauge};

use super::MetricsObserver;
use super::under::Under;
use crate::group::Group;
use crate::sync::Relaxed;

impl MetricsObserver {
    /// Counts the suppressed openings that are not counted yet, of `total` since the circuit was created.
    pub(super) fn count_suppressed(&self, under: Under<'_>, total: u64) {
        // Relaxed: the exchange only decides which thread counts, and publishes nothing.
        let counted = self.suppressed.fetch_max(total, Relaxed);
        suppressed(under.label).increment(total.saturating_sub(counted));
    }

    /// Sets the gauge of the group, if the circuit is in a group.
    pub(super) fn show_group(&self) {
        let Some(group) = self.group.as_ref() else { return };
        let mut shown = None;
        loop {
            let now = group.open_of();
            if shown == Some(now) {
                return;
            }
            show(group, now);
            shown = Some(now);
        }
    }
}

fn show(group: &Group, (open, members): (u32, u32)) {
    // A group without circuits has none that is open.
    let ratio = f64::from(open) / f64::from(members.max(1));
    gauge!(GROUP_OPEN, "group" => group.shared_name()).set(ratio);
}

fn suppressed(label: &str) -> Counter {
    counter!(SUPPRESSED, "service" => label.to_owned())
}

pub(super) const SUPPRESSED: &str = "circuit_breaker_openings_suppressed_total";
pub(super) const GROUP_OPEN: &str = "circuit_breaker_group_open_ratio";
