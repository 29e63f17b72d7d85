//! The map of keyed circuits. A lookup of a known key takes no lock. Only a call with a new key takes a lock.
//!
//! A lookup writes the time of use into the entry of its key only if the coarse time, in ticks of 17 ms, has changed
//! since the last write. Therefore threads with the same key seldom contend for the cache line of the entry. A new
//! circuit is created outside the lock, because the template, the clock and the observers are foreign code. Under the
//! lock, the map is searched again before the circuit is inserted, so that two threads with the same new key get one
//! circuit.
//!
//! The map is indexed by stems. A stem is the part of a circuit's name behind the prefix, and comes from the key of the
//! request. The registry reserves the prefix, so that no keyed circuit has the name of another circuit.

use std::sync::{Arc, Weak};

use foldhash::fast::RandomState;
use papaya::HashMap;

use super::KeyedStatus;
use super::builder::KeyedBuilder;
use super::name::{Stem, looks_made};
use super::room::{Full, Known, Room};
use super::slot::{Cause, Slot};
use crate::circuit::Circuit;
use crate::clock::{AnyClock, nanos};
use crate::config::{Config, ConfigBuilder, ConfigError, LONGEST_NAME};
use crate::group::{Group, Layer};
use crate::registry::Registry;
use crate::sync::{AtomicU64, Mutex, Relaxed};
use crate::telemetry::keyed as telemetry;
use crate::telemetry::label::Labels;

pub(super) type Template = Box<dyn Fn(&str) -> ConfigBuilder + Send + Sync>;

pub(super) struct Circuits {
    pub(super) registry: Registry,
    template: Template,
    pub(super) prefix: Box<str>,
    /// A placeholder circuit that no call uses. The circuit counts as restored when the keyed circuits are restored
    /// from the store. Until then, services wait in `poll_ready`. `None` if services do not wait.
    pub(super) gate: Option<Circuit>,
    /// The labels of the keys in metrics. All keys without their own label share one label.
    labels: Arc<Labels>,
    /// The group for all circuits of this layer. `None` if the group in the settings from the template is used.
    group: Option<Group>,
    /// A reference to this layer. The groups of its circuits use the reference to count the circuits whose keys are not
    /// in use.
    itself: Weak<dyn Layer>,
    pub(super) clock: AnyClock,
    pub(super) known: HashMap<Box<str>, Slot, RandomState>,
    pub(super) room: Mutex<Room>,
    /// The coarse tick (17 ms) until which new keys get no circuit, because no known key could be evicted. Every call
    /// of a key that is not in the map reads this tick. Therefore the tick is an atomic, and reading needs no lock.
    full_until: AtomicU64,
    /// The coarse tick (17 ms) until which new keys get no circuit, because the registry is full.
    registry_full_until: AtomicU64,
    pub(super) evicted: AtomicU64,
    unguarded: AtomicU64,
    /// The coarse tick (17 ms) from which this layer may log its next warning.
    warn_at: AtomicU64,
}

/// The reason why a call with a key passes unguarded (without a circuit).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    Full,
    RegistryFull,
    Config,
}

impl Circuits {
    /// Creates an empty map. `sample` has the settings that the template returns for an example name. `itself` is the
    /// layer that owns the map.
    pub(super) fn new(settings: KeyedBuilder, prefix: &str, sample: &Config, itself: Weak<dyn Layer>) -> Self {
        let KeyedBuilder { registry, template, max_keys, idle, labels, at_most_open, .. } = settings;
        let group = at_most_open.map(|share| Group::new(prefix).at_most_open(share));
        let clock = sample.clock.clone();
        #[cfg(feature = "store")]
        let gate = registry.first_calls_wait().then(|| Circuit::unreported(sample.clone().without_group(), None));
        #[cfg(not(feature = "store"))]
        let gate = None;
        Self {
            gate,
            registry,
            template,
            group,
            itself,
            labels: Labels::new(&format!("{prefix}other"), labels as u64),
            prefix: prefix.into(),
            clock,
            known: HashMap::with_hasher(RandomState::default()),
            room: Mutex::new(Room::new(max_keys, nanos(idle) >> GRAIN)),
            full_until: AtomicU64::new(0),
            registry_full_until: AtomicU64::new(0),
            evicted: AtomicU64::new(0),
            unguarded: AtomicU64::new(0),
            warn_at: AtomicU64::new(0),
        }
    }

