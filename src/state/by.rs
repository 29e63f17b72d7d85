//! The user and the reason of an act of an operator, and the check that user and reason have only allowed characters.
//! Every act needs a user and a reason.

use std::fmt;

use crate::shown::forges;

/// The user who acts on a circuit, and the reason for the act.
///
/// The audit, the log, the records, the admin page and the texts of rejections contain the user and the reason. Treat a
/// reason as public, and write no secrets and no personal data into it. This crate does not verify the name of the
/// user, so a program should authenticate its users.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct By {
    user: Box<str>,
    reason: Box<str>,
}

impl By {
    /// Returns the user and the reason of an act. A user has 1 to 200 characters, and a reason has 1 to 500
    /// characters.
    ///
    /// # Errors
    ///
    /// [`InvalidBy`] if user or reason is blank, is too long, or contains a control character or an invisible
    /// character. Such characters could forge a line of a log or the name of another user.
    pub fn new(user: &str, reason: &str) -> Result<Self, InvalidBy> {
        check("user", user, 200)?;
        check("reason", reason, 500)?;
        Ok(Self { user: user.into(), reason: reason.into() })
    }

    /// Returns the name of the user.
    #[must_use]
    pub fn user(&self) -> &str {
        &self.user
    }

    /// Returns the reason.
    #[must_use]
    pub fn reason(&self) -> &str {
        &self.reason
    }
}

impl fmt::Display for By {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.user, self.reason)
    }
}

fn check(field: &'static str, value: &str, allowed: usize) -> Result<(), InvalidBy> {
    let length = value.chars().count();
    let problem = if value.trim().is_empty() {
        "is empty".to_owned()
    } else if length > allowed {
        format!("has {length} characters")
    } else if let Some(c) = value.chars().find(|c| forges(*c)) {
        format!("has control characters or invisible ones (U+{:04X})", u32::from(c))
    } else {
        return Ok(());
    };
    Err(InvalidBy { field, problem, allowed })
}

/// The error that [`By::new`] returns for a user or a reason that is not allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidBy {
    field: &'static str,
    problem: String,
    allowed: usize,
}

impl fmt::Display for InvalidBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { field, problem, allowed } = self;
        write!(f, "{field} {problem}, allowed are 1 to {allowed} printable characters")
    }
}

impl std::error::Error for InvalidBy {}
