//! The number of calls of each forgotten key, in a fixed amount of memory.
//!
//! A caller who chooses keys can cause failed calls with very many keys, so that the layer has to forget circuits with
//! failures. Then a key in use differs from the keys of that caller only by its larger number of calls. Therefore the
//! layer stores the number of calls of each forgotten key. When the key returns, the layer adds this number to the
//! calls of the new circuit.
//!
//! The data structure is a filter as in `TinyLFU` (Einziger, Friedman and Manes, 2017), which is a Bloom filter with a
//! number in each cell. The filter stores numbers of calls up to 255. As long as the filter remembers a key, the number
//! is never too small, and seldom too large. There are two generations of cells. If the present generation is full, it
//! replaces the previous generation, and a new, empty generation begins. Thus old keys disappear without a scan.

use std::hash::BuildHasher;

use foldhash::fast::RandomState;

/// The numbers of calls of forgotten keys.
pub(super) struct Recall {
    /// The hasher of the keys. Its seed is random, so that a caller cannot choose keys that share cells.
    hasher: RandomState,
    cells: usize,
    /// The cells of the present generation. Allocated when the first key is forgotten, because most layers never forget
    /// a key.
    present: Box<[u8]>,
    /// The cells of the previous generation.
    past: Box<[u8]>,
    /// The number of keys that were added to the present generation.
    noted: usize,
}

impl Recall {
    /// Returns an empty filter for a layer with at most `max_keys` keys. The two generations take 512 bytes to 1 KiB
    /// for each of the `max_keys`, in total at least 8 KiB and at most 2 MiB. The filter remembers at least the last 85
    /// × `max_keys` forgotten keys. For a `max_keys` of 4 096 or more, the filter remembers at least the last 349 525
    /// forgotten keys.
    pub(super) fn new(max_keys: usize) -> Self {
        let cells = max_keys.saturating_mul(256).clamp(1 << 12, 1 << 20).next_power_of_two();
        let (present, past) = (Box::default(), Box::default());
        Self { hasher: RandomState::default(), cells, present, past, noted: 0 }
    }

    /// Stores the number of calls of a key that is forgotten. A number above 255 is stored as 255.
    pub(super) fn note(&mut self, key: &str, calls: u64) {
        if self.present.is_empty() || self.noted >= self.cells / PROBES {
            self.past = std::mem::replace(&mut self.present, vec![0; self.cells].into());
            self.noted = 0;
        }
        self.noted += 1;
        let calls = u8::try_from(calls).unwrap_or(u8::MAX).max(1);
        for at in self.probes(key) {
            self.present[at] = self.present[at].max(calls);
        }
    }

    /// Returns the number of calls of a forgotten key, at most 255. For a key that the filter does not know, the number
    /// is 0. For any key, the number can be too large, because keys share cells.
    pub(super) fn calls(&self, key: &str) -> u64 {
        let number = |cells: &[u8], at: usize| cells.get(at).copied().unwrap_or(0);
        let calls = |at| number(&self.present, at).max(number(&self.past, at));
        self.probes(key).into_iter().map(calls).min().unwrap_or(0).into()
    }

    fn probes(&self, key: &str) -> [usize; PROBES] {
        let hash = self.hasher.hash_one(key);
        let (first, step) = (hash >> 32, hash & 0xffff_ffff | 1);
        let mask = self.cells - 1;
        [0, 1, 2].map(|n| usize::try_from((first + n * step) & 0xffff_ffff).unwrap_or(0) & mask)
    }
}

/// Writes the number of keys, and leaves out the cells, which would fill pages.
impl std::fmt::Debug for Recall {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Recall").field("noted", &self.noted).finish_non_exhaustive()
    }
}

/// The number of cells that store the number of calls of one key.
const PROBES: usize = 3;

#[cfg(all(test, not(breaker_loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_forgotten_key_is_recalled_among_eighty_thousand_others() {
        let mut recall = Recall::new(1_000);
        assert_eq!(recall.calls("victim"), 0);
        recall.note("victim", 7);
        (0..80_000).for_each(|n| recall.note(&format!("key-{n}"), 1));
        assert_eq!(recall.calls("victim"), 7);
        let wrong = (0..10_000).filter(|n| recall.calls(&format!("new-{n}")) > 0).count();
        assert!(wrong < 4_000, "{wrong} of 10 000 new keys seem known");
        let wrong = (0..10_000).filter(|n| recall.calls(&format!("new-{n}")) > 1).count();
        assert!(wrong < 10, "{wrong} of 10 000 new keys seem to be in use");
    }

    #[test]
    fn the_memory_of_forgotten_keys_ends_at_two_mebibytes() {
        for (max_keys, bytes, remembered) in [
            (1, 8 << 10, 1_365),
            (1_000, 512 << 10, 87_381),
            (1_025, 1 << 20, 174_762),
            (4_096, 2 << 20, 349_525),
            (usize::MAX, 2 << 20, 349_525),
        ] {
            let mut recall = Recall::new(max_keys);
            (0..=remembered).for_each(|key| recall.note(&key.to_string(), 1));
            assert_eq!(recall.present.len() + recall.past.len(), bytes, "{max_keys}");
            assert_eq!(recall.noted, 1, "{max_keys}: a new generation begins after {remembered} keys");
        }
    }

    #[test]
    fn a_key_that_does_not_come_back_is_forgotten_at_last() {
        let mut recall = Recall::new(1);
        recall.note("gone", 1_000);
        assert_eq!(recall.calls("gone"), 255);
        (0..4_096).for_each(|n| recall.note(&format!("key-{n}"), 1));
        assert!(recall.calls("gone") <= 1);
    }
}
