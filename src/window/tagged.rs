//! A number that belongs to one era.
//!
//! ```text
//! word   63..40 era (low 24 bits) | 39..0 number
//! ```
//!
//! Whoever comes with another era changes nothing and reads nothing. Every era begins by replacing it, so the tag only has to
//! tell apart the eras that pass while one thread stands between two instructions.

use crate::sync::{AcqRel, Acquire, AtomicU64, Relaxed};

#[derive(Debug)]
pub(crate) struct Tagged(AtomicU64);

impl Tagged {
    pub(crate) fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Starts an era with `number`. Under the cold mutex, before the era is published.
    pub(crate) fn begin(&self, era: u64, number: u64) {
        // Relaxed: the Release store of the circuit's word publishes it with the era. A store would do, but loom would let a
        // straggler's exchange come after it that has read what was before it; transitions are rare, so the exchange is free.
        self.0.swap(tag(era) | number.min(MAX), Relaxed);
    }

    /// Returns the number, `None` if it belongs to another era.
    pub(crate) fn get(&self, era: u64) -> Option<u64> {
        // Acquire: pairs with the exchange in `update`; who sees a number sees what was recorded before it.
        let seen = self.0.load(Acquire);
        (seen & !MAX == tag(era)).then_some(seen & MAX)
    }

    /// Returns whether the number belongs to `era` and is that one. A hint, unlike [`get`](Self::get).
    #[inline]
    pub(crate) fn is(&self, era: u64, number: u64) -> bool {
        // Relaxed: the caller acts on the number only through `update`, whose exchange decides.
        self.0.load(Relaxed) == tag(era) | number
    }

    /// Changes the number and returns the new one; `None` if it belongs to another era.
    ///
    /// `change` works modulo 2^40. Where it changes nothing, nothing is written and the line stays shared.
    pub(crate) fn update(&self, era: u64, change: impl Fn(u64) -> u64) -> Option<u64> {
        // Relaxed: a guess; the exchange decides.
        let mut seen = self.0.load(Relaxed);
        while seen & !MAX == tag(era) {
            let number = change(seen & MAX) & MAX;
            let next = tag(era) | number;
            if next == seen {
                return Some(number);
            }
            // AcqRel: pairs with itself. Who comes second sees all that the first did before it: of two failures that complete
            // the evidence at once, the second to add to the run weighs both.
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
