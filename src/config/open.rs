//! The open duration of a circuit with backoff and jitter, and the way in which an open circuit returns to closed.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::event::guarded;
use crate::state::{Brief, Exact};

/// The duration for which a circuit stays open before it probes.
#[derive(Clone)]
pub struct OpenDuration {
    shape: Shape,
    jitter: f64,
}

#[derive(Clone)]
enum Shape {
    Fixed(Duration),
    Exponential { base: Duration, max: Duration },
    Function(Arc<dyn Fn(u32) -> Duration + Send + Sync>),
}

impl OpenDuration {
    /// The default duration of the first open state, before any backoff.
    pub(crate) const DEFAULT_BASE: Duration = Duration::from_secs(5);
    /// The default limit of the open duration.
    pub(crate) const DEFAULT_MAX: Duration = Duration::from_secs(60);

    /// Returns a duration that is the same for each opening, without jitter. Range: 1 ms to 365 days.
    #[must_use]
    pub const fn fixed(duration: Duration) -> Self {
        Self { shape: Shape::Fixed(duration), jitter: 0.0 }
    }

    /// Returns a duration of `base` that doubles with each opening in a row up to `max`, with a jitter of 10 %.
    ///
    /// Range: 1 ms to 365 days, and `base` must not exceed `max`. Without
    /// [`open_for`](crate::config::ConfigBuilder::open_for), `base` is 5 s and `max` is 60 s. The number of openings in
    /// a row stops growing when the duration reaches `max`. The number falls by one each time the circuit has been
    /// closed for as long as the open duration of its last opening.
    #[must_use]
    pub const fn exponential(base: Duration, max: Duration) -> Self {
        Self { shape: Shape::Exponential { base, max }, jitter: 0.1 }
    }

    /// Returns a duration that `function` calculates from the number of openings in a row,
    /// counted from 1, without jitter.
    ///
    /// The circuit calls the function for each opening, and for each snapshot that the circuit
    /// [adopts](crate::Circuit::adopt). The function runs under a mutex of the circuit. Therefore the function must be
    /// quick and must not use the circuit. Its result is limited to the range of 1 ms to 365 days. If the function
    /// panics, the duration is 60 s.
    #[must_use]
    pub fn from_fn(function: impl Fn(u32) -> Duration + Send + Sync + 'static) -> Self {
        Self { shape: Shape::Function(Arc::new(function)), jitter: 0.0 }
    }

    /// Varies each duration by up to this share, up or down, so that instances do not probe at the same time.
    /// Range: 0 to 0.5. Default: 0, but 0.1 for [`exponential`](Self::exponential).
    #[must_use]
    pub const fn jitter(mut self, share: f64) -> Self {
        self.jitter = share;
        self
    }

    /// Returns the open duration with jitter. `attempt` is the number of openings in a row, counted from 1. `random` is
    /// between 0 and 1, and selects a value within the range of the jitter.
    pub(crate) fn of(&self, attempt: u32, random: f64) -> Duration {
        let nominal = match &self.shape {
            Shape::Fixed(duration) => *duration,
            Shape::Exponential { base, max } => {
                let doublings = attempt.saturating_sub(1).min(31);
                base.saturating_mul(1 << doublings).min(*max)
            }
            // The function is foreign code that runs under the mutex of the circuit, and can run while a permit is
            // dropped. Therefore a panic of the function must be caught.
            Shape::Function(function) => guarded(|| function(attempt.max(1))).unwrap_or(AFTER_A_PANIC),
        };
        // The limit comes before the multiplication, because the product of a longer duration could overflow.
        let nominal = nominal.clamp(SHORTEST, LONGEST);
        nominal.mul_f64(1.0 + self.jitter * (2.0 * random - 1.0)).clamp(SHORTEST, LONGEST)
    }

    /// Returns the number of openings in a row at which the open duration reaches its maximum. The circuit counts
    /// openings only up to this number. Returns `u32::MAX` if the count has no limit.
    ///
    /// The count falls while the circuit is closed. Without this limit, a count that grew during a long outage would
    /// take just as long to fall.
    pub(crate) fn last_attempt(&self) -> u32 {
        match &self.shape {
            Shape::Exponential { base, max } => {
                (1..32).find(|attempt| base.saturating_mul(1 << (attempt - 1)) >= *max).unwrap_or(32)
            }
            // The count has no limit, because a fixed duration does not depend on the count, and the maximum of a
            // function is not known.
            Shape::Fixed(_) | Shape::Function(_) => u32::MAX,
        }
    }

