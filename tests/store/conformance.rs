//! The suite itself: the reference store passes it, and for each rule there is a store that breaks it and is caught.

#![expect(clippy::disallowed_types, reason = "loom runs no test of a store")]
#![expect(clippy::wildcard_enum_match_arm, reason = "a bug is in one place, and all others are not")]

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, RwLock};
use std::time::Duration;

use tokio::task::JoinSet;
use tower_circuit_breaker::record::{CircuitRecord, Timestamp};
use tower_circuit_breaker::store::conformance::{Case, Failure, Suite};
use tower_circuit_breaker::store::{
    AnyStore, AuditFilter, AuditRow, Etag, FaultyStore, Loaded, MemoryStore, Operation, Store, StoreError, Watch,
    Write, Written,
};

#[tokio::test(flavor = "multi_thread")]
async fn the_reference_store_passes() {
    let store = MemoryStore::new();
    Suite::new(|| async { store.clone() }).forgets().run().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_boxed_and_a_faultless_faulty_store_pass() {
    let store = FaultyStore::new(AnyStore::new(MemoryStore::new()));
    Suite::new(|| async { store.clone() }).prefix("boxed-").forgets().run().await;
    assert!(store.faults().operations(Operation::CompareAndSet) > 100, "the suite writes through the faulty store");
}

/// What one store does wrong.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Bug {
    LoadsAnotherEtag,
    WritesBlindly,
    CreatesOnAnyEtag,
    ReplacesWhenExpectingNothing,
    HidesWhatIsThere,
    LooksThenWrites,
    LoadsSorted,
    LoadsWithoutAbsents,
    LoadsOnce,
    ListsUnsorted,
    ListsDeleted,
    ListsSome,
    DeletesOnAnyEtag,
    DeletesNothing,
    SaysThatItDeleted,
    LosesRecords,
    NormalisesText,
    IsDownForForeignText,
    CutsLongRecords,
    TakesLongRecords,
    FoldsCase,
    FoldsSlashes,
    CutsLongNames,
    ForgetsEarly,
    KeepsTheFirstTtl,
    NeverForgets,
    ClockGoesBack,
    ClockStands,
    ClockRaces,
    WatchesSilently,
    WatchesAndEnds,
    AuditsAgain,
    AuditsNewestFirst,
    AuditsById,
    AuditsTheOldest,
    AuditsAfter,
    CutsLongRows,
    LosesTheAudit,
    ForgetsAuditIds,
}

/// Opens a store with that bug, again and again.
#[derive(Debug, Clone)]
struct Shelf {
    bug: Bug,
    records: MemoryStore,
    audit: MemoryStore,
    /// For copies of rows, which a store that audits again takes for others.
    numbers: Arc<AtomicU64>,
    readings: Arc<AtomicU64>,
    started: Timestamp,
}

/// A store with a bug. It knows what an opened store knows.
#[derive(Debug)]
struct Broken {
    shelf: Shelf,
    listed: RwLock<Vec<String>>,
    opening: u64,
    /// Nobody writes to it.
    silent: MemoryStore,
}

impl Shelf {
    fn new(bug: Bug) -> Self {
        let (records, audit) = (MemoryStore::new(), MemoryStore::new());
        let started = Timestamp::from_millis(1_790_000_000_000);
        Self { bug, records, audit, numbers: Arc::default(), readings: Arc::default(), started }
    }

    fn open(&self) -> Broken {
        let mut shelf = self.clone();
        if self.bug == Bug::LosesRecords {
            shelf.records = MemoryStore::new();
        }
        if self.bug == Bug::LosesTheAudit {
            shelf.audit = MemoryStore::new();
        }
        let opening = self.numbers.fetch_add(1, Ordering::Relaxed);
        Broken { shelf, listed: Vec::new().into(), opening, silent: MemoryStore::new() }
    }
}

