//! Advice among instances whose service fails a part of its calls as usual, in virtual time and from seeds.

use std::time::Duration;

use tower_circuit_breaker::circuit::To;
use tower_circuit_breaker::coordinator::Sharing;
use tower_circuit_breaker::store::MemoryStore;
use tower_circuit_breaker::{Circuit, Failure, Outcome, Registry, State};

use crate::dice::Dice;
use crate::rig::{Instance, alice, call, fail, memory, millis, pass, record, secs, settings, state, succeed};

const INSTANCES: usize = 4;

/// The calls of the healthy instances.
#[derive(Debug, Clone, Copy, Default)]
struct Counted {
    calls: u32,
    rejected: u32,
}

/// The instances of one service, the rate of its usual errors, and the calls so far.
struct Fleet {
    instances: Vec<(Registry, Circuit)>,
    errors: u64,
    dice: Dice,
    counted: Counted,
}

impl Fleet {
    /// Starts a fleet. Without sharing, each instance has a store of its own.
    async fn start(errors: u64, seed: u64, shares: bool) -> Self {
        let common = memory();
        let mut instances = Vec::new();
        for number in 0..INSTANCES {
            let store = if shares { common.clone() } else { memory() };
            let one = Instance::start(&store, &format!("orders-{number}"), Sharing::Advise).await;
            instances.push((one.registry, one.circuit));
        }
        Self { instances, errors, dice: Dice::new(seed), counted: Counted::default() }
    }

    /// Lets every instance make a call each `every`. The first `ill` instances fail every call.
    async fn play(&mut self, lasts: Duration, every: Duration, ill: usize) {
        let rounds = lasts.as_millis() / every.as_millis();
        for _ in 0..rounds {
            let began = self.dice.roll(1_000);
            for number in 0..INSTANCES {
                // The draw is made for each call, so that both fleets of a comparison meet the same errors.
                let fails = self.dice.chance(self.errors) || number < ill;
                let admitted = self.instances[number].1.try_acquire();
                let is_healthy = number >= ill;
                self.counted.calls += u32::from(is_healthy && number > 0);
                match admitted {
                    Ok(permit) if fails => permit.failure(Failure::hard()),
                    Ok(permit) => permit.success(),
                    Err(_) => self.counted.rejected += u32::from(is_healthy && number > 0),
                }
                pass(every / 20).await;
            }
            let spent = every / 20 * u32::try_from(INSTANCES).unwrap();
            pass(every.saturating_sub(spent) + Duration::from_nanos(began)).await;
        }
    }
}

/// The share of the calls of the healthy instances that are rejected while one instance is ill and for three minutes
/// afterwards, with and without a common store.
async fn rejected(errors: u64, every: Duration, seeds: u64) -> (f64, f64) {
    let mut shares = [0.0; 2];
    for (shared, share) in [true, false].into_iter().zip(&mut shares) {
        let mut sum = Counted::default();
        for seed in 0..seeds {
            let mut fleet = Fleet::start(errors, seed, shared).await;
            fleet.play(secs(60), every, 0).await;
            fleet.counted = Counted::default();
            fleet.play(secs(20), every, 1).await;
            fleet.play(secs(180), every, 0).await;
            sum.calls += fleet.counted.calls;
            sum.rejected += fleet.counted.rejected;
        }
        *share = f64::from(sum.rejected) / f64::from(sum.calls);
    }
    (shares[0], shares[1])
}

#[tokio::test(start_paused = true)]
async fn one_ill_instance_costs_healthy_instances_about_as_much_as_without_sharing() {
    for (errors, every, seeds) in [(10, secs(1), 1), (15, secs(1), 2), (20, secs(1), 2), (10, millis(500), 1)] {
        let (with, without) = rejected(errors, every, seeds).await;
        assert!(with <= without + 0.01, "{errors} %, {every:?}: {with:.4} with sharing, {without:.4} without");
    }
}

/// Lets the service die for a fleet whose first instance makes ten times the calls of the others. Returns the calls of
/// the others that fail until all of them are open.
async fn reached(errors: u64, shares: bool) -> u32 {
    let every = millis(200);
    let mut fleet = Fleet::start(errors, 1, shares).await;
    fleet.play(secs(60), every, 0).await;
    let mut reached = 0;
    for _ in 0..30 {
        for number in 0..10 + INSTANCES - 1 {
            let at = number.saturating_sub(9);
            if let Ok(permit) = fleet.instances[at].1.try_acquire() {
                reached += u32::from(at > 0);
                permit.failure(Failure::hard());
            }
            pass(every / 20).await;
        }
        pass(every / 4).await;
    }
    reached
}

#[tokio::test(start_paused = true)]
async fn advice_halves_the_calls_to_a_dead_service() {
    for errors in [0, 5, 10] {
        let (with, without) = (reached(errors, true).await, reached(errors, false).await);
        assert!(with * 2 < without, "{errors} %: {with} with sharing, {without} without");
    }
}