    /// Returns the longest time for which one opening can keep the circuit open. The result is the longest open
    /// duration plus jitter, or the limit of a `Retry-After` if that limit is longer.
    pub(crate) fn longest(&self) -> Duration {
        let nominal = match self.shape {
            Shape::Fixed(duration) => duration,
            Shape::Exponential { max, .. } => max,
            Shape::Function(_) => LONGEST,
        };
        nominal.min(LONGEST).mul_f64(1.0 + self.jitter).max(LONGEST_RETRY_AFTER)
    }

    /// Returns the open duration in the spelling of a settings file. A function has no such spelling, so the text
    /// describes the function.
    pub(super) fn setting(&self) -> String {
        let jitter = self.jitter;
        match &self.shape {
            Shape::Fixed(duration) if jitter == 0.0 => Exact(*duration).to_string(),
            Shape::Fixed(duration) => format!("{{ fixed = {}, jitter = {jitter} }}", Exact(*duration)),
            Shape::Exponential { base, max } => {
                format!("{{ base = {}, max = {}, jitter = {jitter} }}", Exact(*base), Exact(*max))
            }
            // The text contains the address of the function, because two functions cannot be distinguished otherwise.
            Shape::Function(function) => format!("a function at {:p} with jitter {jitter}", Arc::as_ptr(function)),
        }
    }

    /// Returns the field, the value and the allowed range of the first invalid setting. `None` if all settings are
    /// valid.
    pub(crate) fn fault(&self) -> Option<(&'static str, String, String)> {
        let range = |field, duration: Duration, max: Duration| {
            let allowed = format!("{} to {}", Exact(SHORTEST), Exact(max));
            (!(SHORTEST..=max).contains(&duration)).then(|| (field, Exact(duration).to_string(), allowed))
        };
        let fault = match self.shape {
            Shape::Fixed(duration) => range("open_for", duration, LONGEST),
            Shape::Exponential { base, max } => {
                range("open_for.max", max, LONGEST).or_else(|| range("open_for.base", base, max))
            }
            Shape::Function(_) => None,
        };
        let jitter = !(0.0..=0.5).contains(&self.jitter);
        fault.or_else(|| jitter.then(|| ("open_for.jitter", self.jitter.to_string(), "0 to 0.5".to_owned())))
    }
}

impl Default for OpenDuration {
    fn default() -> Self {
        Self::exponential(Self::DEFAULT_BASE, Self::DEFAULT_MAX)
    }
}

/// Prints exact values in the spelling of a settings file, so that two different durations have different texts.
impl fmt::Debug for OpenDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.setting())
    }
}

/// Prints the duration for people, as in `5 s, doubling to 60 s ± 10 %`.
impl fmt::Display for OpenDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.shape {
            Shape::Fixed(duration) => write!(f, "{}", Brief(*duration))?,
            Shape::Exponential { base, max } => write!(f, "{}, doubling to {}", Brief(*base), Brief(*max))?,
            Shape::Function(_) => f.write_str("as long as a function of the attempt says")?,
        }
        if self.jitter > 0.0 { write!(f, " ± {:.0} %", self.jitter * 100.0) } else { Ok(()) }
    }
}

/// The way in which an open circuit recovers: by its own probes, or only by a reset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Recovery {
    /// The circuit probes by itself when the open duration has passed.
    #[default]
    Automatic,
    /// The circuit stays open until an operator resets it. If an operator holds the circuit for a set time, the hold
    /// ends without a reset, and the circuit then returns to the state beneath the hold. In a fleet, three passed
    /// probes of instances with automatic recovery can close the circuit too, so give all instances of a fleet the same
    /// recovery.
    Manual,
}

/// The shortest duration that can be set. The slots of probes keep times in milliseconds, and a shorter duration would
/// become zero.
pub(crate) const SHORTEST: Duration = Duration::from_millis(1);
/// The longest duration that can be set. With manual recovery, or by a hold without an end, a circuit can stay open
/// longer.
pub(crate) const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);
/// The open duration if the user's function panics.
const AFTER_A_PANIC: Duration = Duration::from_secs(60);
/// The longest time for which the `Retry-After` of a service keeps a circuit open.
pub(crate) const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(300);
