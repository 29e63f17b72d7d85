//! A number and the tag of its era (version of the state) in one atomic word. An outcome of another era must not change
//! the number.
//!
//! ```text
//! word   63..40 era (low 24 bits) | 39..0 number
//! ```
//!
//! A thread with a permit of another era neither changes nor reads the number. Each new era replaces the word. A slow
//! thread could confuse two eras only if 2^24 eras began while the thread was between two instructions. Therefore a tag
//! of 24 bits is enough.

use crate::sync::{AcqRel, Acquire, AtomicU64, Relaxed};

#[derive(Debug)]
pub(crate) struct Tagged(AtomicU64);

impl Tagged {
    pub(crate) fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Starts an era with `number`. The caller holds the circuit's cold mutex and publishes the era after this call.
    pub(crate) fn begin(&self, era: u64, number: u64) {
        // Relaxed, because the Release store of the circuit's state word publishes the number with the era. A plain
        // store would be correct on hardware. In loom, however, the exchange of a slow thread could succeed with the
        // value that the word had before the plain store, and overwrite the store. `swap` prevents this. Its cost does
        // not matter, because transitions are rare.
        self.0.swap(tag(era) | number.min(MAX), Relaxed);
    }

    /// Returns the number, or `None` if the number belongs to another era.
    pub(crate) fn get(&self, era: u64) -> Option<u64> {
        // Acquire, which pairs with the exchange in `update`. A thread that sees a number also sees all data that was
        // recorded before this number.
        let seen = self.0.load(Acquire);
        (seen & !MAX == tag(era)).then_some(seen & MAX)
    }

    /// Returns true if the word has this era and this number. The result is only a hint, because the load is Relaxed.
    #[inline]
    pub(crate) fn is(&self, era: u64, number: u64) -> bool {
        // Relaxed, because no caller uses this result to read other data, and the exchange in `update` decides every
        // change.
        self.0.load(Relaxed) == tag(era) | number
    }

    /// Changes the number and returns the new number, or `None` if the number belongs to another era.
    ///
    /// The result of `change` is taken modulo 2^40. If the result equals the present number, nothing is written, so
    /// that the cache line stays shared between the processors.
    pub(crate) fn update(&self, era: u64, change: impl Fn(u64) -> u64) -> Option<u64> {
        self.try_update(era, |number| Some(change(number)))
    }

    /// Changes the number as [`update`](Self::update) does. If `change` returns `None`, changes nothing and returns
    /// `None`.
    pub(crate) fn try_update(&self, era: u64, change: impl Fn(u64) -> Option<u64>) -> Option<u64> {
        // Relaxed, because the load is only a guess and the exchange decides.
        let mut seen = self.0.load(Relaxed);
        while seen & !MAX == tag(era) {
            let number = change(seen & MAX)? & MAX;
            let next = tag(era) | number;
            if next == seen {
                return Some(number);
            }
            // AcqRel, because the exchanges of two threads pair with each other. The thread with the second exchange
            // sees all data that the first thread wrote before its exchange. So if two failures together meet a trip
            // rule, the second thread sees both failures.
            match self.0.compare_exchange_weak(seen, next, AcqRel, Relaxed) {
                Ok(_) => return Some(number),
                Err(now) => seen = now,
            }
        }
        None
    }
}

/// The largest number that a word holds beside the tag.
pub(crate) const MAX: u64 = (1 << 40) - 1;

fn tag(era: u64) -> u64 {
    era << 40
}
