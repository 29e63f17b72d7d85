//! The data of a circuit: the word, the data of its era, the evidence, and what only transitions touch.

use std::sync::Arc;

use super::cold::Cold;
use super::probes::Probes;
use super::wakers::Wakers;
use super::word::Word;
use crate::clock::{AnyClock, Tick, nanos};
use crate::config::Config;
use crate::event::Observer;
use crate::random;
use crate::state::{Standing, State};
use crate::sync::{Acquire, AtomicU64, Mutex, Relaxed};
use crate::telemetry;
use crate::window::cells::{Cells, Contention};
use crate::window::run::Run;
use crate::window::tagged::Tagged;
use crate::window::{Evidence, Tally};

/// The fields that every call reads come first and together, on lines that no healthy call writes.
#[derive(Debug)]
#[repr(C, align(64))]
pub(crate) struct Inner {
    /// Read by every call, written by transitions only.
    pub(super) word: AtomicU64,
    pub(super) open_until: AtomicU64,
    pub(super) clock: AnyClock,
    /// A success of a healthy service only reads it.
    pub(super) run: Run,
    /// The successes and rejections that threads count for themselves.
    pub(super) cells: Cells,
    /// How the success of a counted call is recorded.
    pub(super) success: Success,
    /// How each call is timed, unless its classifier asks for more.
    pub(super) timing: Timing,
    /// The data of the era: written under the cold mutex before the word is published.
    pub(super) entered: AtomicU64,
    pub(super) hold_until: AtomicU64,
    seed: u64,
    /// Those of the observers that want every call.
    pub(super) call_observers: Box<[Arc<dyn Observer>]>,
    pub(super) probes: Probes,
    /// Until when the service asked to be left alone, in milliseconds since the era began.
    pub(super) leave_alone_until: Tagged,
    pub(super) wakers: Wakers,
    pub(super) config: Config,
    /// The configuration's and the shipped ones. Those are this circuit's own: they remember what it told them.
    pub(super) observers: Box<[Arc<dyn Observer>]>,
    /// The evidence of the era, except the successes that the cells count.
    pub(super) evidence: Evidence,
    /// In how many nanoseconds by the coarse clock a call that began by the precise one is certainly not slow.
    pub(super) quick: u64,
    pub(super) contention: Contention,
    pub(super) counts: Counts,
    /// Until when another instance's opening lowers the thresholds. Only read where evidence is weighed.
    pub(super) advised_until: AtomicU64,
    pub(super) cold: Mutex<Cold>,
}

// Where pointers are half as long, so is what lies between: then it is only slower.
#[cfg(all(not(breaker_loom), target_pointer_width = "64"))]
const _: () = {
    assert!(std::mem::offset_of!(Inner, timing) < 128, "a call reads more than two lines");
    assert!(std::mem::offset_of!(Inner, config) >= 128, "calls write near the word");
};

/// How each call is timed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Timing {
    Nothing,
    /// The start is read precisely; the end only where the coarse clock cannot show that the call was not slow.
    Slow,
    /// Start and end are read precisely.
    Measured,
}

/// How the success of a counted call is recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Success {
    /// A count.
    Counts,
    /// A count in the bucket of the time.
    Dates,
    /// In full, because it may weigh something or an observer wants each call.
    Weighs,
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

/// Counts for the totals. Successes of a closed circuit are not among them, as cells and window have counted them.
#[derive(Debug, Default)]
pub(super) struct Counts {
    /// Failures that entered the window.
    pub(super) failures: AtomicU64,
    /// Outcomes that did not: of probes, of calls let through uncounted, and stale ones.
    pub(super) other_successes: AtomicU64,
    pub(super) other_failures: AtomicU64,
    pub(super) ignored: AtomicU64,
    pub(super) cancelled: AtomicU64,
    pub(super) stale: AtomicU64,
    /// Rejections of threads without a cell.
    pub(super) rejected: AtomicU64,
    pub(super) would_reject: AtomicU64,
    pub(super) load_shed: AtomicU64,
    pub(super) observer_panics: AtomicU64,
    /// When the next summary of rejections is due, and how many it had counted before.
    pub(super) next_summary: AtomicU64,
    pub(super) summarised: AtomicU64,
}

