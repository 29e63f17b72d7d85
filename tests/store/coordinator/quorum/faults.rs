//! A fleet under faults: damaged decisions, different settings, acts during a probe, hedges, and the loss of a tier.

use serde_json::json;
use tower_circuit_breaker::circuit::Permit;
use tower_circuit_breaker::config::{ConfigBuilder, Recovery};
use tower_circuit_breaker::state::Act;
use tower_circuit_breaker::store::{Hint, MemoryStore, TieredStore, Write};
use tower_circuit_breaker::{OpenDuration, Outcome};

use super::leases::{lease, lend, probe};
use super::probes::{Calls, are_closed, circuits, fleet, opened};
use super::*;
use crate::rig::{passes_under_the_kill_switch, settings};

/// Starts an instance whose settings differ from those of the others.
async fn with(store: &MemoryStore, id: &str, change: impl FnOnce(ConfigBuilder) -> ConfigBuilder) -> Instance {
    Instance::with(store, id, Sharing::Quorum, change(settings("payments")).build().unwrap()).await
}

/// Lets all instances call a service that is well, until all are closed.
async fn recover(instances: &[Instance], steps: u64) -> Calls {
    let mut calls = Calls::default();
    calls.run(&circuits(instances), 100, steps, |_| Outcome::Success, || are_closed(instances)).await;
    calls
}

/// Calls until a call is admitted as a probe.
async fn next_probe(one: &Instance) -> Permit {
    for _ in 0..100 {
        if let Ok(permit) = one.circuit.try_acquire() {
            return permit;
        }
        pass(millis(50)).await;
    }
    panic!("no probe within 5 s: {:?}", one.circuit.status());
}

