//! The number of votes needed to open a fleet, calculated from the number of its live members.

use super::Members;
use crate::keep::MOST_VOTES;

/// The rule for the number of votes needed to open a fleet.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::coordinator) struct Quorum {
    /// The smallest number of votes that can open the fleet. An instance that is alone needs only its own vote.
    pub(in crate::coordinator) at_least: u32,
    /// The share of the live members that must vote.
    pub(in crate::coordinator) share: f64,
}

impl Quorum {
    /// Returns the number of votes needed to open a fleet with these members.
    pub(in crate::coordinator) fn needed(self, members: Members) -> u32 {
        match members.live {
            _ if members.is_alone => 1,
            None => self.at_least.max(2),
            Some(live) => {
                let share = f64::from(live) * self.share;
                (self.at_least..MOST_VOTES).find(|votes| f64::from(*votes) >= share).unwrap_or(MOST_VOTES)
            }
        }
    }
}

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
