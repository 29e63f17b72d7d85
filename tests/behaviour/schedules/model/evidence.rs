//! Evidence and trip rules, recomputed from every outcome there ever was.

use std::sync::Arc;

use tower_circuit_breaker::state::Reason;

use super::super::settings::{Settings, Shape, Share};
use crate::rig::millis;

/// One outcome that a closed circuit recorded.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seen {
    /// When, in milliseconds.
    pub(super) at: u64,
    pub(super) era: u64,
    /// The weight of the failure in 1/256, 0 for a success.
    pub(super) units: u64,
    pub(super) slow: bool,
}

/// The sums over the window.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Sums {
    pub(super) calls: u64,
    pub(super) units: u64,
    pub(super) slow: u64,
}

/// Sums what the window of the era shows now.
pub(super) fn tally(settings: &Settings, seen: &[Seen], era: u64, now: u64) -> Sums {
    // Without a rule that looks at it, there is no window.
    if !settings.needs_window() {
        return Sums::default();
    }
    let of_the_era = seen.iter().filter(|seen| seen.era == era);
    let window: Vec<&Seen> = match settings.window {
        Shape::Calls(calls) => of_the_era.rev().take(usize::try_from(calls).expect("small")).collect(),
        Shape::Time { buckets, .. } => {
            let bucket = |at: u64| nanos(at) / width(settings).expect("it has buckets");
            of_the_era.filter(|seen| bucket(now) - bucket(seen.at) < u64::from(buckets)).collect()
        }
    };
    Sums {
        calls: window.iter().map(|_| 1).sum(),
        units: window.iter().map(|seen| seen.units).sum(),
        slow: window.iter().filter(|seen| seen.slow).map(|_| 1).sum(),
    }
}

/// Sums the failures since the last success of the era.
pub(super) fn run(seen: &[Seen], era: u64) -> u64 {
    let of_the_era = seen.iter().filter(|seen| seen.era == era);
    of_the_era.fold(0, |run, seen| if seen.units == 0 { 0 } else { run + seen.units })
}

/// The calls under way that are slow already, and whether an outcome has come with them: time alone meets no other rule.
#[derive(Debug, Clone, Copy)]
pub(super) struct Hanging {
    pub(super) calls: u64,
    pub(super) has_outcome: bool,
}

/// Returns the rule that the evidence of an era of that age meets.
pub(super) fn met(settings: &Settings, sums: Sums, hanging: Hanging, run: u64, age: u64) -> Option<Reason> {
    let Sums { calls, units, .. } = sums;
    let enough = calls >= u64::from(settings.min_calls);
    let is_old_enough = width(settings).is_none_or(|width| nanos(age) >= width || age >= 1_000);
    if !hanging.has_outcome {
        return by_slow_calls(settings, sums, hanging.calls).filter(|_| is_old_enough);
    }
    if let Some(n) = settings.consecutive_failures {
        let longer = settings.has_rate() && settings.raised_at_traffic && enough;
        let limit = if longer { n.max(settings.min_calls) } else { n };
        if run >= u64::from(limit) * 256 {
            return Some(Reason::ConsecutiveFailures { score: score(run), limit: f64::from(limit), set: f64::from(n) });
        }
    }
    let ripe = enough && is_old_enough;
    if let Some(limit) = settings.failure_limit().filter(|limit| ripe && reaches(units, calls, *limit)) {
        let (rate, limit, score) = (rate(units, calls), limit.to_f64(), score(units));
        return Some(Reason::FailureRate { rate, limit, score, calls });
    }
    if let Some(quarters) = settings.failure_score.filter(|quarters| units * 4 >= u64::from(*quarters) * 256) {
        let (score, limit) = (score(units), f64::from(quarters) / 4.0);
        return Some(Reason::FailureScore { score, limit, calls });
    }
    by_slow_calls(settings, sums, hanging.calls).filter(|_| is_old_enough)
}

/// Returns the slow-call rule, if the calls that have ended and those that hang meet the rule together.
fn by_slow_calls(settings: &Settings, sums: Sums, hanging: u64) -> Option<Reason> {
    let (limit, slower_than) = settings.slow?;
    let (slow, calls) = with_hanging(settings, sums, hanging);
    if calls < u64::from(settings.min_calls) || !reaches(slow * 256, calls, limit) {
        return None;
    }
    let (rate, limit, slower_than) = (rate(slow * 256, calls), limit.to_f64(), millis(slower_than));
    Some(Reason::SlowCallRate { rate, limit, slow, calls, slower_than, hanging: hanging.try_into().unwrap() })
}

fn reaches(part: u64, calls: u64, limit: Share) -> bool {
    part * u64::from(limit.of) >= u64::from(limit.part) * calls * 256
}

/// Returns the slow calls and all calls, with those that hang, which take the places of the oldest calls of a ring.
fn with_hanging(settings: &Settings, sums: Sums, hanging: u64) -> (u64, u64) {
    let stay = match settings.window {
        Shape::Time { .. } => sums.calls,
        Shape::Calls(most) => sums.calls.min(u64::from(most).saturating_sub(hanging)),
    };
    (if stay < sums.calls { sums.slow * stay / sums.calls } else { sums.slow } + hanging, stay + hanging)
}

