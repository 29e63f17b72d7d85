//! The audit, which is the history of circuits, and the filter of a query for its rows.
//!
//! The audit has one row for each transition and for each act of an operator. A row has only texts and numbers.
//! Therefore a person can read the rows in a table, and a store needs no knowledge of circuits. The SQL stores repeat
//! the conditions of the filter in their statements. `store/conformance/audits.rs` tests that the filter has the same
//! effect in all stores.

use serde::{Deserialize, Serialize};

use crate::digest::sha256;
use crate::record::Timestamp;
use crate::shown::cut;
#[cfg(feature = "admin")]
use crate::shown::one_line;
use crate::state::order::Order;
use crate::state::{Generation, Transition};
use crate::telemetry;

/// One row of the audit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::exhaustive_structs, reason = "stores make them, and a row is made of all its parts")]
pub struct AuditRow {
    /// The id of the row, at most 64 bytes. A store keeps one row for each id. Therefore a row can be appended again if
    /// the answer of the store was lost. The row of an operator's act has a hash of the circuit and the order as its
    /// id. Every other id is made of a text that identifies this start of the instance, and a number that increases
    /// with each row.
    pub id: String,
    /// The name of the circuit.
    pub service: String,
    /// The kind of change, as one word. Operators cause `trip`, `reset`, `disable`, `resume`, `shadow` and `forget`.
    /// The circuit itself causes `opened`, `half_opened`, `closed` and `released`, which is the end of a hold (a
    /// forced-open or disabled mode). `superseded` and `expired` mark acts of an operator that had no effect on other
    /// instances. `missing` reports that rows were lost, or that the store refused rows.
    pub action: String,
    /// The reason of the change.
    pub reason: String,
    /// The operator who caused the change, or `None` if the circuit itself caused the change.
    pub user: Option<String>,
    /// The time of the change by the clock of the store, or by the wall clock if the registry has no store.
    pub timestamp: Timestamp,
    /// The generation of the record at the time of the change.
    pub generation: u64,
    /// The instance on which the change happened.
    pub instance: String,
}

impl AuditRow {
    /// Returns the row of a transition, dated by the wall clock. The id is computed from the order. If no order caused
    /// the transition, the id is empty, and the caller or the outbox sets an id later.
    pub(crate) fn of_transition(service: &str, edge: &Transition, instance: &str) -> Self {
        let (action, user, reason) = telemetry::audit::summary(edge);
        Self {
            id: edge
                .order
                .as_deref()
                .map_or_else(String::new, |order| row_id([service, order, action, user.unwrap_or_default(), &reason])),
            service: service.to_owned(),
            action: action.to_owned(),
            reason,
            user: user.map(ToOwned::to_owned),
            timestamp: Timestamp::from(edge.wall),
            generation: edge.generation.get(),
            instance: instance.to_owned(),
        }
    }

    /// Returns the row of an order that has caused no transition in this process.
    pub(crate) fn of_order(
        service: &str,
        order: &Order,
        at: Timestamp,
        generation: Generation,
        instance: &str,
    ) -> Self {
        Self {
            id: order_row_id(service, order),
            service: service.to_owned(),
            action: order.act.as_str().to_owned(),
            reason: order.by.reason().to_owned(),
            user: Some(order.by.user().to_owned()),
            timestamp: at,
            generation: generation.get(),
            instance: instance.to_owned(),
        }
    }

    /// Cuts texts of the row that are too long, because another program may have written the row. The texts that this
    /// crate writes are within the limits.
    pub(crate) fn bound(&mut self) {
        for (text, limit) in self.texts() {
            let kept = cut(text, limit);
            if kept.len() < text.len() {
                *text = format!("{kept}…");
            }
        }
    }

    /// Replaces deceptive characters by spaces, for a page that people read.
    #[cfg(feature = "admin")]
    pub(crate) fn tame(&mut self) {
        self.texts().for_each(|(text, _)| *text = one_line(text, usize::MAX));
    }

    /// Returns each text of the row, and the limit of the text in characters.
    fn texts(&mut self) -> impl Iterator<Item = (&mut String, usize)> {
        let Self { id, service, action, reason, user, instance, timestamp: _, generation: _ } = self;
        let texts = [(id, 64), (service, 200), (action, 40), (reason, 1_000), (instance, 200)];
        texts.into_iter().chain(user.iter_mut().map(|user| (user, 200)))
    }

    /// Logs the row, unless the row is of an automatic transition. The circuit has already logged such a transition.
    pub(crate) fn log(&self) {
        if telemetry::audit::is_automatic(&self.action) {
            return;
        }
        let Self { service, action, reason, user, generation, instance, .. } = self;
        telemetry::audit::line(service, action, reason, user.as_deref(), *generation, Some(instance));
    }
}

