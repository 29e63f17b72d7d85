//! The observer for logs, which writes transitions and summaries of rejections as `tracing` events.
//!
//! Each transition is one line for the operator on call, with the new state, the reason, and the numbers behind the
//! reason. A single call is never logged, because an outage has thousands of failed calls. A summary of the rejected
//! calls is logged at most every ten seconds.

use std::fmt;
use std::time::Duration;

use tracing::Level;

use crate::event::{Event, Observer};
use crate::outcome::FailureKind;
use crate::state::{Brief, Mode, Percent, Reason, Standing, State, Transition};

/// Logs the events of a circuit as `tracing` events with the target `circuit_breaker`.
///
/// The observer logs a warning when the circuit begins to reject calls, for a summary of rejected calls, for a
/// suppressed opening, when load shedding begins, and for the kill switch of the environment. Every other transition is
/// logged as information. A restore is information, because the circuit entered its state before the restart. The
/// registry logs the restore from a store, as one line with the name of the store. A transition in shadow mode is
/// information, because no call is rejected. The observer logs no single calls, and no failures that do not trip the
/// circuit.
///
/// The message of a transition is a sentence, with the text of the last failure. The fields are `service`, `from`,
/// `to`, `reason`, `failure`, `attempt`, `calls`, `score`, `rejected`, `era` and `generation`, with the meanings that
/// [`Transition`] documents. The line of a restore also has the field `store`.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct TracingObserver;

impl TracingObserver {
    /// Returns a new observer.
    #[must_use]
    pub const fn new() -> Self {
        Self
    }
}

impl Observer for TracingObserver {
    fn on_event(&self, circuit: &str, event: &Event<'_>) {
        match *event {
            Event::Transition(edge) if edge.is_logged => {}
            Event::Transition(edge) => write(circuit, edge, None),
            Event::Rejections { rejected, over, retry_after } => {
                let probing = retry_after.map_or_else(String::new, |wait| Probing(wait).to_string());
                tracing::warn!(
                    target: TARGET,
                    service = circuit,
                    rejected,
                    "circuit `{circuit}` is rejecting: {} in {}{probing}",
                    Calls(rejected),
                    Brief(over)
                );
            }
            Event::SystemLoad { load, shedding: true, news: true } => {
                let percent = Percent(load.unwrap_or(f64::NAN));
                tracing::warn!(
                    target: TARGET,
                    service = circuit,
                    load,
                    "circuit `{circuit}` sheds heavy operations: the system's load is {percent}"
                );
            }
            Event::SystemLoad { load, news: true, .. } => {
                let now = load.map_or_else(|| "is not known".to_owned(), |load| format!("is {}", Percent(load)));
                tracing::info!(
                    target: TARGET,
                    service = circuit,
                    load,
                    "circuit `{circuit}` sheds nothing any more: the system's load {now}"
                );
            }
            Event::Suppressed { group, reason, number, open, members, .. } => {
                let others = if number > 1 {
                    format!(", and {} more openings since the last report", number - 1)
                } else {
                    String::new()
                };
                tracing::warn!(
                    target: TARGET,
                    service = circuit,
                    group,
                    reason = reason.as_str(),
                    suppressed = number,
                    "circuit `{circuit}` stays closed, because {open} of {members} circuits of the group \"{group}\" are open: \
                     {reason}{others}"
                );
            }
            // These events are not logged, because they occur with every call, or are for metrics only.
            Event::Refresh { .. }
            | Event::Finished { .. }
            | Event::Rejected { .. }
            | Event::Fallback { .. }
            | Event::Sums { .. }
            | Event::Stale
            | Event::Forgotten
            | Event::Fleet { .. }
            | Event::FleetProbes { .. }
            | Event::FleetDeclined
            | Event::HealthBegan
            | Event::HealthProbe { .. }
            | Event::SystemLoad { .. } => {}
        }
    }
}

/// Logs the restore of a circuit from a store. `edge` is the transition to the restored state and mode.
#[cfg(feature = "store")]
pub(crate) fn restored(circuit: &str, store: &str, edge: &Transition) {
    write(circuit, edge, Some(store));
}

/// Logs a transition, with the name of the store if the transition is a restore from a store.
fn write(circuit: &str, edge: &Transition, store: Option<&str>) {
    // The macro repeats the event for each level, because `tracing` fixes the level of an event at compile
    // time.
    macro_rules! event {
        ($level:expr) => {
            tracing::event!(
                target: TARGET,
                $level,
                service = circuit,
                store,
                from = edge.from.as_str(),
                to = edge.to.as_str(),
                reason = edge.reason.as_str(),
                failure = edge.failure.as_ref().map(FailureKind::as_str),
                attempt = edge.attempt,
                calls = edge.tally.calls(),
                score = edge.tally.score(),
                rejected = edge.rejected,
                era = edge.era,
                generation = edge.generation.get(),
                "{}",
                Sentence { circuit, edge, store }
            )
        };
    }
    if store.is_none() && begins_to_reject(edge) || edge.reason == Reason::KillSwitch {
        event!(Level::WARN);
    } else {
        event!(Level::INFO);
    }
}

