//! Limits for the warnings that a store or a client can cause. Each subject has at most one line a minute, and each
//! line has at most 1000 characters.
//!
//! Without the limits, a store or a client could fill the log.

use std::fmt;
use std::time::Duration;

use crate::clock::Tick;

/// Limits the log lines about one subject to one line a minute.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    /// The earliest time at which the next line may be logged.
    next: Tick,
    /// The number of lines that were omitted since the last logged line.
    unlogged: u64,
}

impl Lines {
    /// Returns `Some` if a line may be logged now, with the number of lines that were omitted since the last logged
    /// line. Returns `None` if the line must be omitted.
    #[must_use = "the caller logs the line"]
    pub(crate) fn next(&mut self, now: Tick) -> Option<u64> {
        if now < self.next {
            self.unlogged += 1;
            return None;
        }
        self.next = now.saturating_add(EVERY);
        Some(std::mem::take(&mut self.unlogged))
    }
}

/// The end of a log line, with the number of omitted lines. The text is empty if no line was omitted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Omitted(pub(crate) u64);

impl fmt::Display for Omitted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 { Ok(()) } else { write!(f, " ({} more of these since the last line)", self.0) }
    }
}

/// Logs a warning in one line of at most 1000 characters. The limit is needed because the message can contain texts of
/// a store or a client.
pub(crate) fn warn(message: fmt::Arguments<'_>) {
    #[cfg(feature = "tracing")]
    tracing::warn!(target: "circuit_breaker", "{}", crate::shown::one_line(&message.to_string(), 1_000));
    #[cfg(not(feature = "tracing"))]
    let _unused = message;
}

const EVERY: Duration = Duration::from_secs(60);