impl Inner {
    pub(super) fn new(config: Config, killed: bool, also: Option<Arc<dyn Observer>>) -> Self {
        let mode = config.first_mode();
        let now = config.clock.now();
        let window = config.rules.need_window().then_some(config.window);
        let shipped = if config.shipped_observers { telemetry::shipped(config.label.as_ref()) } else { Vec::new() };
        let observers: Box<[_]> = config.observers.iter().cloned().chain(shipped).chain(also).collect();
        let call_observers: Box<[_]> = observers.iter().filter(|observer| observer.wants_calls()).cloned().collect();
        let in_sums = !config.durations && call_observers.iter().all(|observer| observer.accepts_sums());
        let slow_call_rule = config.rules.slow_call_rate;
        let evidence = Evidence::new(window, slow_call_rule.is_some());
        let success = if config.trip_on_any_outcome
            || slow_call_rule.is_some()
            || config.durations
            || !evidence.allows_cells()
            || !in_sums
        {
            Success::Weighs
        } else if evidence.needs_now() || !call_observers.is_empty() {
            Success::Dates
        } else {
            Success::Counts
        };
        let quick = slow_call_rule
            .zip(config.clock.lag())
            .map_or(0, |((_, slower_than), lag)| nanos(slower_than.saturating_sub(lag)));
        let inner = Self {
            clock: config.clock.clone(),
            cells: Cells::new(evidence.buckets(), in_sums && !call_observers.is_empty()),
            success,
            quick,
            timing: match slow_call_rule {
                _ if config.durations => Timing::Measured,
                Some(_) => Timing::Slow,
                None => Timing::Nothing,
            },
            word: AtomicU64::new(Word::new(FIRST_ERA, Standing::new(State::Closed, mode), killed).bits()),
            entered: AtomicU64::new(now.as_nanos()),
            open_until: AtomicU64::new(Tick::NEVER.as_nanos()),
            hold_until: AtomicU64::new(Tick::NEVER.as_nanos()),
            call_observers,
            observers,
            evidence,
            run: Run::new(),
            probes: Probes::new(config.probes.in_flight),
            leave_alone_until: Tagged::new(),
            contention: Contention::default(),
            counts: Counts::default(),
            advised_until: AtomicU64::new(Tick::ZERO.as_nanos()),
            wakers: Wakers::new(),
            cold: Mutex::new(Cold::new(mode)),
            seed: config.seed.unwrap_or_else(random::bits),
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

    // Out of line, because the reading is longer than the rest of a call, which is inlined into its callers.
    #[inline(never)]
    pub(super) fn now(&self) -> Tick {
        self.clock.now()
    }

    #[inline(never)]
    pub(super) fn precise(&self) -> Tick {
        self.clock.precise()
    }

    /// Returns the sums over the window of an era.
    pub(super) fn tally(&self, era: u64, now: Tick) -> Tally {
        let mut tally = self.evidence.tally(era, now);
        // Without a window there are no sums, though the cells may date calls for the observers.
        if self.evidence.needs_now() {
            tally.calls += self.cells.calls(era, now);
        }
        tally
    }

    /// Returns a number between 0 and 1, for the jitter of an opening in that era.
    pub(super) fn random(&self, era: u64) -> f64 {
        random::share(random::nth(self.seed, era))
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

/// The last handle, permit and rejection are gone: whatever was counted is reported.
impl Drop for Inner {
    fn drop(&mut self) {
        self.report_sums();
    }
}

/// Zero means that no start was taken, and a clock of the user's own may begin there.
pub(super) fn taken(now: Tick) -> Tick {
    now.max(Tick::from_nanos(1))
}

/// Era 0 is before all: what `poll_changed` starts from.
pub(super) const FIRST_ERA: u64 = 1;
