//! The statistical test that excludes chance while advice lasts. The test compares the evidence with the usual error
//! rate of the service.
//!
//! While advice of another instance lasts, few failed calls can open a circuit, but few failed calls can be chance. For
//! example, at a usual error rate of 20 %, about one in four groups of five calls has two or more failures. The test
//! computes how likely the evidence is at a usual rate `p`, and ignores evidence that is likely.
//!
//! # Derivation
//!
//! Of `n` calls the share `q` has failed. The weight of a failed call is at most 1, so the theorem of Hoeffding applies
//! to weights as to whole failures. At the usual rate `p` or at a lower rate, `n` calls reach the share `q > p` with a
//! chance of at most `exp(-n × K)`, where `K = q ln(q / p) + (1 - q) ln((1 - q) / (1 - p))`. For a run (failures in a
//! row), `q` is 1, `n` is the weight of the run, and `K` is `ln(1 / p)`.
//!
//! The rules are tested again with each failure, and advice lasts about a minute. The chance that any of the `N` calls
//! of a minute completes evidence of this size is at most the sum of their chances, `N × exp(-n × K)` (Boole). The run,
//! the failure rate and the slow-call rate share [`CHANCE`], because each of the `R` rules that are on can open the
//! circuit. The evidence of a rule counts if that sum is at most `CHANCE / R`, which means
//! `n × K >= ln(N × R / CHANCE)`. A healthy instance therefore opens on advice in at most one of a hundred minutes of
//! advice.
//!
//! The usual rate `p` is the higher of two rates of this instance. The first is the rate since the start of the
//! process, without the calls of the window and of the run. The second is the rate of the last minutes
//! ([`Circuit::advise_beside`](super::super::Circuit::advise_beside)). Four calls with two failures are added to the
//! counts of each rate, so that few calls prove nothing. The usual rate is at most half of the limit of the rule
//! ([`highest_usual`]). With the defaults, half of the limit of the failure rate is 20 %. A service whose usual rate is
//! closer to the limit opens the circuit even without advice. The usual rate of slow calls is not known, and half of
//! the limit of the slow-call rule is assumed.
//!
//! Sources: W. Hoeffding, *Probability inequalities for sums of bounded random variables*, J. Amer. Statist. Assoc. 58
//! (1963), theorem 1. The test has the form of A. Wald, *Sequential tests of statistical hypotheses*, Ann. Math.
//! Statist. 16 (1945).

use std::time::Duration;

use super::Situation;
use crate::config::Rules;
use crate::outcome::number;
use crate::window::Window;

/// The amount of evidence that a run or a rate needs while advice lasts, so that chance is excluded.
#[derive(Debug, Clone, Copy)]
pub(super) struct Chance {
    /// The value that `n × K` of the derivation must reach.
    least: f64,
    /// The usual rate of failed calls.
    usual: f64,
}

impl Chance {
    /// Returns the amount of evidence that is needed at the present traffic of the circuit.
    pub(super) fn new(window: Window, rules: &Rules, seen: &Situation, usual: f64) -> Self {
        let calls = number(seen.tally.calls.max(1));
        let a_minute = match window.length().filter(|_| rules.need_window()) {
            Some(length) => {
                // A window of more than a minute counts as a minute, because all of its calls may have come in the last
                // minute.
                let counted_for = length.min(seen.age.max(SHORTEST)).min(MINUTE);
                calls * (MINUTE.as_secs_f64() / counted_for.as_secs_f64())
            }
            // Without a time window the traffic is not known.
            None => UNKNOWN_TRAFFIC.max(calls),
        };
        Self { least: (a_minute * rules_on(rules) / CHANCE).ln(), usual }
    }

    /// Returns the amount of evidence that slow calls need. The usual rate of slow calls is not known, so the rate is
    /// set to 1, and [`is_excluded_by`](Self::is_excluded_by) reduces it to half of the limit of the rule.
    pub(super) const fn of_slow_calls(self) -> Self {
        Self { usual: 1.0, ..self }
    }

    /// Returns true if `bad` of `calls` calls are too many to be chance. `limit` is the limit of the rule for the share
    /// of bad calls.
    pub(super) fn is_excluded_by(self, bad: f64, calls: f64, limit: f64) -> bool {
        let (share, usual) = ((bad / calls).min(1.0), self.usual.min(highest_usual(limit)));
        if share <= usual {
            return false;
        }
        // The second term is zero for a share of 1. Its formula would give NaN.
        let rest = 1.0 - share;
        let rest = if rest > 0.0 { rest * (rest / (1.0 - usual)).ln() } else { 0.0 };
        calls * share.mul_add((share / usual).ln(), rest) >= self.least
    }
}

