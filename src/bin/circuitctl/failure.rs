//! The failures of `circuitctl` commands. Each failure has an exit code for scripts and a sentence for people.

#![expect(clippy::wildcard_enum_match_arm, reason = "a new kind of refusal is a refusal, with the library's sentence")]

use std::process::ExitCode;

use clap::error::ErrorKind;
use tower_circuit_breaker::operation::{Order, Refused};
use tower_circuit_breaker::state::Act;
use tower_circuit_breaker::store::{StoreError, StoreErrorKind};

use crate::shown::quoted;

/// The exit codes, as `--help` documents them.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Code {
    Done = 0,
    NotTripped = 1,
    Usage = 2,
    Refused = 3,
    Unavailable = 4,
    Unknown = 5,
    Unaudited = 6,
    Unprinted = 7,
}

impl From<Code> for ExitCode {
    fn from(code: Code) -> Self {
        Self::from(code as u8)
    }
}

/// The failure of a command, with its exit code and its sentence.
pub(crate) struct Failure {
    pub(crate) code: Code,
    /// The kind of failure as a word for programs. Later versions keep the word.
    pub(crate) kind: &'static str,
    pub(crate) sentence: String,
    /// The most similar name of an existing circuit, if the user has probably mistyped the name of the circuit.
    pub(crate) nearest: Option<String>,
    /// The id of an order whose result is unknown. The user can repeat the order safely with this id.
    pub(crate) id: Option<String>,
}

impl Failure {
    pub(crate) fn new(code: Code, kind: &'static str, sentence: impl Into<String>) -> Self {
        Self { code, kind, sentence: sentence.into(), nearest: None, id: None }
    }

    /// Returns the failure for invalid arguments. The sentence is the error message of `clap` without the usage text.
    pub(crate) fn of_arguments(invalid: &clap::Error) -> Self {
        let text = invalid.render().to_string();
        let sentence = match invalid.kind() {
            ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
                "a command is missing: `--help` has the commands".to_owned()
            }
            _ => {
                let lines = text.lines().take_while(|line| !line.starts_with("Usage:")).map(str::trim);
                let sentence = lines.filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" ");
                sentence.trim_start_matches("error: ").to_owned()
            }
        };
        Self::new(Code::Usage, "usage", sentence)
    }

    pub(crate) fn of_store(error: &StoreError) -> Self {
        let problem = match error.kind() {
            StoreErrorKind::Unavailable => "the store is unavailable",
            StoreErrorKind::TimedOut => "the store does not answer",
            _ => "the store cannot be used",
        };
        Self::new(Code::Unavailable, "store_away", hinted(format!("{problem}: {}", error.chain())))
    }

    /// Returns the failure for a command that only reads the store.
    pub(crate) fn of_read(refused: &Refused) -> Self {
        match refused {
            Refused::Store { problem, .. } => {
                Self::new(Code::Unavailable, "store_away", hinted(format!("the store cannot be read: {problem}")))
            }
            Refused::NoRecord { name, nearest, .. } => {
                let hint = nearest.as_ref().map_or(String::new(), |near| format!("; did you mean `{}`?", quoted(near)));
                let pattern = if name.ends_with('*') { PATTERN } else { "" };
                let sentence = format!("the store has no record of `{}`{pattern}{hint}", quoted(name));
                Self { nearest: nearest.clone(), ..Self::new(Code::Unknown, "no_such_circuit", sentence) }
            }
            other => Self::of_refusal(other),
        }
    }

    /// Returns the failure for an order that was refused. The sentence names the command-line option that would help,
    /// if there is such an option.
    pub(crate) fn of_order(refused: &Refused, order: &Order) -> Self {
        let mut failure = Self::of_refusal(refused);
        match refused {
            Refused::NoRecord { .. } if matches!(order.act(), Act::Trip | Act::Reset | Act::Disable) => {
                failure.sentence.push_str(": --create makes it");
            }
            Refused::Cooldown { .. } => failure.sentence.push_str(" (--force)"),
            Refused::OneTier { .. } => {
                failure.sentence.push_str(" with --store and --cache, or --cache false if there is no cache any more");
            }
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
            Refused::Store { .. } => (Code::Unavailable, "store_away"),
            Refused::Invalid { .. } => (Code::Usage, "usage"),
            Refused::IdUsed { .. } => (Code::Refused, "id_used"),
            Refused::Cooldown { .. } => (Code::Refused, "cooldown"),
            Refused::Stale { .. } => (Code::Refused, "stale"),
            Refused::Superseded { .. } => (Code::Refused, "superseded"),
            Refused::NothingHeld { .. } => (Code::Refused, "nothing_held"),
            Refused::NothingToReset { .. } => (Code::Refused, "nothing_to_reset"),
            Refused::Corrupt { .. } => (Code::Refused, "corrupt"),
            Refused::Unwritable { .. } => (Code::Refused, "unwritable"),
            Refused::OneTier { .. } => (Code::Refused, "one_tier"),
            _ => (Code::Refused, "refused"),
        };
        let mut failure = Self::new(code, kind, hinted(refused.to_string()));
        if let Refused::NoSuchCircuit { nearest, .. } | Refused::NoRecord { nearest, .. } = refused {
            failure.nearest.clone_from(nearest);
        }
        failure
    }
}

/// The advice in a failure if the user has given a pattern in place of a name.
const PATTERN: &str = ", and a pattern is no name: `status` lists all circuits, and `watch` takes patterns";

/// Returns the sentence. If the sentence reports a missing table or column, the function adds a hint.
fn hinted(mut sentence: String) -> String {
    if sentence.contains("has no table") || sentence.contains("has no column") {
        sentence.push_str("; is it the right database? docs/schema has the definitions");
    }
    sentence
}
