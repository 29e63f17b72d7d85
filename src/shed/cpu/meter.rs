//! The meter of a load, which computes the used share of a resource during the last second. The meter compares two
//! growing counters: the used amount and the available amount.

use std::collections::VecDeque;
use std::time::Duration;

use crate::clock::Tick;

/// The meter, with the samples of the last second, oldest first.
#[derive(Debug, Default)]
pub(super) struct Meter {
    samples: VecDeque<Sample>,
}

#[derive(Debug, Clone, Copy)]
struct Sample {
    at: Tick,
    used: u64,
    /// The amount that was available, in the unit of `used`.
    offered: u64,
}

impl Meter {
    /// Adds a sample of both counters, and returns the used share. Returns `None` if there is no earlier sample to
    /// compare with.
    pub(super) fn of_counters(&mut self, at: Tick, used: u64, offered: u64) -> Option<f64> {
        self.add(Sample { at, used, offered })
    }

    /// Adds a sample of the used amount, and returns the used share as [`of_counters`](Self::of_counters) does. The
    /// available amount grows by `quota` in each `period` of the elapsed time. All values are in microseconds.
    pub(super) fn of_quota(&mut self, at: Tick, used: u64, quota: u64, period: u64) -> Option<f64> {
        let offered = self.samples.back().map_or(0, |last| {
            let elapsed = at.saturating_since(last.at).as_micros();
            let offered = elapsed.saturating_mul(quota.into()) / u128::from(period.max(1));
            last.offered.saturating_add(u64::try_from(offered).unwrap_or(u64::MAX))
        });
        self.add(Sample { at, used, offered })
    }

    fn add(&mut self, sample: Sample) -> Option<f64> {
        if let Some(last) = self.samples.back() {
            let age = sample.at.saturating_since(last.at);
            // The samples are dropped if a counter has fallen, because the counter was reset or belongs to another
            // cgroup. After a long pause the samples are dropped too, because they say nothing about the present load.
            if sample.used < last.used || sample.offered < last.offered || age >= FORGOTTEN {
                self.samples.clear();
            } else if age < SOON {
                // The kernel updates the counters every 10 ms. The new sample follows the last sample so closely that a
                // comparison of the two would be inaccurate. Therefore the new sample is not kept.
                return self.share();
            }
        }
        self.samples.push_back(sample);
        while self.samples.get(1).is_some_and(|next| sample.at.saturating_since(next.at) >= OVER) {
            self.samples.pop_front();
        }
        self.share()
    }

    fn share(&self) -> Option<f64> {
        let (first, last) = (self.samples.front()?, self.samples.back()?);
        let (used, offered) = (last.used - first.used, last.offered - first.offered);
        (offered > 0).then(|| float(used) / float(offered))
    }
}

#[expect(clippy::cast_precision_loss, reason = "a share of a second, in millionths at most")]
fn float(count: u64) -> f64 {
    count as f64
}

/// The time over which the share is computed.
const OVER: Duration = Duration::from_secs(1);
/// The shortest time between two samples.
const SOON: Duration = Duration::from_millis(100);
/// The age from which the last sample is too old to be compared with a new sample, and is dropped.
const FORGOTTEN: Duration = Duration::from_secs(10);
