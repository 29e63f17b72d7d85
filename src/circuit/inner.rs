//! The data of a circuit. These are the atomic word with era, state and mode, the data of the present era, the
//! evidence, and the cold data behind a mutex.
//!
//! The order of the fields matters for the speed of a call, and the assertions below the struct check that order.

use std::sync::Arc;
use std::time::Duration;

use super::cold::Cold;
use super::health::Health;
use super::in_group::InGroup;
use super::limit::Limit;
use super::probes::Probes;
use super::wakers::Wakers;
use super::word::Word;
use crate::clock::{AnyClock, Tick, nanos};
use crate::config::Config;
use crate::event::Observer;
use crate::random;
use crate::state::{Standing, State};
use crate::sync::{Acquire, AtomicU64, Mutex, OnceLock, Relaxed};
use crate::telemetry;
use crate::window::cells::Cells;
use crate::window::contention::Contention;
use crate::window::run::{self, Run};
use crate::window::tagged::Tagged;
use crate::window::under_way::UnderWay;
use crate::window::{Evidence, Tally};

/// The data that all handles of a circuit share. The fields that every call reads come first. They lie on cache lines
/// that no healthy call writes, so that threads do not slow each other down.
#[derive(Debug)]
#[repr(C, align(64))]
pub(crate) struct Inner {
    /// The word (era, state, mode and flags), which every call reads. Each transition writes the word. The word is also
    /// written when threads begin to count in counters of their own, and when a limit or a wait for a restore begins or
    /// ends.
    pub(super) word: AtomicU64,
    /// The time at which the open state ends. Valid only while the state is open.
    pub(super) open_until: AtomicU64,
    pub(super) clock: AnyClock,
    /// The weight of the failures since the last success. Beside the weight, the field has a bit for a circuit on trust
    /// (closed without a verdict of its probes). A success does not write this field if weight and bit are zero.
    pub(super) run: Run,
    /// Counters of successes and rejections. Each thread has counters of its own (a cell), so that threads do not wait
    /// for each other.
    pub(super) cells: Cells,
    /// The steps by which the success of a call of the closed circuit is recorded.
    pub(super) success: Success,
    /// The clocks that are read for a call whose classifier needs no duration.
    pub(super) timing: Timing,
    /// The time at which the era began. A transition writes `entered`, `open_until` and `hold_until` under the cold
    /// mutex, and then the word.
    pub(super) entered: AtomicU64,
    /// The time at which the hold ends. Valid only while the mode is a hold.
    pub(super) hold_until: AtomicU64,
    /// The seed of the random numbers of this circuit. They vary the open durations, and choose the calls that a limit
    /// admits.
    pub(super) seed: u64,
    /// The observers that want an event for every call.
    pub(super) call_observers: Box<[Arc<dyn Observer>]>,
    pub(super) probes: Probes,
    /// The time until which the service wants no calls, from the last `Retry-After` of a failure in this era. In
    /// milliseconds since the era began.
    pub(super) leave_alone_until: Tagged,
    pub(super) wakers: Wakers,
    pub(super) config: Config,
    /// All observers of this circuit. They come from the configuration, from this crate, and from the registry if there
    /// is one. The observers from this crate are created for each circuit, because they keep numbers of one circuit.
    pub(super) observers: Box<[Arc<dyn Observer>]>,
    /// The shared window of outcomes in the present era. Successes that a thread counts in its own cell (`cells`) are
    /// not in the window.
    pub(super) evidence: Evidence,
    /// A limit in nanoseconds. A call was not slow if the time from its start (precise clock) to its end (coarse clock)
    /// is below this limit. The precise clock is then not read at the end. Zero without a slow-call rule, and if the
    /// lag of the coarse clock is unknown or reaches `slower_than`.
    pub(super) quick: u64,
    pub(super) contention: Contention,
    pub(super) counts: Counts,
    /// The time at which the advice of another instance ends. Until then the thresholds of the trip rules are lower.
    /// The field is far from the word, because it is read only when the trip rules are checked.
    pub(super) advised_until: AtomicU64,
    /// The time until which a probe of this circuit needs a permission of the coordinator. No healthy call reads this
    /// time.
    pub(super) leased_until: AtomicU64,
    /// The parts that most circuits never need. Loom does not model this `OnceLock` of `std`. The models are still
    /// complete, because `limit` and `health` have a `OnceLock` of their own that loom models, and the other parts are
    /// set before the circuit is shared.
    rare: std::sync::OnceLock<Box<Rare>>,
    pub(super) cold: Mutex<Cold>,
}

