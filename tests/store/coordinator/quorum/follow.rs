//! A quorum of one vote, under `Sharing::Follow`: one opening opens all instances, and three probes close all.

use std::cell::Cell;

use serde_json::{Value, json};
use tower_circuit_breaker::state::{Act, Mode, Transition};
use tower_circuit_breaker::store::{Hint, MemoryStore, Write};
use tower_circuit_breaker::{OpenDuration, Outcome};

use super::probes::{Calls, are_closed, circuits, fleet};
use super::*;
use crate::rig::settings;

/// The number of instances of an application of middle size.
const MANY: usize = 20;

/// Instances whose circuits open for `open_for` at first.
async fn followers(store: &(impl Store + Clone), count: usize, open_for: u64) -> Vec<Instance> {
    let mut instances = Vec::new();
    for number in 0..count {
        instances.push(follower(store, &format!("node-{number}"), open_for).await);
    }
    pass(secs(15)).await;
    instances
}

async fn follower(store: &(impl Store + Clone), id: &str, open_for: u64) -> Instance {
    let open_for = OpenDuration::exponential(secs(open_for), secs(600)).jitter(0.0);
    Instance::with(store, id, Sharing::Follow, settings("payments").open_for(open_for).build().unwrap()).await
}

/// Instances that one opening has just opened.
async fn opened(store: &(impl Store + Clone), count: usize) -> Vec<Instance> {
    let instances = followers(store, count, 5).await;
    fail(&instances[0].circuit, 5);
    pass(millis(500)).await;
    assert!(are_open(&instances));
    instances
}

fn are_open(instances: &[Instance]) -> bool {
    instances.iter().all(|one| state(&one.circuit) == State::Open)
}

#[tokio::test(start_paused = true)]
async fn three_probes_close_twenty_followers_after_an_outage() {
    let store = memory();
    let instances = opened(&store, MANY).await;
    let is_up = Cell::new(false);
    let outcome = |_| if is_up.get() { Outcome::Success } else { Outcome::failure() };
    let mut calls = Calls::default();
    // The openings last for 5, 10, 20 and 40 seconds.
    calls.run(&circuits(&instances), 100, 1_400, outcome, || false).await;
    let attempt = fleet(&store).await.fleet.unwrap().attempt;
    assert!(attempt >= 4 && are_open(&instances), "{attempt} openings");
    let rounds = usize::try_from(attempt).unwrap() - 1;
    assert_eq!((calls.probes, calls.reached), (rounds * 2, rounds * 2), "two probes for each of {rounds} rounds");
    is_up.set(true);
    calls.run(&circuits(&instances), 100, 2_000, outcome, || are_closed(&instances)).await;
    assert!(are_closed(&instances));
    assert_eq!((calls.probes - rounds * 2, calls.most_at_once), (3, 1), "three probes close all");
    let record = fleet(&store).await;
    assert_eq!(record.fleet.as_ref().unwrap().reason, "3 probes of the fleet succeeded");
    assert_eq!(record.state, State::Closed);
}

#[tokio::test(start_paused = true)]
async fn the_next_follower_probes_ten_seconds_after_a_dead_one() {
    let store = memory();
    let mut instances = opened(&store, MANY).await;
    pass(millis(4_600)).await;
    kill_during_its_probe(instances.remove(3)).await;
    let mut calls = Calls::default();
    let took = calls.run(&circuits(&instances), 100, 400, |_| Outcome::Success, || are_closed(&instances)).await;
    assert!((9_000..12_000).contains(&took), "{took} ms");
    assert_eq!((calls.probes, calls.most_at_once), (3, 1));
}

#[tokio::test(start_paused = true)]
async fn followers_probe_alone_while_the_store_is_away() {
    let store = faulty();
    let instances = opened(&store, MANY).await;
    store.faults().set(Operation::ALL, DOWN);
    let mut calls = Calls::default();
    let took = calls.run(&circuits(&instances), 100, 400, |_| Outcome::Success, || are_closed(&instances)).await;
    assert!((5_000..15_000).contains(&took), "{took} ms");
    assert_eq!(calls.probes, 3 * MANY, "each instance makes its own probes");
    store.faults().heal();
    let record = || async { fleet(&store).await.fleet.unwrap() };
    calls.run(&circuits(&instances), 100, 400, |_| Outcome::Success, || false).await;
    assert!(are_closed(&instances), "no instance opens again when the store is back");
    assert_eq!(record().await.state, State::Closed, "the calls of closed instances close the record");
}

