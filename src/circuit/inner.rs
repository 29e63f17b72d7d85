//! The data of a circuit, and admission.

use core::time::Duration;
use std::sync::Arc;

use super::Peek;
use super::change::Cold;
use super::decide;
use super::permit::{Permit, Right};
use super::probes::Probes;
use super::wakers::Wakers;
use super::word::Word;
use crate::clock::Tick;
use crate::config::{Config, Recovery};
use crate::error::{Opened, Rejected};
use crate::event::{Event, Observer};
use crate::state::{Mode, Reason, RejectReason, Standing, State, Transition};
use crate::sync::{Acquire, AtomicU64, Mutex, Padded, Relaxed};
use crate::window::Evidence;
use crate::window::run::Run;
use crate::window::tagged::Tagged;

#[derive(Debug)]
pub(crate) struct Inner {
    /// Read by every call, written by transitions only: on a line of its own.
    pub(super) word: Padded<AtomicU64>,
    /// The data of the era: written under the cold mutex before the word is published.
    pub(super) entered: AtomicU64,
    pub(super) open_until: AtomicU64,
    pub(super) hold_until: AtomicU64,
    pub(super) config: Config,
    /// Those of the configuration's observers that want every call.
    pub(super) call_observers: Box<[Arc<dyn Observer>]>,
    /// The evidence of the era.
    pub(super) evidence: Evidence,
    pub(super) run: Run,
    pub(super) probes: Probes,
    /// Until when the service asked to be left alone, in milliseconds of the clock.
    pub(super) leave_alone_until: Tagged,
    pub(super) counts: Counts,
    pub(super) wakers: Wakers,
    pub(super) cold: Mutex<Cold>,
    seed: u64,
}

/// What a permit holds of its circuit. The reference count lies on the shard's line, which its threads write anyway.
#[derive(Debug)]
#[repr(align(64))]
pub(crate) struct Shard {
    pub(super) inner: Arc<Inner>,
    pub(super) index: usize,
}