/// The parts that most circuits never need. They are allocated when the first part is needed.
#[derive(Debug, Default)]
struct Rare {
    /// The ramp, the throttle, the criticality of calls and the usual error rate. A healthy call reads this part
    /// neither at its admission nor at its success.
    limit: OnceLock<Limit>,
    /// The health probes. A call reads this part only if its circuit is not closed or is under a hold.
    health: OnceLock<Health>,
    /// The counts of the calls under way. `None` without a slow-call rule. Set when the circuit is created.
    under_way: Option<UnderWay>,
    /// The membership of the circuit in its group. Empty for a circuit without a group. Set before the circuit is
    /// shared, so that loom need not model the `OnceLock`.
    in_group: std::sync::OnceLock<InGroup>,
}

// Calls write fields that lie after `config` in memory. Therefore `config` must be at least two cache lines away from
// the word, so that none of these fields shares a cache line with the fields that every call reads. Shorter pointers
// move `config` closer to the word, so the second assertion holds only on 64-bit targets. The layout on other targets
// is slower, but correct.
#[cfg(all(not(breaker_loom), target_pointer_width = "64"))]
const _: () = {
    assert!(std::mem::offset_of!(Inner, timing) < 128, "a call reads more than two lines");
    assert!(std::mem::offset_of!(Inner, config) >= 128, "calls write near the word");
};

/// The way in which a call is timed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Timing {
    /// The precise clock is read neither at the start nor at the end.
    Nothing,
    /// The precise clock is read at the start, and the coarse clock at the end. If these times do not prove that the
    /// call was quick, the precise clock is also read at the end.
    Slow,
    /// The precise clock is read at the start and at the end.
    Measured,
}

/// The steps by which the success of a call of the closed circuit is recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Success {
    /// Adds one to a counter of the thread, without a time.
    Counts,
    /// Adds one to the counter of the thread for the present time bucket. Needed for a time window, and if observers
    /// get reports of sums of calls.
    Dates,
    /// Takes every step of recording. Needed if a success may trip the circuit, if the window is a number of calls, or
    /// if an observer needs each call by itself.
    Weighs,
}

/// The start time that a caller wants from the admission of its call. If the circuit times its calls ([`Timing`]), the
/// admission reads the precise clock in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Start {
    /// No start time. The future of the call reads a start time when the call first has to wait.
    Untaken,
    /// The time by the coarse clock, from which the age of a cancelled call is computed. The clock is not read if
    /// cancelled calls never count.
    Coarse,
    /// The time by the precise clock, because the classifier needs the duration of the call.
    Precise,
}

/// Counters for the totals of a circuit. Successes of a closed circuit are not counted here, because the window and the
/// cells (the counters of single threads) count them.
#[derive(Debug, Default)]
pub(super) struct Counts {
    /// Failures that entered the window.
    pub(super) failures: AtomicU64,
    /// Successes that entered no window. These are successes of probes, of uncounted calls and of calls from earlier
    /// eras.
    pub(super) other_successes: AtomicU64,
    /// Failures that entered no window. These are failures of probes, of uncounted calls and of calls from earlier
    /// eras.
    pub(super) other_failures: AtomicU64,
    /// The sum, over all failures, of 1.0 minus the weight of the failure. In units of 1/256. A hard failure weighs 1.0
    /// and adds nothing, so most failures need no write here.
    pub(super) lacking: AtomicU64,
    pub(super) ignored: AtomicU64,
    pub(super) cancelled: AtomicU64,
    pub(super) stale: AtomicU64,
    /// Rejections by a ramp or a throttle, and rejections on threads without a cell. A cell (the counters of one
    /// thread) counts the other rejections.
    pub(super) rejected: AtomicU64,
    pub(super) would_reject: AtomicU64,
    pub(super) load_shed: AtomicU64,
    pub(super) observer_panics: AtomicU64,
    /// The time at which the next summary of rejections is due.
    pub(super) next_summary: AtomicU64,
    /// The total of rejections at the last summary, or at the start of the summaries.
    pub(super) summarised: AtomicU64,
}

