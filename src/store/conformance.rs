//! What every store must do, as one suite that every store runs unchanged.
//!
//! A store is done when it passes. Each [`Case`] proves one rule and fails with the rule, what was expected and what was
//! found, so that the author of a store needs no debugger. The suite asks through [`Store`] only: it cannot plant what comes
//! from behind a store's back (a torn file, a foreign row); each store has tests of its own for that.
//!
//! # Examples
//!
//! The whole suite, in one test of a store of your own:
//!
//! ```
//! use tower_circuit_breaker::store::{MemoryStore, conformance::Suite};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! let store = MemoryStore::new();
//! // Whatever is opened is the same store: it is opened often, and what it kept must still be there.
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
#[expect(missing_docs, reason = "`rule` says what each is")]
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
    AuditReopen,
    AuditFilter,
}

impl Case {
    /// Every case, in the order in which they run.
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
        Self::AuditReopen,
        Self::AuditFilter,
    ];

    /// Returns its name: `one_winner`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        self.spelt().0
    }

    /// Returns the rule that it proves, as a sentence.
    #[must_use]
    pub const fn rule(self) -> &'static str {
        self.spelt().1
    }

    const fn spelt(self) -> (&'static str, &'static str) {
        match self {
            Self::Absent => ("absent", "what was never written is None, and expecting None creates it"),
            Self::Conflict => ("conflict", "a write on an old etag returns what is there and changes nothing"),
            Self::Vanished => {
                ("vanished", "a write on an etag where nothing is conflicts with None and creates nothing")
            }
            Self::OneWinner => {
                ("one_winner", "of 64 writers on one etag exactly one wins, and the others see its bytes")
            }
            Self::NothingLost => ("nothing_lost", "64 increments by compare-and-set make 64"),
            Self::LoadMany => ("load_many", "load_many answers name by name in the order asked, twice for twice"),
            Self::List => ("list", "list returns every name that is there, once, sorted by its bytes, and no other"),
            Self::Delete => ("delete", "delete deletes on the right etag, and only then says that it did"),
            Self::Reopen => ("reopen", "what was written is there when the store is opened again"),
            Self::Foreign => ("foreign", "text that is no record comes back as it was written, or is refused"),
            Self::Length => ("length", "a record of MAX_BYTES is kept, and one byte more is refused"),
            Self::Names => ("names", "every two names are two circuits, whatever they are made of"),
            Self::Forgetting => {
                ("forgetting", "nothing is forgotten sooner than asked, and some time later where it is said so")
            }
            Self::Clock => ("clock", "the time never goes back, never stands still, and goes no faster than here"),
            Self::Watch => ("watch", "a watch tells of a change made after watch() returned, or of a gap"),
            Self::AuditOrder => ("audit_order", "the audit returns rows as they were written, oldest first"),
            Self::AuditOnce => ("audit_once", "a row that is appended again is there once"),
            Self::AuditReopen => {
                ("audit_reopen", "the audit is there when the store is opened again, and still knows its rows")
            }
            Self::AuditFilter => {
                ("audit_filter", "the audit returns the newest rows of that circuit and user, from that time on")
            }
        }
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A store broke a rule.
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
/// It runs in real time, for a few seconds, and best on a runtime with several threads. What it writes has names of its own,
/// so that it can run on a server that others use; it does not clean up, but everything may be forgotten after ten minutes.
/// Only [`Case::Names`] uses a few names as they are (`.`, `..`, 200 slashes), and deletes them.
#[must_use = "a suite proves nothing until it is run"]
pub struct Suite<'a> {
    open: Box<dyn Fn() -> Opened<'a, AnyStore> + Send + Sync + 'a>,
    prefix: String,
    forgets: bool,
    patience: Duration,
}

impl<'a> Suite<'a> {
    /// Returns the suite for the store that `open` opens.
    ///
    /// It is called several times in a case. Each time it must open the *same* store, as a process does that starts again:
    /// the same folder, the same tables. For a store that lives in memory that is a clone.
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

    /// Sets how the names begin, at most 40 bytes; something random follows. Default: `conformance-`.
    ///
    /// # Panics
    ///
    /// If it is longer.
    pub fn prefix(mut self, prefix: &str) -> Self {
        assert!(prefix.len() <= 40, "the prefix has {} bytes, allowed are 40", prefix.len());
        self.prefix = format!("{prefix}{:016x}-", random::bits());
        self
    }

    /// Says that the store forgets what has outlived its `ttl`. Otherwise it is expected not to.
    pub fn forgets(mut self) -> Self {
        self.forgets = true;
        self
    }

    /// Sets how long one case may take before it has failed. Default: a minute.
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Runs every case.
    ///
    /// # Panics
    ///
    /// If one fails, after all have run, with what each of them found.
    ///
    /// # Cancel safety
    ///
    /// Dropped, it leaves in the store what it has written so far.
    pub async fn run(&self) {
        let failures = self.failures().await;
        let lines: Vec<_> = failures.iter().map(|failure| format!("  {failure}")).collect();
        assert!(failures.is_empty(), "the store breaks {} rules:\n{}", failures.len(), lines.join("\n"));
    }

    /// Runs every case and returns those that failed.
    ///
    /// # Cancel safety
    ///
    /// Dropped, it leaves in the store what it has written so far.
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
    /// [`Failure`] if the store breaks its rule, or does not answer in time.
    ///
    /// # Cancel safety
    ///
    /// Dropped, it leaves in the store what it has written so far.
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
