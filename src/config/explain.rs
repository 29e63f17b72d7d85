//! The effect of a configuration in sentences (`Config::explain`), for the person on call.

use std::fmt::Write as _;

use super::{Config, Recovery};
use crate::outcome::Weight;
use crate::state::{Brief, Percent};
use crate::window::Shape;

/// Returns sentences about the rules, the recovery, the health probes, the group and the shadow mode of a circuit.
pub(super) fn explain(config: &Config) -> String {
    let mut text = format!("Circuit `{}`.\n", config.name);
    rules(config, &mut text).expect("a String takes everything");
    recovery(config, &mut text).expect("a String takes everything");
    health(config, &mut text).expect("a String takes everything");
    group(config, &mut text).expect("a String takes everything");
    if config.shadow {
        text.push_str("The circuit starts in shadow. No call is rejected, and the calls that would have been rejected are counted.\n");
    }
    text
}

fn rules(config: &Config, text: &mut String) -> std::fmt::Result {
    let rules = &config.rules;
    let window = config.window;
    let longer = rules.min_calls.max(rules.consecutive_failures.unwrap_or(0));
    if let Some(n) = rules.consecutive_failures {
        let timeouts = timeouts_for(n);
        write!(text, "{n} hard failures in a row open the circuit, and so do {timeouts} timeouts in a row.")?;
        if rules.has_rate() && rules.raised_at_traffic && longer > n {
            write!(text, " Once {window} hold {} calls, the limit is {longer} hard failures.", rules.min_calls)?;
        }
        writeln!(text)?;
    }
    if let Some(rate) = rules.failure_rate {
        let calls = rules.min_calls;
        writeln!(
            text,
            "Failures that weigh {} of at least {calls} calls of {window} open the circuit.",
            Percent(rate)
        )?;
        let timeouts = rate / Weight::TIMEOUT.as_f64();
        if timeouts > 1.0 {
            writeln!(text, "Timeouts alone never reach this share, because each weighs {}.", Weight::TIMEOUT.as_f64())?;
        } else {
            writeln!(text, "If all failures are timeouts, {} of the calls must fail.", Percent(timeouts))?;
        }
        if rules.min_calls < 50 && matches!(window.0, Shape::Time { .. }) {
            let half = Percent(rate / 2.0);
            writeln!(
                text,
                "At a few calls a second, a steady {half} of errors can reach this share by chance. A larger min_calls or window helps."
            )?;
        }
    }
    if let Some(score) = rules.failure_score {
        writeln!(text, "A failure score of {score} within {window} opens the circuit.")?;
    }
    if let Some((rate, slower_than)) = rules.slow_call_rate {
        let (share, calls, slower_than) = (Percent(rate), rules.min_calls, Brief(slower_than));
        writeln!(
            text,
            "The circuit opens if {share} of at least {calls} calls of {window} take {slower_than} or more. A call that is still under way then counts too."
        )?;
    }
    if let Some(k) = config.throttle() {
        let calls = rules.min_calls;
        writeln!(
            text,
            "Of at least {calls} requests in {window}, those above {k} times the calls that were no failure are rejected, as a share of all requests."
        )?;
    }
    if let Some(young) = window.young().filter(|_| rules.has_rate()) {
        writeln!(text, "A rate opens the circuit no earlier than {} after the circuit has closed.", Brief(young))?;
    }
    if rules.consecutive_failures.is_none() && !rules.need_window() {
        writeln!(text, "No rule is set, so only an operator or a failure that trips at once opens the circuit.")?;
    }
    match config.cancelled_counts_after {
        Some(after) => {
            writeln!(text, "A call that is dropped {} or more after its start counts as a timeout.", Brief(after))
        }
        None => writeln!(text, "A call that is dropped never counts."),
    }
}

fn recovery(config: &Config, text: &mut String) -> std::fmt::Result {
    let probes = &config.probes;
    match config.recovery {
        Recovery::Manual => return writeln!(text, "The circuit stays open until an operator resets it."),
        Recovery::Automatic => writeln!(text, "The circuit stays open for {}.", config.open)?,
    }
    let (successes, deadline) = (probes.successes, probes.deadline);
    // The circuit never admits more probes at a time than a verdict (to close or to reopen) can need.
    let in_flight = probes.in_flight.min(successes + probes.failures_tolerated);
    let (in_flight, successes) = (some(in_flight, "probe"), some(successes, "success"));
    writeln!(text, "Then the circuit admits {in_flight} at a time, and closes after {successes}.")?;
    match probes.failures_tolerated {
        0 => write!(text, "The circuit reopens after a failure, ")?,
        tolerated => write!(text, "The circuit reopens after more than {}, ", some(tolerated, "failure"))?,
    }
    writeln!(text, "and after {} without a success if a probe is overdue.", Brief(deadline.saturating_mul(2)))?;
    writeln!(
        text,
        "A probe that takes {} gives its place to another call, and its result still counts.",
        Brief(deadline)
    )?;
    writeln!(text, "After {} in half-open, one success without a failure is enough.", Brief(probes.quiet_after))?;
    ramp(config, text)?;
    writeln!(
        text,
        "If the probes end without a verdict, the circuit closes, but failures that weigh 0.5 before the first success reopen the circuit."
    )
}

fn ramp(config: &Config, text: &mut String) -> std::fmt::Result {
    let grows =
        |ramp| format!("the circuit admits a share of the calls that grows from a tenth to all in {}", Brief(ramp));
    match config.ramp() {
        Some(ramp) if ramp.is_zero() => Ok(()),
        Some(ramp) => {
            writeln!(text, "After its closing, {}. Until then a quarter of the evidence opens it.", grows(ramp))
        }
        None => writeln!(text, "After a closing by a fleet, {}.", grows(config.ramp_in_fleet())),
    }
}

fn health(config: &Config, text: &mut String) -> std::fmt::Result {
    let Some(health) = config.health() else { return Ok(()) };
    let (every, deadline) = (Brief(health.every), Brief(health.deadline));
    writeln!(
        text,
        "While the circuit is not closed, `{health}` is checked every {every}, with a deadline of {deadline}. These checks are no calls."
    )?;
    match config.recovery {
        Recovery::Automatic => writeln!(text, "The first success ends the opening early.")?,
        Recovery::Manual => writeln!(text, "A success ends no opening, because only an operator does.")?,
    }
    if health.required {
        writeln!(
            text,
            "No call is a probe until a check has succeeded, unless the checks get no success for too long."
        )?;
    }
    Ok(())
}

fn group(config: &Config, text: &mut String) -> std::fmt::Result {
    let Some(group) = config.group() else { return Ok(()) };
    writeln!(
        text,
        "The circuit is in the group \"{}\", of which at most {} may be open at the same time, but always one. Otherwise the circuit stays closed.",
        group.name(),
        Percent(group.share())
    )
}

fn some(count: u32, noun: &str) -> String {
    match (count, noun.ends_with('s')) {
        (1, _) => format!("1 {noun}"),
        (_, true) => format!("{count} {noun}es"),
        (_, false) => format!("{count} {noun}s"),
    }
}

/// Returns the number of timeouts that together weigh as much as `n` hard failures.
fn timeouts_for(n: u32) -> u64 {
    u64::from(n) * u64::from(Weight::HARD.units()) / u64::from(Weight::TIMEOUT.units())
}
