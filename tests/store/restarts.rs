//! The sentences and the log lines about a state that began before a restart or on another instance.

use std::time::Duration;

use tower_circuit_breaker::coordinator::{Restored, Sharing};
use tower_circuit_breaker::operation::{Operator, Order};
use tower_circuit_breaker::state::{Mode, Reason};
use tower_circuit_breaker::store::{AnyStore, MemoryStore};
use tower_circuit_breaker::{Circuit, Config, OpenDuration, State};
use tracing::Level;

use crate::lines::Lines;
use crate::rig::{Instance, alice, builder, fail, memory, pass, secs, settings, state, succeed};

/// Opens for 60 s.
fn config() -> Config {
    settings("payments").open_for(OpenDuration::fixed(secs(60)).jitter(0.0)).build().unwrap()
}

async fn start(store: &MemoryStore, sharing: Sharing) -> Instance {
    Instance::with(store, "a", sharing, config()).await
}

/// Ends the instance and starts it again after that time.
async fn restarted(instance: Instance, store: &MemoryStore, after: Duration) -> Instance {
    instance.end().await;
    pass(after).await;
    start(store, Sharing::Advise).await
}

fn why(circuit: &Circuit) -> Reason {
    circuit.status().transitions.pop().unwrap().reason
}

/// Asserts a duration up to the rounding of records to whole milliseconds and the start of the instance.
#[track_caller]
fn lasts(lasted: Duration, expected: Duration) {
    assert!(lasted + secs(1) >= expected && lasted <= expected + secs(1), "{lasted:?} is not {expected:?}");
}

#[track_caller]
fn waited(circuit: &Circuit, expected: Duration) {
    let Reason::WaitElapsed { waited } = why(circuit) else { panic!("{}", why(circuit)) };
    lasts(waited, expected);
}

#[tokio::test(start_paused = true)]
async fn a_restored_opening_counts_its_duration_from_the_opening() {
    let store = memory();
    let a = start(&store, Sharing::Advise).await;
    fail(&a.circuit, 5);
    pass(secs(20)).await;
    let a = restarted(a, &store, secs(5)).await;
    pass(secs(10)).await;
    let a = restarted(a, &store, secs(5)).await;
    // A hold over the opening does not end the opening.
    a.circuit.disable(&alice(), None);
    a.circuit.resume(&alice());
    pass(secs(40)).await;
    drop(a.circuit.try_acquire().unwrap());
    waited(&a.circuit, secs(80));
}

#[tokio::test(start_paused = true)]
async fn a_restored_half_open_circuit_counts_from_its_first_probe() {
    let store = memory();
    let a = start(&store, Sharing::Advise).await;
    fail(&a.circuit, 5);
    pass(secs(60)).await;
    succeed(&a.circuit, 1);
    pass(secs(20)).await;
    let a = restarted(a, &store, secs(10)).await;
    assert_eq!(state(&a.circuit), State::HalfOpen);
    succeed(&a.circuit, 2);
    let Reason::ProbesPassed { half_open_for, .. } = why(&a.circuit) else { panic!("{}", why(&a.circuit)) };
    lasts(half_open_for, secs(30));
}

#[tokio::test(start_paused = true)]
async fn the_end_of_a_restored_hold_counts_from_the_act() {
    let store = memory();
    let a = start(&store, Sharing::Advise).await;
    fail(&a.circuit, 1);
    a.circuit.trip(&alice(), Some(secs(300)));
    pass(secs(100)).await;
    let a = restarted(a, &store, secs(100)).await;
    assert_eq!(a.circuit.status().mode, Mode::ForcedOpen);
    pass(secs(100)).await;
    drop(a.circuit.try_acquire().unwrap());
    let Reason::HoldEnded { held } = why(&a.circuit) else { panic!("{}", why(&a.circuit)) };
    lasts(held, secs(300));
}

#[tokio::test(start_paused = true)]
async fn a_followed_opening_counts_from_the_opening_of_the_other_instance() {
    let store = memory();
    let a = start(&store, Sharing::Follow).await;
    fail(&a.circuit, 5);
    pass(secs(30)).await;
    let b = Instance::with(&store, "b", Sharing::Follow, config()).await;
    pass(secs(31)).await;
    drop(b.circuit.try_acquire());
    waited(&b.circuit, secs(61));
}

/// Returns the lines of a restart after that time, without the lines of other subjects.
async fn logged(a: Instance, store: &MemoryStore, after: Duration) -> Vec<(Level, String)> {
    a.end().await;
    pass(after).await;
    let lines = Lines::collect();
    let _a = start(store, Sharing::Advise).await;
    pass(secs(1)).await;
    lines.levels("circuit `payments`")
}

