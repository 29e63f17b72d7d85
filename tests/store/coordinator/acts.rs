//! Acts of operators: with the store down, too late, overtaken, and on instances that were not there.

use tower_circuit_breaker::circuit::To;
use tower_circuit_breaker::config::Recovery;
use tower_circuit_breaker::coordinator::Sharing;
use tower_circuit_breaker::state::Mode;
use tower_circuit_breaker::store::{Operation, Store};
use tower_circuit_breaker::{Outcome, State};

use crate::rig::{DOWN, Instance, alice, audited, fail, faulty, memory, millis, pass, record, secs, settings, state};

fn mode(instance: &Instance) -> Mode {
    instance.circuit.status().mode
}

#[tokio::test(start_paused = true)]
async fn a_hold_made_during_an_outage_ends_at_its_own_time() {
    let store = faulty();
    let a = Instance::start(&store, "a", Sharing::Advise).await;
    store.faults().set(Operation::ALL, DOWN);
    a.circuit.trip(&alice(), Some(secs(300)));
    pass(secs(100)).await;
    store.faults().heal();
    pass(secs(40)).await;
    let operated = record(&store, "payments").await.unwrap().operator.unwrap();
    let left = operated.until.unwrap().since(operated.at);
    assert!((millis(299_900)..=millis(300_100)).contains(&left), "{left:?} from when it was made");
    let b = Instance::start(&store, "b", Sharing::Advise).await;
    assert_eq!(mode(&b), Mode::ForcedOpen);
    pass(secs(161)).await;
    for instance in [&a, &b] {
        drop(instance.circuit.try_acquire());
        assert_eq!((mode(instance), state(&instance.circuit)), (Mode::Automatic, State::HalfOpen));
    }
}

#[tokio::test(start_paused = true)]
async fn a_hold_that_ended_during_an_outage_is_only_audited() {
    let store = faulty();
    let a = Instance::start(&store, "a", Sharing::Advise).await;
    store.faults().set(Operation::ALL, DOWN);
    a.circuit.trip(&alice(), Some(secs(30)));
    pass(secs(100)).await;
    store.faults().heal();
    pass(secs(40)).await;
    let rows = audited(&store).await;
    assert!(rows.starts_with(&["trip a".to_owned()]) && rows.contains(&"expired a".to_owned()), "{rows:?}");
    assert!(record(&store, "payments").await.is_none_or(|record| record.operator.is_none()));
}

/// Two instances with a store each knows alone, until they meet: `a` acts first, cut off, then `b`.
async fn overtaken(act: impl Fn(&Instance), newer: impl Fn(&Instance)) -> (Instance, Instance, Vec<String>) {
    let store = memory();
    // Each has its own way to the one store.
    let way = tower_circuit_breaker::store::FaultyStore::new(store.clone());
    let a = Instance::start(&way, "a", Sharing::Advise).await;
    let b = Instance::start(&store, "b", Sharing::Advise).await;
    way.faults().set(Operation::ALL, DOWN);
    way.faults().end_watches();
    act(&a);
    pass(secs(5)).await;
    newer(&b);
    pass(secs(60)).await;
    way.faults().heal();
    pass(secs(60)).await;
    (a, b, audited(&store).await)
}

#[tokio::test(start_paused = true)]
async fn an_act_that_was_overtaken_is_audited_and_dropped() {
    let trip = |instance: &Instance| drop(instance.circuit.trip(&alice(), None));
    let disable = |instance: &Instance| drop(instance.circuit.disable(&alice(), None));
    let (a, b, rows) = overtaken(trip, disable).await;
    assert_eq!([mode(&a), mode(&b)], [Mode::Disabled; 2]);
    assert_eq!(rows.iter().filter(|row| *row == "superseded a").count(), 1, "{rows:?}");
}

#[tokio::test(start_paused = true)]
async fn an_act_overtaken_by_an_ended_hold_holds_no_instance() {
    let trip = |instance: &Instance| drop(instance.circuit.trip(&alice(), None));
    let disable = |instance: &Instance| drop(instance.circuit.disable(&alice(), Some(secs(10))));
    let (a, b, rows) = overtaken(trip, disable).await;
    for instance in [&a, &b] {
        drop(instance.circuit.try_acquire());
    }
    assert!(rows.contains(&"superseded a".to_owned()), "{rows:?}");
    assert_eq!([mode(&a), mode(&b)], [Mode::Automatic; 2]);
}

#[tokio::test(start_paused = true)]
async fn a_timed_hold_ends_on_every_instance() {
    let store = memory();
    let a = Instance::start(&store, "a", Sharing::Advise).await;
    let b = Instance::start(&store, "b", Sharing::Follow).await;
    a.circuit.trip(&alice(), Some(secs(60)));
    pass(secs(30)).await;
    let c = Instance::start(&store, "c", Sharing::Advise).await;
    assert_eq!([mode(&a), mode(&b), mode(&c)], [Mode::ForcedOpen; 3]);
    pass(secs(31)).await;
    for instance in [&a, &b, &c] {
        drop(instance.circuit.try_acquire());
        assert_eq!(mode(instance), Mode::Automatic);
        assert_ne!(state(&instance.circuit), State::Open);
    }
}

