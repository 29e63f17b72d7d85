//! The text form of durations and percentages in messages.

use std::fmt;
use std::time::Duration;

/// A duration with only the digits that a person needs, as in `0 ms`, `480 ms`, `5.1 s` and `60 s`.
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

/// A duration with all digits, in the spelling of a settings file, as in `480 ms`, `90 s`, `365 d` and `1.0000005 s`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Exact(pub(crate) Duration);

impl fmt::Display for Exact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, nanos) = (self.0.as_secs(), self.0.subsec_nanos());
        match nanos {
            0 if seconds > 0 && seconds % DAY == 0 => write!(f, "{} d", seconds / DAY),
            0 => write!(f, "{seconds} s"),
            _ if nanos % 1_000_000 == 0 => write!(f, "{} ms", self.0.as_millis()),
            _ => write!(f, "{seconds}.{} s", format!("{nanos:09}").trim_end_matches('0')),
        }
    }
}

/// A share in per cent, with one digit after the point if needed, as in `40 %` and `12.5 %`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Percent(pub(crate) f64);

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = self.0 * 100.0;
        if (percent - percent.round()).abs() < 0.05 { write!(f, "{percent:.0} %") } else { write!(f, "{percent:.1} %") }
    }
}

const DAY: u64 = 24 * 3600;