#[tokio::test(start_paused = true)]
async fn failures_before_the_advice_of_the_same_outage_are_not_usual() {
    let store = memory();
    let a = Instance::start(&store, "a", Sharing::Advise).await;
    let only_rate =
        settings("payments").without_consecutive_failures().failure_rate(0.4).min_calls(60).build().unwrap();
    let b = Instance::with(&store, "b", Sharing::Advise, only_rate).await;
    succeed(&b.circuit, 50);
    pass(secs(60)).await;
    succeed(&b.circuit, 3);
    call(&b.circuit, 12, Outcome::Failure(Failure::timeout()));
    // The task counts the calls of `b` before the advice comes.
    pass(secs(2)).await;
    fail(&a.circuit, 5);
    pass(millis(100)).await;
    assert_eq!((state(&a.circuit), state(&b.circuit)), (State::Open, State::Closed));
    fail(&b.circuit, 1);
    assert_eq!(state(&b.circuit), State::Open, "{:?}", b.circuit.status());
}

/// Starts three instances, opens `a` by failures and `b` by the advice of `a`, and closes `a` again.
async fn advised(store: &MemoryStore) -> (Instance, Instance, Instance) {
    let a = Instance::start(store, "a", Sharing::Advise).await;
    let b = Instance::start(store, "b", Sharing::Advise).await;
    let c = Instance::start(store, "c", Sharing::Advise).await;
    fail(&a.circuit, 5);
    pass(millis(100)).await;
    fail(&b.circuit, 2);
    pass(secs(6)).await;
    succeed(&a.circuit, 3);
    pass(millis(100)).await;
    assert_eq!((state(&a.circuit), state(&b.circuit)), (State::Closed, State::Open));
    (a, b, c)
}

/// Lets one probe of `b` fail, and returns true if `c` then opens after two failures.
async fn is_advised_by_a_failed_probe(store: &MemoryStore, b: &Circuit, c: &Circuit) -> bool {
    fail(b, 1);
    assert_eq!(state(b), State::Open);
    pass(millis(100)).await;
    assert!(record(store, "payments").await.unwrap().instances["b"].advised);
    fail(c, 2);
    state(c) == State::Open
}

#[tokio::test(start_paused = true)]
async fn an_opening_on_advice_advises_no_instance_after_failed_probes() {
    let store = memory();
    let (_a, b, c) = advised(&store).await;
    assert!(!is_advised_by_a_failed_probe(&store, &b.circuit, &c.circuit).await);
}

#[tokio::test(start_paused = true)]
async fn a_restart_while_half_open_keeps_that_the_opening_was_on_advice() {
    let store = memory();
    let (_a, b, c) = advised(&store).await;
    succeed(&b.circuit, 1);
    assert_eq!(state(&b.circuit), State::HalfOpen);
    b.end().await;
    let b = Instance::start(&store, "b", Sharing::Advise).await;
    assert_eq!(state(&b.circuit), State::HalfOpen);
    assert!(!is_advised_by_a_failed_probe(&store, &b.circuit, &c.circuit).await);
}

#[tokio::test(start_paused = true)]
async fn an_opening_on_evidence_advises_after_the_circuit_has_closed() {
    let store = memory();
    let (_a, b, _c) = advised(&store).await;
    succeed(&b.circuit, 3);
    fail(&b.circuit, 5);
    pass(millis(100)).await;
    let record = record(&store, "payments").await.unwrap();
    assert_eq!((state(&b.circuit), record.instances["b"].advised), (State::Open, false));
}

/// Three instances without any success. The first opens for five minutes, which advises the others.
async fn advised_for_minutes(store: &MemoryStore) -> [Instance; 3] {
    let a = Instance::start(store, "a", Sharing::Advise).await;
    let b = Instance::start(store, "b", Sharing::Advise).await;
    let c = Instance::start(store, "c", Sharing::Advise).await;
    let permit = a.circuit.try_acquire().unwrap();
    permit.failure(Failure::hard().trips_at_once().with_retry_after(secs(300)));
    pass(secs(10)).await;
    [a, b, c]
}

#[tokio::test(start_paused = true)]
async fn two_failures_open_a_circuit_under_advice_of_minutes() {
    let store = memory();
    let [_a, b, _c] = advised_for_minutes(&store).await;
    fail(&b.circuit, 2);
    assert_eq!(state(&b.circuit), State::Open);
}

#[tokio::test(start_paused = true)]
async fn a_reset_takes_the_advice_of_an_opening_back() {
    for is_killed in [false, true] {
        let store = memory();
        let [a, b, c] = advised_for_minutes(&store).await;
        if is_killed {
            // Its entry says open until the end of the opening. A circuit at rest has nothing to reset.
            drop(a);
            c.circuit.trip(&alice(), None);
            pass(millis(100)).await;
            c.circuit.reset(&alice(), To::Closed);
        } else {
            a.circuit.reset(&alice(), To::Closed);
        }
        pass(millis(100)).await;
        fail(&b.circuit, 4);
        assert_eq!(state(&b.circuit), State::Closed, "the instance that opened is killed: {is_killed}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_instance_that_stops_takes_its_advice_back_with_the_next_poll() {
    let store = memory();
    let [a, b, c] = advised_for_minutes(&store).await;
    fail(&c.circuit, 2);
    pass(millis(100)).await;
    a.end().await;
    pass(secs(20)).await;
    fail(&b.circuit, 4);
    assert_eq!(state(&b.circuit), State::Closed, "the opening of c was on advice");
}
