//! Durations as people say them.

use core::fmt;
use core::time::Duration;

/// A duration with as many digits as a person wants: `0 ms`, `480 ms`, `5.1 s`, `60 s`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Brief(pub(crate) Duration);

impl fmt::Display for Brief {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let duration = self.0;
        if duration < Duration::from_secs(1) {
            write!(f, "{} ms", duration.as_millis())
        } else if duration.subsec_millis() < 50 || duration >= Duration::from_secs(100) {
            write!(f, "{} s", duration.as_secs())
        } else {
            write!(f, "{:.1} s", duration.as_secs_f64())
        }
    }
}
