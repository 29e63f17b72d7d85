//! Whole fleets against a store that fails in every way, in virtual time and from a seed.
//!
//! 2 to 6 instances, each a real registry with its real coordinator, share a register that delays, loses replies, applies
//! writes late, drops and reorders notifications, is flushed, fails over to an old copy, and goes away. Instances crash and
//! come back; operators act anywhere. Or they share two registers in a tiered store, each with faults of its own, of which only the
//! fast one loses data. What must hold of every accepted write is checked as it is made (`register`), what must
//! hold of every instance after every step, and what must hold of the fleet once the faults are over (`fleet`).
//!
//! `SCHEDULES=20000 cargo test --all-features --release --test store simulator` plays so many; a failure names its seed, and
//! `SEED=n` plays that one alone. `scripts/store-mutants` shows that the simulator can fail.

#![expect(clippy::disallowed_types, reason = "loom does not come here")]

mod fleet;
mod register;

use std::num::NonZero;
use std::sync::atomic::{AtomicU64, Ordering};

use fleet::{Fleet, Registers};

/// Plays the schedule of one seed; returns what happened, as a number that is the same each time.
fn play(seed: u64, registers: Registers) -> Result<u64, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.expect("a runtime").block_on(Fleet::play(seed, registers))
}

fn play_many(registers: Registers) {
    if let Ok(seed) = std::env::var("SEED") {
        let seed = seed.parse().expect("SEED is a number");
        play(seed, registers).unwrap_or_else(|broken| panic!("seed {seed}, {registers:?}: {broken}"));
        return;
    }
    let schedules: u64 = std::env::var("SCHEDULES").map_or(200, |count| count.parse().expect("SCHEDULES is a number"));
    let next = AtomicU64::new(0);
    let workers = std::thread::available_parallelism().map_or(1, NonZero::get);
    std::thread::scope(|scope| {
        let worker = || {
            loop {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed >= schedules {
                    return Ok(());
                }
                let played = std::panic::catch_unwind(|| play(seed, registers));
                let played = played.unwrap_or_else(|_| Err("a panic, printed above".to_owned()));
                if let Err(broken) = played {
                    // The other workers end after the schedules that they play now. Relaxed: nothing else is shared.
                    next.store(schedules, Ordering::Relaxed);
                    return Err(format!("seed {seed}, {registers:?}: {broken}"));
                }
            }
        };
        let workers: Vec<_> = (0..workers).map(|_| scope.spawn(worker)).collect();
        for worker in workers {
            let played: Result<(), String> = worker.join().expect("a worker does not panic");
            played.unwrap_or_else(|broken| panic!("{broken}"));
        }
    });
    println!("simulator: {schedules} schedules, {registers:?}");
}

#[test]
fn no_schedule_of_faults_on_one_register_breaks_a_promise() {
    play_many(Registers::One);
}

#[test]
fn no_schedule_of_faults_on_two_registers_breaks_a_promise() {
    play_many(Registers::Two);
}

#[test]
fn a_schedule_is_the_same_each_time() {
    for seed in 0..20 {
        for registers in [Registers::One, Registers::Two] {
            assert_eq!(play(seed, registers), play(seed, registers), "seed {seed}, {registers:?}");
        }
    }
}
