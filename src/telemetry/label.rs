//! The labels of keyed circuits in metrics, and the number of calls that a key needs for a label of its own.
//!
//! A recorder cannot remove a series, and callers may be able to choose the keys. Therefore a layer of keyed circuits
//! gives only a limited number of labels. All circuits begin with one shared label. A circuit gets its own label when
//! its key was used often enough. The fewer labels are left, the more uses the next label costs. Therefore the last
//! labels go to the keys with the most traffic, and a caller with invented keys gets these labels only with as much
//! traffic. A circuit never loses its own label, so that a series never passes from one circuit to another.

use std::sync::Arc;

use crate::sync::{AtomicBool, AtomicU64, Relaxed};

/// The labels that one layer of keyed circuits can give.
#[derive(Debug)]
pub(crate) struct Labels {
    /// The label that all circuits without a label of their own share.
    other: Arc<str>,
    budget: u64,
    given: AtomicU64,
}

/// The label of one keyed circuit. The circuit shares a label with other circuits until it gets its own label.
#[derive(Debug)]
pub(crate) struct Label {
    labels: Arc<Labels>,
    /// True if the circuit never gets its own label, because its name equals the shared label.
    is_shared_for_ever: bool,
    is_own: AtomicBool,
}

impl Labels {
    pub(crate) fn new(other: &str, budget: u64) -> Arc<Self> {
        Arc::new(Self { other: other.into(), budget, given: AtomicU64::new(0) })
    }

    /// Returns the label of a new circuit with this name. The circuit has its own label at once if `was_given` is true,
    /// because an earlier circuit of the same key had this label.
    pub(crate) fn of(self: &Arc<Self>, name: &str, was_given: bool) -> Arc<Label> {
        Arc::new(Label {
            labels: Arc::clone(self),
            is_shared_for_ever: *name == *self.other,
            is_own: AtomicBool::new(was_given),
        })
    }

    /// Takes a label from the budget if `uses` reaches the price of the next label. Returns true if a label was taken.
    fn take(&self, uses: u64) -> bool {
        // Relaxed for both: a count, publishes nothing.
        let enough = |given| (uses >= price(given, self.budget)?).then_some(given + 1);
        self.given.fetch_update(Relaxed, Relaxed, enough).is_ok()
    }
}

impl Label {
    /// Returns the label that the circuit shares with others.
    #[cfg(feature = "metrics")]
    pub(crate) fn other(&self) -> &Arc<str> {
        &self.labels.other
    }

    /// Returns true if the circuit has a label of its own, which is its name.
    pub(crate) fn is_own(&self) -> bool {
        // Relaxed: a flag, publishes nothing. An event that sees the flag late still counts under the shared label.
        self.is_own.load(Relaxed)
    }

    /// Gives the circuit its own label if `uses` reaches the price of a label. `uses` is the number of uses of the
    /// circuit's key so far.
    pub(crate) fn used(&self, uses: u64) {
        if uses >= FIRST_PRICE && !self.is_own() && !self.is_shared_for_ever && self.labels.take(uses) {
            // Relaxed, as in `is_own`. Two threads at the same time may take two labels for one circuit. The layer then
            // gives one label less than its budget.
            self.is_own.store(true, Relaxed);
        }
    }
}

/// Returns the number of uses that the next label costs. The first half of the budget costs 8 uses for each label, the
/// next quarter 32, the next eighth 128, and so on. `None` if all labels are given.
fn price(given: u64, budget: u64) -> Option<u64> {
    let halvings = budget.checked_div(budget.checked_sub(given)?)?.checked_ilog2()?;
    Some(FIRST_PRICE.saturating_mul(1_u64.checked_shl(2 * halvings).unwrap_or(u64::MAX)))
}

/// The number of uses that each label in the first half of the budget costs.
const FIRST_PRICE: u64 = 8;

#[cfg(all(test, not(breaker_loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_label_costs_more_the_fewer_are_left() {
        let prices: Vec<_> = [0, 100, 101, 150, 175, 199].map(|given| price(given, 200)).to_vec();
        assert_eq!(prices, [Some(8), Some(32), Some(32), Some(128), Some(512), Some(131_072)]);
        assert_eq!([price(0, 1), price(1, 1), price(0, 0), price(200, 200)], [Some(8), None, None, None]);
        assert!(price(u64::MAX - 1, u64::MAX).is_some_and(|price| price > 1 << 60));
    }

    #[test]
    fn a_layer_gives_no_more_labels_than_its_budget() {
        let labels = Labels::new("host:other", 3);
        let given = (0..50).filter(|n| {
            let label = labels.of(&format!("host:{n}"), false);
            label.used(1_000_000);
            label.is_own()
        });
        assert_eq!(given.count(), 3);
        let other = Labels::new("host:other", 3).of("host:other", false);
        other.used(1_000_000);
        assert!(!other.is_own(), "the shared label belongs to all circuits");
    }
}
