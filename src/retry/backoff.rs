//! tower's exponential backoff, with a source of randomness that every call draws from.
//!
//! tower's own source is cloned with the policy, so that every call would draw the same numbers: all retries of a moment would
//! stay together, which is what jitter is against.

use std::sync::Arc;
use std::time::Duration;

use tower::retry::backoff::{ExponentialBackoff, ExponentialBackoffMaker, MakeBackoff};
use tower::util::rng::Rng;

use crate::config::ConfigError;
use crate::random;
use crate::sync::{AtomicU64, Relaxed};

/// The backoff of one call.
pub(super) type Backoff = ExponentialBackoff<Spread>;

/// The waits between attempts: doubling from `first` to `max`, with up to a share `jitter` of itself on top, never above `max`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Spacing {
    pub(super) first: Duration,
    pub(super) max: Duration,
    pub(super) jitter: f64,
}

impl Spacing {
    pub(super) fn checked(self) -> Result<Self, ConfigError> {
        let Self { first, max, jitter } = self;
        if max < SHORTEST || max > LONGEST {
            return Err(ConfigError::new("backoff's max", format_args!("{max:?}"), "1 ms to 1 hour"));
        }
        if first < SHORTEST || first > max {
            let allowed = format!("1 ms to its max of {max:?}");
            return Err(ConfigError::new("backoff's first", format_args!("{first:?}"), allowed));
        }
        if !(0.0..=1.0).contains(&jitter) {
            return Err(ConfigError::new("jitter", jitter, "0 to 1"));
        }
        Ok(self)
    }

    /// Starts at `first`; the clones of what it returns each do so too, and share the randomness.
    ///
    /// It must have been checked.
    pub(super) fn start(self) -> Backoff {
        let Self { first, max, jitter } = self;
        let maker = ExponentialBackoffMaker::new(first, max, jitter, Spread::default());
        maker.expect("stricter than tower's own checks").make_backoff()
    }
}

impl Default for Spacing {
    fn default() -> Self {
        Self { first: Duration::from_millis(100), max: Duration::from_secs(2), jitter: 0.5 }
    }
}

/// Random numbers as tower makes them, but no two clones draw the same ones.
#[derive(Debug, Clone, Default)]
pub(super) struct Spread(Arc<Drawn>);

#[derive(Debug)]
struct Drawn {
    seed: u64,
    count: AtomicU64,
}

impl Default for Drawn {
    fn default() -> Self {
        Self { seed: random::bits(), count: AtomicU64::new(0) }
    }
}

impl Rng for Spread {
    fn next_u64(&mut self) -> u64 {
        // Relaxed: a count, publishes nothing.
        let drawn = self.0.count.fetch_add(1, Relaxed);
        // The lowest bit of those that become a fraction: tower asserts that it is not zero.
        random::nth(self.0.seed, drawn) | 1 << 11
    }
}

const SHORTEST: Duration = Duration::from_millis(1);
const LONGEST: Duration = Duration::from_secs(60 * 60);
