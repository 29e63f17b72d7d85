//! The words: a table of the three runs, and what follows from it.

use std::time::Duration;

use crate::record::{Call, How, Record, per};
use crate::server::{QUEUE, WORKERS};
use crate::traffic::{AFTER, BEFORE, DURING, HEAVY, HEAVY_ONE_IN, LIGHT, NORMAL, SURGE, TIMEOUT};

pub(crate) type Run = (&'static str, Record);

pub(crate) fn introduction() {
    println!(
        "Three servers with {WORKERS} workers and a queue of {QUEUE}; a request that its caller gave up on is worked off all the same.
Callers wait {TIMEOUT:?} at most. One request in {HEAVY_ONE_IN} is a `{}` of {:?}, estimated at {}; the others are a `{}` of {:?},
estimated at {}. Usually {NORMAL} come in a second. Now {SURGE} do, for ten seconds; then {NORMAL} again.
",
        HEAVY.name, HEAVY.takes, HEAVY.load, LIGHT.name, LIGHT.takes, LIGHT.load
    );
}

pub(crate) fn table(runs: &[Run; 3]) {
    let row = |title: &str, cell: &dyn Fn(&Record) -> String| {
        let cells = runs.each_ref().map(|(_, record)| cell(record));
        println!("{title:<44} {:>14} {:>14} {:>18}", cells[0], cells[1], cells[2]);
    };
    println!("{:<44} {:>14} {:>14} {:>18}", "", runs[0].0, runs[1].0, runs[2].0);
    println!("Before: calls a second that succeeded");
    row("  light", &|record| rate(record.count(&BEFORE, |call| is_good(call) && call.is_light), 3));
    println!("In the surge, a second");
    row("  requests that reached the server", &|record| rate(record.reached(&DURING), 10));
    row("  light ones that succeeded (goodput)", &|record| {
        rate(record.count(&DURING, |call| is_good(call) && call.is_light), 10)
    });
    row("  heavy ones that succeeded", &|record| {
        rate(record.count(&DURING, |call| is_good(call) && !call.is_light), 10)
    });
    row("  calls that failed or timed out", &|record| rate(record.count(&DURING, |call| call.how == How::Failed), 10));
    row("  calls rejected as tripped or half-open", &|record| {
        rate(record.count(&DURING, |call| call.how == How::Rejected), 10)
    });
    row("  calls shed", &|record| rate(record.count(&DURING, |call| call.how == How::Shed), 10));
    println!("In the surge, waits in ms (99 of 100 callers)");
    row("  all callers", &|record| wait(record.p99(&DURING, |_| true)));
    row("  those of light operations", &|record| wait(record.p99(&DURING, |call| call.is_light)));
    row("  those whose call was rejected or shed", &|record| wait(record.p99(&DURING, is_refused)));
    println!("After it");
    row("  s until every call succeeds again", &|record| match record.recovered_in(&AFTER) {
        Some(after) => format!("{:.1}", after.as_secs_f64()),
        None => "not yet".to_owned(),
    });
    row("  s the circuit was open last", &|record| {
        record.openings().next_back().map_or("-".to_owned(), |open_for| format!("{:.1}", open_for.as_secs_f64()))
    });
    println!();
}

/// Says what the table comes to. Returns whether it is what this is there to show.
pub(crate) fn claims([(_, neither), (_, breaker), (_, both)]: &[Run; 3]) -> bool {
    let per_cent = |record: &Record| format!("{:.0} %", record.light_share(&DURING) * 100.0);
    println!(
        "Of the light operations in the surge, {} succeeded with neither, {} with the breaker, {} with shedding too.",
        per_cent(neither),
        per_cent(breaker),
        per_cent(both)
    );
    let refused = |record: &Record| record.p99(&DURING, is_refused);
    let soon = [breaker, both].map(refused).into_iter().flatten().all(|wait| wait < TIMEOUT / 10);
    let rejected_soon = soon && refused(breaker).is_some() && refused(both).is_some();
    println!(
        "Rejections came {} the timeout would have.",
        if rejected_soon { "long before" } else { "NOT long before" }
    );
    let as_usual = both.light_share(&DURING) > 0.8 * both.light_share(&BEFORE);
    println!(
        "Light operations {} within 20 % of normal with shedding.",
        if as_usual { "stayed" } else { "did NOT stay" }
    );
    rejected_soon && as_usual && neither.light_share(&DURING) < both.light_share(&DURING)
}

fn is_good(call: &Call) -> bool {
    call.how == How::Ok
}

fn is_refused(call: &Call) -> bool {
    matches!(call.how, How::Rejected | How::Shed)
}

fn rate(count: usize, seconds: usize) -> String {
    format!("{:.1}", per(count, seconds))
}

/// A wait in ms, with digits that mean something.
fn wait(wait: Option<Duration>) -> String {
    match wait.map(|wait| wait.as_secs_f64() * 1e3) {
        Some(ms) if ms < 1.0 => format!("{ms:.3}"),
        Some(ms) if ms < 10.0 => format!("{ms:.1}"),
        Some(ms) => format!("{ms:.0}"),
        None => "-".to_owned(),
    }
}
