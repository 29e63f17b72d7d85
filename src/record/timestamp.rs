//! Points in time in a record, by the clock of a store.

use std::fmt;
use std::time::Duration;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// A point in time, as milliseconds since the Unix epoch by the clock of a store.
///
/// A time in milliseconds has 13 digits, and every JSON reader keeps a number of this length without a loss of
/// precision. The store's clock is used, because it is the only clock that all instances share. A field for a time that
/// may be missing has the type `Option<Timestamp>`. A field of the type `Timestamp`, such as
/// [`updated_at`](super::CircuitRecord::updated_at), is zero if the JSON lacks the field.
///
/// ```
/// use std::time::{Duration, SystemTime};
/// use tower_circuit_breaker::record::Timestamp;
///
/// let time = SystemTime::UNIX_EPOCH + Duration::from_millis(1_790_000_000_123);
/// assert_eq!(Timestamp::from(time).as_millis(), 1_790_000_000_123);
/// assert_eq!(SystemTime::try_from(Timestamp::from(time))?, time);
/// # Ok::<(), Timestamp>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(u64);

impl Timestamp {
    /// Returns the time that is `millis` milliseconds after the Unix epoch.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// Returns the number of milliseconds since the Unix epoch.
    #[must_use]
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// Returns this time plus `by`, or the largest possible time if the sum is too large.
    #[must_use]
    pub fn saturating_add(self, by: Duration) -> Self {
        Self(self.0.saturating_add(millis(by)))
    }

    /// Returns this time minus `by`, or the Unix epoch if the result would be earlier than the epoch.
    #[must_use]
    pub fn saturating_sub(self, by: Duration) -> Self {
        Self(self.0.saturating_sub(millis(by)))
    }

    /// Returns the duration since `earlier`, or zero if `earlier` is later than this time.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

/// Converts a [`SystemTime`]. A time before the Unix epoch becomes the epoch.
impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Self {
        Self(time.duration_since(UNIX_EPOCH).map_or(0, millis))
    }
}

/// Converts to a [`SystemTime`]. If the system cannot represent the time, the error is the timestamp itself.
impl TryFrom<Timestamp> for SystemTime {
    type Error = Timestamp;

    fn try_from(time: Timestamp) -> Result<Self, Timestamp> {
        UNIX_EPOCH.checked_add(Duration::from_millis(time.0)).ok_or(time)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Returns the duration in milliseconds. A duration of more than 584 million years becomes `u64::MAX`.
pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
