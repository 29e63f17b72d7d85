//! One breaker for all instances: votes, adoption, declining, and the counts of several instances together.

use std::time::Duration;

use tower_circuit_breaker::{Circuit, Failure, State};
mod clocks;
mod faults;
mod follow;
mod health;
mod leases;
mod longer;
mod price;
mod probes;
mod ramp;

use tower_circuit_breaker::circuit::To;
use tower_circuit_breaker::coordinator::Sharing;
use tower_circuit_breaker::state::{Generation, Reason};
use tower_circuit_breaker::store::{AuditFilter, FaultyStore, Operation, Store};

use crate::rig::{DOWN, Instance, alice, builder, fail, faulty, memory, millis, pass, record, secs, settings, succeed};

/// Returns true if the circuit has adopted an opening of the fleet.
fn adopted(circuit: &Circuit) -> bool {
    circuit.status().transitions.iter().any(|edge| edge.to.state == State::Open && edge.reason == Reason::Fleet)
}

/// Returns the state without a question about the next call, which would request a lease.
fn state(circuit: &Circuit) -> State {
    circuit.state()
}

/// Lets the instance begin a probe under a lease, and ends its process in the middle of the probe.
async fn kill_during_its_probe(instance: Instance) {
    assert!(instance.circuit.try_acquire().is_err(), "the first call is the demand");
    pass(millis(300)).await;
    let probe = instance.circuit.try_acquire().unwrap();
    pass(millis(100)).await;
    drop(instance.registry);
    std::mem::forget(probe);
}

pub(super) async fn three(store: &(impl Store + Clone)) -> [Instance; 3] {
    let mut instances = Vec::new();
    for id in ["a", "b", "c"] {
        instances.push(Instance::start(store, id, Sharing::Quorum).await);
    }
    // Until then each instance has read the heartbeats of the others.
    pass(secs(15)).await;
    instances.try_into().unwrap_or_else(|_| unreachable!())
}

#[tokio::test(start_paused = true)]
async fn two_openings_of_three_instances_open_all() {
    let store = memory();
    let [a, b, c] = three(&store).await;
    fail(&a.circuit, 5);
    pass(secs(1)).await;
    assert_eq!(state(&c.circuit), State::Closed, "one instance opens only itself");
    assert_eq!(record(&store, "payments").await.unwrap().state, State::Closed);
    fail(&b.circuit, 5);
    pass(millis(100)).await;
    let edge = c.circuit.status().transitions.pop().unwrap();
    assert_eq!((edge.to.state, &edge.reason), (State::Open, &Reason::Fleet));
    let because = edge.because().to_string();
    assert!(because.starts_with("2 of 3 instances opened, first a: failures in a row weighed 5.0"), "{because}");
    let record = record(&store, "payments").await.unwrap();
    let fleet = record.fleet.as_ref().unwrap();
    assert_eq!((fleet.state, fleet.votes, fleet.needed), (State::Open, Some(2), Some(2)));
    assert_eq!((record.state, record.generation, record.until), (fleet.state, fleet.generation, fleet.until));
    assert!(!record.instances.contains_key("c"), "an instance that adopts writes nothing: {record:?}");
    let left = |one: &Instance| one.circuit.status().retry_after.unwrap();
    assert!(left(&a).abs_diff(left(&b)) < millis(700) && left(&b).abs_diff(left(&c)) < millis(300), "one end for all");
}

#[tokio::test(start_paused = true)]
async fn an_instance_declines_while_its_own_calls_succeed() {
    let store = memory();
    let [a, b, c] = three(&store).await;
    succeed(&c.circuit, 3);
    pass(secs(1)).await;
    fail(&a.circuit, 5);
    fail(&b.circuit, 5);
    pass(secs(1)).await;
    assert!(record(&store, "payments").await.unwrap().fleet.is_some_and(|fleet| fleet.state == State::Open));
    assert_eq!(state(&c.circuit), State::Closed);
    fail(&c.circuit, 1);
    pass(secs(2)).await;
    assert_eq!(state(&c.circuit), State::Closed, "one failure among successes is no outage");
    // The default window counts calls, so that a success counts for ten seconds.
    pass(secs(10)).await;
    assert_eq!(state(&c.circuit), State::Open, "an instance without a success adopts the opening");
    assert!(adopted(&c.circuit));
}

