//! The observer for the metrics of a group. The metrics are the suppressed openings of each circuit, and the share of
//! the group's circuits that have left the closed state by themselves.
//!
//! Only circuits in a group have this observer, so that other circuits have no such series and need no memory for the
//! observer. All circuits of a group set the same gauge of the share. After an observer has set the gauge, it reads the
//! numbers again. If the numbers have changed, the observer sets the gauge again, so that the newest numbers are set
//! last.

use std::sync::Arc;

use metrics::{counter, gauge};

use crate::event::{Event, Observer};
use crate::group::Group;
use crate::sync::{AtomicU64, Relaxed};
use crate::telemetry::Label;

/// Records the metrics of the group of one circuit.
#[derive(Debug)]
pub(in crate::telemetry) struct GroupObserver {
    group: Group,
    /// The label of the circuit, if the circuit is keyed. Other circuits can share this label.
    label: Option<Arc<Label>>,
    /// The number of suppressed openings that the counter already includes.
    counted: AtomicU64,
}

impl GroupObserver {
    pub(in crate::telemetry) fn new(group: &Group, label: Option<&Arc<Label>>) -> Self {
        Self { group: group.clone(), label: label.cloned(), counted: AtomicU64::new(0) }
    }

    /// Adds the new suppressed openings to the counter. `total` is the number of all suppressed openings since the
    /// circuit was created.
    fn count(&self, circuit: &str, total: u64) {
        // Relaxed: the exchange only decides which thread increments the counter, and publishes nothing.
        let counted = self.counted.fetch_max(total, Relaxed);
        let service: Arc<str> = match self.label.as_deref().filter(|label| !label.is_own()) {
            Some(label) => Arc::clone(label.other()),
            None => circuit.into(),
        };
        counter!(SUPPRESSED, "service" => service).increment(total.saturating_sub(counted));
    }

    fn show(&self) {
        let mut shown = None;
        loop {
            let now @ (open, members) = self.group.open_of();
            if shown == Some(now) {
                return;
            }
            // A group can be empty, so the divisor is at least 1.
            let ratio = f64::from(open) / f64::from(members.max(1));
            gauge!(GROUP_OPEN, "group" => self.group.shared_name()).set(ratio);
            shown = Some(now);
        }
    }
}

impl Observer for GroupObserver {
    fn on_event(&self, circuit: &str, event: &Event<'_>) {
        match *event {
            Event::Suppressed { total, .. } | Event::Refresh { suppressed: Some(total), .. } => {
                self.count(circuit, total);
                self.show();
            }
            Event::Transition(_) | Event::Forgotten => self.show(),
            Event::Refresh { .. }
            | Event::Rejections { .. }
            | Event::Finished { .. }
            | Event::Rejected { .. }
            | Event::Fallback { .. }
            | Event::Sums { .. }
            | Event::Stale
            | Event::Fleet { .. }
            | Event::FleetProbes { .. }
            | Event::FleetDeclined
            | Event::HealthBegan
            | Event::HealthProbe { .. }
            | Event::SystemLoad { .. } => {}
        }
    }
}

/// Sets the gauge of the group to the share without the dropped circuit.
impl Drop for GroupObserver {
    fn drop(&mut self) {
        self.show();
    }
}

pub(super) const SUPPRESSED: &str = "circuit_breaker_openings_suppressed_total";
pub(super) const GROUP_OPEN: &str = "circuit_breaker_group_open_ratio";
