//! The circuits by key: a map whose readers neither lock nor write, and a lock for whoever brings a new key.
//!
//! A lookup stamps its entry only when the stamp would change, so that threads with the same key do not pull its line to and
//! fro. Circuits are made outside the lock, since the template, clocks and observers are foreign; they are looked for again, and
//! taken in, under it. So two threads that meet a new key get one circuit.

use std::sync::Arc;

use foldhash::fast::RandomState;
use papaya::HashMap;

use super::KeyedStatus;
use super::builder::KeyedBuilder;
use super::name::{Stem, looks_made};
use super::room::{Known, Room};
use crate::circuit::Circuit;
use crate::clock::{AnyClock, nanos};
use crate::config::{ConfigBuilder, ConfigError, LONGEST_NAME};
use crate::registry::{Registry, RegistryError};
use crate::sync::{AtomicU64, Mutex, Relaxed};
use crate::telemetry::keyed as telemetry;

pub(super) type Template = Box<dyn Fn(&str) -> ConfigBuilder + Send + Sync>;

pub(super) struct Circuits {
    pub(super) registry: Registry,
    template: Template,
    prefix: Box<str>,
    /// What those beyond the budget are called in metrics.
    other: Arc<str>,
    clock: AnyClock,
    pub(super) known: HashMap<Box<str>, Slot, RandomState>,
    pub(super) room: Mutex<Room>,
    /// The coarse tick until which new keys are refused, because no known key may be evicted. Read without the lock, because every
    /// call of a new key reads the tick.
    full_until: AtomicU64,
    /// The same for a registry without room.
    registry_full_until: AtomicU64,
    pub(super) evicted: AtomicU64,
    unguarded: AtomicU64,
    /// When the next warning may be given.
    warn_at: AtomicU64,
}

/// What is known of a key.
#[derive(Debug)]
pub(super) struct Slot {
    /// None if the registry refused it: its calls are unguarded, and it is tried again later.
    pub(super) circuit: Option<Circuit>,
    /// Whether the circuit was made here. Another's is never taken out of the registry.
    pub(super) is_own: bool,
    /// The coarse tick of its last use; of a refused one, of when it was refused.
    pub(super) used: AtomicU64,
}

/// Why a call that has a key passes unguarded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    Full,
    RegistryFull,
    Config,
}

impl Circuits {
    pub(super) fn new(settings: KeyedBuilder, clock: AnyClock) -> Self {
        let KeyedBuilder { registry, template, prefix, max_keys, idle, labels } = settings;
        Self {
            registry,
            template,
            other: format!("{prefix}other").into(),
            prefix: prefix.into(),
            clock,
            known: HashMap::with_hasher(RandomState::default()),
            room: Mutex::new(Room::new(max_keys, nanos(idle) >> GRAIN, labels)),
            full_until: AtomicU64::new(0),
            registry_full_until: AtomicU64::new(0),
            evicted: AtomicU64::new(0),
            unguarded: AtomicU64::new(0),
            warn_at: AtomicU64::new(0),
        }
    }

    /// Acts on the circuit of a key, a new one if need be. `None`: the call is unguarded.
    ///
    /// Entries that are evicted while `act` runs are freed afterwards, so `act` must not take long.
    #[inline]
    pub(super) fn with<T>(&self, key: &str, act: impl FnOnce(Option<&Circuit>) -> T) -> T {
        let now = self.clock.now().as_nanos() >> GRAIN;
        // The map holds stems only. So a key that is found there as it came is its own stem, unless it looks like a made one.
        if !looks_made(key) {
            let known = self.known.pin();
            if let Some(entry) = known.get(key)
                && let Some(Some(circuit)) = entry.circuit_at(now)
            {
                return act(Some(circuit));
            }
        }
        act(self.of(key, now).as_ref())
    }

    #[inline(never)]
    fn of(&self, key: &str, now: u64) -> Option<Circuit> {
        let stem = Stem::new(key, LONGEST_NAME - self.prefix.len());
        let stem = stem.as_str();
        if let Some(entry) = self.known.pin().get(stem)
            && let Some(circuit) = entry.circuit_at(now)
        {
            return circuit.cloned().or_else(|| self.pass(Why::Config, now));
        }
        self.meet(stem, now)
    }

    #[cold]
    fn meet(&self, stem: &str, now: u64) -> Option<Circuit> {
        // Relaxed: a hint, publishes nothing.
        if now < self.full_until.load(Relaxed) {
            return self.pass(Why::Full, now);
        }
        if now < self.registry_full_until.load(Relaxed) {
            return self.pass(Why::RegistryFull, now);
        }
        let name = format!("{}{stem}", self.prefix);
        let own_label = *name != *self.other && self.room.lock().has_label(stem);
        let label = (!own_label).then(|| Arc::clone(&self.other));
        let made = (self.template)(&name).named(&name, label).build().map(|config| self.registry.untold(config));

        // Pinned for longer than locked: what was evicted is freed without the lock, and telemetry is told of it.
        let known = self.known.pin();
        let mut room = self.room.lock();
        let taken = self.take_in(&mut room, &known, stem, &made, now);
        let gone = room.gone();
        drop(room);
        drop(known);
        for circuit in gone {
            telemetry::evicted();
            circuit.report_forgotten();
            // Its key may be back already: then the gauges of that name are the new circuit's.
            if let Some(next) = self.registry.get(circuit.name()).filter(|_| circuit.config().label.is_none()) {
                next.refresh_metrics();
            }
        }
        match taken {
            Ok((circuit, is_new)) => {
                if is_new {
                    self.registry.introduce(&circuit);
                }
                Some(circuit)
            }
            Err((why, problem)) => {
                if let Some(problem) = problem {
                    telemetry::refused(&name, &problem, self.may_warn(now));
                }
                self.pass(why, now)
            }
        }
    }

