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

What takes a minute elsewhere takes a second here, so it is open for 1 s at most; by default that is 60 s. In its own words:

{}
`reached`: requests as the server counted them. `p50`, `p99`: what callers waited in ms, answered or not.
",
        indent(&config.explain())
    );
}

/// Says that the service has changed, and repeats what the columns are.
pub(crate) fn chapter(at: Duration, name: &str) {
    let columns =
        "┼ circuit      ok  failed  rejected  reached    p50    p99 ┼  without: ok  failed  reached    p50    p99";
    println!("{:4.1}  {:─<13}{columns}", at.as_secs_f64(), format!("{name} "));
}

/// Says what happened in that time: first what the circuit did and why, then how many calls ended how.
pub(crate) fn line(time: Range<Duration>, health: Health, state: State, with: &Log, without: &Log) {
    for (at, edge) in with.transitions(&time) {
        let to = paint(edge.to.state, edge.to.as_str());
        println!("{:4.1}               │ ▸ {to}, because {}", at.as_secs_f64(), edge.reason);
    }
    let (a, b) = (with.ended_in(&time), without.ended_in(&time));
    println!(
        "{:4.1}  {health:<12} │ {} {:>6} {:>7} {:>9} {:>8} {:>6} {:>6} │ {:>12} {:>7} {:>8} {:>6} {:>6}",
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
    println!("\n                 │ {:<61} │ without the breaker", "with the breaker");
    let waits = "median ms  worst ms  all well";
    println!("phase            │    ok  failed  rejected  reached  {waits} │    ok  failed  reached  {waits}");
    println!("{:─<17}┼{:─<63}┼{:─<53}", "", "", "");
    let mut outages = 0;
    for phase in phases {
        let well = |log: &Log| match log.recovered_in(&phase.time) {
            _ if phase.is_sick() || outages == 0 => String::new(),
            Some(after) => format!("{:.1} s", after.as_secs_f64()),
            None => "not yet".to_owned(),
        };
        let time = std::slice::from_ref(&phase.time);
        let (a, b) = (with.begun_in(time), without.begun_in(time));
        println!(
            "{:<11} {:>2.0} s │ {:>5} {:>7} {:>9} {:>8} {:>10} {:>9} {:>9} │ {:>5} {:>7} {:>8} {:>10} {:>9} {:>9}",
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
        outages += usize::from(phase.is_sick());
    }
    println!("`all well`: so long after the service was back began the first call since which all succeed.\n");
}

/// Says what the table comes to, the price included.
pub(crate) fn claims(phases: &[Phase], with: &Log, without: &Log) {
    let (sick, well): (Vec<_>, Vec<_>) = phases.iter().partition(|phase| phase.is_sick());
    let times = |phases: &[&Phase]| phases.iter().map(|phase| phase.time.clone()).collect::<Vec<_>>();
    // Not the first one: what failed in it had come too late, when the first outage began.
    let (sick, back) = (times(&sick), times(well.get(1..).unwrap_or_default()));
    let (a, b) = (with.begun_in(&sick), without.begun_in(&sick));
    println!("While the service was sick            with   without");
    println!("  requests that reached it      {:>10} {:>9}", a.reached, b.reached);
    println!("  ms a caller waited, median    {:>10} {:>9}", wait(&a, 50), wait(&b, 50));
    let (a, b) = (with.begun_in(&back), without.begun_in(&back));
    println!("When it was back");
    println!("  calls that succeeded          {:>10} {:>9}", a.ok, b.ok);
    println!("  calls that failed             {:>10} {:>9}", a.failed, b.failed);
    println!("  calls rejected: the price     {:>10} {:>9}\n", a.rejected, b.rejected);
}

/// A wait in ms, with two digits that mean something.
fn wait(sum: &Sum, percent: usize) -> String {
    match sum.wait(percent).map(|wait| wait.as_secs_f64() * 1e3) {
        Some(ms) if ms < 1.0 => format!("{ms:.2}"),
        Some(ms) if ms < 10.0 => format!("{ms:.1}"),
        Some(ms) => format!("{ms:.0}"),
        None => "-".to_owned(),
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
