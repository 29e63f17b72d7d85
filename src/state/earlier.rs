//! The reason of a state that this process took over from a store. Either this instance entered the state before its
//! restart, or another instance entered the state.
//!
//! The store has the reason only as a text. The text is cut and made to fit into one line, because the content of a
//! store is not trusted.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::calendar::utc;
use crate::shown::one_line;

/// The reason of a state in words, with the time at which the state began and the instance that entered the
/// state.
///
/// A transition that restores a circuit, follows another instance, or adopts a decision of a fleet has this reason in
/// [`Transition::earlier`](super::Transition::earlier).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EarlierReason {
    reason: Box<str>,
    since: Option<SystemTime>,
    instance: Option<Box<str>>,
}

impl EarlierReason {
    /// Returns an earlier reason with this text. The text should read well after "because".
    ///
    /// At most 500 characters are kept. Control characters become spaces.
    #[must_use]
    pub fn new(reason: &str) -> Self {
        Self { reason: one_line(reason, 500).into(), since: None, instance: None }
    }

    /// Sets the time at which the state began.
    #[must_use]
    pub const fn since(mut self, time: SystemTime) -> Self {
        self.since = Some(time);
        self
    }

    /// Sets the name of the other instance that entered the state. At most 200 characters are kept. Control characters
    /// become spaces.
    #[must_use]
    pub fn on(mut self, instance: &str) -> Self {
        self.instance = Some(one_line(instance, 200).into());
        self
    }

    /// Returns the reason in words.
    #[must_use]
    pub fn reason(&self) -> &str {
        &self.reason
    }

    /// Returns the time at which the state began, by the clock of the process or store that recorded the
    /// time. Returns `None` if the time is not known.
    #[must_use]
    pub const fn began(&self) -> Option<SystemTime> {
        self.since
    }

    /// Returns the name of the other instance that entered the state. Returns `None` if this instance entered
    /// the state before its restart.
    #[must_use]
    pub fn instance(&self) -> Option<&str> {
        self.instance.as_deref()
    }
}

/// A time in the form in which people read it, as in `2026-11-21 07:30:05 UTC`.
pub(super) struct Utc(pub(super) SystemTime);

impl fmt::Display for Utc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        write!(f, "{} UTC", utc(seconds))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_time_is_written_for_people() {
        for (seconds, expected) in [
            (0, "1970-01-01 00:00:00 UTC"),
            (951_782_399, "2000-02-28 23:59:59 UTC"),
            (951_782_400, "2000-02-29 00:00:00 UTC"),
            (1_795_246_205, "2026-11-21 07:30:05 UTC"),
        ] {
            assert_eq!(Utc(UNIX_EPOCH + Duration::from_secs(seconds)).to_string(), expected);
        }
        assert!(Utc(UNIX_EPOCH - Duration::from_secs(1)).to_string().starts_with("1970"), "it does not panic");
    }

    #[test]
    fn texts_from_a_store_are_bounded_and_fit_for_one_line() {
        let hostile = format!("down\nERROR root: {}", "x".repeat(9_000));
        let earlier = EarlierReason::new(&hostile).on(&hostile);
        assert!(earlier.reason().starts_with("down ERROR") && earlier.reason().len() == 500);
        assert!(earlier.instance().is_some_and(|name| name.starts_with("down ERROR") && name.len() == 200));
    }
}