/// Whether a call that began then hangs now: its part of the time ended `slower_than` ago. A part is a tenth of `slower_than`,
/// a hundredth of the window, or a millisecond, the longest of them.
pub(super) fn hangs(settings: &Settings, started: u64, now: u64) -> bool {
    slots(settings, started, now).is_some_and(|(age, whole, _)| age > whole)
}

/// Whether a call that hangs became slow within the length of the window, or within ten seconds without a length.
pub(super) fn hangs_lately(settings: &Settings, started: u64, now: u64) -> bool {
    slots(settings, started, now).is_some_and(|(age, whole, lately)| age > whole && age <= whole + lately)
}

/// Returns the age of a call, `slower_than`, and the time for which the call is evidence, in parts.
fn slots(settings: &Settings, started: u64, now: u64) -> Option<(u64, u64, u64)> {
    let slower_than = nanos(settings.slow?.1);
    let lately = match settings.window {
        Shape::Time { length, .. } => nanos(length),
        Shape::Calls(_) => nanos(10_000),
    };
    let part = slower_than.div_ceil(10).max(lately.div_ceil(100)).max(NANOS_PER_MILLI);
    Some((nanos(now) / part - nanos(started) / part, slower_than.div_ceil(part), lately.div_ceil(part)))
}

/// Returns when the calls that began then may begin to hang, in milliseconds.
pub(super) fn hangs_from(settings: &Settings, started: u64) -> Option<u64> {
    let from = started + settings.slow?.1;
    (from..).find(|now| hangs(settings, started, *now))
}

/// Returns the rule that the evidence meets in a ramp, where a quarter of the calls is enough, at least two.
pub(super) fn relapse(settings: &Settings, sums: Sums, hanging: Hanging, run: u64, age: u64) -> Option<Reason> {
    let quarter = |n: u32| n.min(n.div_ceil(4).max(2));
    let (min_calls, consecutive_failures) = (quarter(settings.min_calls), settings.consecutive_failures.map(quarter));
    let lower = Settings { min_calls, consecutive_failures, ..settings.clone() };
    let mut rule = met(&lower, sums, hanging, run, age)?;
    if let (Reason::ConsecutiveFailures { set, .. }, Some(n)) = (&mut rule, settings.consecutive_failures) {
        *set = f64::from(n);
    }
    Some(Reason::Relapsed { rule: Arc::new(rule) })
}

/// Returns the requests beyond the throttle's factor, and one more than the requests. `beside` are the failures, the
/// rejections, which have a weight, and the calls without a judgement, which count as slow.
pub(super) fn throttled(settings: &Settings, seen: &[Seen], beside: &[Seen], era: u64, now: u64) -> Option<(f64, f64)> {
    let (tenths, _) = settings.throttle?;
    let (calls, beside) = (tally(settings, seen, era, now).calls, tally(settings, beside, era, now));
    let calls = calls + beside.slow;
    let (accepts, requests) = (calls - (beside.calls - beside.units - beside.slow), calls + beside.units);
    let beyond = float(requests * 10) - float(accepts * u64::from(tenths));
    (requests >= u64::from(settings.min_calls) && beyond > 0.0).then(|| (beyond / 10.0, float(requests + 1)))
}

/// Returns the weighted share of failures, and that of slow calls: `None` below the minimum, not zero.
pub(super) fn rates(settings: &Settings, sums: Sums, hanging: u64) -> (Option<f64>, Option<f64>) {
    let shown = |calls: u64| settings.needs_window() && calls >= u64::from(settings.min_calls);
    let failures = shown(sums.calls).then(|| rate(sums.units, sums.calls));
    let (slow, calls) = with_hanging(settings, sums, hanging);
    (failures, settings.slow.filter(|_| shown(calls)).map(|_| rate(slow * 256, calls)))
}

/// Returns when the bucket of `at` leaves the window, in milliseconds.
pub(super) fn leaves(settings: &Settings, at: u64) -> Option<u64> {
    let Shape::Time { buckets, .. } = settings.window else { return None };
    let width = width(settings)?;
    Some(((nanos(at) / width + u64::from(buckets)) * width).div_ceil(NANOS_PER_MILLI))
}

/// Returns the width of a bucket in nanoseconds.
pub(super) fn width(settings: &Settings) -> Option<u64> {
    match settings.window {
        Shape::Time { length, buckets } => Some(nanos(length) / u64::from(buckets)),
        Shape::Calls(_) => None,
    }
}

pub(super) fn score(units: u64) -> f64 {
    float(units) / 256.0
}

fn rate(units: u64, calls: u64) -> f64 {
    score(units) / float(calls)
}

fn float(number: u64) -> f64 {
    f64::from(u32::try_from(number).expect("a schedule is short"))
}

fn nanos(millis: u64) -> u64 {
    millis * NANOS_PER_MILLI
}

pub(super) const NANOS_PER_MILLI: u64 = 1_000_000;
