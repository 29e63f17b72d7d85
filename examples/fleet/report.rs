//! The printed lines: each act while it is played, and the table at the end.

use std::time::Duration;

use tower_circuit_breaker::coordinator::Sharing;

use crate::night::{Night, Script};
use crate::{CALLS_PER_SECOND, INSTANCES};

pub(crate) fn introduction(script: &Script, kind: &str) {
    println!(
        "{INSTANCES} instances make {CALLS_PER_SECOND} calls a second each, and keep their circuits in one store ({kind}). A circuit
opens after 5 failures in a row, for 1 s and then for 2 s. The outage lasts {:?}, the bad path {:?}.",
        script.outage, script.bad_path
    );
}

pub(crate) fn night(sharing: Sharing) {
    println!("\nThe night with sharing = \"{sharing}\"");
}

pub(crate) fn act(at: Duration, name: &str) {
    println!("{:5.1} s  {name}", at.as_secs_f64());
}

/// Prints a column for each night.
pub(crate) fn table(nights: &[Night]) {
    let row = |title: &str, cell: &dyn Fn(&Night) -> String| {
        print!("{title:<62}");
        nights.iter().for_each(|night| print!("{:>12}", cell(night)));
        println!();
    };
    println!();
    row("", &|night| night.sharing.to_string());
    row("requests that reached the dead service", &|night| night.numbers.reached.to_string());
    row("  probes among them", &|night| night.numbers.in_vain.to_string());
    row("probes until all circuits were closed", &|night| night.numbers.probes.to_string());
    row("time until all circuits were closed", &|night| seconds(night.numbers.closed_after));
    row("calls that good instances lost because of one bad instance", &|night| {
        format!("{} of {}", night.numbers.lost, night.numbers.calls)
    });
    row("time until all others were closed after the prober was killed", &|night| {
        seconds(night.numbers.closed_after_the_kill)
    });
    println!("\nAll circuits were closed after each act.");
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}
