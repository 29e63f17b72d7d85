//! What the coordinator makes of a store: restore, sharing, acts, writes. On paused time and a store in memory.

mod acts;
mod advice;
mod again;
mod durable;
mod environment;
mod evidence;
mod fleet_views;
mod groups;
mod health;
mod life;
mod members;
mod outage;
mod polls;
mod presence;
mod quorum;
mod sharing;
mod shutdown;
mod size;
mod slept;

use tower_circuit_breaker::circuit::To;
use tower_circuit_breaker::coordinator::{Recovered, Restored, Sharing};
use tower_circuit_breaker::state::{Mode, Reason};
use tower_circuit_breaker::store::{AuditFilter, Store};
use tower_circuit_breaker::{Failure, Outcome, State};

use crate::rig::{Instance, alice, fail, memory, millis, pass, record, secs, state, succeed};

#[tokio::test(start_paused = true)]
async fn an_open_circuit_is_open_after_a_restart_for_the_remaining_time() {
    let store = memory();
    let one = Instance::start(&store, "a", Sharing::Advise).await;
    fail(&one.circuit, 5);
    one.end().await;
    pass(secs(3)).await;
    let one = Instance::start(&store, "a", Sharing::Advise).await;
    assert_eq!(state(&one.circuit), State::Open);
    let left = one.circuit.status().retry_after.unwrap();
    assert!((millis(1_900)..=millis(2_100)).contains(&left), "{left:?}");
    let report = one.registry.restore(secs(1)).await.unwrap();
    assert!(
        matches!(report.circuits["payments"], Restored::From { store: "memory", whose: Recovered::Own, .. }),
        "{report:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn an_opening_that_a_late_failure_lengthens_is_as_long_after_a_restart() {
    let store = memory();
    let one = Instance::start(&store, "a", Sharing::Advise).await;
    let late = one.circuit.try_acquire().unwrap();
    fail(&one.circuit, 5);
    pass(secs(2)).await;
    late.failure(Failure::hard().trips_at_once().with_retry_after(secs(60)));
    pass(secs(1)).await;
    let rows = store.audit(&AuditFilter::new()).await.unwrap();
    assert_eq!((rows.len(), rows[0].action.as_str()), (2, "opened"));
    one.end().await;
    let one = Instance::start(&store, "a", Sharing::Advise).await;
    let left = one.circuit.status().retry_after.unwrap();
    assert!((secs(58)..=secs(60)).contains(&left), "{left:?}");
}

#[tokio::test(start_paused = true)]
async fn three_failures_a_restart_and_two_more_open_at_five() {
    let store = memory();
    let one = Instance::start(&store, "a", Sharing::Advise).await;
    fail(&one.circuit, 3);
    one.end().await;
    let one = Instance::start(&store, "a", Sharing::Advise).await;
    fail(&one.circuit, 1);
    assert_eq!(state(&one.circuit), State::Closed);
    fail(&one.circuit, 1);
    assert_eq!(state(&one.circuit), State::Open);
    pass(secs(1)).await;
    assert_eq!(record(&store, "payments").await.unwrap().total_failures, 5);
}

#[tokio::test(start_paused = true)]
async fn an_opening_elsewhere_is_advice_a_vote_or_an_order() {
    for sharing in [Sharing::Advise, Sharing::Quorum, Sharing::Follow] {
        let store = memory();
        let a = Instance::start(&store, "a", sharing).await;
        let b = Instance::start(&store, "b", sharing).await;
        fail(&a.circuit, 5);
        pass(millis(100)).await;
        match sharing {
            Sharing::Quorum => assert_eq!(state(&b.circuit), State::Closed, "one vote of two"),
            Sharing::Advise => {
                assert_eq!(state(&b.circuit), State::Closed);
                fail(&b.circuit, 2);
                assert_eq!(state(&b.circuit), State::Open, "a quarter of five, at least two");
                let why = b.circuit.status().transitions.pop().unwrap().reason;
                assert!(matches!(why, Reason::Advised { .. }), "{why:?}");
                pass(millis(100)).await;
                let record = record(&store, "payments").await.unwrap();
                assert!(record.instances["b"].advised && !record.instances["a"].advised, "{record:?}");
            }
            Sharing::Follow => {
                assert_eq!(state(&b.circuit), State::Open);
                assert!(b.circuit.try_acquire().is_err());
                pass(secs(6)).await;
                drop(a.circuit.try_acquire());
                for _ in 0..3 {
                    pass(millis(300)).await;
                    succeed(&a.circuit, 1);
                }
                pass(millis(100)).await;
                assert_eq!(state(&b.circuit), State::Closed);
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_act_of_an_operator_applies_to_all_instances() {
    let store = memory();
    let a = Instance::start(&store, "a", Sharing::Advise).await;
    let b = Instance::start(&store, "b", Sharing::Advise).await;
    a.circuit.trip(&alice(), None);
    pass(millis(100)).await;
    assert_eq!(b.circuit.status().mode, Mode::ForcedOpen);
    let c = Instance::start(&store, "c", Sharing::Advise).await;
    assert_eq!(c.circuit.status().mode, Mode::ForcedOpen, "who comes later too");
    b.circuit.reset(&alice(), To::Closed);
    pass(millis(100)).await;
    for instance in [&a, &b, &c] {
        let status = instance.circuit.status();
        assert_eq!((status.state, status.mode), (State::Closed, Mode::Automatic));
    }
    let rows = store.audit(&AuditFilter::new()).await.unwrap();
    let told: Vec<_> =
        rows.iter().map(|row| (row.action.as_str(), row.instance.as_str(), row.user.as_deref())).collect();
    assert_eq!(told, [("trip", "a", Some("alice")), ("reset", "b", Some("alice"))]);
}

#[tokio::test(start_paused = true)]
async fn an_instance_rewrites_a_flushed_record_with_the_same_generation() {
    let store = memory();
    let a = Instance::start(&store, "a", Sharing::Advise).await;
    fail(&a.circuit, 5);
    pass(millis(100)).await;
    let before = record(&store, "payments").await.unwrap();
    store.flush();
    pass(secs(3)).await;
    let after = record(&store, "payments").await.unwrap();
    assert_eq!(before, after);
    assert_eq!(state(&a.circuit), State::Open);
}

#[tokio::test(start_paused = true)]
async fn a_circuit_below_the_threshold_writes_at_most_six_times_a_minute() {
    let store = memory();
    let a = Instance::start(&store, "a", Sharing::Advise).await;
    let mut writes = std::collections::BTreeSet::new();
    for _ in 0..600 {
        a.circuit.try_acquire().unwrap().record(Outcome::failure());
        succeed(&a.circuit, 3);
        pass(millis(100)).await;
        writes.extend(record(&store, "payments").await.map(|record| record.instances["a"].sequence));
    }
    assert!((4..=6).contains(&writes.len()), "{} writes", writes.len());
}
