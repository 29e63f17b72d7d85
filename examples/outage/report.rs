//! The words: a timeline while it happens, then a table and what follows from it.

use std::io::IsTerminal;

use tower_circuit_breaker::Config;
use tower_circuit_breaker::state::State;

use crate::outages::Played;
use crate::record::Sum;
use crate::side::{Moment, Side};

/// Prints a moment: the columns where a phase begins, else the changes of circuits and a line of counts.
pub(crate) fn moment(moment: &Moment, sides: &[Side]) {
    match moment {
        Moment::Begin { at, name } => {
            let columns = sides.iter().map(|side| {
                let circuit = if side.circuit.is_some() { "  rej" } else { "" };
                let width = if side.circuit.is_some() { 14 } else { 12 };
                format!("┼ {:<width$}ok fail{circuit} reach   p50 ", format!("{} ", side.name))
            });
            println!("{:4.1}  {:─<13}{}", at.as_secs_f64(), format!("{name} "), columns.collect::<String>());
        }
        Moment::Passed { time, health } => {
            changes(moment, sides);
            let mut line = format!("{:4.1}  {health:<13}", time.end.as_secs_f64());
            for side in sides {
                let sum = side.log.ended_in(time);
                match side.state() {
                    None => line += &format!("│ {:>14} {:>4}", sum.ok, sum.failed),
                    Some(state) => {
                        let state = paint(state, &format!("{:<9}", state.as_str()));
                        line += &format!("│ {state} {:>6} {:>4} {:>4}", sum.ok, sum.failed, sum.rejected);
                    }
                }
                line += &format!(" {:>5} {:>5} ", sum.reached, wait(&sum, 50));
            }
            println!("{line}");
        }
    }
}

/// Prints what circuits did in that time, and why.
pub(crate) fn changes(moment: &Moment, sides: &[Side]) {
    let Moment::Passed { time, .. } = moment else { return };
    let mut edges: Vec<_> = sides.iter().flat_map(|side| side.log.transitions(time)).collect();
    edges.sort_by_key(|(at, ..)| *at);
    for (at, circuit, edge) in edges {
        let to = paint(edge.to.state, edge.to.as_str());
        println!("{:4.1}  ▸ `{circuit}` is {to}, because {}", at.as_secs_f64(), edge.reason);
    }
}

/// Compares the sides, phase by phase. A call belongs to the phase in which it began.
pub(crate) fn table(Played { phases, sides, .. }: &Played) {
    println!("\nphase            side               ok    fail     rej   reach  median ms  worst ms  all well");
    for (n, phase) in phases.iter().enumerate() {
        let mut title =
            format!("{:<11} {:>2.0} s", phase.name, phase.time.end.saturating_sub(phase.time.start).as_secs_f64());
        for side in sides {
            let well = match side.log.recovered_in(&phase.time) {
                _ if phase.is_sick() || n == 0 => String::new(),
                Some(after) => format!("{:.1} s", after.as_secs_f64()),
                None => "not yet".to_owned(),
            };
            let sum = side.log.begun_in(std::slice::from_ref(&phase.time));
            println!(
                "{title:<16} {:<14} {:>6} {:>7} {:>7} {:>7} {:>10} {:>9} {well:>9}",
                side.name,
                sum.ok,
                sum.failed,
                sum.rejected,
                sum.reached,
                wait(&sum, 50),
                wait(&sum, 100),
            );
            title.clear();
        }
    }
    println!("`all well`: so long after the service was back began the first call since which all succeed.\n");
}

/// Says what the table comes to, the price included. Returns whether the price is about what it is promised to be.
pub(crate) fn claims(Played { phases, sides, .. }: &Played) -> bool {
    // Not the first phase: what failed in it had come too late, when the first outage began.
    let (sick, back): (Vec<_>, Vec<_>) = phases.iter().skip(1).partition(|phase| phase.is_sick());
    let [sick, back] =
        [sick, back].map(|phases| phases.into_iter().map(|phase| phase.time.clone()).collect::<Vec<_>>());
    let row = |title: &str, cell: &dyn Fn(&Side) -> String| {
        println!("{title:<36}{}", sides.each_ref().map(|side| format!("{:>15}", cell(side))).concat());
    };
    row("While the service was sick", &|side| side.name.to_owned());
    row("  requests that reached it", &|side| side.log.begun_in(&sick).reached.to_string());
    row("  checks of its health", &|side| side.log.begun_in(&sick).checked.to_string());
    row("  ms a caller waited, median", &|side| wait(&side.log.begun_in(&sick), 50));
    println!("When it was back");
    row("  calls that succeeded", &|side| side.log.begun_in(&back).ok.to_string());
    row("  calls that failed", &|side| side.log.begun_in(&back).failed.to_string());
    row("  calls rejected: the price", &|side| side.log.begun_in(&back).rejected.to_string());
    println!("Seconds until all was well, after");
    let mut latest = [f64::MIN; 2];
    for (outage, after) in phases.iter().zip(&phases[1..]).filter(|(phase, _)| phase.is_sick()) {
        let well = sides.each_ref().map(|side| side.log.recovered_in(&after.time).map(|well| well.as_secs_f64()));
        let seconds = |well: Option<f64>| well.map_or("not yet".to_owned(), |well| format!("{well:.2}"));
        println!("  {:<34}{}", outage.name, well.map(|well| format!("{:>15}", seconds(well))).concat());
        let phase = after.time.end.saturating_sub(after.time.start).as_secs_f64();
        let [nothing, with @ ..] = well.map(|well| well.unwrap_or(phase));
        for (latest, well) in latest.iter_mut().zip(with) {
            *latest = latest.max(well - nothing);
        }
    }
    let [breaker, early] = latest;
    println!(
        "\nCompared with no breaker, all was well {breaker:.2} s later at most with a breaker, and {early:.2} s later at most with health probe and ramp."
    );
    let kept = if early <= PROMISE { "kept" } else { "NOT kept in this run" };
    println!("The promise for health probe and ramp is {PROMISE} s at most, and it is {kept}.\n");
    early <= PROMISE + BUSY
}

pub(crate) fn share(part: usize, all: usize) -> f64 {
    let number = |count: usize| u32::try_from(count).map_or(f64::MAX, f64::from);
    number(part) / number(all.max(1))
}

/// A wait in ms, with two digits that mean something.
pub(crate) fn wait(sum: &Sum, percent: usize) -> String {
    match sum.wait(percent).map(|wait| wait.as_secs_f64() * 1e3) {
        Some(ms) if ms < 1.0 => format!("{ms:.2}"),
        Some(ms) if ms < 10.0 => format!("{ms:.1}"),
        Some(ms) => format!("{ms:.0}"),
        None => "-".to_owned(),
    }
}

/// Returns what a configuration says of itself.
pub(crate) fn explained(config: &Config) -> String {
    config.explain().lines().map(|line| format!("    {line}\n")).collect()
}

/// Returns the sentences that another configuration does not have.
pub(crate) fn explained_besides(config: &Config, other: &Config) -> String {
    let (text, others) = (explained(config), explained(other));
    text.lines().skip(1).filter(|line| !others.contains(line)).map(|line| format!("{line}\n")).collect()
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

/// How much later all is well with health probe and ramp than without a breaker, in seconds.
const PROMISE: f64 = 0.3;
/// What a busy machine may add before the run counts as failed.
const BUSY: f64 = 0.7;