#[tokio::test(start_paused = true)]
async fn a_rolling_restart_of_followers_keeps_the_opening() {
    let store = memory();
    let mut instances = followers(&store, 8, 60).await;
    fail(&instances[0].circuit, 5);
    let mut calls = Calls::default();
    for _ in 0..instances.len() {
        let one = instances.remove(0);
        let id = one.registry.store_status().unwrap().instance;
        one.end().await;
        instances.push(follower(&store, &id, 60).await);
        calls.run(&circuits(&instances), 100, 100, |_| Outcome::Success, || false).await;
        assert!(are_open(&instances), "after the restart of {id}");
    }
    assert_eq!(calls.reached, 0);
    calls.run(&circuits(&instances), 100, 1_000, |_| Outcome::Success, || are_closed(&instances)).await;
    assert!(are_closed(&instances));
    assert_eq!((calls.probes, calls.most_at_once), (3, 1));
}

#[tokio::test(start_paused = true)]
async fn a_follower_opens_although_its_own_calls_succeed() {
    let store = memory();
    let instances = followers(&store, 3, 5).await;
    succeed(&instances[2].circuit, 100);
    pass(secs(1)).await;
    fail(&instances[0].circuit, 5);
    pass(millis(100)).await;
    assert!(are_open(&instances));
    let edge = instances[2].circuit.status().transitions.pop().unwrap();
    assert_eq!(edge.reason, Reason::Fleet);
    let because = edge.because().to_string();
    assert!(because.starts_with("node-0 opened: failures in a row weighed 5.0"), "{because}");
    let fleet = fleet(&store).await.fleet.unwrap();
    assert_eq!((fleet.votes, fleet.needed, fleet.merged), (Some(1), Some(1), false));
}

#[tokio::test(start_paused = true)]
async fn an_opening_of_one_instance_is_a_decision_for_followers() {
    let store = memory();
    // An earlier version publishes its transitions as this instance does.
    let old = Instance::start(&store, "old", Sharing::Advise).await;
    let instances = followers(&store, 3, 5).await;
    instances.iter().for_each(|one| succeed(&one.circuit, 3));
    fail(&old.circuit, 5);
    pass(millis(100)).await;
    assert!(are_open(&instances));
    assert_eq!(fleet(&store).await.fleet, None, "no fleet has decided");
    let edge = instances[1].circuit.status().transitions.pop().unwrap();
    assert_eq!(edge.reason, Reason::Followed);
    let because = edge.because().to_string();
    assert!(because.contains(" on instance `old`: failures in a row weighed 5.0"), "{because}");
    let mut calls = Calls::default();
    let took = calls.run(&circuits(&instances), 100, 400, |_| Outcome::Success, || are_closed(&instances)).await;
    assert!((4_000..8_000).contains(&took), "{took} ms");
    assert_eq!((calls.probes, calls.most_at_once), (3, 1));
    let record = fleet(&store).await;
    assert_eq!((record.state, record.fleet.unwrap().state), (State::Closed, State::Closed));
}

#[tokio::test(start_paused = true)]
async fn a_closing_of_one_instance_closes_followers() {
    let store = memory();
    let old = Instance::start(&store, "old", Sharing::Advise).await;
    let instances = followers(&store, 3, 60).await;
    fail(&old.circuit, 5);
    pass(secs(6)).await;
    assert!(are_open(&instances));
    succeed(&old.circuit, 3);
    pass(millis(100)).await;
    assert!(are_closed(&instances));
}

#[tokio::test(start_paused = true)]
async fn a_half_open_state_of_one_instance_is_a_round_for_followers() {
    let store = memory();
    let now = store.load_many(&[]).await.unwrap().now.as_millis();
    plant(
        &store,
        &json!({ "version": 1, "service": "payments", "state": "half_open", "generation": now, "reason":
        "it was open for 5 s", "last_state_change": now, "opened_at": now - 5_000, "instance": "old" }),
    )
    .await;
    let instances = followers(&store, 3, 5).await;
    assert!(instances.iter().all(|one| state(&one.circuit) == State::HalfOpen));
    let mut calls = Calls::default();
    calls.run(&circuits(&instances), 100, 200, |_| Outcome::Success, || are_closed(&instances)).await;
    assert!(are_closed(&instances));
    assert_eq!((calls.probes, calls.most_at_once), (3, 1));
}

#[tokio::test(start_paused = true)]
async fn one_opening_of_a_member_with_a_quorum_does_not_open_followers() {
    let store = memory();
    let voter = Instance::start(&store, "voter", Sharing::Quorum).await;
    let instances = followers(&store, 2, 5).await;
    fail(&voter.circuit, 5);
    pass(secs(1)).await;
    assert!(are_closed(&instances), "the vote is no decision");
    fail(&instances[0].circuit, 5);
    pass(millis(100)).await;
    assert!(are_open(&instances));
}