    /// Returns the circuit of a key, and whether it is a new one whose observers must be told.
    fn take_in(
        &self,
        room: &mut Room,
        known: &Known<'_>,
        stem: &str,
        made: &Result<Circuit, ConfigError>,
        now: u64,
    ) -> Result<(Circuit, bool), (Why, Option<String>)> {
        if let Some(entry) = known.get(stem) {
            if let Some(circuit) = entry.circuit_at(now) {
                return circuit.map(|circuit| (circuit.clone(), false)).ok_or((Why::Config, None));
            }
            room.drop_refused(known, stem);
        }
        if !room.make(self, known, now) {
            // Relaxed: a hint, publishes nothing.
            self.full_until.store(room.next_try(now), Relaxed);
            return Err((Why::Full, None));
        }
        let problem = match made {
            Err(error) => error.to_string(),
            Ok(made) => {
                let mut inserted = self.registry.insert(made.clone());
                if matches!(inserted, Err(RegistryError::Full { .. })) && room.evict_some(self, known, now) {
                    inserted = self.registry.insert(made.clone());
                }
                match inserted {
                    Ok((circuit, is_new)) => {
                        room.keep(known, stem, Slot::new(Some(circuit.clone()), is_new, now));
                        return Ok((circuit, is_new));
                    }
                    Err(RegistryError::Full { .. }) => {
                        // Relaxed: a hint, publishes nothing.
                        self.registry_full_until.store(now + SECOND, Relaxed);
                        return Err((Why::RegistryFull, None));
                    }
                    Err(error @ RegistryError::Different { .. }) => error.to_string(),
                }
            }
        };
        room.keep(known, stem, Slot::new(None, false, now));
        Err((Why::Config, Some(problem)))
    }

    /// Counts a call that passes unguarded.
    #[cold]
    fn pass(&self, why: Why, now: u64) -> Option<Circuit> {
        // Relaxed: a count, publishes nothing.
        let passed = self.unguarded.fetch_add(1, Relaxed) + 1;
        let limit = self.registry.limit();
        telemetry::unguarded(why.as_str());
        // What is wrong with a configuration was told when it was refused.
        if why != Why::Config && self.may_warn(now) {
            let keys = self.known.len();
            telemetry::full(&self.prefix, keys, (why == Why::RegistryFull).then_some(limit), passed);
        }
        None
    }

    /// Whether a minute has passed since the last warning.
    fn may_warn(&self, now: u64) -> bool {
        // Relaxed: it decides who tells, and publishes nothing.
        let at = self.warn_at.load(Relaxed);
        now >= at && self.warn_at.compare_exchange(at, now + 60 * SECOND, Relaxed, Relaxed).is_ok()
    }

    pub(super) fn status(&self) -> KeyedStatus {
        // Relaxed: counts, they publish nothing.
        let (evicted, unguarded) = (self.evicted.load(Relaxed), self.unguarded.load(Relaxed));
        KeyedStatus { keys: self.known.len(), evicted, unguarded }
    }
}

/// With the last handle the circuits leave the registry too: nobody could evict them any more.
impl Drop for Circuits {
    fn drop(&mut self) {
        for entry in self.known.pin().values().filter(|entry| entry.is_own) {
            if let Some(circuit) = &entry.circuit {
                self.registry.remove(circuit);
                circuit.report_forgotten();
            }
        }
    }
}

impl Slot {
    fn new(circuit: Option<Circuit>, is_own: bool, now: u64) -> Self {
        Self { circuit, is_own, used: AtomicU64::new(now) }
    }

    /// Returns what is known, and stamps it as used. `None` if it is time to try again.
    #[inline]
    fn circuit_at(&self, now: u64) -> Option<Option<&Circuit>> {
        // Relaxed, here and below: a stamp, publishes nothing.
        let used = self.used.load(Relaxed);
        if self.circuit.is_none() {
            return (now < used.saturating_add(REFUSED_AGAIN)).then_some(None);
        }
        if used < now {
            self.used.store(now, Relaxed);
        }
        Some(self.circuit.as_ref())
    }
}

impl Why {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::RegistryFull => "registry_full",
            Self::Config => "config",
        }
    }
}

/// A coarse tick is 2^24 ns, 17 ms: a hot key is stamped sixty times a second.
const GRAIN: u32 = 24;
/// About a second of coarse ticks.
pub(super) const SECOND: u64 = 60;
const REFUSED_AGAIN: u64 = 10 * SECOND;
