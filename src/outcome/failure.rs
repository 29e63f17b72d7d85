//! A failure with its weight and its kind. If a deadline of the caller may have caused the failure, the failure
//! contains this deadline, too.

use std::fmt;
use std::time::Duration;

use super::Weight;

/// A failure of a call, with its weight, its kind, and the time for which the service asked its callers to wait
/// (`Retry-After`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failure {
    weight: Weight,
    kind: FailureKind,
    retry_after: Option<Duration>,
    trips: bool,
    /// The deadline of the caller, if that deadline may have ended the call. If a deadline is present, the circuit sets
    /// the weight when the failure is recorded.
    deadline: CallerDeadline,
    /// The meaning of the failure if the call ended clearly before the deadline of the caller.
    early: Early,
}

/// The meaning of a call that ended clearly before the deadline of its caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Early {
    /// The deadline ended the call nevertheless, because the service itself answered that the deadline had passed.
    Deadline,
    /// The failure keeps its weight, because a shorter timeout of this process ended the call. The kind `Deadline`
    /// becomes `Timeout`.
    #[cfg_attr(not(any(feature = "tonic", feature = "reqwest")), expect(dead_code, reason = "no timer is known"))]
    OfTheOwner,
    /// The failure keeps its weight and its kind, because the service broke off the call.
    #[cfg(feature = "http")]
    Unchanged,
    /// The call is no evidence, like a call that its caller cancelled.
    #[cfg(feature = "http")]
    Ignored,
}

impl Failure {
    /// Returns a failure of the given weight and of kind [`FailureKind::Error`].
    #[must_use]
    pub const fn new(weight: Weight) -> Self {
        let deadline = CallerDeadline::NONE;
        Self { weight, kind: FailureKind::Error, retry_after: None, trips: false, deadline, early: Early::Deadline }
    }

    /// Returns a hard failure, with weight 1.0 and kind [`FailureKind::Error`].
    #[must_use]
    pub const fn hard() -> Self {
        Self::new(Weight::HARD)
    }

    /// Returns a timeout, with weight 0.5 and kind [`FailureKind::Timeout`].
    #[must_use]
    pub const fn timeout() -> Self {
        Self::new(Weight::TIMEOUT).with_kind(FailureKind::Timeout)
    }

    /// Returns the failure of a call that exceeded a deadline, such as `grpc-timeout`, which the caller set only for
    /// this call. The kind is [`FailureKind::Deadline`].
    ///
    /// A caller who does not wait long says little about the service. Therefore the circuit sets the weight when the
    /// failure is recorded. With a deadline below
    /// [`cancelled_counts_after`](crate::config::ConfigBuilder::cancelled_counts_after) the weight is 0.5 × min(1,
    /// waited ÷ `cancelled_counts_after`), and a weight that rounds to zero is an ignored outcome. With a deadline of
    /// `cancelled_counts_after` or longer the weight is 0.5, because a caller with a long deadline is willing to wait.
    /// A setting, or a classifier for the handlers of a server, can decide that dropped calls never count. The outcome
    /// is then ignored. A probe of a half-open circuit fails only if the weight is 0.5, and otherwise ends without a
    /// verdict.
    ///
    /// The wait begins with the first poll that returned `Pending`, as for a call that is dropped. For a timeout that a
    /// layer of the stack sets for all calls, use [`timeout`](Self::timeout).
    #[must_use]
    pub const fn deadline(deadline: Duration) -> Self {
        Self { deadline: CallerDeadline::new(deadline), ..Self::timeout().with_kind(FailureKind::Deadline) }
    }

    /// Marks the failure as caused by a timer of this process, which may be the timer of the caller's deadline or a
    /// shorter timeout of the client.
    #[cfg(any(feature = "tonic", feature = "reqwest"))]
    pub(crate) const fn by_timer(mut self) -> Self {
        self.early = Early::OfTheOwner;
        self
    }

    /// Returns the failure of a call that the service cancelled. The failure is a [`deadline`](Self::deadline) if the
    /// call lasted about as long as the deadline. An earlier end says nothing about the service.
    #[cfg(feature = "http")]
    pub(crate) const fn cancelled_by(deadline: Duration) -> Self {
        Self { early: Early::Ignored, ..Self::deadline(deadline) }
    }

    /// Makes the failure a [`deadline`](Self::deadline) if the call lasted about as long as the deadline. A call that
    /// ended earlier keeps this failure.
    #[cfg(feature = "http")]
    pub(crate) const fn or_deadline(self, deadline: Duration) -> Self {
        Self { deadline: CallerDeadline::new(deadline), early: Early::Unchanged, ..self }
    }

