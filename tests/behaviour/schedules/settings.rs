//! Random settings of a circuit: as the circuit takes them, and as plain numbers for the model.

use std::ops::RangeInclusive;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use tower_circuit_breaker::clock::MockClock;
use tower_circuit_breaker::config::Recovery;
use tower_circuit_breaker::{Config, Group, OpenDuration, Window};

use crate::rig::{millis, no_rules};

/// All durations in milliseconds: the test moves its clock in whole ones, so that every deadline can be met exactly.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    pub(super) window: Shape,
    pub(super) failure_rate: Option<Share>,
    pub(super) min_calls: u32,
    pub(super) consecutive_failures: Option<u32>,
    pub(super) raised_at_traffic: bool,
    /// In quarters of a hard failure.
    pub(super) failure_score: Option<u32>,
    pub(super) slow: Option<(Share, u64)>,
    /// In tenths, and the second limit of the failure rate.
    pub(super) throttle: Option<(u32, Share)>,
    pub(super) trip_on_any_outcome: bool,
    pub(super) open_for: Open,
    pub(super) recovery: Recovery,
    pub(super) probes: u32,
    pub(super) probes_in_flight: u32,
    pub(super) probe_failures_tolerated: u32,
    pub(super) probe_deadline: u64,
    pub(super) quiet_after: u64,
    pub(super) ramp: Option<u64>,
    pub(super) cancelled_counts_after: Option<u64>,
    pub(super) sharded: bool,
    pub(super) shadow: bool,
    /// The share of the group, if the circuit is in a group.
    pub(super) group: Option<Share>,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Shape {
    Time { length: u64, buckets: u32 },
    Calls(u32),
}

/// A fraction, so that the model compares integers where the circuit compares floats.
#[derive(Debug, Clone, Copy)]
pub(super) struct Share {
    pub(super) part: u32,
    pub(super) of: u32,
}

#[derive(Debug, Clone)]
pub(super) enum Open {
    Fixed(u64),
    Doubling { base: u64, max: u64 },
    Listed(Vec<u64>),
}

impl Settings {
    pub(super) fn config(&self, clock: &MockClock, group: Option<&Group>) -> Config {
        let window = match self.window {
            Shape::Time { length, buckets } => Window::time(millis(length)).buckets(buckets),
            Shape::Calls(calls) => Window::calls(calls),
        };
        let mut builder = no_rules(Config::builder("random"))
            .clock(clock.clone())
            .seed(1)
            .without_shipped_observers()
            .window(window)
            .min_calls(self.min_calls)
            .trip_on_any_outcome(self.trip_on_any_outcome)
            .open_for(self.open_for.to_setting())
            .recovery(self.recovery)
            .probes(self.probes)
            .probes_in_flight(self.probes_in_flight)
            .probe_failures_tolerated(self.probe_failures_tolerated)
            .probe_deadline(millis(self.probe_deadline))
            .quiet_after(millis(self.quiet_after));
        if let Some(ramp) = self.ramp {
            builder = builder.ramp(millis(ramp));
        }
        if let Some(rate) = self.failure_rate {
            builder = builder.failure_rate(rate.to_f64());
        }
        builder = match self.consecutive_failures {
            Some(n) if self.raised_at_traffic => builder.consecutive_failures_raised_at_traffic(n),
            Some(n) => builder.consecutive_failures(n),
            None => builder,
        };
        if let Some(quarters) = self.failure_score {
            builder = builder.failure_score(f64::from(quarters) / 4.0);
        }
        if let Some((rate, slower_than)) = self.slow {
            builder = builder.slow_call_rate(rate.to_f64()).slower_than(millis(slower_than));
        }
        if let Some((tenths, limit)) = self.throttle {
            builder = builder.throttle(f64::from(tenths) / 10.0).throttled_failure_rate(limit.to_f64());
        }
        builder = match self.cancelled_counts_after {
            Some(after) => builder.cancelled_counts_after(millis(after)),
            None => builder.cancelled_never_counts(),
        };
        if let Some(group) = group {
            builder = builder.group(group);
        }
        if self.sharded {
            builder = builder.sharded();
        }
        if self.shadow {
            builder = builder.shadow();
        }
        builder.build().expect("only settings that can work are made up")
    }

    /// Returns the limit of the failure rate, which is the higher one while a throttle is set.
    pub(super) fn failure_limit(&self) -> Option<Share> {
        let rate = self.failure_rate?;
        let second = self.throttle.map_or(rate, |(_, limit)| limit);
        Some(if second.to_f64() > rate.to_f64() { second } else { rate })
    }

    /// Whether a rule or the throttle looks at the window.
    pub(super) fn needs_window(&self) -> bool {
        self.has_rate() || self.failure_score.is_some() || self.throttle.is_some()
    }

    /// Whether a rule compares shares of calls.
    pub(super) fn has_rate(&self) -> bool {
        self.failure_rate.is_some() || self.slow.is_some()
    }
}

impl Share {
    pub(super) fn to_f64(self) -> f64 {
        f64::from(self.part) / f64::from(self.of)
    }
}