/// Counts for the totals. Successes of a closed circuit are not among them: the window has counted them.
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
    pub(super) rejected: AtomicU64,
    pub(super) would_reject: AtomicU64,
    pub(super) observer_panics: AtomicU64,
    /// When the next summary of rejections is due, and how many it had counted before.
    next_summary: AtomicU64,
    summarised: AtomicU64,
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
    pub(super) fn new(config: Config, shards: usize, killed: bool) -> Self {
        let mode = if config.shadow { Mode::Shadow } else { Mode::Automatic };
        let now = config.clock.now();
        let window = config.rules.need_window().then_some(config.window);
        let inner = Self {
            word: Padded(AtomicU64::new(Word::new(FIRST_ERA, Standing::new(State::Closed, mode), killed).bits())),
            entered: AtomicU64::new(now.as_nanos()),
            open_until: AtomicU64::new(Tick::NEVER.as_nanos()),
            hold_until: AtomicU64::new(Tick::NEVER.as_nanos()),
            call_observers: config.observers.iter().filter(|observer| observer.wants_calls()).cloned().collect(),
            evidence: Evidence::new(window, config.rules.slow_call_rate.is_some(), shards),
            run: Run::new(),
            probes: Probes::new(config.probes.in_flight),
            leave_alone_until: Tagged::new(),
            counts: Counts::default(),
            wakers: Wakers::new(),
            cold: Mutex::new(Cold::default()),
            seed: config.seed.unwrap_or_else(random_seed),
            config,
        };
        inner.evidence.begin(FIRST_ERA);
        inner.run.begin(FIRST_ERA, 0);
        inner.probes.begin(FIRST_ERA, 0);
        inner.leave_alone_until.begin(FIRST_ERA, 0);
        inner
    }

    pub(super) fn load(&self) -> Word {
        // Acquire: pairs with the Release store in `enter`; whoever sees an era sees its deadline and its empty window.
        Word::from_bits(self.word.0.load(Acquire))
    }

    pub(super) fn era_and_standing(&self) -> (u64, Standing) {
        let word = self.load();
        (word.era(), word.standing())
    }

    pub(super) fn now(&self) -> Tick {
        self.config.clock.now()
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
        Tick::from_nanos(self.open_until.load(Relaxed))
    }

    pub(super) fn hold_until(&self) -> Tick {
        Tick::from_nanos(self.hold_until.load(Relaxed))
    }

    pub(super) fn admit(shard: &Arc<Shard>, start: Start) -> Result<Permit, Rejected> {
        let word = shard.inner.load();
        if word.is_flowing() {
            return Ok(Permit::new(shard, word.era(), Right::Counted, start));
        }
        Self::admit_unless_rejecting(shard, start)
    }

    /// Admission while not simply closed. Each turn of the loop follows a transition, ours or another thread's.
    #[cold]
    fn admit_unless_rejecting(shard: &Arc<Shard>, start: Start) -> Result<Permit, Rejected> {
        let inner = &*shard.inner;
        let now = inner.now();
        loop {
            let word = inner.load();
            let era = word.era();
            let permit = |right| Ok(Permit::new(shard, era, right, start));
            match inner.gate(word, now) {
                Gate::Counted => return permit(Right::Counted),
                Gate::Uncounted => return permit(Right::Uncounted),
                Gate::Change(due) => inner.carry_out(word, now, due),
                Gate::Probe => {
                    if let Some(probe) = inner.probes.take(era, now) {
                        return permit(Right::Probe(probe));
                    }
                    // No slot of this era: taken, or the era is over and the next turn sees it.
                    if inner.load() == word {
                        return Self::refuse(shard, word, RejectReason::HalfOpen, None, now).and_then(permit);
                    }
                }
                Gate::Closed(until) => {
                    let retry_after = (until != Tick::NEVER).then(|| until.saturating_since(now));
                    return Self::refuse(shard, word, RejectReason::Tripped, retry_after, now).and_then(permit);
                }
            }
        }
    }

    /// What stands between a call and the service. Changes nothing.
    fn gate(&self, word: Word, now: Tick) -> Gate {
        if word.bypassed() {
            return Gate::Uncounted;
        }
        match word.mode() {
            Mode::Disabled if now >= self.hold_until() => Gate::Change(Due::HoldEnded),
            Mode::Disabled => Gate::Uncounted,
            Mode::ForcedOpen if now >= self.hold_until() => Gate::Change(Due::HoldEnded),
            Mode::ForcedOpen => Gate::Closed(self.hold_until()),
            Mode::Automatic | Mode::Shadow => match word.state() {
                State::Closed => Gate::Counted,
                State::Open if now >= self.open_until() => Gate::Change(Due::Probing),
                State::Open => Gate::Closed(self.open_until()),
                State::HalfOpen => self.half_open_gate(word.era(), now),
            },
        }
    }

    fn half_open_gate(&self, era: u64, now: Tick) -> Gate {
        let probing = &self.config.probes;
        if let Some(age) = self.probes.oldest(era, now).filter(|age| *age >= probing.deadline) {
            return Gate::Change(Due::Overdue(age));
        }
        let verdict = self.probes.verdict(era);
        let half_open_for = now.saturating_since(self.entered());
        if verdict.successes > 0 && verdict.failures == 0 && half_open_for >= probing.quiet_after {
            return Gate::Change(Due::Quiet { successes: verdict.successes, half_open_for });
        }
        Gate::Probe
    }

    /// Makes the change that time has made due, unless another thread was first.
    fn carry_out(&self, word: Word, now: Tick, due: Due) {
        let entered = self.entered();
        match due {
            Due::HoldEnded => self.end_hold(word, now),
            Due::Probing => self.half_open(word, now, Reason::WaitElapsed { waited: now.saturating_since(entered) }),
            Due::Overdue(age) => {
                let reason = Reason::ProbeOverdue { age, deadline: self.config.probes.deadline };
                self.reopen(word, now, reason, None);
            }
            Due::Quiet { successes, half_open_for } => {
                self.close(word, now, Reason::QuietService { successes, half_open_for });
            }
        }
    }

    fn end_hold(&self, word: Word, now: Tick) {
        let reason = Reason::HoldEnded { held: now.saturating_since(self.entered()) };
        if word.mode() == Mode::ForcedOpen && self.config.recovery == Recovery::Automatic {
            self.half_open(word, now, reason);
        } else {
            self.uncover(word, now, reason);
        }
    }

    /// Counts a rejection and makes it; in shadow, counts what it would have been and gives the right to go on instead.
    fn refuse(
        shard: &Arc<Shard>,
        word: Word,
        reason: RejectReason,
        retry_after: Option<Duration>,
        now: Tick,
    ) -> Result<Right, Rejected> {
        let inner = &*shard.inner;
        // Relaxed here and below: counts, they publish nothing.
        if word.mode() == Mode::Shadow {
            inner.counts.would_reject.fetch_add(1, Relaxed);
            return Ok(Right::Uncounted);
        }
        let rejected = inner.counts.rejected.fetch_add(1, Relaxed) + 1;
        inner.tell_call(&Event::Rejected { reason });
        if now.as_nanos() >= inner.counts.next_summary.load(Relaxed) {
            inner.summarise(rejected, retry_after, now);
        }
        Err(Rejected::new(Arc::clone(shard), reason, retry_after, word.era()))
    }

    pub(super) fn reject_unready(shard: &Arc<Shard>) -> Rejected {
        let inner = &*shard.inner;
        // Relaxed: a count, publishes nothing.
        inner.counts.rejected.fetch_add(1, Relaxed);
        inner.tell_call(&Event::Rejected { reason: RejectReason::Tripped });
        let word = inner.load();
        let retry_after = match inner.peek() {
            Peek::MayPass => Some(Duration::ZERO).filter(|_| !word.is_flowing()),
            Peek::Rejecting(retry_after) => retry_after,
        };
        Rejected::new(Arc::clone(shard), RejectReason::Tripped, retry_after, word.era())
    }

    /// Tells of the rejections since the last summary; of several threads that find it due, one does.
    #[cold]
    fn summarise(&self, rejected: u64, retry_after: Option<Duration>, now: Tick) {
        let due = self.counts.next_summary.load(Relaxed);
        let next = now.saturating_add(SUMMARY_EVERY).as_nanos();
        // Relaxed: the exchange elects one thread, it publishes nothing.
        if self.counts.next_summary.compare_exchange(due, next, Relaxed, Relaxed).is_err() {
            return;
        }
        let before = self.counts.summarised.swap(rejected, Relaxed);
        if let Some(rejected) = rejected.checked_sub(before).filter(|count| *count > 0) {
            let over = SUMMARY_EVERY.saturating_add(now.saturating_since(Tick::from_nanos(due)));
            self.tell(&Event::Rejections { rejected, over, retry_after });
        }
    }

    /// Begins the counting of rejections for a new opening: the first summary comes a while after.
    pub(super) fn begin_summaries(&self, now: Tick) {
        // Relaxed: counts, they publish nothing.
        self.counts.next_summary.store(now.saturating_add(SUMMARY_EVERY).as_nanos(), Relaxed);
        self.counts.summarised.store(self.counts.rejected.load(Relaxed), Relaxed);
    }

    pub(super) fn peek(&self) -> Peek {
        let word = self.load();
        if word.is_flowing() || word.mode() == Mode::Shadow {
            return Peek::MayPass;
        }
        let now = self.now();
        match self.gate(word, now) {
            Gate::Counted | Gate::Uncounted | Gate::Change(_) => Peek::MayPass,
            Gate::Probe if self.probes.any_free(word.era()) => Peek::MayPass,
            Gate::Probe => Peek::Rejecting(None),
            Gate::Closed(Tick::NEVER) => Peek::Rejecting(None),
            Gate::Closed(until) => Peek::Rejecting(Some(until.saturating_since(now))),
        }
    }
}

impl Opened for Shard {
    fn name(&self) -> &str {
        &self.inner.config.name
    }

    fn opened(&self, era: u64) -> Option<Transition> {
        let cold = self.inner.cold.lock();
        let mut past = cold.history.iter().rev().skip_while(|edge| edge.era > era);
        past.find(|edge| edge.to.is_open()).cloned()
    }
}

/// What a circuit that is not simply closed answers to a call.
enum Gate {
    Counted,
    Uncounted,
    /// A probe, if a slot is free.
    Probe,
    /// Nothing passes before then.
    Closed(Tick),
    /// Time has made a change due; look again after it.
    Change(Due),
}

#[derive(Clone, Copy)]
enum Due {
    HoldEnded,
    Probing,
    Overdue(Duration),
    Quiet { successes: u32, half_open_for: Duration },
}

/// A seed that differs between processes and circuits, from the randomness that std keeps for its hash maps.
fn random_seed() -> u64 {
    use std::hash::{BuildHasher, Hasher, RandomState};
    RandomState::new().build_hasher().finish()
}

/// Era 0 is before all: what `poll_changed` starts from.
const FIRST_ERA: u64 = 1;
const SUMMARY_EVERY: Duration = Duration::from_secs(10);
