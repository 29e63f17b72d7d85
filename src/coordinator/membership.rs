//! The members of a fleet, which are the instances that share a store and a fleet name.
//!
//! The number of members decides on the quorum. A count that is too high delays the fleet and endangers no instance, because
//! each instance still opens by itself. A count that is too low lets few instances decide for all. Therefore an unknown
//! number is never "alone".

/// The live members, as the record of the members shows them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Members {
    /// The number of live members with this instance. `None` before the store has answered.
    pub(super) live: Option<u32>,
    /// True if the record has shown no other live member for long enough.
    pub(super) is_alone: bool,
}

/// The rule for the number of votes that open a fleet.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Quorum {
    /// The least number of votes, unless the instance is alone.
    pub(super) at_least: u32,
    /// The share of the live members.
    pub(super) share: f64,
}

impl Quorum {
    /// Returns the number of votes that open a fleet with these members.
    pub(super) fn needed(self, members: Members) -> u32 {
        match members.live {
            _ if members.is_alone => 1,
            None => self.at_least.max(2),
            Some(live) => {
                let share = f64::from(live) * self.share;
                (self.at_least..MOST_NEEDED).find(|votes| f64::from(*votes) >= share).unwrap_or(MOST_NEEDED)
            }
        }
    }
}

/// The most votes that are ever needed, because more votes are only slower.
const MOST_NEEDED: u32 = 10;

#[cfg(all(test, not(breaker_loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_quorum_is_a_tenth_at_least_two_and_at_most_ten_unless_alone() {
        let quorum = Quorum { at_least: 2, share: 0.1 };
        let needed = |live| quorum.needed(Members { live: Some(live), is_alone: false });
        for (live, votes) in [(1, 2), (2, 2), (3, 2), (20, 2), (21, 3), (30, 3), (50, 5), (100, 10), (1_000, 10)] {
            assert_eq!(needed(live), votes, "{live} members");
        }
        assert_eq!(quorum.needed(Members::default()), 2, "an unknown number");
        assert_eq!(quorum.needed(Members { live: Some(1), is_alone: true }), 1, "alone");
    }
}
