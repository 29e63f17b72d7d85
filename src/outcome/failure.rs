//! The failure of a call, with its weight and its kind. If a deadline of the caller may have caused the failure, the
//! failure also contains this deadline.

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
    /// The deadline of the caller, if the call may have ended because of this deadline. With a deadline, the circuit
    /// computes the weight when the failure is recorded.
    deadline: CallerDeadline,
    /// The effect of the failure if the call ended clearly before the deadline of the caller.
    early: Early,
}

/// The effect of a failure whose call ended clearly before the deadline of its caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Early {
    /// The failure still counts as caused by the deadline, because the response or the error says that the deadline has
    /// passed.
    Deadline,
    /// A shorter timeout of this process, and not the deadline, ended the call. The failure keeps its weight, and the
    /// kind `Deadline` becomes `Timeout`.
    #[cfg_attr(not(any(feature = "tonic", feature = "reqwest")), expect(dead_code, reason = "no timer is known"))]
    OfTheOwner,
    /// The service, and not the deadline, ended the call. The failure keeps its weight and its kind.
    #[cfg(feature = "http")]
    Unchanged,
    /// The outcome is ignored, as if the caller had cancelled the call.
    #[cfg(feature = "http")]
    Ignored,
}

impl Failure {
    /// Returns a failure with the given weight and the kind [`FailureKind::Error`].
    #[must_use]
    pub const fn new(weight: Weight) -> Self {
        let deadline = CallerDeadline::NONE;
        Self { weight, kind: FailureKind::Error, retry_after: None, trips: false, deadline, early: Early::Deadline }
    }

    /// Returns a failure with the weight 1.0 and the kind [`FailureKind::Error`].
    #[must_use]
    pub const fn hard() -> Self {
        Self::new(Weight::HARD)
    }

    /// Returns a failure with the weight 0.5 and the kind [`FailureKind::Timeout`].
    #[must_use]
    pub const fn timeout() -> Self {
        Self::new(Weight::TIMEOUT).with_kind(FailureKind::Timeout)
    }

    /// Returns the failure of a call that exceeded the deadline that its caller set for this call, for example with
    /// `grpc-timeout`. The kind is [`FailureKind::Deadline`].
    ///
    /// If a caller waits only for a short time, the failure says little about the service. Therefore the circuit
    /// computes the weight when the failure is recorded. If the deadline is at least
    /// [`cancelled_counts_after`](crate::config::ConfigBuilder::cancelled_counts_after), the weight is 0.5. With a
    /// shorter deadline, the weight is 0.5 × min(1, waited ÷ `cancelled_counts_after`). If this weight rounds to zero,
    /// the outcome is ignored. The outcome is also ignored if a setting or the classifier says that dropped calls never
    /// count.
    ///
    /// A probe of a half-open circuit fails only if the weight is 0.5. With a smaller weight, the probe ends without a
    /// verdict.
    ///
    /// The time `waited` begins with the first poll of the call that returned `Pending`. For a timeout that a layer of
    /// the stack sets for all calls, use [`timeout`](Self::timeout).
    #[must_use]
    pub const fn deadline(deadline: Duration) -> Self {
        Self { deadline: CallerDeadline::new(deadline), ..Self::timeout().with_kind(FailureKind::Deadline) }
    }

    /// Marks the failure as caused by a timer of this process. The timer belongs to the caller's deadline or to a
    /// shorter timeout of the client library.
    #[cfg(any(feature = "tonic", feature = "reqwest"))]
    pub(crate) const fn by_timer(mut self) -> Self {
        self.early = Early::OfTheOwner;
        self
    }

    /// Returns the failure of a call that the service cancelled. If the call lasted about as long as the deadline, the
    /// failure counts like a failure that [`deadline`](Self::deadline) returns. If the call ended earlier, the outcome
    /// is ignored.
    #[cfg(feature = "http")]
    pub(crate) const fn cancelled_by(deadline: Duration) -> Self {
        Self { early: Early::Ignored, ..Self::deadline(deadline) }
    }

    /// Adds a deadline to the failure. If the call lasted about as long as the deadline, the failure counts like a
    /// failure that [`deadline`](Self::deadline) returns. If the call ended earlier, the failure is unchanged.
    #[cfg(feature = "http")]
    pub(crate) const fn or_deadline(self, deadline: Duration) -> Self {
        Self { deadline: CallerDeadline::new(deadline), early: Early::Unchanged, ..self }
    }

    /// Returns true if the failure is ignored in the case that the call ended clearly before the deadline of its
    /// caller.
    #[cfg(all(feature = "http", any(feature = "retry", feature = "tonic")))]
    pub(crate) const fn is_ignored_early(&self) -> bool {
        matches!(self.early, Early::Ignored)
    }

    /// Returns true if the failure has a deadline of the caller. The weight then depends on the time that the call
    /// waited.
    #[inline]
    pub(crate) const fn weighs_by_wait(&self) -> bool {
        self.deadline.0 != CallerDeadline::NONE.0
    }

