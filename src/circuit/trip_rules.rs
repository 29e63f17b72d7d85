//! The trip rules as pure functions: the run (failures in a row), the failure rate, the failure score and the slow-call
//! rate. Also the lower thresholds that the rules have while advice lasts and during a ramp, and the decay of the
//! number of openings in a row.
//!
//! Each function gets numbers and returns a [`Reason`] with the same numbers, so that each decision can be tested
//! without a circuit. The caller then opens the circuit. All rules of a circuit use one window, and so the same calls.
//!
//! Rules need fewer calls during a ramp, and while advice lasts. Advice comes from another instance whose circuit has
//! opened. With advice, a run or a rate must also pass the test in `chance.rs`, because few failed calls can be chance.

mod chance;

use std::sync::Arc;
use std::time::Duration;

use crate::config::Rules;
use crate::outcome::{UNIT, Weight, number, score_from_units};
use crate::state::Reason;
use crate::window::{Tally, Window, run};
use chance::Chance;
pub(crate) use chance::usual_rate;

/// The numbers that the trip rules check, at one moment. They usually come from one closed circuit. In `in_fleet.rs`
/// they are sums over several instances.
#[derive(Debug, Clone, Copy)]
pub(super) struct Situation {
    pub(super) run: run::Seen,
    /// The sums over the window.
    pub(super) tally: Tally,
    /// The number of calls under way that became slow within the last window duration. `tally` does not include these
    /// calls.
    pub(super) hanging: u64,
    /// True if there may be new outcomes. False if only time has passed. Then only the slow-call rule is checked,
    /// because time alone makes no other rule true.
    pub(super) has_outcome: bool,
    /// The time since the era began.
    pub(super) age: Duration,
}

/// Returns the first rule that the evidence meets, or `None` if the evidence meets no rule. The rule for a circuit on
/// trust (closed without a verdict of its probes) is checked first, then the run, the failure rate, the failure score
/// and the slow-call rate.
pub(super) fn trips(rules: &Rules, window: Window, seen: &Situation) -> Option<Reason> {
    first_met(rules, window, seen, None)
}

/// Returns the number of slow calls and the number of all calls in the window, each with the hanging calls added.
///
/// In a window over a number of calls, the hanging calls take the places of the oldest calls. Otherwise the earlier
/// successes would stay in the window as long as no call ends. The number of slow calls among the oldest calls is not
/// known, so the slow calls are assumed to be spread evenly over the window.
pub(super) fn with_hanging(window: Window, tally: Tally, hanging: u64) -> (u64, u64) {
    let Tally { calls, slow, .. } = tally;
    let stay = window.calls_of_ring().map_or(calls, |most| u64::from(most).saturating_sub(hanging).min(calls));
    let slow = if stay < calls { slow * stay / calls } else { slow };
    (slow.saturating_add(hanging), stay.saturating_add(hanging))
}

/// Returns the first rule that the evidence meets. With `chance`, a run or a rate that is likely by chance meets no
/// rule.
fn first_met(rules: &Rules, window: Window, seen: &Situation, chance: Option<Chance>) -> Option<Reason> {
    let Rules { failure_rate, min_calls, consecutive_failures, raised_at_traffic, .. } = *rules;
    let Rules { failure_score, slow_call_rate, .. } = *rules;
    let Tally { calls, units, .. } = seen.tally;
    let enough = calls >= u64::from(min_calls);
    let run = seen.run.weight;
    let excludes_chance = |chance: Option<Chance>, bad: f64, calls: u64, limit: f64| {
        chance.is_none_or(|chance| chance.is_excluded_by(bad, number(calls), limit))
    };
    // The age is checked only after the number of calls, because `Window::young` costs a division, and most windows
    // have too few calls for a rate when a failure comes.
    let is_old_enough = || window.young().is_none_or(|young| seen.age >= young);
    let by_slow_calls = || {
        let (limit, slower_than) = slow_call_rate?;
        let hanging = seen.hanging;
        let (slow, calls) = with_hanging(window, seen.tally, hanging);
        let score = number(slow);
        let rate = share(score, calls);
        let is_met = calls >= u64::from(min_calls)
            && is_old_enough()
            && reaches(rate, limit)
            && excludes_chance(chance.map(Chance::of_slow_calls), score, calls, limit);
        // A number of 32 bits keeps the remembered transitions small.
        let hanging = u32::try_from(hanging).unwrap_or(u32::MAX);
        is_met.then_some(Reason::SlowCallRate { rate, limit, slow, calls, slower_than, hanging })
    };

    if !seen.has_outcome {
        return by_slow_calls();
    }
    if seen.run.on_trust && run >= TRUST {
        return Some(Reason::Unproven { score: score_from_units(run) });
    }
    // At high traffic a few failures in a row can be chance. Therefore the default requires a longer run once the
    // window has enough calls for a rate.
    if let Some(set) = consecutive_failures {
        let longer = rules.has_rate() && raised_at_traffic && enough;
        let limit = if longer { set.max(min_calls) } else { set };
        let weight = score_from_units(run);
        let is_evidence = chance.is_none_or(|chance| chance.is_excluded_by(weight, weight, rules.rate_limit()));
        if run >= u64::from(limit) * u64::from(UNIT) && is_evidence {
            return Some(Reason::ConsecutiveFailures { score: weight, limit: limit.into(), set: set.into() });
        }
    }
    if let Some(limit) = failure_rate.filter(|_| enough && is_old_enough()) {
        let score = score_from_units(units);
        let rate = share(score, calls);
        if reaches(rate, limit) && excludes_chance(chance, score, calls, limit) {
            return Some(Reason::FailureRate { rate, limit, score, calls });
        }
    }
    if let Some(limit) = failure_score {
        let score = score_from_units(units);
        if reaches(score, limit) {
            return Some(Reason::FailureScore { score, limit, calls });
        }
    }
    by_slow_calls()
}

