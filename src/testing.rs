//! Tools for the tests of an application: open circuits, rejections, and an observer that remembers events.
//!
//! The module needs the feature `test-util`, which should be set in `[dev-dependencies]` only:
//!
//! ```toml
//! tower-circuit-breaker = { version = "0.1", features = ["test-util"] }
//! ```
//!
//! A test moves time with a [`MockClock`], or under `#[tokio::test(start_paused = true)]` with a
//! [`TokioClock`](crate::clock::TokioClock). The default clock does not stop while the time of tokio is paused.
//!
//! ```
//! use std::time::Duration;
//! use tower_circuit_breaker::clock::MockClock;
//! use tower_circuit_breaker::testing::Recorder;
//! use tower_circuit_breaker::{Circuit, Config};
//!
//! let (clock, recorder) = (MockClock::new(), Recorder::new());
//! let config = Config::classic("payments").clock(clock.clone()).observer(recorder.clone()).build()?;
//! let circuit = Circuit::new(config);
//!
//! circuit.fail_until_open();
//! assert_eq!(circuit.try_acquire().unwrap_err().retry_after(), Some(Duration::from_secs(60)));
//!
//! clock.advance(Duration::from_secs(60));
//! circuit.try_acquire()?.success();
//! assert_eq!(recorder.standings(), ["open", "half_open", "closed"]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::sync::Arc;
use std::time::Duration;

use crate::circuit::{Circuit, NextCall, Rejected};
use crate::clock::MockClock;
use crate::config::{Config, OpenDuration};
use crate::event::{Ended, Event, Observer};
use crate::outcome::Failure;
use crate::state::{RejectReason, State, Transition};
use crate::sync::Mutex;

/// Opens a circuit for a test.
impl Circuit {
    /// Opens the circuit as an outage does, by hard failures, and returns the transition. Unlike a circuit that an
    /// operator has tripped, the opened circuit has a reason with numbers, a count of failures and a `retry_after`.
    ///
    /// If the circuit is half-open, or is open and its open duration has passed, the failed call is a probe. Any other
    /// open circuit gets no call, and its last transition is returned.
    ///
    /// # Panics
    ///
    /// If 10 000 failures do not open the circuit. The cause can be an operator or the kill switch that lets every call
    /// through, a configuration without a rule for failures, a group that suppresses the opening, or a rule that waits
    /// for a clock that stands still. Also if the circuit rejects a call although its state is not open, because an
    /// operator holds the circuit open or because other probes are under way.
    pub fn fail_until_open(&self) -> Transition {
        for _ in 0..FAILURES {
            // No call is made if its failure cannot open the circuit, because the call would change the counts. An open
            // circuit admits such calls in shadow mode, while the circuit is disabled, and under the kill switch.
            let status = self.status_with(0);
            if status.state == State::Open && status.next_call != NextCall::Probe {
                break;
            }
            match self.try_acquire() {
                Ok(permit) => permit.failure(Failure::hard()),
                // Another thread has opened the circuit since.
                Err(_) if self.state() == State::Open => break,
                Err(rejected) => panic!("cannot fail: {rejected}"),
            }
        }
        let status = self.status_with(1);
        assert!(
            status.state == State::Open,
            "{FAILURES} failures do not open circuit `{}`: {}",
            self.name(),
            status.standing()
        );
        status.transitions.into_iter().next_back().expect("an open circuit has a transition")
    }
}

/// Returns the rejection of a circuit that failures have opened. `name` is the name of the circuit, and `retry_after`
/// is the time until the circuit probes.
///
/// # Panics
///
/// If the name is not valid, or `retry_after` is less than 1 ms or more than 365 days.
#[must_use]
pub fn rejected(name: &str, retry_after: Duration) -> Rejected {
    opened(name, retry_after).0.try_acquire().expect_err("it is open")
}

/// Returns the rejection of a half-open circuit whose probe is under way. `name` is the name of the circuit.
///
/// # Panics
///
/// If the name is not valid.
#[must_use]
pub fn rejected_half_open(name: &str) -> Rejected {
    let (circuit, clock) = opened(name, SECOND);
    clock.advance(SECOND);
    let _probe = circuit.try_acquire().expect("it probes");
    circuit.try_acquire().expect_err("the slot is taken")
}

