//! How it ended, in a number for scripts and a sentence for people.

#![expect(clippy::wildcard_enum_match_arm, reason = "what a later library refuses is a refusal, in its own words")]

use std::process::ExitCode;

use tower_circuit_breaker::operation::{Order, Refused};
use tower_circuit_breaker::state::Act;
use tower_circuit_breaker::store::{StoreError, StoreErrorKind};

/// The exit codes, as `--help` documents them.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Code {
    Done = 0,
    NotTripped = 1,
    Usage = 2,
    Refused = 3,
    Away = 4,
    Unknown = 5,
    Unaudited = 6,
    Unsaid = 7,
}

impl From<Code> for ExitCode {
    fn from(code: Code) -> Self {
        Self::from(code as u8)
    }
}

/// Why nothing, or not everything, was done.
pub(crate) struct Failure {
    pub(crate) code: Code,
    /// For programs: a word that does not change.
    pub(crate) kind: &'static str,
    pub(crate) sentence: String,
    /// The name that was perhaps meant.
    pub(crate) nearest: Option<String>,
    /// With which the order is to be given again, if nobody knows whether it was done.
    pub(crate) id: Option<String>,
}

impl Failure {
    pub(crate) fn new(code: Code, kind: &'static str, sentence: impl Into<String>) -> Self {
        Self { code, kind, sentence: sentence.into(), nearest: None, id: None }
    }

    pub(crate) fn of_store(error: &StoreError) -> Self {
        let what = match error.kind() {
            StoreErrorKind::Unavailable => "the store is away",
            StoreErrorKind::TimedOut => "the store does not answer",
            _ => "the store cannot be used",
        };
        Self::new(Code::Away, "store_away", hinted(format!("{what}: {}", error.chain())))
    }

    /// Of something that was only looked at.
    pub(crate) fn of_look(refused: &Refused) -> Self {
        match refused {
            Refused::Store { problem, .. } => {
                Self::new(Code::Away, "store_away", hinted(format!("the store cannot be asked: {problem}")))
            }
            Refused::NoRecord { name, nearest, .. } => {
                let meant = nearest.as_ref().map_or(String::new(), |nearest| format!("; did you mean `{nearest}`?"));
                let sentence = format!("the store has no record of `{name}`{meant}");
                Self { nearest: nearest.clone(), ..Self::new(Code::Unknown, "no_such_circuit", sentence) }
            }
            other => Self::of_refusal(other),
        }
    }

    /// Of an order.
    pub(crate) fn of_order(refused: &Refused, order: &Order) -> Self {
        let mut failure = Self::of_refusal(refused);
        match refused {
            Refused::NoRecord { .. } if matches!(order.act(), Act::Trip | Act::Reset | Act::Disable) => {
                failure.sentence.push_str(": --create makes it");
            }
            Refused::Cooldown { .. } => failure.sentence.push_str(" (--force)"),
            Refused::Store { maybe_done: true, .. } => {
                failure.sentence.push_str(&format!(": --id {}", order.command_id()));
                failure.id = Some(order.command_id().to_owned());
            }
            _ => {}
        }
        failure
    }

    fn of_refusal(refused: &Refused) -> Self {
        let (code, kind) = match refused {
            Refused::NoSuchCircuit { .. } | Refused::NoRecord { .. } => (Code::Unknown, "no_such_circuit"),
            Refused::Store { .. } => (Code::Away, "store_away"),
            Refused::Invalid { .. } => (Code::Usage, "usage"),
            Refused::Cooldown { .. } => (Code::Refused, "cooldown"),
            Refused::Stale { .. } => (Code::Refused, "stale"),
            Refused::Superseded { .. } => (Code::Refused, "superseded"),
            Refused::NothingHeld { .. } => (Code::Refused, "nothing_held"),
            Refused::Corrupt { .. } => (Code::Refused, "corrupt"),
            Refused::Unwritable { .. } => (Code::Refused, "unwritable"),
            _ => (Code::Refused, "refused"),
        };
        let mut failure = Self::new(code, kind, hinted(refused.to_string()));
        if let Refused::NoSuchCircuit { nearest, .. } | Refused::NoRecord { nearest, .. } = refused {
            failure.nearest.clone_from(nearest);
        }
        failure
    }
}

/// Says what to do where that is not plain.
fn hinted(mut sentence: String) -> String {
    if sentence.contains("has no table") || sentence.contains("has no column") {
        sentence.push_str("; is it the right database? docs/schema has the definitions");
    }
    sentence
}