/// Returns the first rule that the evidence meets with the thresholds that the advice of another instance has lowered.
///
/// The evidence must be too unlikely to be chance at the `usual` rate of failed calls. `usual` is `None` if no call of
/// this circuit has ever succeeded. Then the lowered thresholds are enough, because the other instance says that the
/// service is down.
pub(super) fn trips_on_advice(rules: &Rules, window: Window, seen: &Situation, usual: Option<f64>) -> Option<Reason> {
    let chance = usual.map(|usual| Chance::new(window, rules, seen, usual));
    lowered_rule(rules, window, seen, chance).map(|rule| Reason::Advised { rule: Arc::new(rule) })
}

/// Returns the first rule that the evidence meets with the thresholds that a ramp has lowered. The evidence need not
/// exclude chance, because the service has just been down, and few of its calls have succeeded since.
pub(super) fn relapses(rules: &Rules, window: Window, seen: &Situation) -> Option<Reason> {
    lowered_rule(rules, window, seen, None).map(|rule| Reason::Relapsed { rule: Arc::new(rule) })
}

/// Returns the first rule that the evidence meets with a quarter of the configured numbers of calls. The limits of
/// rates and scores stay the same, because the calls must still be as bad as configured.
fn lowered_rule(rules: &Rules, window: Window, seen: &Situation, chance: Option<Chance>) -> Option<Reason> {
    let min_calls = lowered(rules.min_calls);
    let lower = Rules { min_calls, consecutive_failures: rules.consecutive_failures.map(lowered), ..*rules };
    let mut rule = first_met(&lower, window, seen, chance)?;
    if let (Reason::ConsecutiveFailures { set, .. }, Some(n)) = (&mut rule, rules.consecutive_failures) {
        *set = n.into();
    }
    Some(rule)
}

/// Returns a quarter of the threshold, rounded up. The result is at least 2, because one failure can be chance. But the
/// result is never more than the threshold itself.
fn lowered(threshold: u32) -> u32 {
    threshold.div_ceil(4).max(2).min(threshold)
}

/// Returns the share of `part` in `calls`, at most 1. Without this maximum the share could exceed 1, because a thread
/// can read one sum before and the other sum after the end of a call.
pub(super) fn share(part: f64, calls: u64) -> f64 {
    (part / number(calls.max(1))).min(1.0)
}

/// Returns true if the value is at least the limit, with a tolerance for rounding, so that 12 of 30 reaches 0.4.
fn reaches(value: f64, limit: f64) -> bool {
    value >= limit * (1.0 - 1e-12)
}

/// Returns how many of the last `attempt` openings in a row still count for the next open duration. The number
/// decreases by one for each time that `last_open` (the duration of the last opening) fits into `closed_for` (the time
/// for which the circuit has been closed).
pub(super) fn decayed(attempt: u32, last_open: Duration, closed_for: Duration) -> u32 {
    let Some(healed) = closed_for.as_nanos().checked_div(last_open.as_nanos()) else { return 0 };
    attempt.saturating_sub(u32::try_from(healed).unwrap_or(u32::MAX))
}

/// The weight of failures that reopens a circuit on trust. Such a circuit has closed without a verdict of its probes,
/// and has had no success since. The value is the weight of one timeout or of one dropped permit. Failures by short
/// deadlines weigh less. With a smaller value, the callers with the shortest deadlines would reopen the circuit before
/// a healthy service could answer.
const TRUST: u64 = Weight::TIMEOUT.units() as u64;

#[cfg(all(test, not(breaker_loom)))]
mod tests {
    use super::*;

    #[test]
    fn the_attempt_falls_by_one_for_each_last_open_duration_spent_closed() {
        let second = Duration::from_secs(1);
        assert_eq!(decayed(3, 10 * second, 9 * second), 3);
        assert_eq!(decayed(3, 10 * second, 10 * second), 2);
        assert_eq!(decayed(3, 10 * second, 29 * second), 1);
        assert_eq!(decayed(3, 10 * second, Duration::MAX), 0);
        assert_eq!(decayed(0, Duration::ZERO, Duration::ZERO), 0);
    }

    #[test]
    fn a_lowered_threshold_is_a_quarter_at_least_two_and_never_higher() {
        let thresholds = [1, 2, 3, 8, 9, 20, 21, u32::MAX];
        assert_eq!(thresholds.map(lowered), [1, 2, 2, 2, 3, 5, 6, 1 << 30]);
    }

    #[test]
    fn a_share_reaches_an_equal_limit_despite_the_rounding_of_floats() {
        for (part, calls, limit) in [(12.0, 30, 0.4), (1.0, 3, 1.0 / 3.0), (7.0, 10, 0.7), (41.0, 41, 1.0)] {
            assert!(reaches(share(part, calls), limit), "{part} of {calls} reaches {limit}");
            assert!(!reaches(share(part - 0.5, calls), limit), "half a call less does not");
        }
    }
}