fn opened(name: &str, open_for: Duration) -> (Circuit, MockClock) {
    let clock = MockClock::new();
    let open_for = OpenDuration::fixed(open_for).jitter(0.0);
    let settings = Config::classic(name).open_for(open_for).clock(clock.clone()).without_shipped_observers();
    let circuit = Circuit::new(settings.build().unwrap_or_else(|error| panic!("{error}")));
    circuit.fail_until_open();
    (circuit, clock)
}

/// An observer that remembers the events of its circuits. Clones share the remembered events.
///
/// The recorder observes each call, so that calls are slower than in production.
#[derive(Debug, Clone, Default)]
pub struct Recorder(Arc<Mutex<Vec<(String, Recorded)>>>);

/// An event that a [`Recorder`] remembers.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Recorded {
    /// The circuit made a transition.
    Transition(Box<Transition>),
    /// An admitted call ended.
    Finished(Ended),
    /// A call was rejected.
    Rejected(RejectReason),
    /// A fallback ended.
    #[non_exhaustive]
    Fallback {
        /// True if the fallback has given an answer.
        answered: bool,
    },
    /// A call ended after the circuit had left the state in which the call began, so that its outcome counts only in
    /// the totals.
    Stale,
}

impl Recorder {
    /// Returns a recorder that remembers nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns all events with the names of their circuits, oldest first.
    #[must_use]
    pub fn events(&self) -> Vec<(String, Recorded)> {
        self.0.lock().clone()
    }

    /// Returns the transitions, oldest first.
    #[must_use]
    pub fn transitions(&self) -> Vec<Transition> {
        self.filtered(|event| if let Recorded::Transition(edge) = event { Some(Transition::clone(edge)) } else { None })
    }

    /// Returns the state and mode after each transition, oldest first, as logs and metrics show them, such as
    /// `["open", "half_open", "closed"]`.
    #[must_use]
    pub fn standings(&self) -> Vec<&'static str> {
        self.filtered(|event| if let Recorded::Transition(edge) = event { Some(edge.to.as_str()) } else { None })
    }

    /// Returns the ends of the admitted calls, oldest first.
    #[must_use]
    pub fn ended(&self) -> Vec<Ended> {
        self.filtered(|event| if let Recorded::Finished(ended) = event { Some(*ended) } else { None })
    }

    /// Returns the reasons of the rejections, oldest first.
    #[must_use]
    pub fn rejections(&self) -> Vec<RejectReason> {
        self.filtered(|event| if let Recorded::Rejected(reason) = event { Some(*reason) } else { None })
    }

    /// Forgets all events.
    pub fn clear(&self) {
        self.0.lock().clear();
    }

    fn filtered<T>(&self, pick: impl FnMut(&Recorded) -> Option<T>) -> Vec<T> {
        self.0.lock().iter().map(|(_, event)| event).filter_map(pick).collect()
    }
}

impl Observer for Recorder {
    fn on_event(&self, circuit: &str, event: &Event<'_>) {
        let recorded = match *event {
            Event::Transition(edge) => Recorded::Transition(Box::new(edge.clone())),
            Event::Finished { ended, .. } => Recorded::Finished(ended),
            Event::Rejected { reason } => Recorded::Rejected(reason),
            Event::Fallback { answered } => Recorded::Fallback { answered },
            Event::Stale => Recorded::Stale,
            Event::Sums { .. }
            | Event::Rejections { .. }
            | Event::Refresh { .. }
            | Event::Forgotten
            | Event::Fleet { .. }
            | Event::FleetProbes { .. }
            | Event::FleetDeclined
            | Event::Suppressed { .. }
            | Event::HealthBegan
            | Event::HealthProbe { .. }
            | Event::SystemLoad { .. } => return,
        };
        self.0.lock().push((circuit.to_owned(), recorded));
    }

    fn wants_calls(&self) -> bool {
        true
    }
}

const FAILURES: usize = 10_000;
const SECOND: Duration = Duration::from_secs(1);
