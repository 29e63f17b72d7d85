//! A register that fails in every way that a store can, and checks every write that it accepts.
//!
//! The file is longer than others, because a fault of a register is read together with the operation that it breaks.

#![expect(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "loom does not come here, and news must come late"
)]

pub(super) mod decided;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tower_circuit_breaker::State;
use tower_circuit_breaker::clock::{Clock, TokioClock};
use tower_circuit_breaker::coordinator::Sharing;
use tower_circuit_breaker::record::{CircuitRecord, Timestamp, join};
use tower_circuit_breaker::store::{
    AuditFilter, AuditRow, Etag, Loaded, Store, StoreError, Versioned, Watch, WatchSender, Write, Written,
};

use crate::dice::Dice;

/// One register. Clones are the same one.
#[derive(Debug, Clone)]
pub(super) struct Register(Arc<Mutex<Inside>>);

#[derive(Debug)]
struct Inside {
    kind: &'static str,
    dice: Dice,
    clock: TokioClock,
    sharing: Sharing,
    /// Whether there is no other one.
    alone: bool,
    /// Its clock is that much ahead of the others'.
    ahead: Duration,
    entries: BTreeMap<String, Versioned>,
    backup: BTreeMap<String, Versioned>,
    writes: u64,
    /// The writes that are heartbeats of members, which come also when nothing happens.
    heartbeats: u64,
    audit: Vec<AuditRow>,
    watchers: Vec<WatchSender>,
    faults: Faults,
    /// Whether it ever lost data, and when each published state was first written here.
    lost: bool,
    came: BTreeMap<String, Timestamp>,
    broken: Option<String>,
    trace: u64,
}

/// How bad it is, in per cent of the operations.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Faults {
    pub(super) down: bool,
    pub(super) fails: u64,
    pub(super) loses_reply: u64,
    pub(super) applies_late: u64,
    pub(super) slow: u64,
    pub(super) loses_news: u64,
}

/// What happens to one operation.
enum Fate {
    Well(Duration),
    Fails(Duration),
    ReplyLost(Duration),
    Late(Duration),
}

impl Register {
    pub(super) fn new(seed: u64, kind: &'static str, ahead: Duration, sharing: Sharing) -> Self {
        Self(Arc::new(Mutex::new(Inside {
            kind,
            dice: Dice::new(seed),
            clock: TokioClock::new(),
            sharing,
            alone: kind == "register",
            ahead,
            entries: BTreeMap::new(),
            backup: BTreeMap::new(),
            writes: 0,
            heartbeats: 0,
            audit: Vec::new(),
            watchers: Vec::new(),
            faults: Faults::default(),
            lost: false,
            came: BTreeMap::new(),
            broken: None,
            trace: 0,
        })))
    }

