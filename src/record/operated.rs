//! The last act of an operator in a record, such as a forced opening. Every instance applies this act.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::entry::left;
use super::{Timestamp, words};
use crate::state::order_hash::{Earlier, OrderHash};
use crate::state::{Act, By, Mode, State};

/// The last act of an operator, in its stored form.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Operated {
    /// The number of the act. A later act has a larger number.
    pub sequence: u64,
    /// The kind of the act.
    #[serde(with = "words::act")]
    pub act: Act,
    /// The mode of the circuit that the act set.
    #[serde(with = "words::mode")]
    pub mode: Mode,
    /// The state of the circuit after the act, if the act is a reset.
    #[serde(default = "half_open", with = "words::state")]
    pub to: State,
    /// The time when the mode of this act ends by itself. `None` if only another act ends the mode.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// The whole duration of the mode in milliseconds, counted from the act. If the clock of the store is set back, the
    /// remaining time is limited to this duration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold_ms: Option<u64>,
    /// The time of the act.
    #[serde(default)]
    pub at: Timestamp,
    /// The user who ordered the act.
    #[serde(default)]
    pub user: String,
    /// The reason that the user gave.
    #[serde(default)]
    pub reason: String,
    /// The ids of the orders of the last acts, with the newest id at the end. The list has at most 8 ids. An order
    /// whose id is in the list is not applied again.
    #[serde(default)]
    pub commands: Vec<String>,
    /// For each id in [`commands`](Self::commands), the hash of the order with this id. A new order with a known id and
    /// a different hash is refused, because it is a different order with the same id. An id that an older version of
    /// this crate wrote has no hash.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub marks: BTreeMap<String, String>,
    /// The random id of the run (from start to exit) of the instance on which the operator acted.
    #[serde(default)]
    pub incarnation: String,
    /// The id of the instance on which the operator acted. The id belongs to this act only if
    /// [`instance_of`](Self::instance_of) is equal to [`incarnation`](Self::incarnation). An earlier version of this
    /// crate copies `instance` and `instance_of` from one act to the next.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub instance: String,
    /// The value of [`incarnation`](Self::incarnation) at the time when [`instance`](Self::instance) was written. If
    /// the two values differ, `instance` belongs to an earlier act.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub instance_of: String,
    /// Fields that this version of the crate does not know, such as fields of a later version. Up to
    /// [`MAX_EXTRA_BYTES`](super::CircuitRecord::MAX_EXTRA_BYTES) of unknown fields in a record are written back
    /// unchanged.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl Operated {
    /// The largest number of ids in [`commands`](Self::commands).
    pub const MAX_COMMANDS: usize = 8;

    /// Returns true if the mode of the act overrides the state of the circuit at the time `now`.
    #[must_use]
    pub fn holds(&self, now: Timestamp) -> bool {
        self.mode != Mode::Automatic && self.until.is_none_or(|until| until > now)
    }

    /// Returns the time from `now` until the mode ends by itself, limited to the whole duration of the mode. Returns
    /// `None` if only another act ends the mode.
    #[must_use]
    pub fn held_for(&self, now: Timestamp) -> Option<Duration> {
        left(self.until, self.hold_ms, now)
    }

    /// Returns the user and the reason of the act. Returns `None` if the stored texts are not valid.
    #[must_use]
    pub fn by(&self) -> Option<By> {
        By::new(&self.user, &self.reason).ok()
    }

    /// Returns `Earlier::Done` with the hash of the order if the record shows that an order with this id was carried
    /// out. Otherwise returns `Earlier::None`.
    pub(crate) fn earlier(&self, id: &str) -> Earlier {
        if self.commands.iter().any(|done| done == id) { Earlier::Done(self.order_hash(id)) } else { Earlier::None }
    }

    /// Returns the ids of the last orders, each with the hash of the order if the record has the hash.
    pub(crate) fn orders(&self) -> impl Iterator<Item = (&str, Option<OrderHash>)> {
        self.commands.iter().map(|id| (id.as_str(), self.order_hash(id)))
    }

    fn order_hash(&self, id: &str) -> Option<OrderHash> {
        self.marks.get(id).and_then(|hash| OrderHash::read(hash))
    }

    /// Returns the id of the instance on which the operator acted. `None` if the record does not name the instance.
    #[must_use]
    pub fn acted_on(&self) -> Option<&str> {
        let is_named = !self.instance.is_empty() && self.instance_of == self.incarnation;
        is_named.then_some(self.instance.as_str())
    }

    pub(super) fn clean(&mut self) {
        self.instance = words::clean(&self.instance, 200);
        self.instance_of = words::clean(&self.instance_of, 64);
        self.user = words::clean(&self.user, 200);
        self.reason = words::clean(&self.reason, 500);
        self.incarnation = words::clean(&self.incarnation, 64);
        self.commands.retain(|command| command.len() <= 64);
        let excess = self.commands.len().saturating_sub(Self::MAX_COMMANDS);
        self.commands.drain(..excess);
        self.marks.retain(|id, hash| hash.len() <= 16 && self.commands.contains(id));
    }
}

const fn half_open() -> State {
    State::HalfOpen
}
