//! The surge of `examples/surge`, in virtual time: what the example prints and draws is asserted here.
//!
//! Fifty times the normal load for ten seconds, to a server that collapses under it.

#[path = "../../../examples/surge/record.rs"]
mod record;
#[expect(clippy::disallowed_methods, reason = "the server of the example spawns its jobs")]
#[path = "../../../examples/surge/server.rs"]
mod server;
#[path = "../../../examples/surge/traffic.rs"]
mod traffic;

use std::time::Duration;

use record::{Call, How, Record};
use traffic::{AFTER, BEFORE, DURING, NORMAL, SCRIPT, SURGE, Setup, TIMEOUT};

async fn play(setup: Setup) -> Record {
    let record = traffic::play(setup, SCRIPT).await.unwrap();
    assert!(record.light_share(&BEFORE) > 0.99, "the normal load is no problem");
    let made = record.count(&DURING, |_| true);
    assert!(made.abs_diff(SURGE as usize * 10) <= SURGE as usize / 10, "fifty times the load for 10 s: {made} calls");
    record
}

fn is_refused(call: &Call) -> bool {
    matches!(call.how, How::Rejected | How::Shed)
}

#[tokio::test(start_paused = true)]
async fn without_breaker_and_shedding_the_server_collapses() {
    let record = play(Setup::Nothing).await;
    let late = Duration::from_secs(8)..DURING.end;
    assert!(record.light_share(&late) < 0.1, "goodput: {}", record.light_share(&late));
    assert_eq!(record.reached(&DURING), record.count(&DURING, |_| true), "all of it reaches the server");
    assert_eq!(record.count(&DURING, is_refused), 0);
}

#[tokio::test(start_paused = true)]
async fn a_breaker_alone_spares_the_server_and_rejects_most_callers() {
    let record = play(Setup::Breaker).await;
    let refused = record.count(&DURING, is_refused);
    let longest = record.calls(&DURING).filter(is_refused).map(|call| call.took).max();
    assert!(refused > SURGE as usize * 4, "most calls are rejected: {refused}");
    assert!(longest.unwrap() < TIMEOUT / 10, "rejections come long before the timeout would: {longest:?}");
    assert!(record.reached(&DURING) < SURGE as usize * 5, "and do not reach the server: {}", record.reached(&DURING));
    let open_for = record.openings().next_back().expect("it opened");
    let recovered = record.recovered_in(&AFTER).expect("it recovers");
    assert!(recovered < open_for * 2, "it took {recovered:?}, and was open for {open_for:?}");
}

#[tokio::test(start_paused = true)]
async fn with_breaker_and_shedding_light_calls_go_on_as_usual() {
    let record = play(Setup::Shedding).await;
    let (before, during) = (record.light_share(&BEFORE), record.light_share(&DURING));
    assert!(during > 0.8 * before, "of the light operations {during} succeed in the surge, {before} before it");
    let goodput = record.count(&DURING, |call| call.is_light && call.how == How::Ok);
    assert!(goodput > NORMAL as usize * 8, "{goodput} in 10 s are within 20 % of the normal rate, or more");
    let shed = record.count(&DURING, |call| call.how == How::Shed);
    assert!(shed > SURGE as usize / 2, "half of the heavy ones at least are shed: {shed}");
    assert_eq!(record.count(&DURING, |call| call.is_light && call.how == How::Shed), 0, "no light one is");
    let longest = record.calls(&DURING).filter(is_refused).map(|call| call.took).max();
    assert!(longest.unwrap() < TIMEOUT / 10, "rejections come long before the timeout would: {longest:?}");
    // The base of the open duration, if it never opened.
    let open_for = record.openings().next_back().unwrap_or(Duration::from_secs(5));
    let recovered = record.recovered_in(&AFTER).expect("it recovers");
    assert!(recovered < open_for * 2, "it took {recovered:?}, and the open duration is {open_for:?}");
    let p99 = record.p99(&AFTER, |call| call.how == How::Ok).unwrap();
    assert!(p99 < TIMEOUT / 2, "and afterwards calls are fast again: {p99:?}");
}

#[tokio::test(start_paused = true)]
async fn with_everything_calls_recover_no_later_than_with_nothing() {
    let (nothing, all) = (play(Setup::Nothing).await, play(Setup::All).await);
    let (before, during) = (all.light_share(&BEFORE), all.light_share(&DURING));
    assert!(during > 0.8 * before, "of the light operations {during} succeed in the surge, {before} before it");
    let after = |record: &Record| record.recovered_in(&AFTER).expect("it recovers");
    assert!(after(&all) <= after(&nothing), "{:?} with everything, {:?} with nothing", after(&all), after(&nothing));
}

/// A surge of ten seconds can end in a lucky moment, so these surges end at many. `docs/recovery.md` has the worst times.
#[tokio::test(start_paused = true)]
async fn a_health_probe_and_a_ramp_shorten_the_recovery_after_any_surge() {
    let [nothing, breaker, recovery, shedding, all] = {
        let mut worst = [Duration::ZERO; Setup::EACH.len()];
        for (setup, worst) in Setup::EACH.into_iter().zip(&mut worst) {
            for tenths in (20..130).step_by(6) {
                let end = BEFORE.end + Duration::from_millis(100) * tenths;
                let record = traffic::play(setup, [SCRIPT[0], (end, SURGE), SCRIPT[2]]).await.unwrap();
                *worst = record.recovered_in(&(end..AFTER.end)).expect("it recovers").max(*worst);
            }
            println!("surges of 2 to 12.8 s with {setup:?}: every call succeeds again after {worst:?} at most");
        }
        worst
    };
    assert!(breaker > Duration::from_secs(8), "the price of the breaker alone: {breaker:?}");
    assert!(recovery < Duration::from_secs(4), "{recovery:?}");
    assert!(shedding <= nothing && all <= nothing, "{shedding:?} and {all:?} with shedding, {nothing:?} with nothing");
}
