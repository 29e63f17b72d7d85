//! The size limit of a record, and the removal of content from a record that is too long.
//!
//! The limits for reading and for writing are the same. If a record at the limit kept all its content, no further act
//! of an operator could be stored. Therefore a record that is too long loses content in a fixed order. First, the
//! entries of instances lose the reason and the time of their last opening, the oldest entries first. Only people read
//! these fields. If that is not enough, the oldest entries are removed. A later version of this crate may decide by
//! fields that this version does not know. Therefore unknown fields are kept up to a bound, even in a record that is
//! too long.
//!
//! The result depends only on the record, so that all instances keep the same content. The length of a record is
//! computed as if each sum over the entries had its largest number of digits. Therefore a record that fits still fits
//! when its sums grow.

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

    /// Returns the present length of the sums over the entries, in bytes of JSON.
    fn length_of_sums(&self) -> usize {
        let Self { failure_count, success_count, total_failures, total_successes, last_failure_at, .. } = self;
        length(&(failure_count, success_count, total_failures, total_successes, last_failure_at))
    }

    /// Drops the unknown fields beyond [`MAX_EXTRA_BYTES`](Self::MAX_EXTRA_BYTES).
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

/// Returns the length of a part in JSON, in bytes.
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
    // Only a state, mode or act that cannot be stored causes an error. `encode` reports this error, so it is ignored
    // here.
    serde_json::to_writer(&mut count, part).ok();
    count.0
}

/// The number of entries up to which a record without unknown fields is always short enough. An entry has at most 2 100
/// bytes, including its id, its vote and its lease. The rest of the record, including the decision of the fleet, has at
/// most 14 000 bytes.
const SURELY_FIT: usize = 24;
/// The longest length of the sums over the entries, in bytes of JSON. The longest weight has 24 characters, and each of
/// the other four sums has at most 20 digits.
const SUMS: usize = 128;