/// Writes a record whose fleet is open with this end, in ms from now.
async fn damage(store: &MemoryStore, until: Option<u64>, open_ms: Option<u64>) {
    let now = store.load_many(&[]).await.unwrap().now.as_millis();
    let mut fleet = json!({"state": "open", "generation": now, "since": now});
    if let Some(until) = until {
        fleet["until"] = json!(now.saturating_add(until));
    }
    if let Some(open_ms) = open_ms {
        fleet["open_ms"] = json!(open_ms);
    }
    let record = json!({"service": "payments", "state": "open", "generation": now, "fleet": fleet});
    let (name, bytes) = ("payments".to_owned(), record.to_string().into_bytes());
    store.compare_and_set(&Write { name, expected: None, bytes, ttl: None, hint: Hint::Any }).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_damaged_end_keeps_the_fleet_open_for_the_longest_opening_at_most() {
    const CENTURY: u64 = 100 * 365 * 24 * 3_600_000;
    for (until, open_ms) in [(CENTURY, None), (CENTURY, Some(CENTURY)), (u64::MAX, Some(u64::MAX))] {
        let store = memory();
        damage(&store, Some(until), open_ms).await;
        let instances = three(&store).await;
        // The longest opening of the settings is that of a `Retry-After`, which is 300 s.
        let calls = recover(&instances, 6_400).await;
        assert!(are_closed(&instances), "{until}, {open_ms:?}: {:?}", fleet(&store).await);
        assert!(calls.reached <= 5, "{} calls", calls.reached);
        pass(secs(1)).await;
        assert_eq!(fleet(&store).await.fleet.unwrap().state, State::Closed, "{until}, {open_ms:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_voter_with_manual_recovery_keeps_no_other_instance_open() {
    let store = memory();
    let manual = with(&store, "m", |config| config.recovery(Recovery::Manual)).await;
    let [a, b, c] = three(&store).await;
    fail(&a.circuit, 5);
    pass(millis(500)).await;
    fail(&manual.circuit, 5);
    pass(millis(500)).await;
    let decided = fleet(&store).await.fleet.unwrap();
    assert_eq!((decided.state, decided.until), (State::Open, None), "the last vote decides");
    let automatic = [a, b, c];
    assert!(automatic.iter().all(|one| state(&one.circuit) == State::Open));
    recover(&automatic, 400).await;
    assert!(are_closed(&automatic), "each probes by itself");
    pass(secs(60)).await;
    assert_eq!(state(&manual.circuit), State::Open, "only a reset ends its opening");
    manual.circuit.reset(&alice(), To::Closed);
    pass(secs(1)).await;
    assert_eq!(state(&manual.circuit), State::Closed);
    assert_eq!(fleet(&store).await.fleet.unwrap().state, State::Closed);
}

#[tokio::test(start_paused = true)]
async fn an_instance_with_longer_openings_keeps_no_other_instance_open_longer_than_its_own() {
    let store = memory();
    let day = |config: ConfigBuilder| config.open_for(OpenDuration::fixed(secs(86_400)));
    let long = with(&store, "l", day).await;
    let [a, b, c] = three(&store).await;
    fail(&a.circuit, 5);
    pass(millis(500)).await;
    fail(&long.circuit, 5);
    pass(millis(500)).await;
    let instances = [a, b, c];
    assert!(instances.iter().all(|one| state(&one.circuit) == State::Open));
    recover(&instances, 6_400).await;
    assert!(are_closed(&instances), "{:?}", fleet(&store).await);
}

#[tokio::test(start_paused = true)]
async fn a_trial_in_shadow_neither_votes_nor_probes_for_the_fleet() {
    let store = memory();
    let shadow = with(&store, "s", ConfigBuilder::shadow).await;
    let [a, b, c] = three(&store).await;
    fail(&shadow.circuit, 5);
    fail(&a.circuit, 5);
    pass(secs(1)).await;
    let record = fleet(&store).await;
    assert!(record.fleet.is_none(), "{record:?}");
    assert!(record.instances.get("s").is_none_or(|entry| entry.vote.is_none()));
    fail(&b.circuit, 5);
    pass(secs(5)).await;
    for _ in 0..20 {
        succeed(&shadow.circuit, 1);
        pass(millis(100)).await;
    }
    assert_eq!(fleet(&store).await.fleet.unwrap().state, State::Open, "no other instance has calls");
    drop(c);
}

#[tokio::test(start_paused = true)]
async fn an_act_during_a_probe_does_not_end_the_round_for_ever() {
    for act in [Act::Shadow, Act::Disable, Act::Trip] {
        let store = memory();
        let instances = opened(&store).await;
        pass(millis(4_600)).await;
        let slow = probe(&instances[0]).await;
        pass(millis(100)).await;
        let other = &instances[1].circuit;
        match act {
            Act::Shadow => drop(other.shadow(&alice())),
            Act::Disable => drop(other.disable(&alice(), None)),
            Act::Trip | Act::Reset | Act::Resume | Act::Forget | _ => drop(other.trip(&alice(), None)),
        }
        pass(secs(2)).await;
        let lease_then = lease(&store, "a").await;
        assert_eq!((lease_then.passed, lease_then.failed_at), (0, None), "{act:?}");
        other.resume(&alice()).unwrap();
        pass(millis(100)).await;
        slow.success();
        pass(secs(20)).await;
        recover(&instances, 800).await;
        assert!(are_closed(&instances), "{act:?}: {:?}", fleet(&store).await);
    }
}

#[tokio::test(start_paused = true)]
async fn an_act_during_a_vote_opens_nothing_after_the_end_of_the_vote() {
    for act in [Act::Shadow, Act::Disable] {
        let store = memory();
        let [a, b, c] = three(&store).await;
        fail(&a.circuit, 5);
        pass(millis(500)).await;
        assert!(fleet(&store).await.instances["a"].vote.is_some());
        if act == Act::Shadow {
            drop(b.circuit.shadow(&alice()));
        } else {
            drop(b.circuit.disable(&alice(), None));
        }
        pass(secs(2)).await;
        if act == Act::Shadow {
            assert_eq!(fleet(&store).await.instances["a"].vote, None, "a circuit in shadow votes no more");
        }
        c.circuit.resume(&alice()).unwrap();
        pass(secs(10)).await;
        fail(&b.circuit, 5);
        pass(secs(1)).await;
        assert_eq!(state(&c.circuit), State::Closed, "{act:?}");
    }
}

const KILLED: &str = "killed-in-a-fleet";

/// Variables of the own process cannot be set, because other tests read them at the same time.
#[test]
fn an_instance_under_the_kill_switch_withdraws_its_vote_and_votes_no_more() {
    let name = "coordinator::quorum::faults::under_the_kill_switch";
    passes_under_the_kill_switch(name, KILLED);
}

#[tokio::test(start_paused = true)]
async fn under_the_kill_switch() {
    // Proves something only as the child of the test above, whose environment names the circuit.
    if std::env::var("CIRCUIT_BREAKER_DISABLED").as_deref() != Ok(KILLED) {
        return;
    }
    let store = memory();
    let now = store.load_many(&[]).await.unwrap().now.as_millis();
    let voter = json!({"sequence": now, "state": "open", "updated_at": now, "vote": {"on": 0, "until": now + 600_000}});
    let bytes = json!({"service": KILLED, "state": "closed", "instances": {"a": voter}}).to_string().into_bytes();
    let write = Write { name: KILLED.to_owned(), expected: None, bytes, ttl: None, hint: Hint::Any };
    store.compare_and_set(&write).await.unwrap();
    let a = Instance::with(&store, "a", Sharing::Quorum, settings(KILLED).build().unwrap()).await;
    pass(secs(2)).await;
    fail(&a.circuit, 20);
    pass(secs(2)).await;
    let written = record(&store, KILLED).await.unwrap();
    assert_eq!((written.instances["a"].vote.as_ref(), written.fleet), (None, None));
}

#[tokio::test(start_paused = true)]
async fn slow_calls_of_two_instances_open_the_fleet() {
    let store = memory();
    let slow = |config: ConfigBuilder| config.slow_call_rate(0.5).slower_than(secs(1));
    let [a, b, c] = [with(&store, "a", slow).await, with(&store, "b", slow).await, with(&store, "c", slow).await];
    pass(secs(15)).await;
    for one in [&a, &b] {
        let calls: Vec<_> = (0..30).map(|_| one.circuit.try_acquire().unwrap()).collect();
        pass(secs(2)).await;
        calls.into_iter().for_each(Permit::success);
        pass(millis(500)).await;
    }
    let reason = fleet(&store).await.fleet.unwrap().reason;
    assert!(reason.starts_with("2 of 3 instances opened, first a: "), "{reason}");
    assert_eq!(state(&c.circuit), State::Open);
    // A probe that is slow has failed.
    pass(millis(4_600)).await;
    let slow = probe(&a).await;
    pass(secs(2)).await;
    slow.success();
    pass(millis(100)).await;
    assert!(lease(&store, "a").await.failed_at.is_some());
}

/// As without a fleet: the first call after a pause can be slow, and `probe_failures_tolerated` is for such a service.
#[tokio::test(start_paused = true)]
async fn a_tolerated_failed_probe_does_not_reopen_the_fleet() {
    let tolerant = |config: ConfigBuilder| config.probe_failures_tolerated(1);
    for count in [1, 3] {
        for failing in [1, 2] {
            let store = memory();
            let mut instances = Vec::new();
            for id in ["a", "b", "c"].into_iter().take(count) {
                instances.push(with(&store, id, tolerant).await);
            }
            // Until then a lone instance knows that it is alone.
            pass(secs(60)).await;
            instances.iter().take(2).for_each(|one| fail(&one.circuit, 5));
            pass(secs(5)).await;
            // Only one instance has calls.
            let one = &instances[0];
            for _ in 0..failing {
                next_probe(one).await.record(Outcome::failure());
            }
            pass(secs(3)).await;
            let decision = fleet(&store).await.fleet.unwrap();
            let expected = if failing == 1 { (State::HalfOpen, 1) } else { (State::Open, 2) };
            assert_eq!((decision.state, decision.attempt), expected, "{count} {failing}: {decision:?}");
            if failing == 1 {
                for _ in 0..3 {
                    next_probe(one).await.success();
                }
                pass(secs(1)).await;
                assert!(are_closed(&instances), "{count}: {:?}", fleet(&store).await);
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_trips_at_once_is_not_tolerated_by_the_fleet() {
    for count in [1, 3] {
        let store = memory();
        let mut instances = Vec::new();
        for id in ["a", "b", "c"].into_iter().take(count) {
            instances.push(with(&store, id, |config| config.probe_failures_tolerated(1)).await);
        }
        pass(secs(60)).await;
        instances.iter().take(2).for_each(|one| fail(&one.circuit, 5));
        pass(secs(5)).await;
        let asks_for_no_calls = Failure::hard().trips_at_once().with_retry_after(secs(120));
        next_probe(&instances[0]).await.failure(asks_for_no_calls);
        pass(secs(3)).await;
        let decision = fleet(&store).await.fleet.unwrap();
        assert_eq!((decision.state, decision.attempt), (State::Open, 2), "{count}: {decision:?}");
        let lasts = decision.until.unwrap().since(decision.since);
        assert!(lasts > secs(110), "{count}: {lasts:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn after_a_cancelled_probe_one_lease_allows_both_requests_of_a_hedge() {
    let store = memory();
    let [a, b, _c] = opened(&store).await;
    pass(millis(4_600)).await;
    probe(&a).await.cancel();
    pass(millis(100)).await;
    lend(&a).await;
    // A rejection without a transition is seen at the next check.
    pass(secs(1)).await;
    let (first, second) = (a.circuit.try_acquire().unwrap(), a.circuit.try_acquire().unwrap());
    assert!(a.circuit.try_acquire().is_err() && b.circuit.try_acquire().is_err());
    first.success();
    second.success();
    pass(millis(100)).await;
    assert_eq!(lease(&store, "a").await.passed, 1, "a lease is worth one result");
}

#[tokio::test(start_paused = true)]
async fn the_loss_of_the_fast_tier_in_a_round_costs_a_few_probes_at_most() {
    let (fast, durable) = (faulty(), memory());
    let store = || TieredStore::new(fast.clone(), durable.clone());
    let mut instances = Vec::new();
    for id in ["a", "b", "c"] {
        instances.push(Instance::start(&store(), id, Sharing::Quorum).await);
    }
    pass(secs(15)).await;
    fail(&instances[0].circuit, 5);
    fail(&instances[1].circuit, 5);
    pass(secs(5)).await;
    probe(&instances[2]).await.success();
    pass(millis(300)).await;
    assert_eq!(fleet(fast.inner()).await.instances["c"].lease.as_ref().unwrap().passed, 1);
    fast.faults().set(Operation::ALL, DOWN);
    fast.inner().flush();
    let calls = recover(&instances, 400).await;
    assert!(are_closed(&instances), "{:?}", fleet(&durable).await);
    assert!(calls.reached <= 9, "{} probes", calls.reached);
    fast.faults().heal();
    pass(secs(60)).await;
    assert_eq!(fleet(fast.inner()).await.fleet.unwrap().state, State::Closed);
    assert!(are_closed(&instances));
}

/// An older opening that another instance knows must not come back.
#[tokio::test(start_paused = true)]
async fn a_reset_in_a_fleet_is_a_decision_although_the_record_knows_none() {
    for sharing in [Sharing::Advise, Sharing::Follow, Sharing::Quorum] {
        let store = memory();
        let a = Instance::start(&store, "a", sharing).await;
        a.circuit.trip(&alice(), None);
        pass(secs(1)).await;
        assert_eq!(record(&store, "payments").await.unwrap().fleet, None);
        a.circuit.reset(&alice(), To::Closed);
        pass(secs(1)).await;
        let decided = record(&store, "payments").await.unwrap().fleet.map(|fleet| fleet.state);
        assert_eq!(decided, (sharing != Sharing::Advise).then_some(State::Closed), "{sharing:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_reset_that_waits_for_the_store_is_newer_than_the_decisions_of_that_time() {
    let store = memory();
    let way = FaultyStore::new(store.clone());
    let a = Instance::start(&way, "a", Sharing::Quorum).await;
    let b = Instance::start(&store, "b", Sharing::Quorum).await;
    let c = Instance::start(&store, "c", Sharing::Quorum).await;
    pass(secs(15)).await;
    fail(&b.circuit, 5);
    fail(&c.circuit, 5);
    pass(secs(1)).await;
    assert_eq!(state(&a.circuit), State::Open);
    let opened = fleet(&store).await.fleet.unwrap().generation;
    way.faults().set(Operation::WRITES, DOWN);
    a.circuit.reset(&alice(), To::Closed);
    pass(secs(5)).await;
    // No other instance contradicts this failure.
    probe(&b).await.failure(Failure::hard());
    pass(secs(2)).await;
    let reopened = fleet(&store).await.fleet.unwrap();
    assert!(reopened.state == State::Open && reopened.generation > opened, "{reopened:?}");
    pass(secs(2)).await;
    assert_eq!(state(&a.circuit), State::Closed, "the reset is newer than the decision that the instance has loaded");
    way.faults().heal();
    pass(secs(40)).await;
    assert_eq!(fleet(&store).await.fleet.unwrap().state, State::Closed);
    assert_eq!([&a, &b, &c].map(|one| state(&one.circuit)), [State::Closed; 3]);
}
