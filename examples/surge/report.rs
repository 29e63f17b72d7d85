//! The words: a table of the five runs, and what follows from it.

use std::time::Duration;

use crate::record::{Call, How, Record, per};
use crate::server::{QUEUE, WORKERS};
use crate::traffic::{
    AFTER, BEFORE, CHECK_DEADLINE, CHECK_EVERY, DURING, HEAVY, HEAVY_ONE_IN, LIGHT, NORMAL, RAMP, SURGE, Setup, TIMEOUT,
};

impl Setup {
    /// The head of a column.
    const fn name(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Breaker => "breaker",
            Self::Recovery => "+ recovery",
            Self::Shedding => "+ shedding",
            Self::All => "+ both",
        }
    }

    /// The same where there is room for it.
    pub(crate) const fn title(self) -> &'static str {
        match self {
            Self::Nothing => "without anything",
            Self::Breaker => "breaker alone",
            Self::Recovery => "breaker, probe, ramp",
            Self::Shedding => "breaker, shedding",
            Self::All => "all of them",
        }
    }
}

/// The records of the five runs, in the order of `Setup::EACH`.
pub(crate) type Runs = [Record; Setup::EACH.len()];

pub(crate) fn introduction() {
    println!(
        "Five servers with {WORKERS} workers and a queue of {QUEUE}; a request that its caller gave up on is worked off all the same.
Callers wait {TIMEOUT:?} at most. One request in {HEAVY_ONE_IN} is a `{}` of {:?}, estimated at {}; the others are a `{}` of {:?},
estimated at {}. Usually {NORMAL} come in a second. Now {SURGE} do, for ten seconds; then {NORMAL} again.

  nothing      nothing between callers and server
  breaker      a circuit breaker with the default settings
  + recovery   with a health probe (a `{}` every {CHECK_EVERY:?}, at most {CHECK_DEADLINE:?}) and a ramp of {RAMP:?}
  + shedding   the breaker with load shedding, and neither health probe nor ramp
  + both       the breaker with load shedding, health probe and ramp
",
        HEAVY.name, HEAVY.takes, HEAVY.load, LIGHT.name, LIGHT.takes, LIGHT.load, LIGHT.name
    );
}

pub(crate) fn table(runs: &Runs) {
    let print = |title: &str, cells: [String; Setup::EACH.len()]| {
        println!("{title:<43}{}", cells.map(|cell| format!("{cell:>11}")).concat());
    };
    let row = |title: &str, cell: &dyn Fn(&Record) -> String| print(title, runs.each_ref().map(cell));
    print("", Setup::EACH.map(|setup| setup.name().to_owned()));
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
    row("  calls rejected by the circuit", &|record| rate(record.count(&DURING, |call| call.how == How::Rejected), 10));
    row("  calls shed", &|record| rate(record.count(&DURING, |call| call.how == How::Shed), 10));
    println!("In the surge, waits in ms (99 of 100 callers)");
    row("  all callers", &|record| wait(record.p99(&DURING, |_| true)));
    row("  those of light operations", &|record| wait(record.p99(&DURING, |call| call.is_light)));
    row("  those whose call was rejected or shed", &|record| wait(record.p99(&DURING, is_refused)));
    println!("After it");
    row("  s until every call succeeds again", &|record| recovered(record));
    row("  s planned for the last opening", &|record| {
        record.openings().next_back().map_or("-".to_owned(), |open_for| format!("{:.1}", open_for.as_secs_f64()))
    });
    println!();
}

/// Says what the table comes to. Returns whether it is what this is there to show.
pub(crate) fn claims(runs: &Runs) -> bool {
    let [nothing, breaker, recovery, shedding, all] = runs;
    let per_cent = |record: &Record| format!("{:.0} %", record.light_share(&DURING) * 100.0);
    println!(
        "Of the light operations in the surge, {} succeeded without anything, {} with the breaker, {} with shedding too.",
        per_cent(nothing),
        per_cent(breaker),
        per_cent(shedding)
    );
    println!(
        "After the surge every call succeeded again {} s later without anything, {} s with the breaker,
{} s with health probe and ramp too, {} s with shedding too.",
        recovered(nothing),
        recovered(breaker),
        recovered(recovery),
        recovered(all)
    );

    let refused = |record: &Record| record.p99(&DURING, is_refused);
    let soon = [breaker, recovery, shedding, all].map(refused).into_iter().flatten().all(|wait| wait < TIMEOUT / 10);
    let rejected_soon = soon && refused(breaker).is_some() && refused(all).is_some();
    println!(
        "Rejections came {} the timeout would have.",
        if rejected_soon { "long before" } else { "NOT long before" }
    );
    let as_usual = all.light_share(&DURING) > 0.8 * all.light_share(&BEFORE);
    println!(
        "Light operations {} within 20 % of normal with shedding.",
        if as_usual { "stayed" } else { "did NOT stay" }
    );
    let after = |record: &Record| record.recovered_in(&AFTER).unwrap_or(Duration::MAX);
    let no_later = after(all) <= after(nothing);
    println!(
        "With all of them every call succeeded again {} than without anything.",
        if no_later { "no later" } else { "LATER" }
    );
    let earlier = after(recovery) < after(breaker);
    println!(
        "Health probe and ramp {} the recovery of the breaker. Without shedding it depends on the moment in which the
surge ends: the guide to recovery has the worst of many.",
        if earlier { "shortened" } else { "did NOT shorten" }
    );
    rejected_soon && as_usual && no_later && earlier && nothing.light_share(&DURING) < all.light_share(&DURING)
}

fn recovered(record: &Record) -> String {
    record.recovered_in(&AFTER).map_or("not yet".to_owned(), |after| format!("{:.1}", after.as_secs_f64()))
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
