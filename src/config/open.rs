//! How long a circuit stays open, and who ends it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::event::guarded;
use crate::state::Brief;

/// How long a circuit stays open before it probes.
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
    /// Stays open for `duration` each time, without jitter. Range: 1 ms to 365 days.
    #[must_use]
    pub const fn fixed(duration: Duration) -> Self {
        Self { shape: Shape::Fixed(duration), jitter: 0.0 }
    }

    /// Stays open for `base`, doubled with each opening in a row, `max` at most, with a jitter of 10 %.
    ///
    /// Range: 1 ms to 365 days, `base` at most `max`. The default is 5 s and 60 s. The number of openings in a row falls by
    /// one for each last open duration that the circuit then spends closed.
    #[must_use]
    pub const fn exponential(base: Duration, max: Duration) -> Self {
        Self { shape: Shape::Exponential { base, max }, jitter: 0.1 }
    }

    /// Stays open for what `function` says of the number of openings in a row, counted from 1, without jitter.
    ///
    /// It runs under the circuit's cold mutex, for an opening or a restore: it must be quick and must not touch the circuit.
    /// What it returns is brought into the range of 1 ms to 365 days; if it panics, that is 60 s.
    #[must_use]
    pub fn from_fn(function: impl Fn(u32) -> Duration + Send + Sync + 'static) -> Self {
        Self { shape: Shape::Function(Arc::new(function)), jitter: 0.0 }
    }

    /// Spreads each duration by up to that share of it in either direction, so that instances do not probe in step.
    /// Range: 0 to 0.5; default 0, but 0.1 of [`exponential`](Self::exponential).
    #[must_use]
    pub const fn jitter(mut self, share: f64) -> Self {
        self.jitter = share;
        self
    }

    /// Returns the open duration of the given attempt, where `random` is between 0 and 1.
    pub(crate) fn of(&self, attempt: u32, random: f64) -> Duration {
        let nominal = match &self.shape {
            Shape::Fixed(duration) => *duration,
            Shape::Exponential { base, max } => {
                let doublings = attempt.saturating_sub(1).min(31);
                base.saturating_mul(1 << doublings).min(*max)
            }
            // Foreign code, under the cold mutex and perhaps in a drop: a panic of it must not get out.
            Shape::Function(function) => guarded(|| function(attempt.max(1))).unwrap_or(AFTER_A_PANIC),
        };
        // Clamped first: the product below must not overflow.
        let nominal = nominal.clamp(SHORTEST, LONGEST);
        nominal.mul_f64(1.0 + self.jitter * (2.0 * random - 1.0)).clamp(SHORTEST, LONGEST)
    }

    /// Returns the longest that an opening can last: that of the shape with its jitter, or of a Retry-After.
    pub(crate) fn longest(&self) -> Duration {
        let nominal = match self.shape {
            Shape::Fixed(duration) => duration,
            Shape::Exponential { max, .. } => max,
            Shape::Function(_) => LONGEST,
        };
        nominal.min(LONGEST).mul_f64(1.0 + self.jitter).max(LONGEST_RETRY_AFTER)
    }

    /// Names what is wrong: field, value, allowed.
    pub(crate) fn fault(&self) -> Option<(&'static str, String, String)> {
        let range = |field, duration: Duration, max: Duration| {
            let allowed = format!("{SHORTEST:?} to {max:?}");
            (!(SHORTEST..=max).contains(&duration)).then(|| (field, format!("{duration:?}"), allowed))
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
        Self::exponential(Duration::from_secs(5), Duration::from_secs(60))
    }
}

/// Exact, so that two that differ look different.
impl fmt::Debug for OpenDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.shape {
            Shape::Fixed(duration) => write!(f, "{duration:?}")?,
            Shape::Exponential { base, max } => write!(f, "{base:?} doubling to {max:?}")?,
            // The address tells two functions apart, which is all that can be told of them.
            Shape::Function(function) => write!(f, "a function of the attempt at {:p}", Arc::as_ptr(function))?,
        }
        write!(f, " ± {:?}", self.jitter)
    }
}

/// For people: `5 s, doubling to 60 s ± 10 %`.
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

/// Who ends an opening.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Recovery {
    /// The circuit itself: it probes when the open duration is over.
    #[default]
    Automatic,
    /// A person: the circuit stays open until a reset. A hold with an end still ends, in the state beneath it.
    Manual,
}

/// The shortest time that a setting can mean: deadlines of probes are kept in milliseconds.
pub(crate) const SHORTEST: Duration = Duration::from_millis(1);
/// The longest. Beyond it, say what you mean: manual recovery, or a hold without an end.
pub(crate) const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);
/// How long a circuit stays open whose function panicked.
const AFTER_A_PANIC: Duration = Duration::from_secs(60);
/// No service may keep a circuit open for longer than this with a Retry-After.
pub(crate) const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(300);