/// Asserts that one line at INFO has this begin and this end.
#[track_caller]
fn is_one_line(lines: &[(Level, String)], begin: &str, end: &str) {
    let [(level, line)] = lines else { panic!("{lines:#?}") };
    assert_eq!(*level, Level::INFO, "nothing has happened: {line}");
    assert!(line.starts_with(begin) && line.ends_with(end), "{line}");
}

#[tokio::test(start_paused = true)]
async fn a_restored_open_circuit_is_one_line_of_information() {
    for (after, end) in
        [(secs(10), "of kind error; probing in 50 s"), (secs(70), "of kind error; the next call is a probe")]
    {
        let store = memory();
        let a = start(&store, Sharing::Advise).await;
        fail(&a.circuit, 5);
        let begin = "circuit `payments` was restored from memory and is still open: open since 20";
        is_one_line(&logged(a, &store, after).await, begin, end);
    }
}

#[tokio::test(start_paused = true)]
async fn a_restored_half_open_circuit_is_one_line_of_information() {
    let store = memory();
    let a = start(&store, Sharing::Advise).await;
    fail(&a.circuit, 5);
    pass(secs(60)).await;
    succeed(&a.circuit, 1);
    let begin = "circuit `payments` was restored from memory and is still half-open: opened at 20";
    is_one_line(&logged(a, &store, secs(10)).await, begin, "last a failure of kind error");
}

#[tokio::test(start_paused = true)]
async fn a_restored_hold_is_one_line_of_information() {
    let store = memory();
    let a = start(&store, Sharing::Advise).await;
    fail(&a.circuit, 5);
    a.circuit.trip(&alice(), None);
    let begin = "circuit `payments` was restored from memory and is still forced open: tripped by alice: maintenance";
    is_one_line(&logged(a, &store, secs(10)).await, begin, "; it stays so until an operator ends it");
}

#[tokio::test(start_paused = true)]
async fn a_hold_over_a_newer_state_has_a_line_of_its_own() {
    let store = memory();
    let operator = Operator::new(AnyStore::new(store.clone()));
    operator.operate("payments", &Order::trip(&alice()).create()).await.unwrap();
    let lines = Lines::collect();
    let registry = builder(&store, "a").build().unwrap();
    let circuit = registry.circuit(config()).unwrap();
    fail(&circuit, 5);
    lines.with("");
    assert_eq!(registry.restore(secs(5)).await.unwrap().circuits["payments"], Restored::Outrun);
    assert_eq!(circuit.status().mode, Mode::ForcedOpen);
    assert_eq!(lines.with("was forced open: tripped by alice").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn each_instance_logs_an_act_of_the_command_line_once() {
    let store = memory();
    let instances =
        [start(&store, Sharing::Advise).await, Instance::with(&store, "b", Sharing::Advise, config()).await];
    let lines = Lines::of("circuit_breaker::audit");
    let operator = Operator::new(AnyStore::new(store.clone()));
    operator.operate("payments", &Order::trip(&alice()).create()).await.unwrap();
    pass(secs(60)).await;
    let trip = r#"audit: trip of `payments` by "alice": "maintenance""#;
    assert_eq!(lines.with(""), [trip; 3], "the operator and two instances");
    operator.operate("payments", &Order::resume(&alice())).await.unwrap();
    pass(secs(60)).await;
    assert_eq!(lines.with("audit: resume of `payments`").len(), 3);
    // An act of an instance is one line on each instance too.
    instances[0].registry.operate("payments", &Order::trip(&alice())).await.unwrap();
    pass(secs(60)).await;
    assert_eq!(lines.with(""), [trip; 2]);
}

#[tokio::test(start_paused = true)]
async fn a_restart_logs_only_acts_that_the_instance_has_not_logged() {
    let store = memory();
    let operator = Operator::new(AnyStore::new(store.clone()));
    let a = start(&store, Sharing::Advise).await;
    fail(&a.circuit, 1);
    pass(secs(20)).await;
    a.end().await;
    operator.operate("payments", &Order::trip(&alice())).await.unwrap();
    let lines = Lines::of("circuit_breaker::audit");
    let a = start(&store, Sharing::Advise).await;
    assert_eq!(lines.with("audit: trip of `payments`").len(), 1, "the act came while the instance was down");
    a.circuit.disable(&alice(), None);
    pass(secs(20)).await;
    lines.with("");
    let _a = restarted(a, &store, secs(1)).await;
    assert_eq!(lines.with(""), [""; 0], "the act is an act of this instance");
}