    fn inside<T>(&self, look: impl FnOnce(&mut Inside) -> T) -> T {
        look(&mut self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
    }

    pub(super) fn set(&self, faults: Faults) {
        self.inside(|inside| inside.faults = faults);
    }

    pub(super) fn flush(&self) {
        self.inside(|inside| (inside.entries, inside.lost) = (BTreeMap::new(), true));
    }

    /// Remembers how it is now, to fail over to later.
    pub(super) fn back_up(&self) {
        self.inside(|inside| inside.backup = inside.entries.clone());
    }

    pub(super) fn fail_over(&self) {
        self.inside(|inside| (inside.entries, inside.lost) = (inside.backup.clone(), true));
    }

    /// The number of writes of circuits.
    pub(super) fn writes(&self) -> u64 {
        self.inside(|inside| inside.writes - inside.heartbeats)
    }

    /// Returns a register with the same content and without faults.
    pub(super) fn copied(&self) -> Self {
        let (kind, ahead, sharing) = self.inside(|inside| (inside.kind, inside.ahead, inside.sharing));
        let (clock, entries) = self.inside(|inside| (inside.clock, inside.entries.clone()));
        let copy = Self::new(0, kind, ahead, sharing);
        copy.inside(|inside| (inside.clock, inside.entries, inside.writes) = (clock, entries, 1 << 32));
        copy
    }

    pub(super) fn trace(&self) -> u64 {
        self.inside(|inside| inside.trace)
    }

    pub(super) fn rows(&self) -> Vec<AuditRow> {
        self.inside(|inside| inside.audit.clone())
    }

    pub(super) fn record(&self, name: &str) -> Option<CircuitRecord> {
        self.inside(|inside| {
            let now = inside.now();
            inside.entries.get(name).map(|entry| CircuitRecord::decode(name, &entry.bytes, now).expect("we wrote it"))
        })
    }

    /// What was found to be wrong first.
    pub(super) fn broken(&self) -> Option<String> {
        self.inside(|inside| inside.broken.clone())
    }

    /// Lets an operation meet its fate.
    async fn meet<T>(&self, operation: impl FnOnce(&mut Inside) -> T + Send + 'static) -> Result<T, StoreError>
    where
        T: Send + 'static,
    {
        match self.inside(Inside::fate) {
            Fate::Well(delay) => {
                tokio::time::sleep(delay).await;
                Ok(self.inside(operation))
            }
            Fate::Fails(delay) => {
                tokio::time::sleep(delay).await;
                Err(StoreError::unavailable("it is away"))
            }
            Fate::ReplyLost(delay) => {
                tokio::time::sleep(delay).await;
                self.inside(operation);
                Err(StoreError::timed_out("the reply was lost"))
            }
            Fate::Late(delay) => {
                let late = self.clone();
                tokio::spawn(async move {
                    tokio::time::sleep(delay).await;
                    late.inside(operation);
                });
                Err(StoreError::timed_out("it will happen later"))
            }
        }
    }
}

impl Inside {
    fn now(&self) -> Timestamp {
        let since = Duration::from_nanos(self.clock.now().as_nanos());
        Timestamp::from_millis(1_790_000_000_000).saturating_add(since).saturating_add(self.ahead)
    }

    fn fate(&mut self) -> Fate {
        let Faults { down, fails, loses_reply, applies_late, slow, .. } = self.faults;
        let dice = &mut self.dice;
        let delay = Duration::from_millis(if dice.chance(slow) { dice.roll(3_000) } else { 1 + dice.roll(20) });
        if down || dice.chance(fails) {
            Fate::Fails(delay)
        } else if dice.chance(loses_reply) {
            Fate::ReplyLost(delay)
        } else if dice.chance(applies_late) {
            Fate::Late(Duration::from_millis(dice.roll(20_000)))
        } else {
            Fate::Well(delay)
        }
    }

    fn load(&self, names: &[String]) -> Loaded {
        Loaded { entries: names.iter().map(|name| self.entries.get(name).cloned()).collect(), now: self.now() }
    }

    fn write(&mut self, write: &Write) -> Written {
        let now = self.now();
        let current = self.entries.get(&write.name).cloned();
        if current.as_ref().map(|current| &current.etag) != write.expected.as_ref() {
            return Written::Conflict { current, now };
        }
        self.check(write, current.as_ref(), now);
        self.writes += 1;
        self.heartbeats += u64::from(is_heartbeat(write));
        let etag = Etag::new(self.writes.to_string());
        let value = Versioned { bytes: write.bytes.clone(), etag: etag.clone() };
        self.trace =
            value.bytes.iter().fold(self.trace, |trace, byte| trace.wrapping_mul(31).wrapping_add(u64::from(*byte)));
        self.entries.insert(write.name.clone(), value.clone());
        let lost = self.faults.loses_news;
        self.watchers.retain(|watcher| !watcher.is_closed());
        for watcher in self.watchers.clone() {
            if !self.dice.chance(lost) {
                // Late hints overtake each other.
                let (name, etag) = (write.name.clone(), Some(etag.clone()));
                let delay = Duration::from_millis(self.dice.roll(if lost > 0 { 400 } else { 3 }));
                tokio::spawn(async move {
                    tokio::time::sleep(delay).await;
                    watcher.changed(&name, etag);
                });
            }
        }
        Written::Applied { etag, now }
    }

    /// Accepted writes only add information, and nobody publishes a closing that was not one.
    fn check(&mut self, write: &Write, current: Option<&Versioned>, now: Timestamp) {
        let record = match CircuitRecord::decode(&write.name, &write.bytes, now) {
            Ok(record) => record,
            Err(problem) => return self.breaks(format!("a record that cannot be read was written: {problem}")),
        };
        let before = current.map_or_else(
            || CircuitRecord::unknown(&write.name),
            |current| CircuitRecord::decode(&write.name, &current.bytes, now).expect("checked"),
        );
        if join(&before, &record) != record {
            self.breaks(format!("a write is not newer than what it replaced: {before:?} then {record:?}"));
        }
        let closes = record.generation > before.generation && record.state == State::Closed;
        if closes && !["succeeded", "reset by"].iter().any(|why| record.reason.contains(why)) {
            self.breaks(format!("closed because \"{}\"", record.reason));
        }
        // With two registers what is newer here may have come by way of the other, whose clock is another.
        if self.alone {
            self.check_order(&before, &record);
            if let Some(promise) = decided::broken(&before, &record, self.sharing, now).filter(|_| !self.lost) {
                self.breaks(format!("{promise}: {before:?} then {record:?}"));
            }
        }
        // A start may replace the entry that its earlier start wrote late, behind a loss of data.
        if !is_heartbeat(write)
            && record.generation.get() == 0
            && record.operator.is_none()
            && record.total_failures == 0
            && before.total_failures == 0
        {
            self.breaks("it was written although nothing has happened".to_owned());
        }
        let failures =
            |record: &CircuitRecord| record.instances.values().map(|entry| entry.total_failures).sum::<u64>();
        if record.total_failures != failures(&record) {
            self.breaks("the sums are not those of the entries".to_owned());
        }
    }

    /// The numbers must tell no other story than the clock on the wall: nothing older replaces anything newer.
    fn check_order(&mut self, before: &CircuitRecord, record: &CircuitRecord) {
        let slack = Duration::from_secs(2);
        let older = |then: Timestamp, before: Timestamp| then.saturating_add(slack) < before;
        // By when it was first written here, even if everything was lost since.
        let published = |record: &CircuitRecord| format!("{}/{}/{}", record.incarnation, record.era, record.generation);
        let mut came = |record: &CircuitRecord| *self.came.entry(published(record)).or_insert(record.updated_at);
        let (then, since) = (came(before), came(record));
        let same = (&before.incarnation, before.era) == (&record.incarnation, record.era);
        let mut broken = !same && before.era > 0 && older(since, then);
        // By when it happened, if nothing was lost. What an act brings along counts from when that reaches the store.
        let act = |record: &CircuitRecord| record.operator.as_ref().map(|operated| operated.at);
        if !self.lost {
            let changed = |record: &CircuitRecord| record.last_state_change.unwrap_or_default();
            broken |= act(record) == act(before) && older(changed(record), changed(before));
            broken |= older(act(record).unwrap_or_default(), act(before).unwrap_or_default());
        }
        if broken {
            self.breaks(format!("something older replaced something newer: {before:?} then {record:?}"));
        }
    }

    fn breaks(&mut self, rule: String) {
        self.broken.get_or_insert(rule);
    }
}

fn is_heartbeat(write: &Write) -> bool {
    write.name.starts_with("@fleet:")
}

impl Store for Register {
    fn kind(&self) -> &'static str {
        self.inside(|inside| inside.kind)
    }

    async fn load_many(&self, names: &[String]) -> Result<Loaded, StoreError> {
        let names = names.to_vec();
        self.meet(move |inside| inside.load(&names)).await
    }

    async fn compare_and_set(&self, write: &Write) -> Result<Written, StoreError> {
        let write = write.clone();
        self.meet(move |inside| inside.write(&write)).await
    }

    async fn delete(&self, name: &str, etag: &Etag) -> Result<bool, StoreError> {
        let (name, etag) = (name.to_owned(), etag.clone());
        self.meet(move |inside| {
            let found = inside.entries.get(&name).is_some_and(|entry| entry.etag == etag);
            if found {
                inside.entries.remove(&name);
            }
            found
        })
        .await
    }

    async fn list(&self) -> Result<Vec<String>, StoreError> {
        self.meet(|inside| inside.entries.keys().cloned().collect()).await
    }

    async fn watch(&self) -> Result<Option<Watch>, StoreError> {
        let (sender, watch) = Watch::channel();
        self.meet(move |inside| inside.watchers.push(sender)).await?;
        Ok(Some(watch))
    }

    async fn append_audit(&self, rows: &[AuditRow]) -> Result<(), StoreError> {
        let rows = rows.to_vec();
        self.meet(move |inside| {
            for row in rows {
                if inside.audit.iter().all(|known| known.id != row.id) {
                    inside.audit.push(row);
                }
            }
        })
        .await
    }

    async fn audit(&self, filter: &AuditFilter) -> Result<Vec<AuditRow>, StoreError> {
        let filter = filter.clone();
        self.meet(move |inside| inside.audit.iter().filter(|row| filter.passes(row)).cloned().collect()).await
    }
}
