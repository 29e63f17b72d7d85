//! The one error of this crate's own on the call path: the call was not permitted.
//!
//! A rejection is made for every call of an outage, so it allocates nothing: it points at the circuit, and what it says is
//! looked up when somebody reads it.

use core::fmt;
use core::time::Duration;
use std::error::Error as StdError;
use std::sync::Arc;

use crate::state::{Brief, Mode, RejectReason, Shed, Transition};

/// What `tower`'s own middleware returns, and the default error of a circuit breaker.
pub type BoxError = Box<dyn StdError + Send + Sync>;

/// The call was rejected: it did not happen.
///
/// `Display` is the one sentence that a person on call needs: which circuit, why it opened with the numbers, what failed
/// last, and when it lets a probe through. It is looked up in the circuit, under its cold mutex, so format a rejection only
/// where somebody reads it.
#[derive(Clone)]
#[doc(alias = "CallNotPermitted", alias = "BrokenCircuit")]
pub struct Rejected {
    circuit: Arc<dyn Opened>,
    reason: RejectReason,
    retry_after: Option<Duration>,
    era: u64,
}

impl Rejected {
    #[inline]
    pub(crate) fn new(
        circuit: Arc<impl Opened + 'static>,
        reason: RejectReason,
        retry_after: Option<Duration>,
        era: u64,
    ) -> Self {
        Self { circuit, reason, retry_after, era }
    }

    /// Returns the name of the circuit.
    #[must_use]
    pub fn circuit(&self) -> &str {
        self.circuit.name()
    }

    /// Returns why the call was rejected.
    #[must_use]
    pub const fn reason(&self) -> RejectReason {
        self.reason
    }

    /// Returns how long the circuit stays open, seen from the moment of the rejection; for a call that was shed, a second.
    ///
    /// `None` if no time is known: the circuit is half-open, held until a reset, or recovers only by hand.
    #[must_use]
    pub const fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    /// Returns the transition that opened the circuit, as long as the circuit remembers it (128 transitions).
    ///
    /// `None` as well for a call that was rejected because its service had not been polled ready, or that was shed.
    #[must_use]
    pub fn why(&self) -> Option<Transition> {
        self.circuit.opened(self.era)
    }

    /// Returns what the call was shed for, if that is the reason.
    #[must_use]
    pub fn shed(&self) -> Option<&Shed> {
        self.circuit.shed()
    }

    /// Looks for a rejection in an error and its sources: under `BoxError`, [`Error`] or a client's own error.
    ///
    /// ```
    /// use tower_circuit_breaker::{BoxError, Rejected};
    ///
    /// fn worth_a_retry(error: &BoxError) -> bool {
    ///     Rejected::find(error.as_ref()).is_none()
    /// }
    /// ```
    #[must_use]
    pub fn find<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a Self> {
        let mut next = Some(error);
        while let Some(error) = next {
            if let Some(rejected) = error.downcast_ref() {
                return Some(rejected);
            }
            // An `io::Error` hides what it wraps from `source`.
            let wrapped = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
            if let Some(wrapped) = wrapped {
                return Self::find(wrapped);
            }
            next = error.source();
        }
        None
    }
}

impl fmt::Display for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.circuit.name();
        let edge = self.why();
        match (self.reason, &edge) {
            (RejectReason::Tripped, Some(edge)) => write!(f, "circuit `{name}` is open: {}", edge.reason)?,
            // Not open here, unless the opening is more than 128 transitions ago.
            (RejectReason::Tripped, None) => {
                return write!(f, "circuit `{name}` did not admit a call whose service was not polled ready for it");
            }
            (RejectReason::LoadShed, _) => {
                write!(f, "circuit `{name}` shed a call")?;
                self.shed().map_or(Ok(()), |shed| write!(f, ": {shed}"))?;
                return self.retry_after.map_or(Ok(()), |wait| write!(f, "; try again in {}", Brief(wait)));
            }
            (RejectReason::HalfOpen, edge) => {
                write!(f, "circuit `{name}` is half-open and its probes are taken")?;
                // Nothing opened it here if it was restored half-open, or reset to it while closed.
                if let Some(edge) = edge {
                    write!(f, ": it opened as {}", edge.reason)?;
                }
            }
        }
        if let Some(kind) = edge.as_ref().and_then(|edge| edge.failure) {
            write!(f, ", last a failure of kind {kind}")?;
        }
        let held = edge.is_some_and(|edge| edge.to.mode == Mode::ForcedOpen);
        match self.retry_after {
            Some(wait) if held => write!(f, "; the hold ends in {}", Brief(wait)),
            Some(Duration::ZERO) => f.write_str("; it is about to probe"),
            Some(wait) => write!(f, "; it lets a probe through in {}", Brief(wait)),
            None if self.reason == RejectReason::HalfOpen => Ok(()),
            None => f.write_str("; it stays so until somebody resets it"),
        }
    }
}

impl fmt::Debug for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rejected")
            .field("circuit", &self.circuit.name())
            .field("reason", &self.reason)
            .field("retry_after", &self.retry_after)
            .field("era", &self.era)
            .finish()
    }
}

impl StdError for Rejected {}

/// What a rejection asks its circuit when it is read.
pub(crate) trait Opened: Send + Sync {
    fn name(&self) -> &str;

    /// Returns the transition by which the circuit was open in `era`, or before it became half-open.
    fn opened(&self, era: u64) -> Option<Transition>;

    /// Returns what the call was shed for, if it was.
    fn shed(&self) -> Option<&Shed> {
        None
    }
}

/// The error of a call through a circuit with typed errors: rejected, or the service's own.
///
/// `Display` of the latter is only `the call failed`: the rest is its [`source`](StdError::source), as a chain prints it.
#[derive(Debug, Clone)]
#[expect(clippy::exhaustive_enums, reason = "a call was made or it was not")]
pub enum Error<E> {
    /// The call did not happen.
    Rejected(Rejected),
    /// The call happened and failed.
    Inner(E),
}

impl<E> Error<E> {
    /// Returns the rejection, if it is one.
    #[must_use]
    pub const fn rejected(&self) -> Option<&Rejected> {
        match self {
            Self::Rejected(rejected) => Some(rejected),
            Self::Inner(_) => None,
        }
    }

    /// Returns the service's own error, if it is one.
    #[must_use]
    pub fn into_inner(self) -> Option<E> {
        match self {
            Self::Rejected(_) => None,
            Self::Inner(error) => Some(error),
        }
    }
}

impl<E> From<Rejected> for Error<E> {
    fn from(rejected: Rejected) -> Self {
        Self::Rejected(rejected)
    }
}

impl<E> fmt::Display for Error<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // Said twice in a printed chain, but never missing where only the error itself is printed.
            Self::Rejected(rejected) => rejected.fmt(f),
            Self::Inner(_) => f.write_str("the call failed"),
        }
    }
}

// Not recommended: the compiler would name this type instead of complaining that what is in a box is not `Sized`.
#[diagnostic::do_not_recommend]
impl<E: StdError + 'static> StdError for Error<E> {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            Self::Rejected(rejected) => Some(rejected),
            Self::Inner(error) => Some(error),
        }
    }
}
