//! The probes of a fleet: who probes, how often, and what its result decides.

use tower_circuit_breaker::Outcome;
use tower_circuit_breaker::circuit::Permit;
use tower_circuit_breaker::record::CircuitRecord;
use tower_circuit_breaker::store::{Fault, FaultyStore, Operation};

use super::*;

/// Calls to a service from all instances, each with its end.
#[derive(Default)]
pub(super) struct Calls {
    /// The calls that reached the service.
    pub(super) reached: usize,
    /// The probes among these calls.
    pub(super) probes: usize,
    pub(super) most_at_once: usize,
}

/// The step in which calls begin and end.
const STEP: u64 = 50;

impl Calls {
    /// Lets every instance make a call in each step, until `done`, for at most `steps` steps. A call takes `takes` ms, and
    /// ends as `outcome` says for the index of its instance.
    pub(super) async fn run(
        &mut self,
        circuits: &[&Circuit],
        takes: u64,
        steps: u64,
        outcome: impl Fn(usize) -> Outcome,
        done: impl Fn() -> bool,
    ) -> u64 {
        let mut ends: Vec<(u64, usize, Permit)> = Vec::new();
        for step in 0..steps {
            if done() {
                return step * STEP;
            }
            let now = step * STEP;
            for (_, which, permit) in ends.extract_if(.., |(end, ..)| *end <= now) {
                permit.record(outcome(which));
            }
            for (which, circuit) in circuits.iter().enumerate() {
                if let Ok(permit) = circuit.try_acquire() {
                    self.reached += 1;
                    self.probes += usize::from(permit.is_probe());
                    ends.push((now + takes, which, permit));
                }
            }
            self.most_at_once = self.most_at_once.max(ends.len());
            pass(millis(STEP)).await;
        }
        steps * STEP
    }
}

/// Three instances whose fleet has just opened for five seconds.
pub(super) async fn opened(store: &(impl Store + Clone)) -> [Instance; 3] {
    let instances = three(store).await;
    fail(&instances[0].circuit, 5);
    fail(&instances[1].circuit, 5);
    pass(millis(500)).await;
    assert_eq!(instances.each_ref().map(|one| state(&one.circuit)), [State::Open; 3]);
    instances
}

pub(super) fn circuits(instances: &[Instance]) -> Vec<&Circuit> {
    instances.iter().map(|one| &one.circuit).collect()
}

pub(super) fn are_closed(instances: &[Instance]) -> bool {
    instances.iter().all(|one| state(&one.circuit) == State::Closed)
}