impl Broken {
    fn name(&self, name: &str) -> String {
        match self.shelf.bug {
            Bug::FoldsCase => name.to_lowercase(),
            Bug::FoldsSlashes => name.replace('/', "%2F"),
            Bug::CutsLongNames => name.chars().take(120).collect(),
            _ => name.to_owned(),
        }
    }

    fn now(&self, now: Timestamp) -> Timestamp {
        let reading = self.shelf.readings.fetch_add(1, Ordering::Relaxed);
        match self.shelf.bug {
            Bug::ClockGoesBack if reading % 7 == 6 => now.saturating_sub(Duration::from_secs(60)),
            Bug::ClockStands => self.shelf.started,
            Bug::ClockRaces => now.saturating_add(Duration::from_secs(60 * reading)),
            _ => now,
        }
    }

    async fn current(&self, name: &str) -> Result<Option<Etag>, StoreError> {
        let loaded = self.shelf.records.load_many(&[name.to_owned()]).await?;
        Ok(loaded.entries.into_iter().flatten().next().map(|current| current.etag))
    }
}

impl Store for Broken {
    fn kind(&self) -> &'static str {
        "broken"
    }

    async fn load_many(&self, names: &[String]) -> Result<Loaded, StoreError> {
        let mut asked: Vec<_> = names.iter().map(|name| self.name(name)).collect();
        match self.shelf.bug {
            Bug::LoadsSorted => asked.sort(),
            Bug::LoadsOnce => asked.dedup_by_key(|name| name.clone()),
            _ => {}
        }
        let mut loaded = self.shelf.records.load_many(&asked).await?;
        if self.shelf.bug == Bug::LoadsWithoutAbsents && names.len() > 1 {
            loaded.entries.retain(Option::is_some);
        }
        if self.shelf.bug == Bug::LoadsOnce {
            let mut seen = Vec::new();
            for (name, entry) in names.iter().zip(&mut loaded.entries) {
                if seen.contains(&name) {
                    *entry = None;
                }
                seen.push(name);
            }
        }
        if self.shelf.bug == Bug::LoadsAnotherEtag {
            loaded.entries.iter_mut().flatten().for_each(|found| found.etag = Etag::new("loaded"));
        }
        loaded.now = self.now(loaded.now);
        Ok(loaded)
    }

    async fn compare_and_set(&self, write: &Write) -> Result<Written, StoreError> {
        let mut write = Write { name: self.name(&write.name), ..write.clone() };
        let current = self.current(&write.name).await?;
        let is_record = serde_json::from_slice::<CircuitRecord>(&write.bytes).is_ok();
        let over = write.bytes.len() > CircuitRecord::MAX_BYTES;
        match self.shelf.bug {
            Bug::WritesBlindly => write.expected = current,
            Bug::CreatesOnAnyEtag if current.is_none() => write.expected = None,
            Bug::ReplacesWhenExpectingNothing if write.expected.is_none() => write.expected = current,
            Bug::LooksThenWrites if current == write.expected => {
                tokio::task::yield_now().await;
                write.expected = self.current(&write.name).await?;
            }
            Bug::NormalisesText if !is_record => write.bytes = b"{}".to_vec(),
            Bug::IsDownForForeignText if !is_record => return Err(StoreError::timed_out("no answer")),
            Bug::CutsLongRecords if !over => write.bytes.truncate(60_000),
            Bug::TakesLongRecords => write.bytes.truncate(CircuitRecord::MAX_BYTES),
            Bug::ForgetsEarly => write.ttl = write.ttl.map(|ttl| ttl / 2),
            Bug::KeepsTheFirstTtl => write.ttl = write.ttl.map(|ttl| ttl.min(Duration::from_secs(1))),
            Bug::NeverForgets => write.ttl = None,
            _ => {}
        }
        self.listed.write().unwrap().push(write.name.clone());
        Ok(match self.shelf.records.compare_and_set(&write).await? {
            Written::Conflict { now, .. } if self.shelf.bug == Bug::HidesWhatIsThere => {
                Written::Conflict { current: None, now }
            }
            Written::Conflict { current, now } => Written::Conflict { current, now: self.now(now) },
            Written::Applied { etag, now } => Written::Applied { etag, now: self.now(now) },
        })
    }

    async fn delete(&self, name: &str, etag: &Etag) -> Result<bool, StoreError> {
        let name = self.name(name);
        let etag = match self.shelf.bug {
            Bug::DeletesOnAnyEtag => self.current(&name).await?.unwrap_or_else(|| etag.clone()),
            Bug::DeletesNothing => return Ok(self.current(&name).await?.as_ref() == Some(etag)),
            _ => etag.clone(),
        };
        let deleted = self.shelf.records.delete(&name, &etag).await?;
        Ok(deleted || self.shelf.bug == Bug::SaysThatItDeleted)
    }

    async fn list(&self) -> Result<Vec<String>, StoreError> {
        let mut names = self.shelf.records.list().await?;
        match self.shelf.bug {
            Bug::ListsUnsorted => names.sort_by_key(|name| name.to_lowercase()),
            Bug::ListsDeleted => {
                names.extend(self.listed.read().unwrap().iter().cloned());
                names.sort();
                names.dedup();
            }
            Bug::ListsSome => names.truncate(names.len() / 2),
            _ => {}
        }
        Ok(names)
    }

    async fn watch(&self) -> Result<Option<Watch>, StoreError> {
        match self.shelf.bug {
            Bug::WatchesSilently => self.silent.watch().await,
            Bug::WatchesAndEnds => Ok(Some(Watch::channel().1)),
            _ => self.shelf.records.watch().await,
        }
    }

    async fn append_audit(&self, rows: &[AuditRow]) -> Result<(), StoreError> {
        let mut rows = rows.to_vec();
        for row in &mut rows {
            if self.shelf.bug == Bug::CutsLongRows {
                row.reason = row.reason.chars().take(255).collect();
            }
            let copy = match self.shelf.bug {
                Bug::AuditsAgain => self.shelf.numbers.fetch_add(1, Ordering::Relaxed),
                Bug::ForgetsAuditIds => self.opening,
                _ => continue,
            };
            row.id = format!("{}#{copy}", row.id);
        }
        self.shelf.audit.append_audit(&rows).await
    }

    async fn audit(&self, filter: &AuditFilter) -> Result<Vec<AuditRow>, StoreError> {
        let mut filter = filter.clone();
        let limit = filter.limit;
        match self.shelf.bug {
            Bug::AuditsTheOldest => filter.limit = usize::MAX,
            Bug::AuditsAfter => filter.since = filter.since.map(|since| since.saturating_add(Duration::from_millis(1))),
            _ => {}
        }
        let mut rows = self.shelf.audit.audit(&filter).await?;
        match self.shelf.bug {
            Bug::AuditsNewestFirst => rows.reverse(),
            Bug::AuditsById => rows.sort_by(|a, b| a.id.cmp(&b.id)),
            Bug::AuditsTheOldest => rows.truncate(limit),
            _ => {}
        }
        for row in &mut rows {
            row.id.truncate(row.id.find('#').unwrap_or(row.id.len()));
        }
        Ok(rows)
    }
}