#[tokio::test(start_paused = true)]
async fn a_declined_opening_is_advice() {
    let store = memory();
    let [a, b, c] = three(&store).await;
    // Two failures in a row are no chance on an instance whose calls have always succeeded.
    succeed(&c.circuit, 3_000);
    pass(secs(70)).await;
    succeed(&c.circuit, 3);
    pass(secs(1)).await;
    fail(&a.circuit, 5);
    fail(&b.circuit, 5);
    pass(millis(100)).await;
    fail(&c.circuit, 2);
    let edge = c.circuit.status().transitions.pop().unwrap();
    assert!(matches!(edge.reason, Reason::Advised { .. }), "{edge:?}");
    pass(secs(1)).await;
    let record = record(&store, "payments").await.unwrap();
    let has_vote = record.instances.get("c").is_some_and(|entry| entry.vote.is_some());
    assert!(!has_vote, "an opening on advice gives no vote: {record:?}");
}

#[tokio::test(start_paused = true)]
async fn a_vote_ends_when_the_circuit_of_the_voter_closes() {
    let store = memory();
    let [a, b, c] = three(&store).await;
    fail(&a.circuit, 5);
    pass(secs(1)).await;
    assert!(record(&store, "payments").await.unwrap().instances["a"].vote.is_some());
    // The fleet is closed, so that the circuit probes alone.
    pass(secs(5)).await;
    succeed(&a.circuit, 3);
    assert_eq!(state(&a.circuit), State::Closed);
    pass(secs(1)).await;
    assert_eq!(record(&store, "payments").await.unwrap().instances["a"].vote, None);
    fail(&b.circuit, 5);
    pass(secs(1)).await;
    assert_eq!(state(&c.circuit), State::Closed, "the votes of two outages do not add up");
}

#[tokio::test(start_paused = true)]
async fn the_counts_of_several_instances_open_the_fleet_together() {
    let store = memory();
    let [a, b, c] = three(&store).await;
    // 12 calls are fewer than the 25 that a rate needs, and no run reaches 5.
    for one in [&a, &b, &c] {
        for _ in 0..4 {
            succeed(&one.circuit, 1);
            fail(&one.circuit, 2);
        }
        assert_eq!(state(&one.circuit), State::Closed);
    }
    pass(secs(4)).await;
    let record = record(&store, "payments").await.unwrap();
    let fleet = record.fleet.as_ref().unwrap_or_else(|| panic!("{record:?}"));
    assert!(fleet.merged && fleet.state == State::Open && fleet.votes.is_none(), "{fleet:?}");
    // Each of them declines while its last success is young.
    pass(secs(11)).await;
    for one in [&a, &b, &c] {
        assert!(adopted(&one.circuit));
    }
}

#[tokio::test(start_paused = true)]
async fn the_counts_from_before_a_decision_do_not_open_the_fleet_again() {
    let store = memory();
    let config = || settings("payments").ramp(Duration::ZERO).build().unwrap();
    let d = Instance::with(&store, "d", Sharing::Quorum, config()).await;
    let e = Instance::with(&store, "e", Sharing::Quorum, config()).await;
    let [a, b, c] = three(&store).await;
    let fail_two_thirds = |circuit: &Circuit, times: u32| {
        for _ in 0..times {
            succeed(circuit, 1);
            fail(circuit, 2);
        }
    };
    // A rate needs 20 calls.
    fail_two_thirds(&c.circuit, 6);
    pass(secs(3)).await;
    fail(&a.circuit, 5);
    fail(&b.circuit, 5);
    let decided = async || record(&store, "payments").await.unwrap().fleet.map(|fleet| fleet.state);
    pass(millis(100)).await;
    while decided().await != Some(State::Closed) {
        if let Ok(permit) = a.circuit.try_acquire() {
            permit.success();
        }
        pass(millis(50)).await;
    }
    pass(millis(100)).await;
    fail_two_thirds(&d.circuit, 2);
    fail_two_thirds(&e.circuit, 2);
    pass(secs(3)).await;
    let record = record(&store, "payments").await.unwrap();
    let has_counts = |id: &str| record.instances[id].score > 0.0;
    assert!(has_counts("c") && has_counts("d") && has_counts("e"), "{record:?}");
    let fleet = record.fleet.as_ref().unwrap();
    assert_eq!((fleet.state, fleet.merged), (State::Closed, false), "{fleet:?}");
}