#[tokio::test(start_paused = true)]
async fn an_instance_whose_reset_was_overtaken_opens_again_with_its_fleet() {
    for sharing in [Sharing::Quorum, Sharing::Follow] {
        let store = memory();
        let way = FaultyStore::new(store.clone());
        let config = || settings("payments").open_for(OpenDuration::fixed(secs(300))).build().unwrap();
        let a = Instance::with(&way, "a", sharing, config()).await;
        let b = Instance::with(&store, "b", sharing, config()).await;
        fail(&a.circuit, 5);
        fail(&b.circuit, 5);
        pass(secs(1)).await;
        assert_eq!(fleet(&store).await.fleet.unwrap().state, State::Open, "{sharing:?}");
        way.faults().set(Operation::ALL, DOWN);
        way.faults().end_watches();
        a.circuit.reset(&alice(), To::Closed);
        pass(secs(5)).await;
        b.circuit.disable(&alice(), Some(secs(10)));
        pass(secs(30)).await;
        way.faults().heal();
        pass(secs(60)).await;
        drop(b.circuit.try_acquire());
        assert_eq!(a.circuit.status().mode, Mode::Automatic);
        assert_eq!([&a, &b].map(|one| state(&one.circuit)), [State::Open; 2], "{sharing:?}");
    }
}

/// Another tier of the store can bring a reset after a decision that is newer than the reset.
#[tokio::test(start_paused = true)]
async fn a_late_reset_leaves_the_newer_decision_in_force() {
    for sharing in [Sharing::Quorum, Sharing::Follow] {
        let store = memory();
        let config = || settings("payments").open_for(OpenDuration::fixed(secs(300))).build().unwrap();
        let a = Instance::with(&store, "a", sharing, config()).await;
        let b = Instance::with(&store, "b", sharing, config()).await;
        a.circuit.disable(&alice(), None);
        pass(secs(1)).await;
        a.circuit.resume(&alice());
        pass(secs(30)).await;
        fail(&a.circuit, 5);
        fail(&b.circuit, 5);
        pass(secs(1)).await;
        let mut late = fleet(&store).await;
        let resumed = late.operator.as_mut().unwrap();
        (resumed.act, resumed.to) = (Act::Reset, State::Closed);
        resumed.sequence = late.generation.get() - 1;
        resumed.commands = vec!["late".to_owned()];
        resumed.incarnation = "another".to_owned();
        let etag = store.load_many(&["payments".to_owned()]).await.unwrap().entries.remove(0).unwrap().etag;
        let (name, bytes) = ("payments".to_owned(), late.encode().unwrap());
        let write = Write { name, expected: Some(etag), bytes, ttl: None, hint: Hint::Any };
        store.compare_and_set(&write).await.unwrap();
        pass(secs(20)).await;
        for one in [&a, &b] {
            let edges = one.circuit.status().transitions;
            let is_reset = |edge: &Transition| matches!(edge.reason, Reason::Operator { act: Act::Reset, .. });
            assert!(edges.iter().any(is_reset), "{sharing:?}: the reset was applied: {edges:?}");
            assert_eq!(state(&one.circuit), State::Open, "{sharing:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_time_that_the_service_asks_for_outlasts_a_kill_under_an_adopted_opening() {
    for sharing in [Sharing::Quorum, Sharing::Follow] {
        let store = memory();
        let [a, b, c] = ["a", "b", "c"].map(|id| Instance::start(&store, id, sharing));
        let (a, b, c) = (a.await, b.await, c.await);
        let late = c.circuit.try_acquire().unwrap();
        for one in [&a, &b] {
            while let Ok(permit) = one.circuit.try_acquire() {
                permit.failure(Failure::hard());
            }
        }
        pass(secs(1)).await;
        assert!(adopted(&c.circuit), "{sharing:?}");
        late.failure(Failure::hard().trips_at_once().with_retry_after(secs(120)));
        pass(secs(1)).await;
        drop(c);
        let c = Instance::start(&store, "c", sharing).await;
        let left = c.circuit.status().retry_after.unwrap();
        assert!(left > secs(110), "{sharing:?}: {left:?}");
    }
}

async fn plant(store: &MemoryStore, record: &Value) {
    let (name, bytes) = ("payments".to_owned(), record.to_string().into_bytes());
    store.compare_and_set(&Write { name, expected: None, bytes, ttl: None, hint: Hint::Any }).await.unwrap();
}
