//! The tag of a bucket. The tag has the low bits of the era (version of the state) and of the time slot to which the
//! bucket's count belongs.
//!
//! ```text
//! word   63..56 era (low 8 bits) | 55..32 slot (low 24 bits) | 31..0 count
//! ```
//!
//! The tags wrap. Therefore the owner of the buckets empties the buckets at the start of each block of 64 eras, so that
//! eras stay apart. The 24 bits of a slot repeat after 194 days if a bucket lasts 1 s. Only a count that no call has
//! replaced for so long can look recent again.

/// The low bits of the era and the slot of a bucket.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Tag(u32);

impl Tag {
    pub(super) fn new(era: u64, slot: u64) -> Self {
        #[expect(clippy::cast_possible_truncation, reason = "8 and 24 bits, by the masks")]
        let tag = ((era & ERA_MASK) << SLOT_BITS | slot & SLOT_MASK) as u32;
        Self(tag)
    }

    fn era(self) -> u8 {
        self.0.to_be_bytes()[0]
    }

    /// Returns the number of eras from `other` to `self`, modulo 256.
    pub(super) fn eras_after(self, other: Self) -> u8 {
        self.era().wrapping_sub(other.era())
    }

    /// Returns the number of slots from `other` to `self`, or `None` if the number is more than `at_most`.
    pub(super) fn slots_after(self, other: Self, at_most: u32) -> Option<u32> {
        let after = self.0.wrapping_sub(other.0) & SLOT_MASK_U32;
        (after <= at_most).then_some(after)
    }

    /// Returns true if an outcome with the tag `other` must not replace a bucket with the tag `self`.
    ///
    /// A slot counts as later only up to two windows ahead. If a slot is further ahead, the clock has jumped back or
    /// the number of the slot has wrapped. Then the bucket must be replaced. Otherwise the bucket would refuse outcomes
    /// until the clock reaches its slot.
    pub(super) fn is_later_than(self, other: Self, buckets: u32) -> bool {
        match self.eras_after(other) {
            0 => self.slots_after(other, 2 * buckets).is_some(),
            ahead => ahead < 128,
        }
    }

    /// Returns true if a bucket with the tag `self` is in the window that ends with the slot `current`.
    ///
    /// The slot after `current` counts too, because another thread may have read the clock a moment later.
    pub(super) fn counts_at(self, current: Self, buckets: u32) -> bool {
        self.era() == current.era()
            && (current.slots_after(self, buckets - 1).is_some() || self.slots_after(current, 1).is_some())
    }
}

pub(super) fn split(word: u64) -> (Tag, u32) {
    #[expect(clippy::cast_possible_truncation, reason = "the two halves")]
    let halves = ((word >> 32) as u32, word as u32);
    (Tag(halves.0), halves.1)
}

pub(super) fn join(tag: Tag, count: u32) -> u64 {
    u64::from(tag.0) << 32 | u64::from(count)
}

const SLOT_BITS: u32 = 24;
const SLOT_MASK_U32: u32 = (1 << SLOT_BITS) - 1;
const SLOT_MASK: u64 = SLOT_MASK_U32 as u64;
const ERA_MASK: u64 = 0xFF;
/// The number of eras after which a window is emptied. The number is less than half of the 256 eras that a tag can
/// distinguish, so that `is_later_than` is always right.
pub(super) const ERAS_KEPT_APART: u64 = 64;