    /// Returns true if the failure is ignored when the call has ended clearly before the deadline of its caller.
    #[cfg(all(feature = "http", any(feature = "retry", feature = "tonic")))]
    pub(crate) const fn is_ignored_early(&self) -> bool {
        matches!(self.early, Early::Ignored)
    }

    /// Returns true if the weight depends on the time that the call waited, because the caller has set a deadline.
    #[inline]
    pub(crate) const fn weighs_by_wait(&self) -> bool {
        self.deadline.0 != CallerDeadline::NONE.0
    }

    /// Returns the failure with the weight that follows from the time `waited`. Returns `None` if the failure says
    /// nothing about the service. `counts_after` is the setting `cancelled_counts_after`, and `waited` is `None` if the
    /// call was never pending.
    pub(crate) fn after_waiting(self, waited: Option<Duration>, counts_after: Option<Duration>) -> Option<Self> {
        let Some(deadline) = self.deadline.get() else { return Some(self) };
        let waited = waited.unwrap_or_default();
        let decided = Self { deadline: CallerDeadline::NONE, early: Early::Deadline, ..self };
        let is_early = waited.saturating_add(INACCURACY + deadline / 10) < deadline;
        match self.early {
            // A wait of zero means that the wait was not measured.
            Early::OfTheOwner if is_early && !waited.is_zero() => {
                let is_deadline = self.kind == FailureKind::Deadline;
                return Some(if is_deadline { decided.with_kind(FailureKind::Timeout) } else { decided });
            }
            #[cfg(feature = "http")]
            Early::Ignored if is_early => return None,
            #[cfg(feature = "http")]
            Early::Unchanged if is_early => return Some(decided),
            #[cfg(feature = "http")]
            Early::Unchanged => {
                let Self { retry_after, trips, .. } = self;
                let passed = Self { retry_after, trips, ..Self::deadline(deadline) };
                return passed.after_waiting(Some(waited), counts_after);
            }
            _ => {}
        }
        let counts_after = counts_after?;
        let weight = if deadline < counts_after && waited < counts_after {
            self.weight.share(waited, counts_after)
        } else {
            Some(self.weight)
        };
        weight.map(|weight| Self { weight, ..decided })
    }

    /// Sets the kind, which metrics and messages show.
    #[must_use]
    pub const fn with_kind(mut self, kind: FailureKind) -> Self {
        self.kind = kind;
        self
    }

    /// Sets the time for which the service asked its callers to wait (`Retry-After`).
    ///
    /// If the circuit opens by its next transition, the opening ends no earlier than this time after the failure. A
    /// time above 5 minutes counts as 5 minutes. If several failures since the last transition have such a time, the
    /// time of the latest failure counts.
    #[must_use]
    pub const fn with_retry_after(mut self, after: Duration) -> Self {
        self.retry_after = Some(after);
        self
    }

    /// Lets this single failure open the circuit, regardless of the rules and of the number of tolerated probe
    /// failures.
    ///
    /// Use this method for an answer that asks the caller to stop, such as 429 with `Retry-After` from a provider that
    /// bans impatient clients. The circuit stays open for [`retry_after`](Self::with_retry_after) at least, capped at 5
    /// minutes. A circuit with manual recovery stays open until a reset. A failure that is recorded under a hold of an
    /// operator or under `CIRCUIT_BREAKER_DISABLED` opens nothing. A failure with a `Retry-After` also takes effect if
    /// its answer arrives late, after the circuit has changed its state. Such a late answer opens the circuit, or makes
    /// the present opening longer. In a fleet only the instance that got the answer keeps the `Retry-After`. The other
    /// instances may still probe, and can close the fleet.
    ///
    /// A [`deadline`](Self::deadline) with this method weighs 0.5, even if the caller's deadline was short. Only an
    /// answer of the service asks the caller to stop, so that the short deadline was not the cause.
    #[must_use]
    pub const fn trips_at_once(mut self) -> Self {
        self.trips = true;
        self.deadline = CallerDeadline::NONE;
        self
    }

    /// Returns true if this single failure opens the circuit, regardless of the rules.
    #[must_use]
    pub const fn trips(&self) -> bool {
        self.trips
    }

    /// Returns the weight. For a [`deadline`](Self::deadline) that is not recorded yet, the result is the largest
    /// possible weight.
    #[must_use]
    pub const fn weight(&self) -> Weight {
        self.weight
    }

    /// Returns the kind.
    #[must_use]
    pub const fn kind(&self) -> FailureKind {
        self.kind
    }

    /// Returns the time for which the service asked its callers to wait. `None` if the service did not ask.
    #[must_use]
    pub const fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "failure of kind {} and weight {}", self.kind, self.weight.as_f64())
    }
}

