//! Leased probes. A half-open circuit of a fleet needs a grant (a permission of the coordinator) for each probe.
//!
//! All instances of a fleet together make only a few probes of a service. Therefore an instance requests a lease for
//! each probe. Once the instance holds the lease, the coordinator grants the probe to the circuit. A grant is a free
//! slot for the next call (`probes/slot.rs`), so that no call waits for the store.
//!
//! Probes need grants only until a certain time, which the coordinator moves forward again and again. If the store is
//! down, the coordinator has ended, the runtime stalls or the registry is gone, no coordinator moves the time forward,
//! and the time passes. The circuit then probes by itself, as a circuit without a fleet does.
//!
//! In shadow mode no probe needs a grant, because every call passes in any case, and because an instance in shadow
//! requests no lease. While probes need grants, neither the quiet rule (`quiet_after`) nor an overdue probe ends the
//! half-open era. The era includes the waits for leases, so its duration says little about the service. The fleet has
//! rules of its own for the end of its half-open time. The coordinator handles votes, leases, and the effect of a probe
//! on the fleet.

#[cfg(all(test, not(breaker_loom)))]
mod tests;

#[cfg(any(feature = "store", test))]
use std::time::Duration;

#[cfg(any(feature = "store", test))]
use super::Circuit;
use super::inner::Inner;
#[cfg(any(feature = "store", test))]
use super::word::Word;
use crate::clock::Tick;
use crate::state::Mode;
#[cfg(any(feature = "store", test))]
use crate::state::State;
use crate::sync::Relaxed;

/// The probes of a half-open era at one moment, for the coordinator of a fleet.
#[cfg(any(feature = "store", test))]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Probed {
    pub(crate) era: u64,
    pub(crate) successes: u32,
    pub(crate) failures: u32,
    /// The number of granted probes that no call has used.
    pub(crate) granted: u32,
    /// The number of probes that hold a slot.
    pub(crate) under_way: u32,
    /// The age of the oldest probe that holds a slot, overdue probes included. Zero if no probe holds a slot.
    pub(crate) oldest: Duration,
}

#[cfg(any(feature = "store", test))]
impl Circuit {
    /// Requires a grant of the coordinator for each probe, from now on for the duration `lasts`. This duration replaces
    /// an earlier duration. With zero, probes need no grant from now on. A call of this function with a later end wakes
    /// no task and takes no lock.
    ///
    /// If an era begins after this function has returned, the calls of that era observe the new duration.
    pub(crate) fn lease_probes(&self, lasts: Duration) {
        let inner = self.inner();
        let until = if lasts.is_zero() { Tick::ZERO } else { inner.now().saturating_add(lasts) };
        // Relaxed, because the time publishes no other data. A thread that still reads the old time decides as if this
        // function had been called later. The next transition stores the word, and so publishes the time to the calls
        // of the next era.
        let before = inner.leased_until.swap(until.as_nanos(), Relaxed);
        if until.as_nanos() < before {
            // Waiting tasks have timers for the old end, which is later than the new end. The tasks must check the
            // circuit again.
            inner.wakers.wake();
        }
    }

    /// Lets the next call of the half-open era `era` be a probe. If a probe of the era ended without a verdict, the
    /// next two calls may be probes. The second grant is for a hedge (one request that is sent twice). If its second
    /// request were rejected, the hedge would cancel the probe of the first request, which would then have no verdict
    /// either. Returns true if a slot was granted. Returns false if the era is over, if the circuit starts no probes,
    /// or if each slot is granted already or taken by a probe.
    pub(crate) fn grant(&self, era: u64) -> bool {
        let inner = self.inner();
        // The word is checked, so that the answer is false for an era that is over or starts no probes. If another
        // thread begins an era after the check, the grant has no effect, because a grant is valid only in the era that
        // its slot names.
        let word = inner.load();
        let granted = word.era() == era && is_probing(word) && inner.probes.grant(era);
        if granted {
            // The slot is free before the tasks are woken, so that a woken task finds the slot.
            inner.wakers.wake();
        }
        granted
    }

    /// Withdraws the grants of `era` that no call has used.
    pub(crate) fn withhold(&self, era: u64) {
        self.inner().probes.withhold(era);
    }

    /// Returns the probes of the present half-open era. `None` if the circuit is not half-open, or starts no probes
    /// because of a hold or the kill switch.
    pub(crate) fn probing(&self) -> Option<Probed> {
        let inner = self.inner();
        let (word, now) = (inner.load(), inner.now());
        is_probing(word).then(|| {
            let era = word.era();
            let verdict = inner.probes.verdict(era);
            let (granted, under_way, oldest) = inner.probes.grants_and_probes(era, now);
            let (successes, failures) = (verdict.successes, verdict.failures);
            Probed { era, successes, failures, granted, under_way, oldest: Duration::from_nanos(oldest) }
        })
    }
}

impl Inner {
    /// Returns the time until which a probe needs a grant (a permission of the coordinator) in this mode. Zero in
    /// shadow, where no probe needs a grant.
    #[inline(always)]
    pub(super) fn leased_until(&self, mode: Mode) -> Tick {
        if mode == Mode::Shadow {
            return Tick::ZERO;
        }
        // Relaxed, because the time publishes no other data. A thread that reads an earlier value decides as if
        // `Circuit::lease_probes` had been called later.
        Tick::from_nanos(self.leased_until.load(Relaxed))
    }

    /// Makes the circuit half-open if this change is due and each probe needs a lease. The change is due if the open
    /// duration is over and no health probe is awaited, or if a hold is over. The coordinator can then request a lease
    /// before a call comes.
    pub(super) fn await_grant_if_due(&self, now: Tick) {
        let word = self.load();
        if word.is_flowing() || self.plain_wait(word, now).is_some() || now >= self.leased_until(word.beneath()) {
            return;
        }
        if let Err(due) = self.scene(word, now).gate()
            && due.begins_round(word.state())
        {
            self.carry_out(word, now, due);
        }
    }
}

/// Returns true if the circuit is half-open, and is neither under a hold nor under the kill switch. Calls may then be
/// probes.
#[cfg(any(feature = "store", test))]
fn is_probing(word: Word) -> bool {
    word.state() == State::HalfOpen && !word.mode().is_hold() && !word.bypassed()
}
