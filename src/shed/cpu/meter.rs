//! Two counters that only grow, and the share that they say was used over the last second.

use std::collections::VecDeque;
use std::time::Duration;

use crate::clock::Tick;

/// The looks of the last second, oldest first.
#[derive(Debug, Default)]
pub(super) struct Meter {
    looks: VecDeque<Look>,
}

#[derive(Debug, Clone, Copy)]
struct Look {
    at: Tick,
    used: u64,
    /// What there was to be used, in the unit of `used`.
    offered: u64,
}

impl Meter {
    /// Takes in counters of what was used and what there was. `None`: nothing to compare them with.
    pub(super) fn of_counters(&mut self, at: Tick, used: u64, offered: u64) -> Option<f64> {
        self.take_in(Look { at, used, offered })
    }

    /// Takes in a counter of what was used, where a quota is given for each period; all in microseconds.
    pub(super) fn of_quota(&mut self, at: Tick, used: u64, quota: u64, period: u64) -> Option<f64> {
        let offered = self.looks.back().map_or(0, |last| {
            let elapsed = at.saturating_since(last.at).as_micros();
            let offered = elapsed.saturating_mul(quota.into()) / u128::from(period.max(1));
            last.offered.saturating_add(u64::try_from(offered).unwrap_or(u64::MAX))
        });
        self.take_in(Look { at, used, offered })
    }

    fn take_in(&mut self, look: Look) -> Option<f64> {
        if let Some(last) = self.looks.back() {
            let age = look.at.saturating_since(last.at);
            // A counter that fell has begun anew, or was another's. What happened long ago is not the load of now.
            if look.used < last.used || look.offered < last.offered || age >= FORGOTTEN {
                self.looks.clear();
            } else if age < SOON {
                // Too little to be measured by clocks that tick every 10 ms.
                return self.share();
            }
        }
        self.looks.push_back(look);
        while self.looks.get(1).is_some_and(|next| look.at.saturating_since(next.at) >= OVER) {
            self.looks.pop_front();
        }
        self.share()
    }

    fn share(&self) -> Option<f64> {
        let (first, last) = (self.looks.front()?, self.looks.back()?);
        let (used, offered) = (last.used - first.used, last.offered - first.offered);
        (offered > 0).then(|| float(used) / float(offered))
    }
}

#[expect(clippy::cast_precision_loss, reason = "a share of a second, in millionths at most")]
fn float(count: u64) -> f64 {
    count as f64
}

const OVER: Duration = Duration::from_secs(1);
const SOON: Duration = Duration::from_millis(100);
const FORGOTTEN: Duration = Duration::from_secs(10);