#[tokio::test(start_paused = true)]
async fn a_hold_that_ended_during_downtime_is_half_open_afterwards() {
    let store = memory();
    let a = Instance::start(&store, "a", Sharing::Advise).await;
    a.circuit.trip(&alice(), Some(secs(60)));
    a.end().await;
    pass(secs(120)).await;
    for id in ["a", "b"] {
        let instance = Instance::start(&store, id, Sharing::Advise).await;
        assert_eq!((mode(&instance), state(&instance.circuit)), (Mode::Automatic, State::HalfOpen), "{id}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_restarted_instance_sees_a_reset_made_during_its_downtime() {
    let store = memory();
    let a = Instance::start(&store, "a", Sharing::Advise).await;
    let b = Instance::start(&store, "b", Sharing::Advise).await;
    a.circuit.trip(&alice(), None);
    fail_open(&b).await;
    b.end().await;
    pass(secs(1)).await;
    a.circuit.reset(&alice(), To::Closed);
    pass(secs(1)).await;
    let b = Instance::start(&store, "b", Sharing::Advise).await;
    assert_eq!((mode(&b), state(&b.circuit)), (Mode::Automatic, State::Closed));
}

async fn fail_open(instance: &Instance) {
    pass(millis(100)).await;
    assert_eq!(mode(instance), Mode::ForcedOpen);
}

#[tokio::test(start_paused = true)]
async fn an_old_reset_in_a_flushed_store_does_not_act_again() {
    let store = memory();
    let a = Instance::start(&store, "a", Sharing::Advise).await;
    a.circuit.reset(&alice(), To::HalfOpen);
    pass(secs(600)).await;
    let way = tower_circuit_breaker::store::FaultyStore::new(store.clone());
    store.flush();
    // Before `a` notices.
    let b = Instance::start(&way, "b", Sharing::Advise).await;
    assert_eq!(state(&b.circuit), State::Closed);
    fail(&b.circuit, 5);
    pass(secs(4)).await;
    assert_eq!(state(&b.circuit), State::Open, "a reset of ten minutes ago is not about this opening");
}

/// The instance knew an act and no published state, so that the record would take the opening for newer than the reset.
#[tokio::test(start_paused = true)]
async fn a_reset_from_the_store_drops_the_unwritten_opening_that_it_ends() {
    let store = memory();
    let way = tower_circuit_breaker::store::FaultyStore::new(store.clone());
    let a = Instance::start(&way, "a", Sharing::Advise).await;
    let b = Instance::start(&store, "b", Sharing::Advise).await;
    drop(a.circuit.disable(&alice(), None));
    pass(secs(1)).await;
    a.circuit.resume(&alice());
    pass(secs(60)).await;
    way.faults().set(Operation::ALL, DOWN);
    way.faults().end_watches();
    b.circuit.reset(&alice(), To::Closed);
    pass(secs(5)).await;
    fail(&a.circuit, 5);
    pass(secs(1)).await;
    assert_eq!(state(&a.circuit), State::Open);
    way.faults().heal();
    pass(secs(60)).await;
    let published = record(&store, "payments").await.unwrap().state;
    assert_eq!((state(&a.circuit), published), (State::Closed, State::Closed));
}

#[tokio::test(start_paused = true)]
async fn the_entry_of_a_reset_instance_neither_advises_nor_causes_polls() {
    let store = faulty();
    let a = Instance::start(&store, "a", Sharing::Advise).await;
    let b = Instance::start(&store, "b", Sharing::Advise).await;
    fail(&b.circuit, 5);
    pass(secs(1)).await;
    a.circuit.reset(&alice(), To::Closed);
    pass(secs(30)).await;
    assert_eq!(state(&b.circuit), State::Closed);
    let c = Instance::start(&store, "c", Sharing::Advise).await;
    fail(&c.circuit, 2);
    assert_eq!(state(&c.circuit), State::Closed, "nobody is open, so nobody advises");
    let before = store.faults().operations(Operation::Load);
    pass(secs(300)).await;
    let polls = store.faults().operations(Operation::Load) - before;
    assert!(polls < 130, "{polls} polls of three instances whose circuits are closed");
}

#[tokio::test(start_paused = true)]
async fn a_manually_recovering_circuit_stays_open_over_time_and_restarts() {
    let store = memory();
    let config = || settings("payments").recovery(Recovery::Manual).build().unwrap();
    let a = Instance::with(&store, "a", Sharing::Advise, config()).await;
    fail(&a.circuit, 5);
    a.end().await;
    pass(secs(40 * 24 * 3600)).await;
    let a = Instance::with(&store, "a", Sharing::Advise, config()).await;
    assert_eq!(state(&a.circuit), State::Open);
    pass(secs(3600)).await;
    assert!(a.circuit.try_acquire().is_err());
    a.circuit.reset(&alice(), To::Closed);
    a.end().await;
    let a = Instance::with(&store, "a", Sharing::Advise, config()).await;
    assert_eq!(state(&a.circuit), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_configured_shadow_survives_a_restart_and_admits_calls() {
    let store = memory();
    let config = || settings("payments").shadow().build().unwrap();
    let a = Instance::with(&store, "a", Sharing::Advise, config()).await;
    fail(&a.circuit, 5);
    a.end().await;
    let a = Instance::with(&store, "a", Sharing::Advise, config()).await;
    assert_eq!((mode(&a), state(&a.circuit)), (Mode::Shadow, State::Open));
    a.circuit.try_acquire().unwrap().record(Outcome::Success);
    a.circuit.trip(&alice(), Some(secs(60)));
    pass(secs(61)).await;
    drop(a.circuit.try_acquire());
    assert_eq!(mode(&a), Mode::Shadow, "beneath the hold it is still in shadow");
    a.end().await;
    let rows = store.audit(&tower_circuit_breaker::store::AuditFilter::new()).await.unwrap();
    assert!(rows.iter().any(|row| row.action == "trip"), "{rows:?}");
}