    /// Calls `act` with the circuit of a key, and creates the circuit if necessary. The argument of `act` is `None` if
    /// the call passes unguarded (without a circuit).
    ///
    /// `act` must not take long. Entries that are evicted while `act` runs are freed only after `act` returns.
    #[inline]
    pub(super) fn with<T>(&self, key: &str, act: impl FnOnce(Option<&Circuit>) -> T) -> T {
        let now = self.clock.now().as_nanos() >> GRAIN;
        // The map is indexed by stems, which are circuit names without the prefix. The stem of most keys is the key
        // itself, so the map is first searched for the key. A key that looks like a hashed stem is not searched for,
        // because the stem of such a key is a hash of the key.
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

    /// Returns the circuit of a key that [`with`](Self::with) did not find in the map, and creates the circuit if
    /// necessary. Returns `None` if the call passes unguarded (without a circuit).
    #[inline(never)]
    fn of(&self, key: &str, now: u64) -> Option<Circuit> {
        let stem = Stem::new(key, LONGEST_NAME - self.prefix.len());
        let stem = stem.as_str();
        if let Some(entry) = self.known.pin().get(stem)
            && let Some(circuit) = entry.circuit_at(now)
        {
            return circuit.cloned().or_else(|| self.pass(Why::Config, now));
        }
        self.create(stem, now)
    }

    /// Creates the circuit of a stem that is not in the map. Returns `None` if the call passes unguarded (without a
    /// circuit).
    #[cold]
    fn create(&self, stem: &str, now: u64) -> Option<Circuit> {
        // Relaxed, because an outdated tick does no harm, and the ticks publish no other data.
        if now < self.full_until.load(Relaxed) {
            return self.pass(Why::Full, now);
        }
        if now < self.registry_full_until.load(Relaxed) {
            return self.pass(Why::RegistryFull, now);
        }
        match self.add(stem, now, Cause::Call) {
            Ok((circuit, _)) => Some(circuit),
            Err(why) => self.pass(why, now),
        }
    }

    /// Adds the circuit of a stem to the map. Returns the circuit in the map, with `true` if this call has inserted the
    /// circuit. The error is the reason why calls of the key pass unguarded (without a circuit).
    pub(super) fn add(&self, stem: &str, now: u64, cause: Cause) -> Result<(Circuit, bool), Why> {
        let name = format!("{}{stem}", self.prefix);
        let (has_label, former) = {
            let room = self.room.lock();
            (room.has_label(stem), room.former(stem, now))
        };
        let label = self.labels.of(&name, has_label);
        let mut settings = (self.template)(&name).named(&name, label);
        if let Some(group) = &self.group {
            settings = settings.group(group);
        }
        let made = settings.build().map(|config| self.registry.create_unreported(config));
        if let Some(group) = made.as_ref().ok().and_then(|made| made.config().group()) {
            group.add_layer(&self.itself, &self.clock);
        }
        if let (Ok(made), Some(former)) = (&made, &former) {
            // The new circuit inherits the state and the failures of the evicted circuit before the map contains the
            // new circuit. Thus no call uses the new circuit without these failures. The lock is not held, because
            // `inherit` notifies the observers of the new circuit.
            made.inherit(&former.snapshot());
        }

        // The pin of the map is dropped after the lock is released, so that evicted entries are freed without the lock.
        let known = self.known.pin();
        let mut room = self.room.lock();
        let inserted = self.insert(&mut room, &known, stem, &made, now, cause);
        let leaving = room.leaving();
        drop(room);
        drop(known);
        for circuit in &leaving.gone {
            telemetry::evicted();
            circuit.report_forgotten();
            // The key of an evicted circuit may already have a new circuit with the same label. `report_forgotten` has
            // set the gauges of this label to zero. `refresh_metrics` sets the gauges to the values of the new circuit.
            let has_label = circuit.config().label.as_ref().is_some_and(|label| label.is_own());
            if let Some(next) = self.registry.get(circuit.name()).filter(|_| has_label) {
                next.refresh_metrics();
            }
        }
        if let (Ok(made), Some(_), Ok((_, false)) | Err(_)) = (&made, former, &inserted) {
            // The new circuit is not used, because another thread inserted its circuit first, or because there is no
            // room. The observers know the inherited state of the new circuit, and must forget the circuit.
            made.report_forgotten();
        }
        match inserted {
            Ok((circuit, is_new)) => {
                if is_new {
                    self.registry.introduce(&circuit);
                }
                Ok((circuit, is_new))
            }
            Err((why, problem)) => {
                if let Some(problem) = problem {
                    telemetry::refused(&name, &problem, self.may_warn(now));
                }
                Err(why)
            }
        }
    }

    /// Inserts the circuit `made`, unless the map already has a circuit for the stem. Returns the circuit in the map,
    /// with `true` if `made` was inserted. The caller must then notify the observers. The error is the reason why calls
    /// of the key pass unguarded (without a circuit), with an error text if the configuration is invalid.
    fn insert(
        &self,
        room: &mut Room,
        known: &Known<'_>,
        stem: &str,
        made: &Result<Circuit, ConfigError>,
        now: u64,
        cause: Cause,
    ) -> Result<(Circuit, bool), (Why, Option<String>)> {
        if let Some(entry) = known.get(stem) {
            if let Some(circuit) = entry.circuit_at(now) {
                return circuit.map(|circuit| (circuit.clone(), false)).ok_or((Why::Config, None));
            }
            room.drop_refused(known, stem);
        }
        #[cfg(feature = "store")]
        if cause == Cause::Restore && !self.registry.has_room_for_restore() {
            return Err((Why::RegistryFull, None));
        }
        if !room.make(self, known, now, cause) {
            if cause == Cause::Call {
                // Relaxed, because an outdated tick does no harm, and the tick publishes no other data.
                self.full_until.store(room.next_try(now), Relaxed);
            }
            return Err((Why::Full, None));
        }
        let problem = match made {
            Err(error) => error.to_string(),
            Ok(made) => {
                let may_evict = cause == Cause::Call;
                let mut evicts = || may_evict && room.evict_some(self, known, now, Full::Registry);
                if self.registry.insert(made) || evicts() && self.registry.insert(made) {
                    room.keep(known, stem, Some(made.clone()), now, cause);
                    return Ok((made.clone(), true));
                }
                // Relaxed, because an outdated tick does no harm, and the tick publishes no other data.
                self.registry_full_until.store(now + SECOND, Relaxed);
                return Err((Why::RegistryFull, None));
            }
        };
        room.keep(known, stem, None, now, cause);
        Err((Why::Config, Some(problem)))
    }

    /// Counts a call that passes unguarded (without a circuit), and always returns `None`.
    #[cold]
    fn pass(&self, why: Why, now: u64) -> Option<Circuit> {
        // Relaxed, because the count publishes no other data.
        let passed = self.unguarded.fetch_add(1, Relaxed) + 1;
        let limit = self.registry.limit();
        telemetry::unguarded(why.as_str());
        // An invalid configuration needs no warning here, because its error was logged when the circuit could not be
        // created.
        if why != Why::Config && self.may_warn(now) {
            let keys = self.known.len();
            telemetry::full(&self.prefix, keys, (why == Why::RegistryFull).then_some(limit), passed);
        }
        None
    }

    /// Returns true if a minute has passed since the last warning. Only one thread per minute gets true, and logs the
    /// warning.
    fn may_warn(&self, now: u64) -> bool {
        // Relaxed, because the exchange only chooses the thread that warns, and publishes no other data.
        let at = self.warn_at.load(Relaxed);
        now >= at && self.warn_at.compare_exchange(at, now + 60 * SECOND, Relaxed, Relaxed).is_ok()
    }

    pub(super) fn status(&self) -> KeyedStatus {
        // Relaxed, because the counts publish no other data.
        let (evicted, unguarded) = (self.evicted.load(Relaxed), self.unguarded.load(Relaxed));
        KeyedStatus { keys: self.known.len(), evicted, unguarded }
    }
}

/// Removes the circuits of the layer from the registry, because no later call could evict the circuits. Releases the
/// prefix, so that other circuits may use the names.
impl Drop for Circuits {
    fn drop(&mut self) {
        for circuit in self.known.pin().values().filter_map(|entry| entry.circuit.as_ref()) {
            self.registry.remove(circuit);
            circuit.report_forgotten();
        }
        self.registry.release(&self.prefix);
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

/// The number of bits by which a time in nanoseconds is shifted to get coarse ticks. A tick is 2^24 ns, which is about
/// 17 ms. Therefore the time of use of a busy key is written about sixty times a second.
pub(super) const GRAIN: u32 = 24;
/// The number of coarse ticks in about a second.
pub(super) const SECOND: u64 = 60;
