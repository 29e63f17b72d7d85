//! Trips and resets as `tracing` events of a target of their own, for logs that are kept longer than others.
//!
//! One line each, with who and why. What a person wrote stands in it quoted and escaped, so that it can neither end the line nor
//! pass for a field.

use crate::state::{Reason, State, Transition};

/// A line of the audit.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Line<'a> {
    pub(crate) service: &'a str,
    pub(crate) action: &'a str,
    pub(crate) reason: &'a str,
    /// Who, if it was an operator.
    pub(crate) user: Option<&'a str>,
    pub(crate) generation: u64,
    /// `None`: there is no store, so instances have no names.
    pub(crate) instance: Option<&'a str>,
}

/// Writes the line.
pub(crate) fn tell(line: Line<'_>) {
    let Line { service, action, reason, user, generation, instance } = line;
    #[cfg(feature = "tracing")]
    {
        let by = std::fmt::from_fn(|f| user.map_or(Ok(()), |user| write!(f, " by {user:?}")));
        tracing::info!(
            target: "circuit_breaker::audit",
            service, action, reason, user, generation, instance,
            "audit: {action} of `{service}`{by}: {reason:?}"
        );
    }
    #[cfg(not(feature = "tracing"))]
    let _unused = (service, action, reason, user, generation, instance);
}

/// Writes the line of a transition.
pub(crate) fn transition(circuit: &str, edge: &Transition) {
    if edge.reason == Reason::KillSwitch {
        return;
    }
    let (action, user, reason) = told(edge);
    let generation = edge.generation.get();
    tell(Line { service: circuit, action, reason: &reason, user, generation, instance: None });
}

/// Returns what the audit says of a transition: the action, who if it was an operator, and why.
pub(crate) fn told(edge: &Transition) -> (&'static str, Option<&str>, String) {
    if let Reason::Operator { act, by } = &edge.reason {
        (act.as_str(), Some(by.user()), by.reason().to_owned())
    } else {
        (automatic(edge), None, edge.reason.to_string())
    }
}

/// What the audit calls a transition that nobody ordered.
const fn automatic(edge: &Transition) -> &'static str {
    match (edge.from.state, edge.to.state) {
        (State::Closed, State::Closed) | (State::Open, State::Open) | (State::HalfOpen, State::HalfOpen) => "released",
        (_, State::Open) => "opened",
        (_, State::HalfOpen) => "half_opened",
        (_, State::Closed) => "closed",
    }
}
