//! The error of a store, with a kind by which the caller decides whether and when to try again.
//!
//! There are few kinds, because callers distinguish only two things. The first is whether a repetition can help, and
//! the second is whether the operation may have happened. The details are in the message and its causes, for people.

use std::fmt;
use std::time::Duration;

use crate::keep::Wrong;
use crate::shown::one_line;
use crate::state::text::beginning;

/// The error of an operation of a store.
#[derive(Debug)]
pub struct StoreError {
    kind: StoreErrorKind,
    message: String,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
    /// True if one part of the store has failed, such as a node of a cluster, and another part answers.
    is_of_one_part: bool,
}

/// The meaning of a store's error for the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StoreErrorKind {
    /// The store cannot be reached. Nothing was changed, and a later attempt may succeed.
    Unavailable,
    /// The store did not answer in time. The operation has happened, or has not happened, or will still happen.
    TimedOut,
    /// The store answered, and refuses the operation every time, for example because a permission or a table is
    /// missing. If one node of a cluster fails while other nodes answer, the failure has this kind too. A write that
    /// may have been made is `TimedOut` instead. Callers split a refused batch, and continue with the names that the
    /// store does not refuse.
    Refused,
    /// The data in the store are damaged, or were not written by this crate.
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

    /// Returns true if the store refuses the operation or the data are damaged. The caller repeats such an operation
    /// much later, because the cause usually lasts until a person corrects it.
    pub(crate) const fn is_lasting(self) -> bool {
        matches!(self, Self::Refused | Self::Corrupt)
    }

    /// Returns the kind as a clause without details of the store. Some users of the admin page are not allowed to see
    /// the details.
    #[cfg(feature = "admin")]
    pub(crate) const fn sentence(self) -> &'static str {
        match self {
            Self::Unavailable => "the store cannot be reached",
            Self::TimedOut => "the store did not answer in time",
            Self::Refused => "the store refuses the operation",
            Self::Corrupt => "the data in the store are damaged",
        }
    }
}

impl StoreError {
    /// Creates an error of this kind. Write the message in lower case and without a full stop.
    #[must_use]
    pub fn new(kind: StoreErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), source: None, is_of_one_part: false }
    }

    /// Creates the error of a store that cannot be reached.
    #[must_use]
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(StoreErrorKind::Unavailable, message)
    }

    /// Creates the error of a store that did not answer in time.
    #[must_use]
    pub fn timed_out(message: impl Into<String>) -> Self {
        Self::new(StoreErrorKind::TimedOut, message)
    }

    /// Creates the error of an operation that got no answer within `limit`.
    #[must_use]
    pub fn no_answer_within(limit: Duration) -> Self {
        Self::timed_out(format!("no answer within {limit:?}"))
    }

    /// Creates the error of a store that refuses the operation.
    #[must_use]
    pub fn refused(message: impl Into<String>) -> Self {
        Self::new(StoreErrorKind::Refused, message)
    }

    /// Adds the cause of the error.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Marks the error as the failure of one part of the store, while another part answers. The error keeps its kind,
    /// because the kind shows whether the operation may have happened in the failed part.
    #[cfg(feature = "redis")]
    pub(super) const fn of_one_part(mut self) -> Self {
        self.is_of_one_part = true;
        self
    }

    /// Returns true if only one part of the store fails. The caller then continues with the records on the other parts,
    /// without a pause.
    pub(crate) const fn is_of_one_part(&self) -> bool {
        self.is_of_one_part
    }

    /// Returns the kind of the error.
    #[must_use]
    pub const fn kind(&self) -> StoreErrorKind {
        self.kind
    }

    /// Returns the error with its causes in one line of at most 1000 characters, for a log. Spaces replace the
    /// characters that could forge another line.
    #[must_use]
    pub fn chain(&self) -> String {
        let mut text = beginning(&self.message);
        let causes = std::iter::successors(std::error::Error::source(self), |error| error.source());
        for error in causes.take(MOST_CAUSES) {
            let next = beginning(error);
            // Some libraries repeat the text of the cause in their own text.
            if !text.ends_with(&next) {
                text.push_str(": ");
                text.push_str(&next);
            }
        }
        one_line(&text, LONGEST_CHAIN)
    }
}

impl From<Wrong> for StoreError {
    fn from(wrong: Wrong) -> Self {
        Self::refused(wrong.to_string())
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

/// The largest number of causes in a text. The limit is needed, because the causes of a foreign error may form a cycle.
const MOST_CAUSES: usize = 16;
/// The largest length of the text of an error and its causes, in characters.
const LONGEST_CHAIN: usize = 1_000;

#[cfg(test)]
mod tests {
    use super::*;

    /// An error that is its own cause.
    #[derive(Debug)]
    struct Circle;

    impl fmt::Display for Circle {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(&"around\nand ".repeat(1_000))
        }
    }

    impl std::error::Error for Circle {
        fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
            Some(&Self)
        }
    }

    #[test]
    fn the_causes_of_an_error_are_one_line_of_bounded_length() {
        let error = StoreError::refused("the server says: \u{202e}no\r\n2026 ERROR forged").with_source(Circle);
        let line = error.chain();
        assert!(line.starts_with("the server says:  no  2026 ERROR forged: around and"), "{line}");
        assert_eq!(line.chars().count(), LONGEST_CHAIN);
    }
}
