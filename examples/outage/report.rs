//! The words: a timeline while it happens, then a table and what follows from it.

use std::io::IsTerminal;
use std::ops::Range;
use std::time::Duration;

use tower_circuit_breaker::Config;
use tower_circuit_breaker::state::State;

use crate::client::{DEADLINE, PER_ATTEMPT, RETRIES};
use crate::record::{Log, Sum};
use crate::server::{Health, SLOW, USUAL, WORKERS};
use crate::{CALLS_PER_SECOND, SCRIPT};

/// A part of the script as it was played.
#[derive(Debug)]
pub(crate) struct Phase {
    pub(crate) name: &'static str,
    pub(crate) health: Health,
    pub(crate) time: Range<Duration>,
}

impl Phase {
    pub(crate) fn is_sick(&self) -> bool {
        self.health != Health::Healthy
    }
}

pub(crate) fn introduction(config: &Config) {
    let seconds: u32 = SCRIPT.iter().map(|(_, _, seconds)| seconds).sum();
    println!(
        "Two clients make {CALLS_PER_SECOND} calls a second each, for {seconds} s, to a server each. Both servers do the same at the same
time: {WORKERS} workers, {USUAL:?} a request, {SLOW:?} when slow; a request that its caller gave up on is worked off all the same.
Both clients have a deadline of {DEADLINE:?}, {RETRIES} retries with backoff and {PER_ATTEMPT:?} for an attempt. One has a circuit breaker.

It opens for much shorter than by default, so that there is something to see. Its settings in its own words:

{}
`reached`: requests as the server counted them. `p50`, `p99`: what callers waited in ms, answered or not.

   t  service      │ circuit      ok  failed  rejected  reached    p50    p99 │  without: ok  failed  reached    p50    p99",
        indent(&config.explain())
    );
}

/// Says that the service has changed.
pub(crate) fn chapter(at: Duration, name: &str) {
    println!("{:─<19}┼{:─<59}┼{:─<44}", format!("{:4.1}  {name} ", at.as_secs_f64()), "", "");
}

/// Says what happened in that time: first what the circuit did and why, then how many calls ended how.
pub(crate) fn line(time: Range<Duration>, health: Health, state: State, with: &Log, without: &Log) {
    for (at, edge) in with.transitions(&time) {
        let to = paint(edge.to.state, edge.to.as_str());
        println!("{:4.1}               │ ▸ {to}, because {}", at.as_secs_f64(), edge.reason);
    }
    let (a, b) = (with.ended_in(&time), without.ended_in(&time));
    println!(
        "{:4.1}  {health:<12} │ {} {:>6} {:>7} {:>9} {:>8} {} {} │ {:>12} {:>7} {:>8} {} {}",
        time.end.as_secs_f64(),
        paint(state, &format!("{:<9}", state.as_str())),
        a.ok,
        a.failed,
        a.rejected,
        a.reached,
        wait(&a, 50),
        wait(&a, 99),
        b.ok,
        b.failed,
        b.reached,
        wait(&b, 50),
        wait(&b, 99),
    );
}

/// Compares the two sides, phase by phase. A call belongs to the phase in which it began.
pub(crate) fn table(phases: &[Phase], with: &Log, without: &Log) {
    println!("\n{:20}│ {:<61}│ without it", "", "with the breaker");
    println!(
        "phase             s │    ok failed rejected reached median ms  worst ms all well │    ok failed reached median ms  worst ms all well"
    );
    println!("{:─<20}┼{:─<62}┼{:─<52}", "", "", "");
    for (n, phase) in phases.iter().enumerate() {
        let (a, b) =
            (with.begun_in(std::slice::from_ref(&phase.time)), without.begun_in(std::slice::from_ref(&phase.time)));
        let after_outage = n > 0 && !phase.is_sick();
        let well = |log: &Log| match (after_outage, log.recovered_in(&phase.time)) {
            (false, _) => String::new(),
            (true, Some(after)) => format!("{:.1} s", after.as_secs_f64()),
            (true, None) => "not yet".to_owned(),
        };
        println!(
            "{:<14} {:>4.1} │ {:>5} {:>6} {:>8} {:>7}   {}    {} {:>8} │ {:>5} {:>6} {:>7}   {}    {} {:>8}",
            phase.name,
            (phase.time.end.saturating_sub(phase.time.start)).as_secs_f64(),
            a.ok,
            a.failed,
            a.rejected,
            a.reached,
            wait(&a, 50),
            wait(&a, 100),
            well(with),
            b.ok,
            b.failed,
            b.reached,
            wait(&b, 50),
            wait(&b, 100),
            well(without),
        );
    }
    println!(
        "\n`all well`: how long after the service was back the first call began since which every call succeeded.\n"
    );
}

/// Says what the table comes to, the price included.
pub(crate) fn claims(phases: &[Phase], with: &Log, without: &Log) {
    let (sick, well): (Vec<_>, Vec<_>) = phases.iter().partition(|phase| phase.is_sick());
    let times = |phases: &[&Phase]| phases.iter().map(|phase| phase.time.clone()).collect::<Vec<_>>();
    let (sick, well) = (times(&sick), times(&well));
    let (sick_with, sick_without) = (with.begun_in(&sick), without.begun_in(&sick));
    let (well_with, well_without) = (with.begun_in(&well), without.begun_in(&well));
    println!("While the service was sick");
    println!("  requests that reached it:    {:>6} without, {:>6} with", sick_without.reached, sick_with.reached);
    println!("  median wait of a caller, ms: {} without, {} with", wait(&sick_without, 50), wait(&sick_with, 50));
    println!("While it was well");
    println!("  calls that succeeded:        {:>6} without, {:>6} with", well_without.ok, well_with.ok);
    println!("  calls that failed:           {:>6} without, {:>6} with", well_without.failed, well_with.failed);
    println!("  and the price, calls rejected until a probe had found it well: {}\n", well_with.rejected);
}

/// A wait in ms: a tenth where that is something.
fn wait(sum: &Sum, percent: usize) -> String {
    match sum.wait(percent).map(|wait| wait.as_secs_f64() * 1e3) {
        Some(ms) if ms < 10.0 => format!("{ms:>6.1}"),
        Some(ms) => format!("{ms:>6.0}"),
        None => format!("{:>6}", "-"),
    }
}

fn indent(text: &str) -> String {
    text.lines().map(|line| format!("    {line}\n")).collect()
}

/// Colours a state, if somebody looks.
fn paint(state: State, text: &str) -> String {
    let colour = match state {
        State::Closed => 32,
        State::Open => 31,
        State::HalfOpen => 33,
    };
    if std::io::stdout().is_terminal() { format!("\x1b[{colour}m{text}\x1b[0m") } else { text.to_owned() }
}