pub(super) async fn fleet(store: &impl Store) -> CircuitRecord {
    record(store, "payments").await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn three_probes_close_the_fleet_one_at_a_time() {
    let store = memory();
    let instances = opened(&store).await;
    let mut calls = Calls::default();
    let took = calls.run(&circuits(&instances), 100, 400, |_| Outcome::Success, || are_closed(&instances)).await;
    assert!((4_000..8_000).contains(&took), "{took} ms");
    assert_eq!(calls.most_at_once, 1);
    // The closing reaches the instances within a step.
    assert!((3..=5).contains(&calls.reached), "{} calls reached the service", calls.reached);
    let record = fleet(&store).await;
    assert_eq!(record.fleet.as_ref().unwrap().reason, "3 probes of the fleet succeeded");
    let rows = store.audit(&AuditFilter::new()).await.unwrap();
    let of_fleet = rows.iter().filter(|row| !row.reason.ends_with("; this instance only"));
    let actions: Vec<_> = of_fleet.map(|row| row.action.as_str()).collect();
    assert_eq!(actions, ["opened", "half_opened", "closed"]);
    assert!(rows.len() <= 6, "two openings and at most one closing of an instance: {rows:#?}");
}

#[tokio::test(start_paused = true)]
async fn one_failed_probe_does_not_reopen_the_fleet() {
    let store = memory();
    let instances = opened(&store).await;
    let bad = |which| if which == 0 { Outcome::failure() } else { Outcome::Success };
    let mut calls = Calls::default();
    let good = || instances[1..].iter().all(|one| state(&one.circuit) == State::Closed);
    let took = calls.run(&circuits(&instances), 100, 400, bad, good).await;
    assert!(took < 9_000, "{took} ms");
    let record = fleet(&store).await;
    assert_eq!(record.fleet.unwrap().state, State::Closed);
}

#[tokio::test(start_paused = true)]
async fn the_failed_probes_of_two_instances_reopen_the_fleet() {
    let store = memory();
    let instances = opened(&store).await;
    let mut calls = Calls::default();
    calls.run(&circuits(&instances), 100, 160, |_| Outcome::failure(), || false).await;
    assert_eq!((calls.reached, calls.most_at_once), (2, 1), "two probes for a round");
    let record = fleet(&store).await;
    let fleet = record.fleet.as_ref().unwrap();
    assert_eq!((fleet.state, fleet.attempt, fleet.open_ms), (State::Open, 2, Some(10_000)), "{fleet:?}");
    assert!(fleet.reason.starts_with("the probes of 2 instances failed"), "{}", fleet.reason);
    assert_eq!(instances.each_ref().map(|one| state(&one.circuit)), [State::Open; 3]);
}

#[tokio::test(start_paused = true)]
async fn a_failed_probe_that_no_instance_contradicts_reopens_the_fleet() {
    let store = memory();
    let instances = opened(&store).await;
    // The other instances have no calls, so that they make no probe.
    let mut calls = Calls::default();
    calls.run(&circuits(&instances[..1]), 100, 160, |_| Outcome::failure(), || false).await;
    assert_eq!(calls.reached, 1);
    let record = fleet(&store).await;
    let fleet = record.fleet.as_ref().unwrap();
    assert_eq!((fleet.state, fleet.attempt), (State::Open, 2), "{fleet:?}");
    assert!(fleet.reason.ends_with("no probe of another instance passed"), "{}", fleet.reason);
}

#[tokio::test(start_paused = true)]
async fn a_dead_prober_costs_ten_seconds() {
    let store = memory();
    let mut instances = Vec::from(opened(&store).await);
    pass(millis(4_600)).await;
    kill_during_its_probe(instances.remove(0)).await;
    let mut calls = Calls::default();
    let took = calls.run(&circuits(&instances), 100, 400, |_| Outcome::Success, || are_closed(&instances)).await;
    assert!((9_000..12_000).contains(&took), "{took} ms");
    assert_eq!(calls.most_at_once, 1);
}

#[tokio::test(start_paused = true)]
async fn instances_probe_alone_while_the_store_is_away() {
    let store = faulty();
    let instances = opened(&store).await;
    store.faults().set(Operation::ALL, DOWN);
    let mut calls = Calls::default();
    let took = calls.run(&circuits(&instances), 100, 400, |_| Outcome::Success, || are_closed(&instances)).await;
    assert!((5_000..15_000).contains(&took), "{took} ms");
    store.faults().heal();
    calls.run(&circuits(&instances), 100, 400, |_| Outcome::Success, || false).await;
    assert!(are_closed(&instances));
    assert_eq!(fleet(&store).await.fleet.unwrap().state, State::Closed, "passive probes close the record");
}

#[tokio::test(start_paused = true)]
async fn a_service_slower_than_the_probe_deadline_recovers() {
    let store = memory();
    let instances = opened(&store).await;
    let mut calls = Calls::default();
    let took = calls.run(&circuits(&instances), 31_000, 6_000, |_| Outcome::Success, || are_closed(&instances)).await;
    assert!(took < 200_000, "{took} ms");
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_calls_once_a_minute_recovers_within_four_calls() {
    let store = memory();
    let [a, b, c] = opened(&store).await;
    let mut calls = 0;
    while state(&a.circuit) != State::Closed {
        pass(secs(60)).await;
        calls += 1;
        if let Ok(permit) = a.circuit.try_acquire() {
            permit.success();
        }
        assert!(calls <= 5, "{:?}", fleet(&store).await);
    }
    pass(secs(1)).await;
    assert_eq!([&b, &c].map(|one| state(&one.circuit)), [State::Closed; 2]);
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_probe_gives_its_lease_back() {
    let store = memory();
    let [a, b, _c] = opened(&store).await;
    pass(millis(4_600)).await;
    assert!(a.circuit.try_acquire().is_err());
    pass(millis(300)).await;
    a.circuit.try_acquire().unwrap().cancel();
    pass(millis(100)).await;
    let record = fleet(&store).await;
    let lease = record.instances["a"].lease.as_ref().unwrap();
    assert_eq!((lease.until, lease.passed, lease.failed_at), (None, 0, None));
    assert!(b.circuit.try_acquire().is_err());
    pass(millis(300)).await;
    b.circuit.try_acquire().unwrap().success();
    pass(millis(100)).await;
    assert_eq!(fleet(&store).await.instances["b"].lease.as_ref().unwrap().passed, 1);
}

#[tokio::test(start_paused = true)]
async fn the_traffic_of_a_declining_instance_closes_the_fleet() {
    let store = memory();
    let [a, b, c] = three(&store).await;
    succeed(&c.circuit, 3);
    pass(secs(1)).await;
    fail(&a.circuit, 5);
    fail(&b.circuit, 5);
    let mut calls = Calls::default();
    let all = [&a, &b, &c].map(|one| &one.circuit);
    let closed = || state(&a.circuit) == State::Closed && state(&b.circuit) == State::Closed;
    // Only the declining instance has calls.
    let took = calls.run(&all[2..], 20, 400, |_| Outcome::Success, closed).await;
    assert!((4_000..15_000).contains(&took), "{took} ms");
    assert_eq!(c.circuit.status().transitions.len(), 0, "it was never open");
}

#[tokio::test(start_paused = true)]
async fn a_restart_within_a_round_does_not_close_the_circuit() {
    let store = memory();
    let [a, b, c] = opened(&store).await;
    pass(millis(4_600)).await;
    assert!(a.circuit.try_acquire().is_err());
    pass(millis(300)).await;
    assert_eq!(fleet(&store).await.fleet.unwrap().state, State::HalfOpen);
    for one in [b, c] {
        let id = one.registry.store_status().unwrap().instance;
        one.end().await;
        let one = Instance::start(&store, &id, Sharing::Quorum).await;
        assert_ne!(state(&one.circuit), State::Closed, "{id}");
        assert!(one.circuit.try_acquire().is_err(), "{id} has no lease");
    }
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_gives_an_unused_lease_back() {
    let store = memory();
    let [a, b, _c] = opened(&store).await;
    pass(millis(4_600)).await;
    assert!(a.circuit.try_acquire().is_err());
    pass(millis(300)).await;
    assert!(fleet(&store).await.instances["a"].lease.as_ref().unwrap().until.is_some());
    a.end().await;
    let record = fleet(&store).await;
    assert!(record.instances["a"].lease.as_ref().unwrap().until.is_none(), "{record:?}");
    assert!(record.instances["a"].is_stopped());
    assert!(b.circuit.try_acquire().is_err());
    pass(millis(300)).await;
    assert!(b.circuit.try_acquire().is_ok(), "the next instance probes");
}

#[tokio::test(start_paused = true)]
async fn a_result_whose_answer_is_lost_counts_once() {
    let store = faulty();
    let elsewhere = FaultyStore::new(store.inner().clone());
    let [_a, _b, c] = opened(&store).await;
    let d = Instance::start(&elsewhere, "d", Sharing::Quorum).await;
    pass(millis(4_600)).await;
    assert!(d.circuit.try_acquire().is_err());
    pass(millis(300)).await;
    let probe = d.circuit.try_acquire().unwrap();
    elsewhere.faults().set(&[Operation::CompareAndSet], Fault::LoseReply);
    probe.success();
    pass(millis(100)).await;
    elsewhere.faults().heal();
    pass(secs(8)).await;
    let record = fleet(&store).await;
    assert_eq!(record.instances["d"].lease.as_ref().unwrap().passed, 1, "{record:?}");
    drop(c);
}

#[tokio::test(start_paused = true)]
async fn two_processes_with_one_id_never_use_one_lease() {
    let store = memory();
    let [a, _b, _c] = opened(&store).await;
    let twin = Instance::start(&store, "a", Sharing::Quorum).await;
    pass(millis(4_600)).await;
    let mut calls = Calls::default();
    calls.run(&[&a.circuit, &twin.circuit], 3_000, 100, |_| Outcome::Success, || false).await;
    assert_eq!(calls.most_at_once, 1);
}
