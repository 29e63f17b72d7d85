//! Admission: what stands between a call and the service.
//!
//! A healthy call passes with one load. Everything else is looked at in [`Gate`]s that change nothing; a change that time has
//! made due is carried out by the first call that finds it, so no timer is needed for correctness.

use core::time::Duration;
use std::sync::Arc;

use super::Peek;
use super::inner::{Inner, Shard, Start};
use super::permit::{Admission, Right};
use super::word::Word;
use crate::clock::Tick;
use crate::config::Recovery;
use crate::error::Rejected;
use crate::event::Event;
use crate::state::{Mode, Reason, RejectReason, Standing, State};
use crate::sync::Relaxed;

impl Inner {
    #[inline]
    pub(super) fn admit(shard: &Arc<Shard>, start: Start) -> Result<Admission<'_>, Rejected> {
        let word = shard.inner.load();
        let (era, right) = if word.is_flowing() {
            (word.era(), Right::Counted)
        } else {
            shard.inner.admit_unless_rejecting().map_err(|refusal| refusal.told_by(shard))?
        };
        Ok(Admission::new(shard, era, right, start))
    }

    /// Admission while not simply closed. Each turn of the loop follows a transition, ours or another thread's.
    // Out of line, but not cold: in an outage this is the path of every call. `peek_before_gate` and `refuse_unready` likewise.
    #[inline(never)]
    fn admit_unless_rejecting(&self) -> Result<(u64, Right), Refusal> {
        let now = self.now();
        loop {
            let word = self.load();
            let era = word.era();
            let right = |right| Ok((era, right));
            match self.gate(word, now) {
                Gate::Counted => return right(Right::Counted),
                Gate::Uncounted => return right(Right::Uncounted),
                Gate::Change(due) => self.carry_out(word, now, due),
                Gate::Probe { .. } => {
                    if let Some(probe) = self.probes.take(era, now) {
                        return right(Right::Probe(probe));
                    }
                    // No slot of this era: taken, or the era is over and the next turn sees it.
                    if self.load().era() == era {
                        return self.refuse(word, RejectReason::HalfOpen, None, now).and_then(right);
                    }
                }
                Gate::Closed(until) => {
                    let retry_after = self.rejects_until(word, until).map(|until| until.saturating_since(now));
                    return self.refuse(word, RejectReason::Tripped, retry_after, now).and_then(right);
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
        let oldest = self.probes.oldest(era, now);
        if let Some(age) = oldest.filter(|age| *age >= probing.deadline) {
            return Gate::Change(Due::Overdue(age));
        }
        let verdict = self.probes.verdict(era);
        let half_open_for = now.saturating_since(self.entered());
        if verdict.successes > 0 && verdict.failures == 0 && half_open_for >= probing.quiet_after {
            return Gate::Change(Due::Quiet { successes: verdict.successes, half_open_for });
        }
        Gate::Probe { overdue_in: probing.deadline.saturating_sub(oldest.unwrap_or_default()) }
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
        &self,
        word: Word,
        reason: RejectReason,
        retry_after: Option<Duration>,
        now: Tick,
    ) -> Result<Right, Refusal> {
        if word.mode() == Mode::Shadow {
            // Relaxed: a count, publishes nothing.
            self.counts.would_reject.fetch_add(1, Relaxed);
            return Ok(Right::Uncounted);
        }
        Err(self.reject(word, reason, retry_after, now))
    }

    /// Makes a rejection, counts it, and tells of it: at once, or in a summary.
    fn reject(&self, word: Word, reason: RejectReason, retry_after: Option<Duration>, now: Tick) -> Refusal {
        // Relaxed here and below: counts, they publish nothing.
        let rejected = self.counts.rejected.fetch_add(1, Relaxed) + 1;
        self.tell_call(&Event::Rejected { reason });
        let due = self.counts.next_summary.load(Relaxed);
        // A closed circuit rejects only whoever did not poll the service ready: nothing to wake an operator for.
        if !word.restored().is_flowing() && now.as_nanos() >= due {
            self.summarise(due, rejected, retry_after, now);
        }
        Refusal { reason, retry_after, era: word.era() }
    }

    #[inline]
    pub(super) fn reject_unready(shard: &Arc<Shard>) -> Rejected {
        shard.inner.refuse_unready().told_by(shard)
    }

    #[inline(never)]
    fn refuse_unready(&self) -> Refusal {
        let (word, now) = (self.load(), self.now());
        let probing = word.standing() == Standing::new(State::HalfOpen, Mode::Automatic);
        let reason = if probing { RejectReason::HalfOpen } else { RejectReason::Tripped };
        let retry_after = match self.peek_at(word, now) {
            // The deadline has passed since the service was polled.
            Peek::MayPass => (!probing).then_some(Duration::ZERO),
            Peek::Rejecting(retry_after) => retry_after,
            Peek::ProbesTaken(_) | Peek::AwaitsRestore => None,
        };
        self.reject(word, reason, retry_after, now)
    }

    #[inline]
    pub(super) fn peek(&self) -> Peek {
        let word = self.load();
        if word.is_flowing() { Peek::MayPass } else { self.peek_before_gate(word) }
    }

    #[inline(never)]
    fn peek_before_gate(&self, word: Word) -> Peek {
        if word.awaits_restore() { Peek::AwaitsRestore } else { self.peek_at_gate(word) }
    }

    /// What a caller meets who does not wait for a restore.
    pub(super) fn peek_at_gate(&self, word: Word) -> Peek {
        if word.mode() == Mode::Shadow { Peek::MayPass } else { self.peek_at(word, self.now()) }
    }

    fn peek_at(&self, word: Word, now: Tick) -> Peek {
        match self.gate(word, now) {
            Gate::Counted | Gate::Uncounted | Gate::Change(_) => Peek::MayPass,
            Gate::Probe { .. } if self.probes.any_free(word.era()) => Peek::MayPass,
            Gate::Probe { overdue_in } => Peek::ProbesTaken(overdue_in),
            Gate::Closed(until) => {
                Peek::Rejecting(self.rejects_until(word, until).map(|until| until.saturating_since(now)))
            }
        }
    }

    /// Whether a call that is too heavy for a busy machine is refused, which in shadow is only counted.
    ///
    /// Not where the circuit rejects by itself, as that is then the reason; and not where an operator lets every call through.
    #[cfg(any(feature = "load-shed", all(test, breaker_loom)))]
    pub(super) fn may_shed(&self, now: Tick) -> bool {
        let word = self.load();
        let lets_through = match self.gate(word, now) {
            Gate::Counted | Gate::Change(_) => true,
            Gate::Probe { .. } => self.probes.any_free(word.era()),
            Gate::Uncounted | Gate::Closed(_) => false,
        };
        if lets_through && word.mode() == Mode::Shadow {
            // Relaxed: a count, publishes nothing.
            self.counts.would_reject.fetch_add(1, Relaxed);
            return false;
        }
        lets_through
    }

    /// When calls may pass again, if that is known: a hold over an opening that only a reset ends, ends in that.
    fn rejects_until(&self, word: Word, until: Tick) -> Option<Tick> {
        let manual = self.config.recovery == Recovery::Manual && word.state() == State::Open;
        (until != Tick::NEVER && !manual).then_some(until)
    }
}

/// A rejection before it is anybody's: plain numbers, of which the caller makes the error where it is to lie.
#[derive(Clone, Copy)]
struct Refusal {
    reason: RejectReason,
    retry_after: Option<Duration>,
    era: u64,
}

impl Refusal {
    #[inline]
    fn told_by(self, shard: &Arc<Shard>) -> Rejected {
        Rejected::new(Arc::clone(shard), self.reason, self.retry_after, self.era)
    }
}

/// What a circuit that is not simply closed answers to a call.
enum Gate {
    Counted,
    Uncounted,
    /// A probe, if a slot is free. The oldest one is overdue after that time.
    Probe {
        overdue_in: Duration,
    },
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
