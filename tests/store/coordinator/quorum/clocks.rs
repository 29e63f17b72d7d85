//! The clock of the store jumps by an hour while the fleet is open, probes, or is about to open.

use tower_circuit_breaker::Outcome;
use tower_circuit_breaker::clock::{Clock, MockClock, Tick, TokioClock};
use tower_circuit_breaker::store::MemoryStore;

use super::leases::{lend, probe};
use super::probes::{Calls, are_closed, circuits, fleet, opened};
use super::*;

/// The clock of tokio, which a test can set forward and back.
#[derive(Debug, Clone)]
struct Jumps {
    steady: TokioClock,
    forward: MockClock,
    back: MockClock,
}

impl Jumps {
    /// Returns a clock and a store that follows the clock, also far back.
    fn store() -> (Self, MemoryStore) {
        let jumps = Self { steady: TokioClock::new(), forward: MockClock::new(), back: MockClock::new() };
        let store = MemoryStore::with_clock(jumps.clone());
        jumps.forward.advance(secs(36_000));
        (jumps, store)
    }

    fn jump(&self, seconds: i64) {
        let by = secs(seconds.unsigned_abs());
        if seconds < 0 { self.back.advance(by) } else { self.forward.advance(by) }
    }
}

impl Clock for Jumps {
    fn now(&self) -> Tick {
        let forward = self.forward.now().saturating_since(Tick::ZERO);
        let back = self.back.now().saturating_since(Tick::ZERO);
        self.steady.now().saturating_add(forward.saturating_sub(back))
    }
}

/// The jumps of a clock, in seconds: of a wrong date, and of two machines whose clocks differ.
const JUMPS: [i64; 6] = [3_600, -3_600, 100, -100, 40, -40];

/// Lets all instances call a service that is well, until all are closed. Returns the milliseconds.
async fn recover(store: &MemoryStore, instances: &[Instance], jump: i64) -> u64 {
    let mut calls = Calls::default();
    let is_done = || are_closed(instances);
    let took = calls.run(&circuits(instances), 100, 2_400, |_| Outcome::Success, is_done).await;
    assert!(is_done(), "{jump} s: {:?}", fleet(store).await);
    // Passive probes close the fleet of instances that are closed.
    let mut after = Calls::default();
    // A step of less than a minute is no step, so that the opening lasts until the clock has caught up.
    after.run(&circuits(instances), 100, 1_200, |_| Outcome::Success, || false).await;
    assert_eq!(fleet(store).await.fleet.unwrap().state, State::Closed, "{jump} s");
    took
}

/// Asserts that two votes open all instances as ever.
async fn opens_again(instances: &[Instance], jump: i64) {
    // Successes count for ten seconds.
    pass(secs(30)).await;
    for one in &instances[..2] {
        // A success ends the failures in a row.
        succeed(&one.circuit, 1);
        fail(&one.circuit, 5);
    }
    pass(secs(3)).await;
    assert!(instances.iter().all(|one| state(&one.circuit) == State::Open), "{jump} s");
}

#[tokio::test(start_paused = true)]
async fn a_jump_of_the_stores_clock_keeps_no_open_fleet_open() {
    for jump in JUMPS {
        let (clock, store) = Jumps::store();
        let instances = opened(&store).await;
        clock.jump(jump);
        let took = recover(&store, &instances, jump).await;
        assert!(took < 25_000, "{jump} s: {took} ms");
        opens_again(&instances, jump).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_jump_of_the_stores_clock_ends_no_round_for_ever() {
    for jump in JUMPS {
        let (clock, store) = Jumps::store();
        let instances = opened(&store).await;
        pass(millis(4_600)).await;
        lend(&instances[0]).await;
        clock.jump(jump);
        let took = recover(&store, &instances, jump).await;
        assert!(took < 25_000, "{jump} s: {took} ms");
        opens_again(&instances, jump).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_jump_of_the_stores_clock_during_a_probe_costs_one_more_probe_at_once() {
    for jump in JUMPS {
        let (clock, store) = Jumps::store();
        let instances = opened(&store).await;
        pass(millis(4_600)).await;
        let slow = probe(&instances[0]).await;
        pass(millis(100)).await;
        clock.jump(jump);
        let mut calls = Calls::default();
        calls.run(&circuits(&instances), 1_000, 60, |_| Outcome::Success, || false).await;
        assert!(calls.most_at_once <= 1, "{jump} s: {} probes beside the first", calls.most_at_once);
        slow.success();
        recover(&store, &instances, jump).await;
        opens_again(&instances, jump).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_failed_probe_before_a_jump_of_the_stores_clock_ends_its_round() {
    for jump in JUMPS {
        let (clock, store) = Jumps::store();
        let instances = opened(&store).await;
        pass(millis(4_600)).await;
        probe(&instances[0]).await.failure(Failure::hard());
        pass(millis(100)).await;
        clock.jump(jump);
        // No other instance has calls.
        let mut calls = Calls::default();
        let circuits = circuits(&instances[..1]);
        let closed = || are_closed(&instances);
        calls.run(&circuits, 100, 2_400, |_| Outcome::Success, closed).await;
        assert!(are_closed(&instances), "{jump} s: {:?}", fleet(&store).await);
    }
}

#[tokio::test(start_paused = true)]
async fn votes_around_a_jump_of_the_stores_clock_open_nothing_for_long() {
    for jump in JUMPS {
        let (clock, store) = Jumps::store();
        let instances = three(&store).await;
        fail(&instances[0].circuit, 5);
        pass(millis(500)).await;
        clock.jump(jump);
        pass(secs(20)).await;
        fail(&instances[1].circuit, 5);
        pass(secs(1)).await;
        assert_eq!(state(&instances[2].circuit), State::Closed, "{jump} s: one vote is 20 s old");
        fail(&instances[2].circuit, 5);
        pass(secs(1)).await;
        let record = fleet(&store).await;
        assert_eq!(record.fleet.map(|fleet| fleet.state), Some(State::Open), "{jump} s: two votes are young");
    }
}
