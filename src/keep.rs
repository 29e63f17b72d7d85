//! The words in which an application says how its circuits are kept: plain data, which opens nothing.
//!
//! Stores, the coordinator and the settings share these words. The settings can be compiled without a store, so that the words lie
//! below all three.

use std::time::Duration;

/// How long a store that forgets is asked to remember a circuit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ttl {
    pub(crate) open: Duration,
    pub(crate) other: Duration,
}

impl Default for Ttl {
    fn default() -> Self {
        Self { open: HOUR.saturating_mul(24), other: HOUR }
    }
}

const HOUR: Duration = Duration::from_secs(3600);
/// The default limit of one operation of a store.
#[cfg(feature = "store")]
pub(crate) const STORE_TIMEOUT: Duration = Duration::from_secs(2);

#[cfg(all(test, feature = "store"))]
mod tests {
    use super::*;

    #[test]
    fn the_docs_name_the_defaults() {
        let stores = include_str!("../docs/stores.md");
        let Ttl { open, other } = Ttl::default();
        let [open, other] = [open, other].map(|ttl| ttl.as_secs() / 3600);
        let ttl = format!("Redis forgets: an open circuit after {open} h, any other after {other} h");
        assert!(stores.contains(&ttl), "docs/stores.md does not say: {ttl}");
        let timeout = format!("an operation is given up after {} s", STORE_TIMEOUT.as_secs());
        assert!(stores.contains(&timeout), "docs/stores.md does not say: {timeout}");
        let operation = include_str!("../docs/operation.md");
        let cooldown = format!("A reset within {} s of leaving closed", crate::config::RESET_COOLDOWN.as_secs());
        assert!(operation.contains(&cooldown), "docs/operation.md does not say: {cooldown}");
    }
}
