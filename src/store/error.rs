//! Why a store did not do what it was asked.

use std::fmt;
use std::time::Duration;

/// A store did not do what it was asked.
#[derive(Debug)]
pub struct StoreError {
    kind: StoreErrorKind,
    message: String,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// What an error of a store means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StoreErrorKind {
    /// It cannot be reached. Nothing was changed; try again later.
    Unavailable,
    /// It did not answer in time. What it was asked to do has happened or not, or will.
    TimedOut,
    /// It answered, and will not do it however often it is asked: no permission, no table, too large.
    Refused,
    /// What it holds is not what was written.
    Corrupt,
}

impl StoreErrorKind {
    /// Returns the kind as a metric label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unavailable => "unavailable",
            Self::TimedOut => "timed_out",
            Self::Refused => "refused",
            Self::Corrupt => "corrupt",
        }
    }
}

impl StoreError {
    /// Returns the error of that kind. The message is lower-case and without a full stop.
    #[must_use]
    pub fn new(kind: StoreErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), source: None }
    }

    /// Returns the error of a store that cannot be reached.
    #[must_use]
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(StoreErrorKind::Unavailable, message)
    }

    /// Returns the error of a store that did not answer in time.
    #[must_use]
    pub fn timed_out(message: impl Into<String>) -> Self {
        Self::new(StoreErrorKind::TimedOut, message)
    }

    /// Returns the error of an operation that was given up after `limit`.
    #[must_use]
    pub fn no_answer_within(limit: Duration) -> Self {
        Self::timed_out(format!("no answer within {limit:?}"))
    }

    /// Returns the error of a store that will not do it.
    #[must_use]
    pub fn refused(message: impl Into<String>) -> Self {
        Self::new(StoreErrorKind::Refused, message)
    }

    /// Adds what caused it.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Returns what it means.
    #[must_use]
    pub const fn kind(&self) -> StoreErrorKind {
        self.kind
    }

    /// Returns the error with its causes in one line, for a log.
    #[must_use]
    pub fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            let next = error.to_string();
            // Some libraries repeat their causes.
            if !text.ends_with(&next) {
                text.push_str(": ");
                text.push_str(&next);
            }
            cause = error.source();
        }
        text
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for StoreError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.source {
            Some(source) => Some(&**source),
            None => None,
        }
    }
}
