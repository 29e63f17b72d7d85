//! The data of a circuit: the word, the data of its era, the evidence, and what only transitions touch.

use std::sync::Arc;

use super::change::Cold;
use super::counts::Counts;
use super::decide;
use super::probes::Probes;
use super::wakers::Wakers;
use super::word::Word;
use crate::clock::Tick;
use crate::config::Config;
use crate::error::Opened;
use crate::event::Observer;
use crate::state::{Standing, State, Transition};
use crate::sync::{Acquire, AtomicU64, Mutex, Relaxed};
use crate::telemetry;
use crate::window::Evidence;
use crate::window::run::Run;
use crate::window::tagged::Tagged;

/// In this order, so that what every call reads lies on a line that no healthy call writes: two lines, for the neighbour
/// prefetch. The rest of those lines is taken by what only transitions, probes and waiters write.
#[derive(Debug)]
#[repr(C, align(128))]
pub(crate) struct Inner {
    /// Read by every call, written by transitions only.
    pub(super) word: AtomicU64,
    /// The data of the era: written under the cold mutex before the word is published.
    pub(super) entered: AtomicU64,
    pub(super) open_until: AtomicU64,
    pub(super) hold_until: AtomicU64,
    seed: u64,
    /// Whether every call is measured, whatever its classifier asks.
    pub(super) measures: bool,
    /// Those of the observers that want every call.
    pub(super) call_observers: Box<[Arc<dyn Observer>]>,
    pub(super) probes: Probes,
    /// Until when the service asked to be left alone, in milliseconds since the era began.
    pub(super) leave_alone_until: Tagged,
    pub(super) wakers: Wakers,
    pub(super) config: Config,
    /// The configuration's and the shipped ones. Those are this circuit's own: they remember what it told them.
    pub(super) observers: Box<[Arc<dyn Observer>]>,
    /// The evidence of the era.
    pub(super) evidence: Evidence,
    pub(super) run: Run,
    pub(super) counts: Counts,
    /// Until when another instance's opening lowers the thresholds. Only read where evidence is weighed.
    pub(super) advised_until: AtomicU64,
    pub(super) cold: Mutex<Cold>,
}

// Where pointers are half as long, so is what lies between: then it is only slower.
#[cfg(all(not(breaker_loom), target_pointer_width = "64"))]
const _: () = assert!(core::mem::offset_of!(Inner, config) >= 128, "calls write near the word");

/// What a permit holds of its circuit: each shard has a reference count of its own, on a line that no other shard writes.
#[derive(Debug)]
#[repr(align(64))]
pub(crate) struct Shard {
    pub(super) inner: Arc<Inner>,
    pub(super) index: usize,
}

/// When an admission reads the start time of its call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Start {
    /// Not at all; the call's future will, when it first has to wait.
    Untaken,
    /// Now, coarsely.
    Coarse,
    /// Now, to measure how long the call takes.
    Precise,
}

impl Inner {
    pub(super) fn new(config: Config, shards: usize, killed: bool, also: Option<Arc<dyn Observer>>) -> Self {
        let mode = config.first_mode();
        let now = config.clock.now();
        let window = config.rules.need_window().then_some(config.window);
        let shipped = if config.shipped_observers { telemetry::shipped(config.label.as_ref()) } else { Vec::new() };
        let observers: Box<[_]> = config.observers.iter().cloned().chain(shipped).chain(also).collect();
        let inner = Self {
            word: AtomicU64::new(Word::new(FIRST_ERA, Standing::new(State::Closed, mode), killed).bits()),
            entered: AtomicU64::new(now.as_nanos()),
            open_until: AtomicU64::new(Tick::NEVER.as_nanos()),
            hold_until: AtomicU64::new(Tick::NEVER.as_nanos()),
            call_observers: observers.iter().filter(|observer| observer.wants_calls()).cloned().collect(),
            observers,
            evidence: Evidence::new(window, config.rules.slow_call_rate.is_some(), shards),
            run: Run::new(),
            probes: Probes::new(config.probes.in_flight),
            leave_alone_until: Tagged::new(),
            counts: Counts::default(),
            advised_until: AtomicU64::new(Tick::ZERO.as_nanos()),
            wakers: Wakers::new(),
            cold: Mutex::new(Cold::new(mode)),
            measures: config.durations || config.rules.slow_call_rate.is_some(),
            seed: config.seed.unwrap_or_else(random_seed),
            config,
        };
        inner.evidence.begin(FIRST_ERA);
        inner.run.begin(FIRST_ERA, 0);
        inner.probes.begin(FIRST_ERA, 0);
        inner.leave_alone_until.begin(FIRST_ERA, 0);
        inner
    }

    #[inline]
    pub(super) fn load(&self) -> Word {
        // Acquire: pairs with the Release store in `enter`; whoever sees an era sees its deadline and its empty window.
        Word::from_bits(self.word.load(Acquire))
    }

    pub(super) fn era_and_standing(&self) -> (u64, Standing) {
        let word = self.load();
        (word.era(), word.standing())
    }

    pub(super) fn now(&self) -> Tick {
        self.config.clock.now()
    }

    /// Returns the start time of a call.
    pub(super) fn start(&self, precise: bool) -> Tick {
        let Config { clock, cancelled_counts_after, .. } = &self.config;
        match cancelled_counts_after {
            _ if precise => taken(clock.precise()),
            Some(_) => taken(clock.now()),
            None => Tick::ZERO,
        }
    }

    /// Returns a number between 0 and 1, for the jitter of an opening in that era.
    pub(super) fn random(&self, era: u64) -> f64 {
        decide::random(self.seed, era)
    }

    // The data of the era are read Relaxed: `load`'s Acquire came before, and made them visible with the word. Should a later
    // era's data be seen with an earlier word, the mutex or the next load finds out before anything comes of it.

    pub(super) fn entered(&self) -> Tick {
        Tick::from_nanos(self.entered.load(Relaxed))
    }

    pub(super) fn open_until(&self) -> Tick {
        // Relaxed: as said above.
        Tick::from_nanos(self.open_until.load(Relaxed))
    }

    pub(super) fn hold_until(&self) -> Tick {
        // Relaxed: as said above.
        Tick::from_nanos(self.hold_until.load(Relaxed))
    }
}

impl Opened for Shard {
    fn name(&self) -> &str {
        &self.inner.config.name
    }

    fn opened(&self, era: u64) -> Option<Transition> {
        let cold = self.inner.cold.lock();
        let past = cold.history.iter().rev().skip_while(|edge| edge.era > era);
        past.take_while(|edge| edge.to.is_tripped()).find(|edge| edge.to.is_open()).cloned()
    }
}

/// Zero means that no start was taken, and a clock of the user's own may begin there.
pub(super) fn taken(now: Tick) -> Tick {
    now.max(Tick::from_nanos(1))
}

/// A seed that differs between processes and circuits, from the randomness that std keeps for its hash maps.
fn random_seed() -> u64 {
    use std::hash::{BuildHasher, Hasher, RandomState};
    RandomState::new().build_hasher().finish()
}

/// Era 0 is before all: what `poll_changed` starts from.
pub(super) const FIRST_ERA: u64 = 1;
