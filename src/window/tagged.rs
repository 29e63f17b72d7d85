//! A number that belongs to one era, in one word.
//!
//! ```text
//! word   63..40 era (low 24 bits) | 39..0 number
//! ```
//!
//! A thread with a permit of another era neither changes nor reads the number. Every era begins by replacing the
//! word. So the 24 bits of the tag suffice, because they only have to distinguish the eras that begin while one
//! thread is between two instructions.

use crate::sync::{AcqRel, Acquire, AtomicU64, Relaxed};

#[derive(Debug)]
pub(crate) struct Tagged(AtomicU64);

impl Tagged {
    pub(crate) fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Starts an era with `number`. To be called under the cold mutex, before the era is published.
    pub(crate) fn begin(&self, era: u64, number: u64) {
        // Relaxed: the Release store of the circuit's word publishes the number with the era. A store would suffice.
        // But loom allows the exchange of a straggler to come after a store although the exchange has read the older
        // value. An exchange prevents that, and transitions are so rare that its cost does not matter.
        self.0.swap(tag(era) | number.min(MAX), Relaxed);
    }

    /// Returns the number, or `None` if it belongs to another era.
    pub(crate) fn get(&self, era: u64) -> Option<u64> {
        // Acquire: pairs with the exchange in `update`. A thread that sees a number sees
        // all that was recorded before it.
        let seen = self.0.load(Acquire);
        (seen & !MAX == tag(era)).then_some(seen & MAX)
    }

    /// Returns true if the word has this era and this number. Only a hint, because the load is Relaxed.
    #[inline]
    pub(crate) fn is(&self, era: u64, number: u64) -> bool {
        // Relaxed: the caller changes the number only through `update`, whose exchange decides.
        self.0.load(Relaxed) == tag(era) | number
    }

    /// Changes the number and returns the new number, or `None` if it belongs to another era.
    ///
    /// The result of `change` is taken modulo 2^40. If it changes nothing, nothing is written, so
    /// that the cache line stays shared.
    pub(crate) fn update(&self, era: u64, change: impl Fn(u64) -> u64) -> Option<u64> {
        self.try_update(era, |number| Some(change(number)))
    }

    /// Changes the number as [`update`](Self::update) does, unless `change` returns `None`.
    pub(crate) fn try_update(&self, era: u64, change: impl Fn(u64) -> Option<u64>) -> Option<u64> {
        // Relaxed: a guess, because the exchange decides.
        let mut seen = self.0.load(Relaxed);
        while seen & !MAX == tag(era) {
            let number = change(seen & MAX)? & MAX;
            let next = tag(era) | number;
            if next == seen {
                return Some(number);
            }
            // AcqRel: pairs with itself. The second of two threads sees all that the first did before. If two failures
            // complete the evidence at the same time, the thread that is second at the run therefore weighs both.
            match self.0.compare_exchange_weak(seen, next, AcqRel, Relaxed) {
                Ok(_) => return Some(number),
                Err(now) => seen = now,
            }
        }
        None
    }
}

/// The largest number.
pub(crate) const MAX: u64 = (1 << 40) - 1;

fn tag(era: u64) -> u64 {
    era << 40
}
