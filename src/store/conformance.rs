//! The rules of every store, as one test suite that all stores run unchanged.
//!
//! A store is complete when the suite passes. Each [`Case`] proves one rule. A failure names the rule, the expected
//! result and the actual result, so that the author of a store needs no debugger. The suite uses only the methods of
//! [`Store`]. Each store has tests of its own for damage from outside, such as a torn file or a foreign row.
//!
//! # Examples
//!
//! The whole suite as one test of your own store:
//!
//! ```
//! use tower_circuit_breaker::store::{MemoryStore, conformance::Suite};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! let store = MemoryStore::new();
//! // The suite opens the store often. Every opening must lead to the same records.
//! let suite = Suite::new(|| async { store.clone() }).forgets();
//! suite.run().await;
//! # }
//! ```

mod audits;
mod concurrency;
mod names;
mod records;
mod time;
mod trial;

use std::fmt;
use std::pin::Pin;
use std::time::Duration;

use super::{AnyStore, Store};
use crate::random;
use trial::Trial;

/// One rule of the suite.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
#[expect(missing_docs, reason = "`rule` describes each case")]
pub enum Case {
    Absent,
    Conflict,
    Vanished,
    OneWinner,
    NothingLost,
    LoadMany,
    List,
    Delete,
    Reopen,
    Foreign,
    Length,
    Names,
    Forgetting,
    Clock,
    Watch,
    AuditOrder,
    AuditOnce,
    AuditLongest,
    AuditReopen,
    AuditFilter,
}

impl Case {
    /// Every case, in the order in which the suite checks them.
    pub const ALL: &'static [Self] = &[
        Self::Absent,
        Self::Conflict,
        Self::Vanished,
        Self::OneWinner,
        Self::NothingLost,
        Self::LoadMany,
        Self::List,
        Self::Delete,
        Self::Reopen,
        Self::Foreign,
        Self::Length,
        Self::Names,
        Self::Forgetting,
        Self::Clock,
        Self::Watch,
        Self::AuditOrder,
        Self::AuditOnce,
        Self::AuditLongest,
        Self::AuditReopen,
        Self::AuditFilter,
    ];

    /// Returns the name of the case, such as `one_winner`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        self.name_and_rule().0
    }

    /// Returns the rule that the case proves, as a sentence.
    #[must_use]
    pub const fn rule(self) -> &'static str {
        self.name_and_rule().1
    }

    const fn name_and_rule(self) -> (&'static str, &'static str) {
        match self {
            Self::Absent => {
                ("absent", "a name without a value loads as None, and a write that expects None creates one")
            }
            Self::Conflict => ("conflict", "a write on an old etag returns the present value and changes nothing"),
            Self::Vanished => {
                ("vanished", "a write on an etag to a name without a value conflicts with None and creates nothing")
            }
            Self::OneWinner => {
                ("one_winner", "of 64 writers on one etag exactly one wins, and the others see its bytes")
            }
            Self::NothingLost => ("nothing_lost", "64 increments by compare-and-set make 64"),
            Self::LoadMany => ("load_many", "load_many answers every name in the given order, a repeated name again"),
            Self::List => ("list", "list returns every name with a value once, sorted by bytes, and no other name"),
            Self::Delete => ("delete", "delete deletes only on the present etag, and returns true only then"),
            Self::Reopen => ("reopen", "a written value is there when the store is opened again"),
            Self::Foreign => ("foreign", "text that is no record is returned as it was written, or is refused"),
            Self::Length => ("length", "a record of MAX_BYTES is kept, and one byte more is refused"),
            Self::Names => ("names", "different names have different values, whatever their characters"),
            Self::Forgetting => {
                ("forgetting", "a value is kept for its ttl at least, and deleted soon after it by stores that forget")
            }
            Self::Clock => {
                ("clock", "the time never goes back, does not stand still, and is no faster than the local clock")
            }
            Self::Watch => ("watch", "a watch reports every change with a hint after watch() has returned, or a gap"),
            Self::AuditOrder => ("audit_order", "the audit returns rows as they were written, oldest first"),
            Self::AuditOnce => ("audit_once", "a row that is appended again is there once"),
            Self::AuditLongest => {
                ("audit_longest", "a row with the longest texts and the largest numbers is kept as it is")
            }
            Self::AuditReopen => {
                ("audit_reopen", "the audit is there when the store is opened again, and still recognises its rows")
            }
            Self::AuditFilter => {
                ("audit_filter", "the audit returns the newest rows of a circuit and a user, from a given time on")
            }
        }
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A rule that a store broke, with the expected and the actual result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    case: Case,
    found: String,
}

impl Failure {
    /// Returns the case that failed.
    #[must_use]
    pub const fn case(&self) -> Case {
        self.case
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: the rule is that {}; {}", self.case, self.case.rule(), self.found)
    }
}

impl std::error::Error for Failure {}

