//! Limits for warnings that a store or a client can cause again and again: one line a minute, and 1000 characters a
//! line.
//!
//! Without the limits, a store or a client could fill the log.

use std::fmt;
use std::time::Duration;

use crate::clock::Tick;

/// Limits the log lines about one subject to one line a minute.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    /// The time from which the next line may be logged.
    next: Tick,
    /// The number of lines that were omitted since the last logged line.
    unlogged: u64,
}

impl Lines {
    /// Returns the number of earlier lines that were omitted, if this line may be logged. Returns `None` if
    /// this line must be omitted.
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

/// The end of a log line, which reports the number of omitted lines. The text is empty if no line was omitted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Omitted(pub(crate) u64);

impl fmt::Display for Omitted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 { Ok(()) } else { write!(f, " ({} more of these since the last line)", self.0) }
    }
}

/// Logs an event that needs attention, in one line of at most 1000 characters, because the message can contain texts of
/// a store or a client.
pub(crate) fn warn(message: fmt::Arguments<'_>) {
    #[cfg(feature = "tracing")]
    tracing::warn!(target: "circuit_breaker", "{}", crate::shown::one_line(&message.to_string(), 1_000));
    #[cfg(not(feature = "tracing"))]
    let _unused = message;
}

const EVERY: Duration = Duration::from_secs(60);