/// Returns true if the circuit lets calls or probes through before the transition and rejects all calls after it.
/// Returns false for a restore, because the circuit already rejected calls before the restart.
fn begins_to_reject(edge: &Transition) -> bool {
    let rejects = |standing: Standing| standing.is_open() && standing.mode != Mode::Shadow;
    rejects(edge.to) && !rejects(edge.from) && !edge.bypassed && edge.reason != Reason::Restored
}

/// A number of calls, such as `1 call` or `2 calls`.
struct Calls(u64);

impl fmt::Display for Calls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} call{}", self.0, if self.0 == 1 { "" } else { "s" })
    }
}

/// The sentence about a transition, with the new state, the reason and the next step.
struct Sentence<'a> {
    circuit: &'a str,
    edge: &'a Transition,
    /// The name of the store, if the transition is a restore that the coordinator logs.
    store: Option<&'a str>,
}

impl fmt::Display for Sentence<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Transition { from, to, reason, lasts, rejected, .. } = self.edge;
        let because = self.edge.because();
        write!(f, "circuit `{}`", self.circuit)?;
        if *reason == Reason::KillSwitch {
            return write!(f, " lets every call through, whatever its state: {reason}");
        }
        if to.mode == Mode::Shadow {
            f.write_str(" (shadow)")?;
        }
        match self.store {
            Some(store) => write!(f, " was restored from {store} and is still {}: {because}", still(*to))?,
            None if *reason == Reason::Restored => write!(f, " is still {}: {because}", still(*to))?,
            None => write!(f, " {}: {because}", became(*from, *to))?,
        }
        if self.edge.bypassed {
            return f.write_str("; calls go through all the same, because CIRCUIT_BREAKER_DISABLED names it");
        }
        let held = matches!(to.mode, Mode::ForcedOpen | Mode::Disabled);
        match (to.state, lasts) {
            (_, Some(hold)) if held => write!(f, "; it stays so for {}", Brief(*hold)),
            (_, None) if held => f.write_str("; it stays so until an operator ends it"),
            (State::Open, Some(wait)) => Probing(*wait).fmt(f),
            (State::Open, None) => f.write_str("; it stays so until an operator resets it"),
            (State::HalfOpen | State::Closed, _) if *rejected > 0 => {
                let were = if *rejected == 1 { "was" } else { "were" };
                // The rejected calls are counted from the trip on. Therefore the number in the line of the closing
                // includes the number in the line of the half-opening.
                let since = if to.state == State::Closed { "since the trip" } else { "meanwhile" };
                write!(f, "; {} {were} rejected {since}", Calls(*rejected))
            }
            (State::HalfOpen | State::Closed, _) => Ok(()),
        }
    }
}

/// The text about the time until a circuit probes. If the time is zero, the open duration has passed, and the next call
/// is the probe.
struct Probing(Duration);

impl fmt::Display for Probing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_zero() {
            return f.write_str("; the next call is a probe");
        }
        write!(f, "; probing in {}", Brief(self.0))
    }
}

/// Returns the words for a restored state and mode, such as `forced open`, for the sentence about a restore.
const fn still(to: Standing) -> &'static str {
    match (to.mode, to.state) {
        (Mode::ForcedOpen, _) => "forced open",
        (Mode::Disabled, _) => "disabled",
        (Mode::Automatic | Mode::Shadow, State::Closed) => "closed",
        (Mode::Automatic | Mode::Shadow, State::HalfOpen) => "half-open",
        (Mode::Automatic | Mode::Shadow, State::Open) => "open",
    }
}

/// Returns the words that follow the name of the circuit in the sentence. If the circuit opens or closes, the word is a
/// verb, such as `opened`. If the circuit was open or closed before the transition already, the words are `is open` or
/// `is closed`.
fn became(from: Standing, to: Standing) -> &'static str {
    match to.mode {
        Mode::ForcedOpen => "was forced open",
        Mode::Disabled => "is disabled",
        Mode::Automatic | Mode::Shadow => match to.state {
            State::Closed if from.is_tripped() => "closed",
            State::Closed => "is closed",
            State::HalfOpen => "is half-open",
            State::Open if from.is_open() => "is open",
            State::Open if from.is_tripped() => "reopened",
            State::Open => "opened",
        },
    }
}

const TARGET: &str = "circuit_breaker";
