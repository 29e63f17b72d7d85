//! The log lines of the audit, and the names of the actions in audit rows, such as `opened` or `superseded`.
//!
//! Lines of the audit are `tracing` events with a separate target, so that these lines can be kept longer than other
//! logs. Each act of an operator on a circuit of a registry is one line with the user and the reason. Transitions that
//! a circuit makes by itself are not logged here, because `telemetry::tracing` logs every transition. Texts of users
//! are quoted and escaped. Otherwise a text could end the line or imitate a field.

use crate::state::{Reason, State, Transition};

/// Logs one line of the audit. `user` is the operator of an act. `instance` is the name of this instance, or `None` if
/// the registry has no store.
pub(crate) fn line(
    service: &str,
    action: &str,
    reason: &str,
    user: Option<&str>,
    generation: u64,
    instance: Option<&str>,
) {
    #[cfg(feature = "tracing")]
    {
        let by = user.map_or_else(String::new, |user| format!(" by {user:?}"));
        tracing::info!(
            target: "circuit_breaker::audit",
            service, action, reason, user, generation, instance,
            "audit: {action} of `{service}`{by}: {reason:?}"
        );
    }
    #[cfg(not(feature = "tracing"))]
    let _unused = (service, action, reason, user, generation, instance);
}

/// Logs the act of an operator on a circuit whose registry has no store.
pub(crate) fn act(circuit: &str, edge: &Transition) {
    if let (action, Some(user), reason) = summary(edge) {
        line(circuit, action, &reason, Some(user), edge.generation.get(), None);
    }
}

/// Returns true if `action` is the action of a transition that a circuit made by itself.
#[cfg(feature = "store")]
pub(crate) fn is_automatic(action: &str) -> bool {
    [OPENED, HALF_OPENED, CLOSED, RELEASED].contains(&action)
}

/// Returns the action and the reason of a transition, and the user if an operator ordered the transition.
pub(crate) fn summary(edge: &Transition) -> (&'static str, Option<&str>, String) {
    if let Reason::Operator { act, by } = &edge.reason {
        (act.as_str(), Some(by.user()), by.reason().to_owned())
    } else {
        (automatic(edge), None, edge.because().to_string())
    }
}

/// Returns the action of a transition that the circuit made by itself.
const fn automatic(edge: &Transition) -> &'static str {
    match (edge.from.state, edge.to.state) {
        // A call that began before the opening can fail during the open state. The failure can extend the open state by
        // a transition from open to open, which the audit reports as an opening.
        (_, State::Open) if matches!(edge.reason, Reason::AtOnce) => OPENED,
        (State::Closed, State::Closed) | (State::Open, State::Open) | (State::HalfOpen, State::HalfOpen) => RELEASED,
        (_, State::Open) => OPENED,
        (_, State::HalfOpen) => HALF_OPENED,
        (_, State::Closed) => CLOSED,
    }
}

/// The next three constants are the actions of transitions that circuits make by themselves. The action for an act of
/// an operator is `Act::as_str`.
pub(crate) const OPENED: &str = "opened";
pub(crate) const HALF_OPENED: &str = "half_opened";
pub(crate) const CLOSED: &str = "closed";
/// The action of a transition that does not change the state, for example at the end of an operator's hold (a forced
/// opening or a disabling).
const RELEASED: &str = "released";
/// The action of an operator's order that did not reach the store before a newer order replaced this order.
#[cfg(feature = "store")]
pub(crate) const SUPERSEDED: &str = "superseded";
/// The action of an operator's order with a time limit (a forced opening or a disabling) that did not reach the store
/// before its end.
#[cfg(feature = "store")]
pub(crate) const EXPIRED: &str = "expired";
/// The action of a row that reports the number of rows that are missing in the audit.
#[cfg(feature = "store")]
pub(crate) const MISSING: &str = "missing";