/// The deadline that the caller set for one call, in milliseconds, or [`NONE`](Self::NONE). The type is small, because
/// the outcome of each call has room for a deadline.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct CallerDeadline(u32);

impl fmt::Debug for CallerDeadline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.get().fmt(f)
    }
}

impl CallerDeadline {
    pub(crate) const NONE: Self = Self(u32::MAX);

    /// Returns the deadline, shortened to 49 days if the deadline is longer.
    pub(crate) const fn new(deadline: Duration) -> Self {
        let millis = deadline.as_millis();
        #[expect(clippy::cast_possible_truncation, reason = "it is below u32::MAX, by the check")]
        let millis = if millis < u32::MAX as u128 { millis as u32 } else { u32::MAX - 1 };
        Self(millis)
    }

    pub(crate) const fn get(self) -> Option<Duration> {
        if self.0 == u32::MAX { None } else { Some(Duration::from_millis(self.0 as u64)) }
    }
}

/// The longest time by which a coarse clock and a timer may disagree.
const INACCURACY: Duration = Duration::from_millis(20);

/// The kind of a failure, for metrics and messages. The kind decides nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FailureKind {
    /// The call returned an error, or an answer that the classifier counts as an error, and no other kind fits.
    Error,
    /// No connection was made, for example because the host refused the connection or has no route.
    Connect,
    /// The lookup of the host name failed or found no address.
    Dns,
    /// The TLS handshake failed, for example because of an invalid certificate.
    Tls,
    /// The connection ended before the answer.
    Reset,
    /// The body of the answer ended too early or is not valid.
    Body,
    /// The call took too long and was given up.
    Timeout,
    /// The call was ended by a deadline that the caller set only for this call.
    Deadline,
    /// The future of the call, or its permit, was dropped later than `cancelled_counts_after`, for example by a timeout
    /// outside the breaker.
    Cancelled,
    /// The call panicked.
    Panicked,
    /// The `poll_ready` of the inner service failed, or a caller gave up waiting for its readiness.
    NotReady,
    /// A probe succeeded, but took `slower_than` or longer while the slow-call rule is on.
    Slow,
    /// A kind of your own, such as `"http_503"`. Use few different names, because each name becomes a metric label.
    Named(&'static str),
}

impl FailureKind {
    /// Returns the kind in the spelling of a metric label.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Connect => "connect",
            Self::Dns => "dns",
            Self::Tls => "tls",
            Self::Reset => "reset",
            Self::Body => "body",
            Self::Timeout => "timeout",
            Self::Deadline => "deadline",
            Self::Cancelled => "cancelled",
            Self::Panicked => "panicked",
            Self::NotReady => "not_ready",
            Self::Slow => "slow",
            Self::Named(name) => name,
        }
    }
}

impl fmt::Display for FailureKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_of_the_caller_weighs_in_proportion_to_the_wait() {
        let ms = Duration::from_millis;
        let weighed = |failure: Failure, waited| {
            failure.after_waiting(Some(ms(waited)), Some(ms(1_000))).map(|failure| failure.weight().units())
        };
        for (deadline, waited, units) in [
            (1, 1, None),
            (1, 4, Some(1)),
            (0, 0, None),
            (500, 500, Some(64)),
            (500, 100, Some(13)),
            (999, 999, Some(128)),
            (999, 5_000, Some(128)),
            (1_000, 0, Some(128)),
            (10_000, 100, Some(128)),
            (u64::MAX, 0, Some(128)),
        ] {
            assert_eq!(weighed(Failure::deadline(ms(deadline)), waited), units, "{deadline} ms, waited {waited} ms");
        }
        assert_eq!(weighed(Failure::timeout(), 0), Some(128), "the owner's");
        let longest = Failure::deadline(Duration::MAX).after_waiting(Some(Duration::MAX), Some(Duration::MAX));
        assert_eq!(longest.map(|failure| failure.weight()), Some(Weight::TIMEOUT));
        assert_eq!(Failure::deadline(ms(500)).after_waiting(Some(ms(500)), None), None, "never");
        let tripping = Failure::deadline(ms(1)).trips_at_once();
        assert_eq!(weighed(tripping, 0), Some(128), "the service asked for no more calls");
        assert_eq!(Failure::deadline(ms(500)).after_waiting(None, Some(ms(1_000))), None, "nothing was awaited");
        assert_eq!(
            Failure::deadline(ms(0)).after_waiting(None, Some(ms(0))).map(|f| f.weight()),
            Some(Weight::TIMEOUT)
        );
    }
}
