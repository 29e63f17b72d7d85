//! A machine that was suspended: the clock of the circuit has stood still, and the clock of the store went on.

use std::time::Duration;

use tower_circuit_breaker::clock::MockClock;
use tower_circuit_breaker::coordinator::Sharing;
use tower_circuit_breaker::state::Mode;
use tower_circuit_breaker::store::MemoryStore;
use tower_circuit_breaker::{Circuit, Failure, State};

use crate::rig::{DOWN, Instance, alice, fail, faulty, memory, millis, pass, secs, settings};

/// Starts an instance on a machine with its own clock.
async fn laptop(store: &MemoryStore) -> (Instance, MockClock) {
    let clock = MockClock::new();
    let config = settings("payments").clock(clock.clone()).build().unwrap();
    (Instance::with(store, "laptop", Sharing::Advise, config).await, clock)
}

/// Lets the time pass on a machine that is awake.
async fn awake(clock: &MockClock, time: Duration) {
    for _ in 0..10 {
        clock.advance(time / 10);
        pass(time / 10).await;
    }
}

fn admits(circuit: &Circuit) -> bool {
    circuit.would_admit()
}

#[tokio::test(start_paused = true)]
async fn a_hold_of_another_instance_ends_by_the_clock_of_the_store() {
    type Hold = fn(&Circuit);
    let holds: [(Hold, Mode); 2] = [
        (|circuit| drop(circuit.trip(&alice(), Some(secs(1_800)))), Mode::ForcedOpen),
        (|circuit| drop(circuit.disable(&alice(), Some(secs(1_800)))), Mode::Disabled),
    ];
    for (hold, mode) in holds {
        let store = memory();
        let other = Instance::start(&store, "other", Sharing::Advise).await;
        let (one, clock) = laptop(&store).await;
        hold(&other.circuit);
        awake(&clock, secs(5)).await;
        assert_eq!(one.circuit.status().mode, mode);
        // The lid is closed for an hour. Afterwards the next poll comes in 2 s.
        pass(secs(3_600)).await;
        drop(one.circuit.try_acquire());
        assert_eq!(one.circuit.status().mode, Mode::Automatic, "{mode:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_hold_of_this_instance_ends_by_the_clock_of_the_store() {
    let store = memory();
    let (one, clock) = laptop(&store).await;
    one.circuit.trip(&alice(), Some(secs(60)));
    awake(&clock, secs(1)).await;
    pass(secs(50)).await;
    assert!(!admits(&one.circuit), "the hold is not over");
    pass(secs(15)).await;
    assert!(admits(&one.circuit));
}

#[tokio::test(start_paused = true)]
async fn a_status_has_the_end_of_a_hold_by_the_clock_of_the_store() {
    let store = memory();
    let (one, clock) = laptop(&store).await;
    one.circuit.trip(&alice(), Some(secs(60)));
    awake(&clock, secs(1)).await;
    pass(secs(50)).await;
    let status = one.circuit.status();
    // The hold has 9 s left, and the last answer of the store is a few seconds old. The clock of the machine goes in
    // steps of 100 ms, and the store may answer at any time within a step.
    let left = status.held_for.expect("the hold has an end");
    assert!(left >= secs(9) - millis(100) && left < secs(20), "{left:?}");
    assert!(!status.to_string().contains("; the hold ends in 59 s"), "{status}");
}

#[tokio::test(start_paused = true)]
async fn a_hold_without_an_end_outlasts_a_suspend() {
    let store = memory();
    let (one, clock) = laptop(&store).await;
    one.circuit.trip(&alice(), None);
    awake(&clock, secs(1)).await;
    pass(secs(7_200)).await;
    assert!(!admits(&one.circuit));
}

#[tokio::test(start_paused = true)]
async fn an_opening_ends_by_the_clock_of_the_store() {
    let store = memory();
    for retry_after in [None, Some(secs(290))] {
        let (one, clock) = laptop(&store).await;
        match retry_after {
            None => fail(&one.circuit, 5),
            Some(after) => {
                let failure = Failure::hard().with_retry_after(after).trips_at_once();
                one.circuit.try_acquire().unwrap().failure(failure);
            }
        }
        awake(&clock, millis(100)).await;
        // The next poll can still come by the interval of closed circuits.
        pass(retry_after.unwrap_or(secs(5)) + secs(13)).await;
        assert_eq!(one.circuit.state(), State::Open);
        assert!(admits(&one.circuit), "{retry_after:?}: the next call is a probe");
        drop(one.circuit.try_acquire());
        assert_eq!(one.circuit.state(), State::HalfOpen);
        one.end().await;
        store.flush();
    }
}

#[tokio::test(start_paused = true)]
async fn an_opening_after_the_wake_up_lasts_its_whole_time() {
    let store = memory();
    let (one, clock) = laptop(&store).await;
    fail(&one.circuit, 5);
    awake(&clock, millis(100)).await;
    pass(secs(3_600)).await;
    // The first probe after the wake-up fails before the store has answered again.
    fail(&one.circuit, 1);
    for _ in 0..9 {
        assert!(!admits(&one.circuit), "{:?}", one.circuit.status());
        awake(&clock, secs(1)).await;
    }
    awake(&clock, secs(2)).await;
    assert!(admits(&one.circuit));
}

#[tokio::test(start_paused = true)]
async fn while_the_store_is_away_the_clock_of_the_circuit_decides() {
    let store = faulty();
    let clock = MockClock::new();
    let config = settings("payments").clock(clock.clone()).build().unwrap();
    let one = Instance::with(&store, "laptop", Sharing::Advise, config).await;
    one.circuit.trip(&alice(), Some(secs(60)));
    awake(&clock, secs(1)).await;
    store.faults().set(tower_circuit_breaker::store::Operation::ALL, DOWN);
    pass(secs(600)).await;
    assert!(!admits(&one.circuit));
    store.faults().heal();
    pass(secs(60)).await;
    assert!(admits(&one.circuit), "the store answers again");
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_waits_for_the_hold_goes_on_after_the_wake_up() {
    let store = memory();
    let (one, clock) = laptop(&store).await;
    one.circuit.trip(&alice(), Some(secs(60)));
    awake(&clock, secs(1)).await;
    let waits = one.circuit.acquire_within(secs(100_000));
    tokio::select! {
        biased;
        permit = waits => assert!(permit.is_ok(), "the first probe"),
        () = pass(secs(65)) => panic!("the end of the hold has moved, and the caller still waits"),
    }
}