impl Inner {
    pub(super) fn new(config: Config, killed: bool, also: Option<Arc<dyn Observer>>) -> Self {
        let mode = config.first_mode();
        let now = config.clock.now();
        let window = config.rules.need_window().then_some(config.window);
        let shipped = if config.shipped_observers {
            telemetry::shipped(config.label.as_ref(), config.durations, config.group())
        } else {
            Vec::new()
        };
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
        let word = Word::new(FIRST_ERA, Standing::new(State::Closed, mode), killed);
        let rare = slow_call_rule
            .map(|(_, slower_than)| UnderWay::new(slower_than, config.window.length().unwrap_or(LATELY)))
            .map(|under_way| Box::new(Rare { under_way: Some(under_way), ..Rare::default() }));
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
            word: AtomicU64::new(if rare.is_some() { word.watched() } else { word }.bits()),
            entered: AtomicU64::new(now.as_nanos()),
            open_until: AtomicU64::new(Tick::NEVER.as_nanos()),
            hold_until: AtomicU64::new(Tick::NEVER.as_nanos()),
            call_observers,
            observers,
            evidence,
            run: Run::new(),
            probes: Probes::new(&config.probes),
            leave_alone_until: Tagged::new(),
            contention: Contention::default(),
            counts: Counts::default(),
            advised_until: AtomicU64::new(Tick::ZERO.as_nanos()),
            leased_until: AtomicU64::new(Tick::ZERO.as_nanos()),
            rare: rare.map_or_else(std::sync::OnceLock::new, std::sync::OnceLock::from),
            wakers: Wakers::new(),
            cold: Mutex::new(Cold::new()),
            seed: config.seed.unwrap_or_else(random::bits),
            config,
        };
        inner.evidence.begin(FIRST_ERA);
        inner.begin_under_way(FIRST_ERA);
        inner.run.begin(FIRST_ERA, run::Seen::default());
        inner.probes.begin(FIRST_ERA, 0, Duration::ZERO);
        inner.leave_alone_until.begin(FIRST_ERA, 0);
        if inner.config.ramp().is_some() || inner.config.throttle().is_some() {
            inner.limit_or_new();
        }
        if let Some(group) = inner.config.group() {
            inner.rare.get_or_init(Box::default).in_group.get_or_init(|| InGroup::new(group));
        }
        inner
    }

    /// Returns the counters of the calls under way. `None` without a slow-call rule.
    #[inline]
    pub(super) fn under_way(&self) -> Option<&UnderWay> {
        self.rare.get()?.under_way.as_ref()
    }

    pub(super) fn limit(&self) -> Option<&Limit> {
        self.rare.get()?.limit.get()
    }

    pub(super) fn limit_or_new(&self) -> &Limit {
        self.rare.get_or_init(Box::default).limit.get_or_init(|| Limit::new(&self.config))
    }

    pub(super) fn in_group(&self) -> Option<&InGroup> {
        self.rare.get()?.in_group.get()
    }

    #[inline]
    pub(super) fn health(&self) -> Option<&Health> {
        self.rare.get()?.health.get()
    }

    pub(super) fn health_or_new(&self) -> &Health {
        self.rare.get_or_init(Box::default).health.get_or_init(|| Health::new(self.load().era()))
    }

    #[inline]
    pub(super) fn load(&self) -> Word {
        // Acquire, which pairs with the Release stores of the word, as in `enter`, `change_wait`, `settle_limit` and
        // `spread`. A thread that sees an era also sees the deadlines and the empty window of the era.
        Word::from_bits(self.word.load(Acquire))
    }

    pub(super) fn era_and_standing(&self) -> (u64, Standing) {
        let word = self.load();
        (word.era(), word.standing())
    }

    // Not inlined. Reading the clock takes so long that inlining would save little, and the code of every caller would
    // grow.
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
        // The cells (the counters of single threads) may count calls by time even without a time window, but then only
        // for reports to observers. Such calls are not added to the tally.
        if self.evidence.needs_now() {
            tally.calls += self.cells.calls(era, now);
        }
        tally
    }

    /// Returns a number between 0 and 1, for the jitter of an open duration. The number depends only on the seed and on
    /// `era`.
    pub(super) fn random(&self, era: u64) -> f64 {
        random::share(random::nth(self.seed, era))
    }

    // The data of the era are read Relaxed, because the earlier Acquire in `load` made the data visible together with
    // the word. A thread may see data of a later era with an earlier word. Such data do no harm, because a change
    // compares eras under the mutex, and slots and counters compare eras in their exchanges.

    pub(super) fn entered(&self) -> Tick {
        Tick::from_nanos(self.entered.load(Relaxed))
    }

    pub(super) fn open_until(&self) -> Tick {
        // Relaxed, for the reason above `entered`.
        Tick::from_nanos(self.open_until.load(Relaxed))
    }

    pub(super) fn hold_until(&self) -> Tick {
        // Relaxed, for the reason above `entered`.
        Tick::from_nanos(self.hold_until.load(Relaxed))
    }
}

/// Reports the remaining sums when the last handle, permit and rejection of the circuit are gone. Also wakes the runner
/// of the health probes, which holds no handle and must end. Leaves the group before the observers are dropped, because
/// the observers show the numbers of the group.
impl Drop for Inner {
    fn drop(&mut self) {
        self.report_sums();
        self.leave_group();
        self.wakers.wake();
    }
}

/// Returns `now`, or one nanosecond if `now` is zero. Zero means that no time was read, but the clock of a user may
/// begin at zero.
pub(super) fn taken(now: Tick) -> Tick {
    now.max(Tick::from_nanos(1))
}

/// The era of a new circuit. No circuit has era 0. Therefore a task that has seen no era yet can call `poll_changed`
/// with era 0.
pub(super) const FIRST_ERA: u64 = 1;

/// The time for which a hanging call counts if the window is a number of calls. Such a window has no duration.
const LATELY: Duration = Duration::from_secs(10);
