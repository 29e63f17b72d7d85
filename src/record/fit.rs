//! The size limit of a record, and the removal of content from a record that is too long.
//!
//! A record longer than [`CircuitRecord::MAX_BYTES`] can be neither read nor written. If a record at this limit kept
//! all its content, no further act of an operator could be written. Therefore a record that is too long loses content
//! in a fixed order:
//!
//! 1. The entries of instances lose the reason and the time of the last opening, oldest entries first. Only people read
//!    these fields.
//! 2. The oldest entries are removed.
//!
//! A later version of this crate may need fields that this version does not know. Therefore up to
//! [`CircuitRecord::MAX_EXTRA_BYTES`] of unknown fields are kept, even in a record that is too long.
//!
//! The removal depends only on the record, so that all instances keep the same content. The computed length of a record
//! uses the largest number of digits for each sum over the entries. Therefore a record that is short enough stays short
//! enough when its sums grow.

use std::io;

use serde::Serialize;
use serde_json::{Map, Value};

use super::CircuitRecord;

impl CircuitRecord {
    /// Recomputes the sums over the entries of the instances, and removes content until the record is short enough to
    /// be written.
    pub(super) fn fit(&mut self) {
        self.sum();
        self.bound_extra();
        let has_extra = self.extras().any(|extra| !extra.is_empty());
        // A record with few entries and without unknown fields always fits, so its length is not computed.
        if !has_extra && self.instances.len() <= SURELY_FIT {
            return;
        }
        let mut excess = (length(self) + SUMS - self.length_of_sums()).saturating_sub(Self::MAX_BYTES);
        if excess == 0 {
            return;
        }
        let mut oldest: Vec<_> = self.instances.iter().map(|(id, entry)| (entry.sequence, id.clone())).collect();
        oldest.sort();
        for (_, id) in &oldest {
            if excess == 0 {
                break;
            }
            let opening = self.instances.get_mut(id).and_then(|entry| entry.opening.take());
            excess = excess.saturating_sub(opening.map_or(0, |opening| r#""opening":,"#.len() + length(&opening)));
        }
        for (_, id) in &oldest {
            if excess == 0 {
                break;
            }
            let removed = self.instances.remove(id);
            excess = excess.saturating_sub(":,".len() + length(id) + length(&removed));
        }
        self.sum();
    }

    /// Returns the number of bytes that the present sums over the entries have as JSON.
    fn length_of_sums(&self) -> usize {
        let Self { failure_count, success_count, total_failures, total_successes, last_failure_at, .. } = self;
        length(&(failure_count, success_count, total_failures, total_successes, last_failure_at))
    }

    /// Keeps at most [`MAX_EXTRA_BYTES`](Self::MAX_EXTRA_BYTES) of unknown fields (fields of a later version of this
    /// crate), and drops the other unknown fields.
    fn bound_extra(&mut self) {
        let mut room = Self::MAX_EXTRA_BYTES;
        for extra in self.extras() {
            extra.retain(|name, value| {
                let needed = length(name) + length(value) + 2;
                let fits = needed <= room;
                if fits {
                    room -= needed;
                }
                fits
            });
        }
    }

    /// Returns the unknown fields of the record and of each of its parts.
    fn extras(&mut self) -> impl Iterator<Item = &mut Map<String, Value>> {
        let operator = self.operator.iter_mut().map(|operated| &mut operated.extra);
        let fleet = self.fleet.iter_mut().map(|fleet| &mut fleet.extra);
        let entries = self.instances.values_mut().flat_map(|entry| {
            let vote = entry.vote.iter_mut().map(|vote| &mut vote.extra);
            let lease = entry.lease.iter_mut().map(|lease| &mut lease.extra);
            std::iter::once(&mut entry.extra).chain(vote).chain(lease)
        });
        std::iter::once(&mut self.extra).chain(operator).chain(fleet).chain(entries)
    }
}

/// Returns the number of bytes of `part` as JSON.
fn length(part: &impl Serialize) -> usize {
    struct Count(usize);

    impl io::Write for Count {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    let mut count = Count(0);
    // Serialization fails only for a state, mode or act that cannot be stored. `encode` reports this error, so this
    // function ignores the error.
    serde_json::to_writer(&mut count, part).ok();
    count.0
}

/// A record with at most this number of entries and without unknown fields is always short enough to be written. An
/// entry has at most 2 100 bytes, including its id, its vote and its lease. The record without its entries has at most
/// 14 000 bytes, including the decision of the fleet.
const SURELY_FIT: usize = 24;
/// The largest length of the sums over the entries, in bytes of JSON. The sum of failure weights has at most 24
/// characters, and each of the other four sums has at most 20 digits.
const SUMS: usize = 128;