#[tokio::test(start_paused = true)]
async fn a_decision_has_one_row_in_the_audit() {
    let store = memory();
    let [a, b, c] = three(&store).await;
    fail(&a.circuit, 5);
    pass(millis(500)).await;
    fail(&b.circuit, 5);
    pass(secs(2)).await;
    assert_eq!(state(&c.circuit), State::Open);
    let rows = store.audit(&AuditFilter::new()).await.unwrap();
    let texts: Vec<_> = rows.iter().map(|row| format!("{} {}: {}", row.instance, row.action, row.reason)).collect();
    assert_eq!(texts.len(), 3, "{texts:#?}");
    assert!(texts[0].starts_with("a opened") && texts[0].ends_with("; this instance only"), "{texts:#?}");
    assert!(texts.iter().any(|text| text.starts_with("b opened: 2 of 3 instances opened, first a:")), "{texts:#?}");
}

#[tokio::test(start_paused = true)]
async fn a_restart_keeps_the_opening_of_the_fleet() {
    let store = memory();
    let [a, b, c] = three(&store).await;
    fail(&a.circuit, 5);
    fail(&b.circuit, 5);
    pass(secs(1)).await;
    for one in [a, b, c] {
        let id = one.registry.store_status().unwrap().instance;
        one.end().await;
        let one = Instance::start(&store, &id, Sharing::Quorum).await;
        assert_eq!(state(&one.circuit), State::Open, "{id}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_killed_instance_comes_back_with_the_decision_that_is_newer_than_its_entry() {
    for waits in [Duration::ZERO, secs(2)] {
        let store = memory();
        let [a, b, c] = three(&store).await;
        fail(&c.circuit, 1);
        pass(secs(30)).await;
        assert_eq!(record(&store, "payments").await.unwrap().instances["c"].state, State::Closed);
        fail(&a.circuit, 5);
        fail(&b.circuit, 5);
        pass(secs(1)).await;
        assert!(adopted(&c.circuit));
        drop(c);
        let registry = builder(&store, "c").sharing(Sharing::Quorum).first_call_waits(waits).build().unwrap();
        let circuit = registry.circuit(settings("payments").build().unwrap()).unwrap();
        let report = registry.restore(secs(2)).await.unwrap();
        assert!(report.to_string().contains("1 open"), "{report}");
        assert_eq!(state(&circuit), State::Open);
        assert!(circuit.call(async { Ok::<_, std::io::Error>(()) }).await.is_err());
        let edges = circuit.status().transitions;
        assert!(edges.iter().all(|edge| edge.to.state == State::Open), "never closed: {edges:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_reset_closes_the_fleet_and_ends_all_votes() {
    let store = memory();
    let [a, b, c] = three(&store).await;
    fail(&a.circuit, 5);
    fail(&b.circuit, 5);
    pass(secs(1)).await;
    c.circuit.reset(&alice(), To::Closed);
    pass(secs(1)).await;
    let record = record(&store, "payments").await.unwrap();
    let fleet = record.fleet.unwrap();
    assert_eq!(fleet.state, State::Closed);
    assert!(fleet.generation > Generation::new(0));
    for one in [&a, &b, &c] {
        assert_eq!(state(&one.circuit), State::Closed);
    }
}

#[tokio::test(start_paused = true)]
async fn an_opening_that_is_newer_than_the_closing_of_the_fleet_stays() {
    let store = faulty();
    let a = Instance::start(&store, "a", Sharing::Quorum).await;
    let b = Instance::start(&store, "b", Sharing::Quorum).await;
    let elsewhere = FaultyStore::new(store.inner().clone());
    let c = Instance::start(&elsewhere, "c", Sharing::Quorum).await;
    fail(&a.circuit, 5);
    fail(&b.circuit, 5);
    pass(secs(1)).await;
    assert_eq!(state(&c.circuit), State::Open);
    elsewhere.faults().set(Operation::ALL, DOWN);
    a.circuit.reset(&alice(), To::Closed);
    pass(secs(20)).await;
    // Without the store, the circuit probes alone.
    succeed(&c.circuit, 3);
    fail(&c.circuit, 5);
    elsewhere.faults().heal();
    // The next attempt after an outage comes up to 30 s later.
    pass(secs(35)).await;
    assert!(c.registry.store_status().unwrap().up);
    assert_eq!(state(&c.circuit), State::Open, "its evidence is newer than the closing");
    assert_eq!([&a, &b].map(|one| state(&one.circuit)), [State::Closed; 2]);
}

#[tokio::test(start_paused = true)]
async fn instances_without_failures_count_in_the_sums_of_all_instances() {
    let store = memory();
    let mut instances = Vec::new();
    for number in 0..20 {
        instances.push(Instance::start(&store, &format!("node-{number}"), Sharing::Quorum).await);
    }
    pass(secs(15)).await;
    // A tenth of the calls fails, and only the instances with a failure write their counts.
    for (number, one) in instances.iter().enumerate() {
        succeed(&one.circuit, 5);
        if number % 2 == 0 {
            fail(&one.circuit, 1);
        }
        succeed(&one.circuit, if number % 2 == 0 { 0 } else { 1 });
    }
    pass(secs(5)).await;
    for one in &instances[..10] {
        fail(&one.circuit, 3);
    }
    pass(secs(20)).await;
    assert!(record(&store, "payments").await.unwrap().fleet.is_none(), "34 % of the calls of all instances failed");
}

#[tokio::test(start_paused = true)]
async fn a_time_that_the_service_asks_for_is_a_floor_for_the_fleet() {
    let asked = || Failure::hard().trips_at_once().with_retry_after(secs(120));
    let store = memory();
    let [a, b, c] = three(&store).await;
    // The voter was asked for no calls for 120 s, and the last voter was not.
    a.circuit.try_acquire().unwrap().failure(asked());
    pass(millis(100)).await;
    fail(&b.circuit, 5);
    for _ in 0..600 {
        pass(millis(100)).await;
        for one in [&b, &c] {
            if let Ok(permit) = one.circuit.try_acquire() {
                permit.success();
            }
        }
        assert!(a.circuit.try_acquire().is_err());
    }
    assert_eq!([&b, &c].map(|one| state(&one.circuit)), [State::Closed; 2]);
    pass(secs(62)).await;
    assert_ne!(state(&a.circuit), State::Open, "the time is over");
}

#[tokio::test(start_paused = true)]
async fn a_failed_probe_that_asks_for_a_time_makes_the_next_opening_as_long() {
    let asked = || Failure::hard().trips_at_once().with_retry_after(secs(120));
    let store = memory();
    let [a, b, c] = three(&store).await;
    fail(&a.circuit, 5);
    fail(&b.circuit, 5);
    let mut reached = 0;
    for _ in 0..1_000 {
        pass(millis(100)).await;
        for one in [&a, &b, &c] {
            if let Ok(permit) = one.circuit.try_acquire() {
                permit.failure(asked());
                reached += 1;
            }
        }
    }
    assert!(reached <= 3, "{reached} probes in the time for which the service asked for none");
}