/// Which cases catch which bug: that whose rule it breaks, and those that build on it.
const CAUGHT: &[(Bug, &[Case])] = &[
    (Bug::LoadsAnotherEtag, &[Case::Absent, Case::NothingLost, Case::Reopen, Case::Foreign, Case::Names, Case::Watch]),
    (Bug::WritesBlindly, &[Case::Conflict, Case::Vanished, Case::OneWinner, Case::NothingLost]),
    (Bug::CreatesOnAnyEtag, &[Case::Vanished]),
    (Bug::ReplacesWhenExpectingNothing, &[Case::Conflict, Case::OneWinner, Case::NothingLost]),
    (Bug::HidesWhatIsThere, &[Case::Conflict, Case::OneWinner]),
    (Bug::LooksThenWrites, &[Case::OneWinner, Case::NothingLost]),
    (Bug::LoadsSorted, &[Case::LoadMany, Case::Names]),
    (Bug::LoadsWithoutAbsents, &[Case::LoadMany, Case::Names]),
    (Bug::LoadsOnce, &[Case::LoadMany]),
    (Bug::ListsUnsorted, &[Case::List]),
    (Bug::ListsDeleted, &[Case::List, Case::Forgetting]),
    (Bug::ListsSome, &[Case::List, Case::Names]),
    (Bug::DeletesOnAnyEtag, &[Case::Delete, Case::Watch]),
    (Bug::DeletesNothing, &[Case::Delete, Case::List, Case::Names, Case::Watch]),
    (Bug::SaysThatItDeleted, &[Case::Delete, Case::Watch]),
    (Bug::LosesRecords, &[Case::Reopen, Case::NothingLost, Case::Watch]),
    (Bug::NormalisesText, &[Case::Foreign]),
    (Bug::IsDownForForeignText, &[Case::Foreign]),
    (Bug::CutsLongRecords, &[Case::Length]),
    (Bug::TakesLongRecords, &[Case::Length]),
    (Bug::FoldsCase, &[Case::Names, Case::List]),
    (Bug::FoldsSlashes, &[Case::Names]),
    (Bug::CutsLongNames, &[Case::Names]),
    (Bug::ForgetsEarly, &[Case::Forgetting]),
    (Bug::KeepsTheFirstTtl, &[Case::Forgetting]),
    (Bug::NeverForgets, &[Case::Forgetting]),
    (Bug::ClockGoesBack, &[Case::Clock]),
    (Bug::ClockStands, &[Case::Clock]),
    (Bug::ClockRaces, &[Case::Clock]),
    (Bug::WatchesSilently, &[Case::Watch]),
    (Bug::WatchesAndEnds, &[Case::Watch]),
    (Bug::AuditsAgain, &[Case::AuditOnce, Case::AuditReopen]),
    (Bug::AuditsNewestFirst, &[Case::AuditOrder, Case::AuditOnce, Case::AuditReopen, Case::AuditFilter]),
    (Bug::AuditsById, &[Case::AuditOrder, Case::AuditOnce, Case::AuditReopen, Case::AuditFilter]),
    (Bug::AuditsTheOldest, &[Case::AuditFilter]),
    (Bug::AuditsAfter, &[Case::AuditFilter]),
    (Bug::CutsLongRows, &[Case::AuditLongest]),
    (Bug::LosesTheAudit, &[Case::AuditReopen]),
    (Bug::ForgetsAuditIds, &[Case::AuditReopen]),
];

#[test]
fn each_case_catches_a_bug() {
    let missing: Vec<_> =
        Case::ALL.iter().filter(|case| !CAUGHT.iter().any(|(_, cases)| cases.contains(case))).collect();
    assert!(missing.is_empty(), "these prove nothing yet: {missing:?}");
}

/// On one thread, where who goes first is not left to chance.
#[tokio::test]
async fn each_bug_is_caught_by_its_cases_and_no_others() {
    // At once, because each waits for a second to see what is forgotten.
    let mut suites = JoinSet::new();
    for (bug, expected) in CAUGHT {
        suites.spawn(async move {
            let shelf = Shelf::new(*bug);
            let failures = Suite::new(|| async { shelf.open() }).forgets().failures().await;
            let mut expected = expected.to_vec();
            expected.sort();
            let cases: Vec<_> = failures.iter().map(Failure::case).collect();
            let lines: Vec<_> = failures.iter().map(|failure| format!("\n    {failure}")).collect();
            (cases != expected).then(|| format!("{bug:?}: expected {expected:?}, found {cases:?}:{}", lines.concat()))
        });
    }
    let wrong: Vec<_> = suites.join_all().await.into_iter().flatten().collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