    /// Returns the failure with its final weight, which depends on `waited` if the caller has set a deadline. Returns
    /// `None` if the failure must be ignored. `waited` is the time since the call was first pending, or `None` if the
    /// call was never pending. `counts_after` is the setting `cancelled_counts_after`.
    pub(crate) fn after_waiting(self, waited: Option<Duration>, counts_after: Option<Duration>) -> Option<Self> {
        let Some(deadline) = self.deadline.get() else { return Some(self) };
        let waited = waited.unwrap_or_default();
        let decided = Self { deadline: CallerDeadline::NONE, early: Early::Deadline, ..self };
        let is_early = waited.saturating_add(INACCURACY + deadline / 10) < deadline;
        match self.early {
            // If `waited` is zero, the time was not measured, and does not show that the end was early.
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

    /// Sets the kind. Metrics and messages show the kind.
    #[must_use]
    pub const fn with_kind(mut self, kind: FailureKind) -> Self {
        self.kind = kind;
        self
    }

    /// Sets the time for which the service asked its callers to wait (`Retry-After`).
    ///
    /// If the next transition opens the circuit, the circuit stays open at least until this duration has passed since
    /// the failure. A duration above 5 minutes is treated as 5 minutes. If several failures since the last transition
    /// have a `Retry-After`, the latest failure decides.
    #[must_use]
    pub const fn with_retry_after(mut self, after: Duration) -> Self {
        self.retry_after = Some(after);
        self
    }

    /// Lets this failure alone open the circuit, regardless of the rules and of the number of tolerated probe failures.
    ///
    /// Use this method for a response that asks the caller to stop, such as 429 with `Retry-After` from a provider that
    /// bans impatient clients. The circuit stays open at least for the [`retry_after`](Self::with_retry_after) time,
    /// which is limited to 5 minutes. A circuit with manual recovery stays open until a reset. The failure does not
    /// open a circuit that an operator holds or that `CIRCUIT_BREAKER_DISABLED` disables.
    ///
    /// If the failure has a `Retry-After`, this method takes effect even if the response arrives after the circuit has
    /// changed its state. The late response opens the circuit, or keeps an open circuit open for longer. In a fleet,
    /// only the instance that got the response keeps to the `Retry-After`. The other instances may still probe, and can
    /// close the fleet.
    ///
    /// A failure from [`deadline`](Self::deadline) with this method always weighs 0.5. A service that asks its callers
    /// to stop has responded, so a short deadline of the caller was not the cause of the failure.
    #[must_use]
    pub const fn trips_at_once(mut self) -> Self {
        self.trips = true;
        self.deadline = CallerDeadline::NONE;
        self
    }

    /// Returns true if this failure alone opens the circuit, regardless of the rules.
    #[must_use]
    pub const fn trips(&self) -> bool {
        self.trips
    }

    /// Returns the weight. For a failure from [`deadline`](Self::deadline) that is not recorded yet, the result is the
    /// largest possible weight.
    #[must_use]
    pub const fn weight(&self) -> Weight {
        self.weight
    }

    /// Returns the kind.
    #[must_use]
    pub const fn kind(&self) -> FailureKind {
        self.kind
    }

    /// Returns the time for which the service asked its callers to wait, or `None` if the service did not ask.
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

/// The deadline that the caller set for one call, in milliseconds, or [`NONE`](Self::NONE). The type has only 4 bytes,
/// because the outcome of each call contains this type.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct CallerDeadline(u32);

impl fmt::Debug for CallerDeadline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.get().fmt(f)
    }
}

impl CallerDeadline {
    pub(crate) const NONE: Self = Self(u32::MAX);

    /// Converts a duration to a deadline. A duration above 49 days becomes 49 days.
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

/// The largest difference between the duration of a call by the coarse clock and by the timer that ended the call.
const INACCURACY: Duration = Duration::from_millis(20);

/// The kind of a failure, for metrics and messages. The kind has no effect on the circuit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FailureKind {
    /// The call returned an error, or a response that the classifier treats as an error. This is the kind if no other
    /// kind describes the failure.
    Error,
    /// The connection could not be opened, for example because the host refused the connection or is not reachable.
    Connect,
    /// The DNS lookup of the host name failed or found no address.
    Dns,
    /// The TLS handshake failed, for example because of an invalid certificate.
    Tls,
    /// The connection ended before the response arrived.
    Reset,
    /// The body of the response ended too early or is not valid.
    Body,
    /// The call took too long and was given up.
    Timeout,
    /// The call exceeded a deadline that the caller set only for this call.
    Deadline,
    /// The future of the call, or its permit, was dropped after the call had waited for `cancelled_counts_after` or
    /// longer. One cause is a timeout outside the breaker.
    Cancelled,
    /// The call panicked.
    Panicked,
    /// `poll_ready` of the inner service failed, or a caller stopped waiting for the inner service to be ready.
    NotReady,
    /// A probe succeeded, but took at least `slower_than`. Only a circuit with a slow-call rule records this kind.
    Slow,
    /// Your own kind, such as `"http_503"`. Use few different names, because each name becomes a metric label.
    Named(&'static str),
}

impl FailureKind {
    /// Returns the name of the kind, as in metric labels.
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