/// Returns the number of rules that are on and that can be met by chance, at least 1. The failure score is not counted,
/// because advice does not lower its limit.
fn rules_on(rules: &Rules) -> f64 {
    let rules = [rules.consecutive_failures.is_some(), rules.failure_rate.is_some(), rules.slow_call_rate.is_some()];
    rules.into_iter().map(|is_on| f64::from(u8::from(is_on))).sum::<f64>().max(1.0)
}

/// Returns the highest rate of bad calls that counts as usual, for a rule with the limit `limit`.
fn highest_usual(limit: f64) -> f64 {
    limit / 2.0
}

/// Returns the usual rate of failed calls. Two failures in four calls are added, so that few calls prove nothing.
pub(crate) fn usual_rate(failures: f64, calls: f64) -> f64 {
    (failures + 2.0) / (calls + 4.0)
}

/// The highest accepted chance that the calls of one minute of advice open a circuit, by any of its rules, although the
/// service fails no more often than usual.
const CHANCE: f64 = 0.01;
const MINUTE: Duration = Duration::from_secs(60);
/// The shortest time for which a circuit is assumed to have counted its calls. A restored window has calls from before
/// the restart, and a shorter time would make the traffic of the circuit seem too high.
const SHORTEST: Duration = Duration::from_secs(1);
/// The number of calls in a minute that is assumed without a time window. This is 170 calls a second.
const UNKNOWN_TRAFFIC: f64 = 10_000.0;

#[cfg(all(test, not(breaker_loom)))]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::window::{Tally, run};

    /// Returns the evidence that is needed with `calls` calls in the default window, in an era of `age` seconds. The
    /// rules for a run and for the failure rate are on.
    fn chance(calls: u64, age: u64, usual: f64) -> Chance {
        let config = Config::new("payments").expect("the name is valid");
        of_rules(&config.rules, calls, age, usual)
    }

    fn of_rules(rules: &Rules, calls: u64, age: u64, usual: f64) -> Chance {
        let tally = Tally { calls, ..Tally::EMPTY };
        let (run, age) = (run::Seen::default(), Duration::from_secs(age));
        Chance::new(Window::default(), rules, &Situation { run, tally, hanging: 0, has_outcome: true, age }, usual)
    }

    #[test]
    fn a_run_excludes_chance_by_its_length_the_usual_rate_and_the_traffic() {
        let runs = |chance: Chance| (1..30_u8).find(|run| chance.is_excluded_by((*run).into(), (*run).into(), 0.4));
        assert_eq!(runs(chance(10, 3_600, 0.2)), Some(6), "1 call a second: ln(120 / 0.01) / ln 5 is 5.8");
        assert_eq!(runs(chance(10, 3_600, 0.01)), Some(3), "1 call a second: ln(120 / 0.01) / ln 100 is 2.04");
        assert_eq!(runs(chance(100, 3_600, 0.2)), Some(8), "10 calls a second: ln(1200 / 0.01) / ln 5 is 7.3");
        assert_eq!(runs(chance(5, 5, 0.2)), Some(6), "1 call a second in a young window");
        assert_eq!(runs(chance(5, 5, 0.9)), Some(6), "at most half of the limit is usual");
    }

    #[test]
    fn the_rules_that_are_on_share_the_chance_of_a_healthy_instance() {
        let off =
            Rules { consecutive_failures: None, failure_rate: None, ..Config::new("a").expect("it is valid").rules };
        let run = Rules { consecutive_failures: Some(5), ..off };
        let both = Rules { failure_rate: Some(0.4), ..run };
        let all = Rules { slow_call_rate: Some((0.4, MINUTE)), ..both };
        for (rules, on) in [(off, 1.0), (run, 1.0), (both, 2.0), (all, 3.0)] {
            // `calls` is the number of calls in a minute that the rules assume. `each` is the chance that these calls
            // meet one rule.
            let calls = if rules.need_window() { 60.0 } else { UNKNOWN_TRAFFIC };
            let each = calls * (-of_rules(&rules, 10, 3_600, 0.2).least).exp();
            assert!((each * on - CHANCE).abs() < 1e-9, "{rules:?}: {each}");
        }
    }

    #[test]
    fn few_failures_are_chance_at_a_high_usual_rate_only() {
        let cases = [(2.0, 5.0, [false, false]), (4.0, 10.0, [true, false]), (9.0, 10.0, [true, true])];
        for (bad, calls, excluded) in cases {
            let at = |usual| chance(10, 10, usual).is_excluded_by(bad, calls, 0.4);
            assert_eq!([at(0.01), at(0.2)], excluded, "{bad} of {calls}");
        }
    }

    #[test]
    fn a_share_up_to_half_of_the_limit_excludes_chance_only_if_unusual() {
        for (bad, limit) in [(2_000.0, 0.4), (4_999.0, 1.0), (0.0, 0.01)] {
            assert!(!chance(10, 10, 1.0).is_excluded_by(bad, 10_000.0, limit), "{bad} of 10 000 at {limit}");
        }
    }
}