impl Open {
    /// Returns the attempt from which an opening is no longer than the last one, if the circuit can know it.
    pub(super) fn last_attempt(&self) -> u32 {
        match self {
            Self::Doubling { max, .. } => (1..).find(|attempt| self.of(*attempt) == *max).expect("it doubles"),
            Self::Fixed(_) | Self::Listed(_) => u32::MAX,
        }
    }

    fn to_setting(&self) -> OpenDuration {
        match self.clone() {
            Self::Fixed(open) => OpenDuration::fixed(millis(open)),
            Self::Doubling { base, max } => OpenDuration::exponential(millis(base), millis(max)).jitter(0.0),
            Self::Listed(list) => OpenDuration::from_fn(move |attempt| millis(listed(&list, attempt))),
        }
    }

    /// Returns the open duration of an attempt, counted from 1, in milliseconds.
    pub(super) fn of(&self, attempt: u32) -> u64 {
        match self {
            Self::Fixed(open) => *open,
            Self::Doubling { base, max } => {
                let mut open = *base;
                for _ in 1..attempt {
                    open = (open * 2).min(*max);
                }
                open.min(*max)
            }
            Self::Listed(list) => listed(list, attempt),
        }
    }
}

fn listed(list: &[u64], attempt: u32) -> u64 {
    let index = usize::try_from(attempt).expect("small") - 1;
    list[index.min(list.len() - 1)]
}

pub(super) fn settings() -> impl Strategy<Value = Settings> {
    let rules = (
        window(),
        option::of(share()),
        1_u32..=8,
        option::of(1_u32..=6),
        any::<bool>(),
        option::weighted(0.3, 1_u32..=40),
        option::of((share(), 1_u64..=300)),
        any::<bool>(),
        option::weighted(0.3, (11_u32..=40, share())),
    );
    let recovery = (
        open(),
        prop_oneof![5 => Just(Recovery::Automatic), 1 => Just(Recovery::Manual)],
        1_u32..=3,
        1_u32..=3,
        prop_oneof![2 => Just(0_u32), 1 => 1_u32..=2],
        100_u64..=3_000,
        100_u64..=5_000,
        option::of(prop_oneof![1 => Just(0_u64), 4 => 1_u64..=5_000]),
    );
    let rest = (
        option::weighted(0.8, prop_oneof![1 => Just(0_u64), 4 => 1_u64..=1_500]),
        any::<bool>(),
        prop_oneof![6 => Just(false), 1 => Just(true)],
        option::weighted(0.5, share()),
    );
    (rules, recovery, rest).prop_map(|(rules, recovery, rest)| {
        let (window, failure_rate, min_calls, consecutive_failures, raised_at_traffic, ..) = rules;
        let (.., failure_score, slow, any, throttle) = rules;
        let (open_for, recovery, probes, probes_in_flight, probe_failures_tolerated, deadline, quiet, ramp) = recovery;
        let (cancelled_counts_after, sharded, shadow, group) = rest;
        // A ring that never holds enough is refused by the builder.
        let most = match window {
            Shape::Time { .. } => u32::MAX,
            Shape::Calls(calls) => calls,
        };
        Settings {
            window,
            failure_rate,
            min_calls: min_calls.min(most),
            consecutive_failures,
            raised_at_traffic,
            failure_score: failure_score.map(|quarters| quarters.min(most.saturating_mul(4))),
            slow,
            throttle: throttle.filter(|_| matches!(window, Shape::Time { .. })),
            trip_on_any_outcome: any,
            open_for,
            recovery,
            probes,
            probes_in_flight,
            probe_failures_tolerated,
            probe_deadline: deadline,
            quiet_after: quiet,
            // In shadow nothing shows which of both has rejected a call.
            ramp: ramp.filter(|_| throttle.is_none()),
            cancelled_counts_after,
            sharded,
            shadow,
            group,
        }
    })
}

fn window() -> impl Strategy<Value = Shape> {
    prop_oneof![
        // Buckets of whole milliseconds, whose edges the clock can meet, and others.
        (50_u64..=1_000, 2_u32..=12)
            .prop_map(|(width, buckets)| Shape::Time { length: width * u64::from(buckets), buckets }),
        (100_u64..=10_000, 2_u32..=12).prop_map(|(length, buckets)| Shape::Time { length, buckets }),
        (1_u32..=24).prop_map(Shape::Calls),
    ]
}

fn share() -> impl Strategy<Value = Share> {
    prop_oneof![
        // The limits that people set, and some that no float can hold.
        prop::sample::select(vec![(2, 5), (1, 2), (1, 1), (1, 10), (1, 3), (2, 3), (7, 10)]),
        (1_u32..=12, Just(12_u32)),
    ]
    .prop_map(|(part, of)| Share { part, of })
}

fn open() -> impl Strategy<Value = Open> {
    const RANGE: RangeInclusive<u64> = 1..=2_000;
    prop_oneof![
        RANGE.prop_map(Open::Fixed),
        (1_u64..=500, 1_u64..=16).prop_map(|(base, times)| Open::Doubling { base, max: base * times }),
        vec(RANGE, 1..=4).prop_map(Open::Listed),
    ]
}
