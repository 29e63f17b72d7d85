//! The settings of a registry with a store, as the builder collects them.

use std::collections::HashMap;
use std::time::Duration;

use super::Sharing;
pub(super) use crate::keep::Ttl;

/// The settings of a registry with a store.
#[derive(Debug, Clone)]
pub(super) struct Terms {
    pub(super) sharing: Sharing,
    pub(super) instance: String,
    pub(super) first_call_waits: Duration,
    pub(super) timeout: Duration,
    pub(super) poll: Polls,
    pub(super) ttl: Ttl,
    pub(super) ttl_of: HashMap<String, Ttl>,
    pub(super) outbox: usize,
    /// How long the store keeps rows of the audit.
    pub(super) audit_kept: Option<Duration>,
    pub(super) seed: Option<u64>,
}

/// How often the store is polled.
#[derive(Debug, Clone, Copy)]
pub(super) struct Polls {
    /// While anything is not closed.
    pub(super) tripped: Duration,
    pub(super) closed: Duration,
}
