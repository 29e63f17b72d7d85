//! The backoff of retries, which is tower's exponential backoff with a source of randomness that all calls of a policy
//! share.
//!
//! tower clones its own source of randomness with the policy, so every call would draw the same numbers. Retries that
//! begin at the same moment would then all have the same waits, although jitter is meant to spread them.

use std::sync::Arc;
use std::time::Duration;

use tower::retry::backoff::{ExponentialBackoff, ExponentialBackoffMaker, MakeBackoff};
use tower::util::rng::Rng;

use crate::config::ConfigError;
use crate::random;
use crate::state::Exact;
use crate::sync::{AtomicU64, Relaxed};

/// The backoff of one call, with the shared source of randomness.
pub(super) type Backoff = ExponentialBackoff<Spread>;

/// The settings of the waits between attempts. The waits double from `first` to `max`. Each wait is lengthened by a
/// random share of up to `jitter`, but not above `max`.
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
            return Err(ConfigError::new("backoff's max", Exact(max), "1 ms to 1 hour"));
        }
        if first < SHORTEST || first > max {
            let allowed = format!("1 ms to its max of {}", Exact(max));
            return Err(ConfigError::new("backoff's first", Exact(first), allowed));
        }
        if !(0.0..=1.0).contains(&jitter) {
            return Err(ConfigError::new("jitter", jitter, "0 to 1"));
        }
        Ok(self)
    }

    /// Returns a backoff that starts at `first`. Each clone of the backoff starts at `first` as well, and all clones
    /// share the source of randomness.
    ///
    /// Call [`checked`](Self::checked) first. Otherwise `start` panics if tower refuses a value.
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

/// Random numbers for tower's backoff. Clones share one counter, so that no two clones draw the same number.
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
        // Relaxed, because the count publishes no other data.
        let drawn = self.0.count.fetch_add(1, Relaxed);
        // tower turns the upper 53 bits into a fraction, and asserts that the fraction is not zero. Therefore the
        // lowest of these bits is always set.
        random::nth(self.0.seed, drawn) | 1 << 11
    }
}

const SHORTEST: Duration = Duration::from_millis(1);
const LONGEST: Duration = Duration::from_secs(60 * 60);