type Opened<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The suite for one store.
///
/// The suite runs in real time for a few seconds, preferably on a runtime with several threads. The names of its
/// records begin with a random prefix. Therefore the suite can run on a server that other programs use. The suite
/// leaves records in the store. A store with expiry may delete the records after ten minutes, except one record without
/// a TTL. Only [`Case::Names`] uses a few names without the prefix, such as `.`, `..` and 200 slashes, and deletes
/// their records.
#[must_use = "a suite proves nothing until it is run"]
pub struct Suite<'a> {
    open: Box<dyn Fn() -> Opened<'a, AnyStore> + Send + Sync + 'a>,
    prefix: String,
    forgets: bool,
    patience: Duration,
}

impl<'a> Suite<'a> {
    /// Creates the suite for the store that `open` opens.
    ///
    /// The suite calls `open` several times in a case. Each call must open the *same* store, such as the same folder or
    /// the same tables. This imitates a restart of the process. For a store in memory, return a clone.
    pub fn new<F, S>(open: impl Fn() -> F + Send + Sync + 'a) -> Self
    where
        F: Future<Output = S> + Send + 'a,
        S: Store,
    {
        let suite = Self {
            open: Box::new(move || {
                let opening = open();
                Box::pin(async move { AnyStore::new(opening.await) })
            }),
            prefix: String::new(),
            forgets: false,
            patience: Duration::from_secs(60),
        };
        suite.prefix("conformance-")
    }

    /// Sets the prefix of the names of records, at most 40 bytes. A random number follows the prefix. Default:
    /// `conformance-`.
    ///
    /// # Panics
    ///
    /// If the prefix has more than 40 bytes.
    pub fn prefix(mut self, prefix: &str) -> Self {
        assert!(prefix.len() <= 40, "the prefix has {} bytes, allowed are 40", prefix.len());
        self.prefix = format!("{prefix}{:016x}-", random::bits());
        self
    }

    /// Declares that the store forgets a value after its `ttl`. Without this declaration a forgotten value is a
    /// failure.
    pub fn forgets(mut self) -> Self {
        self.forgets = true;
        self
    }

    /// Sets the time limit of each case. Default: a minute.
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Runs every case.
    ///
    /// # Panics
    ///
    /// If a case fails. The panic follows after the last case, and the message lists all failures.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the records written so far stay in the store.
    pub async fn run(&self) {
        let failures = self.failures().await;
        let lines: Vec<_> = failures.iter().map(|failure| format!("  {failure}")).collect();
        assert!(failures.is_empty(), "the store breaks {} rules:\n{}", failures.len(), lines.join("\n"));
    }

    /// Runs every case and returns the failures.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the records written so far stay in the store.
    pub async fn failures(&self) -> Vec<Failure> {
        let mut failures = Vec::new();
        for case in Case::ALL {
            failures.extend(self.check(*case).await.err());
        }
        failures
    }

    /// Runs one case.
    ///
    /// # Errors
    ///
    /// [`Failure`] if the store breaks the rule of the case, or does not answer in time.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the records written so far stay in the store.
    pub async fn check(&self, case: Case) -> Result<(), Failure> {
        let trial = &Trial::new(self, case);
        let running: Opened<'_, Result<(), Failure>> = match case {
            Case::Absent => Box::pin(records::absent(trial)),
            Case::Conflict => Box::pin(records::conflict(trial)),
            Case::Vanished => Box::pin(records::vanished(trial)),
            Case::OneWinner => Box::pin(concurrency::one_winner(trial)),
            Case::NothingLost => Box::pin(concurrency::nothing_lost(trial)),
            Case::LoadMany => Box::pin(records::load_many(trial)),
            Case::List => Box::pin(names::list(trial)),
            Case::Delete => Box::pin(records::delete(trial)),
            Case::Reopen => Box::pin(records::reopen(trial)),
            Case::Foreign => Box::pin(records::foreign(trial)),
            Case::Length => Box::pin(records::length(trial)),
            Case::Names => Box::pin(names::names(trial)),
            Case::Forgetting => Box::pin(time::forgetting(trial)),
            Case::Clock => Box::pin(time::clock(trial)),
            Case::Watch => Box::pin(time::watch(trial)),
            Case::AuditOrder => Box::pin(audits::order(trial)),
            Case::AuditOnce => Box::pin(audits::once(trial)),
            Case::AuditLongest => Box::pin(audits::longest(trial)),
            Case::AuditReopen => Box::pin(audits::reopen(trial)),
            Case::AuditFilter => Box::pin(audits::filter(trial)),
        };
        let patience = self.patience;
        let late = |_| Err(Failure { case, found: format!("expected an end, found none after {patience:?}") });
        tokio::time::timeout(patience, running).await.unwrap_or_else(late)
    }
}

impl fmt::Debug for Suite<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Suite").field("prefix", &self.prefix).field("forgets", &self.forgets).finish_non_exhaustive()
    }
}
