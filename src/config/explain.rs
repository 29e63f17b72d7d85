//! A configuration in sentences, for the person who will be woken by it.

use std::fmt::Write as _;

use super::{Config, Recovery};
use crate::outcome::Weight;
use crate::state::{Brief, Percent};
use crate::window::Shape;

pub(super) fn explain(config: &Config) -> String {
    let mut text = format!("Circuit `{}`.\n", config.name);
    rules(config, &mut text).expect("a String takes everything");
    recovery(config, &mut text).expect("a String takes everything");
    if config.shadow {
        text.push_str("It starts in shadow: no call is rejected, what would have been is counted.\n");
    }
    text
}

fn rules(config: &Config, text: &mut String) -> std::fmt::Result {
    let rules = &config.rules;
    let window = config.window;
    let longer = rules.min_calls.max(rules.consecutive_failures.unwrap_or(0));
    if let Some(n) = rules.consecutive_failures {
        let timeouts = timeouts_for(n);
        write!(text, "{n} hard failures in a row open it, or {timeouts} timeouts in a row")?;
        if rules.has_rate() && !rules.always && longer > n {
            write!(text, "; once {window} hold {} calls, it takes {longer}", rules.min_calls)?;
        }
        writeln!(text, ".")?;
    }
    if let Some(rate) = rules.failure_rate {
        let calls = rules.min_calls;
        writeln!(text, "Failures that weigh {} of at least {calls} calls of {window} open it.", Percent(rate))?;
        let timeouts = rate / Weight::TIMEOUT.as_f64();
        if timeouts > 1.0 {
            writeln!(text, "Timeouts alone never reach that: each weighs {}.", Weight::TIMEOUT.as_f64())?;
        } else {
            writeln!(text, "Of timeouts alone, that is {} of the calls.", Percent(timeouts))?;
        }
        if rules.min_calls < 50 && matches!(window.0, Shape::Time { .. }) {
            let half = Percent(rate / 2.0);
            writeln!(
                text,
                "At a few calls a second a steady {half} of errors can reach it by chance; a larger min_calls or window helps."
            )?;
        }
    }
    if let Some(score) = rules.failure_score {
        writeln!(text, "A failure score of {score} within {window} opens it.")?;
    }
    if let Some((rate, slower_than)) = rules.slow_call_rate {
        let (share, calls, slower_than) = (Percent(rate), rules.min_calls, Brief(slower_than));
        writeln!(text, "{share} of at least {calls} calls of {window} that take {slower_than} or more open it.")?;
    }
    if rules.consecutive_failures.is_none() && !rules.need_window() {
        writeln!(text, "No rule is set: only an operator opens it.")?;
    }
    match config.cancelled_counts_after {
        Some(after) => writeln!(text, "A call dropped {} or more after it began counts as a timeout.", Brief(after)),
        None => writeln!(text, "A call that is dropped never counts."),
    }
}

fn recovery(config: &Config, text: &mut String) -> std::fmt::Result {
    let probes = &config.probes;
    match config.recovery {
        Recovery::Manual => return writeln!(text, "It stays open until somebody resets it."),
        Recovery::Automatic => writeln!(text, "It stays open for {}.", config.open)?,
    }
    let (successes, in_flight, deadline) = (probes.successes, probes.in_flight, probes.deadline);
    let (in_flight, successes) = (some(in_flight, "probe"), some(successes, "success"));
    write!(text, "Then it probes, {in_flight} at a time: {successes} in all to close it; ")?;
    match probes.failures_tolerated {
        0 => write!(text, "a failure ")?,
        tolerated => write!(text, "more than {} ", some(tolerated, "failure"))?,
    }
    writeln!(text, "reopens it, and so does a probe of {}.", Brief(deadline))?;
    writeln!(text, "Half-open for {}, one success without a failure is enough.", Brief(probes.quiet_after))
}

fn some(count: u32, noun: &str) -> String {
    match (count, noun.ends_with('s')) {
        (1, _) => format!("1 {noun}"),
        (_, true) => format!("{count} {noun}es"),
        (_, false) => format!("{count} {noun}s"),
    }
}

/// How many timeouts weigh `n`.
fn timeouts_for(n: u32) -> u64 {
    u64::from(n) * u64::from(Weight::HARD.units()) / u64::from(Weight::TIMEOUT.units())
}