/// Returns the id of an order's audit row. The id is the same on each instance, so that a store keeps the row once.
pub(crate) fn order_row_id(circuit: &str, order: &Order) -> String {
    row_id([circuit, order.command_id(), order.act.as_str(), order.by.user(), order.by.reason()])
}

/// Returns the id of an act's audit row, which is computed from the circuit, the id of the order, the act, the user and
/// the reason. The id of the order alone is not enough. Once the record has forgotten the id of an order, another order
/// with this id is carried out as a new order. The two orders must have rows with different ids.
pub(crate) fn row_id(parts: [&str; 5]) -> String {
    // No part can contain a line break, so different parts never produce the same text.
    let [circuit, order, act, user, reason] = parts.map(str::as_bytes);
    let digest = sha256([circuit, b"\n", order, b"\n", act, b"\n", user, b"\n", reason]);
    format!("order-{}", &digest[..32])
}

/// A filter for the rows of the audit.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct AuditFilter {
    /// The circuit whose rows pass the filter. `None` passes the rows of all circuits.
    pub service: Option<String>,
    /// The operator whose acts pass the filter. `None` passes the rows of all operators and of the circuits themselves.
    pub user: Option<String>,
    /// The time of the oldest row that passes the filter. `None` passes rows of every age.
    pub since: Option<Timestamp>,
    /// The largest number of rows in the result. If more rows pass the filter, the newest rows are returned. Default:
    /// 100.
    pub limit: usize,
}

impl AuditFilter {
    /// Creates a filter that passes the newest 100 rows of all circuits.
    #[must_use]
    pub const fn new() -> Self {
        Self { service: None, user: None, since: None, limit: 100 }
    }

    /// Passes only rows of this circuit.
    #[must_use]
    pub fn service(mut self, name: &str) -> Self {
        self.service = Some(name.to_owned());
        self
    }

    /// Passes only acts of this operator.
    #[must_use]
    pub fn user(mut self, user: &str) -> Self {
        self.user = Some(user.to_owned());
        self
    }

    /// Passes only rows of this time or later.
    #[must_use]
    pub const fn since(mut self, time: Timestamp) -> Self {
        self.since = Some(time);
        self
    }

    /// Limits the result to this number of rows. The newest rows are returned.
    #[must_use]
    pub const fn limit(mut self, rows: usize) -> Self {
        self.limit = rows;
        self
    }

    /// Returns true if the row passes the filter. The limit of the number of rows is not checked here.
    #[must_use]
    pub fn passes(&self, row: &AuditRow) -> bool {
        self.service.as_ref().is_none_or(|service| *service == row.service)
            && self.user.as_ref().is_none_or(|user| row.user.as_ref() == Some(user))
            && self.since.is_none_or(|since| row.timestamp >= since)
    }
}

impl Default for AuditFilter {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(all(test, not(breaker_loom)))]
mod tests {
    use super::*;
    use crate::circuit::Circuit;
    use crate::config::Config;
    use crate::state::By;

    #[test]
    fn the_id_of_an_audit_row_never_changes_because_stores_keep_ids() {
        for (parts, id) in [
            (
                ["payments", "0123456789abcdef0123456789abcdef", "trip", "alice", "maintenance"],
                "order-8f9758ac8b7d518f9db1864691e2f091",
            ),
            (["zahlungen-ä", "x", "resume", "bob", "vorbei"], "order-8ba30e7d3200fc633d33e61bee62bc95"),
        ] {
            assert_eq!(row_id(parts), id, "{parts:?}");
        }
    }

    #[test]
    fn an_order_has_one_row_whichever_instance_writes_it() {
        let circuit = Circuit::new(Config::new("payments").expect("it is valid"));
        let order = Order::trip(&By::new("alice", "maintenance").expect("it is valid")).id("click-1");
        let edge = circuit.act(&order).expect("nothing refuses it").expect("it is new");
        let row = AuditRow::of_transition("payments", &edge, "a");
        assert_eq!(row, AuditRow::of_order("payments", &order, Timestamp::from(edge.wall), edge.generation, "a"));
        assert_eq!(
            (row.action.as_str(), row.id),
            ("trip", row_id(["payments", "click-1", "trip", "alice", "maintenance"]))
        );
    }

    #[test]
    fn the_row_of_a_transition_that_was_not_ordered_has_no_id_yet() {
        let circuit = Circuit::new(Config::new("payments").expect("it is valid"));
        let edge = circuit.shadow(&By::new("alice", "a test").expect("it is valid"));
        assert_eq!(AuditRow::of_transition("payments", &edge, "a").id, "");
    }
}
