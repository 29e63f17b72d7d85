//! Random schedules against a naive model: whatever callers, time and operators do, circuit and model show the same.
//!
//! `SCHEDULES` in the environment says how many (500), `SCHEDULES_SEED` which. A failure prints the shortest schedule that
//! still fails, and the seed.

mod model;
mod operation;
mod settings;
mod stage;
mod threads;

use std::fmt;

use proptest::collection::vec;
use proptest::strategy::Strategy;
use proptest::test_runner::{Config as Runs, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};
use tower_circuit_breaker::circuit::To;
use tower_circuit_breaker::{Permit, State};

use self::operation::{Operation, operation};
use self::settings::{Settings, settings};
use self::stage::{OtherThread, Stage};
use crate::rig::{alice, fail, rig, secs, state, succeed};

// Proof that it can fail. Each of these was planted alone in a copy of `src`, and the default run found all of them:
//
// deadlines    `>` for `>=`: open, hold, probe deadline, slow, cancelled, first bucket of a rate
// windows      one bucket too long, or too short; one call too long; one cell of two summed; eras not kept apart;
//              a slot of the ring not paid back, or skipped because its weight is the same
// rules        a success does not end the run; weight ignored in the window, or in the run; no longer run beside a rate;
//              no minimum; a rate in the first bucket; a success trips; a slow success does not
// open         attempt never decays, or at once; a mode winds the healing back; Retry-After ignored, uncapped, the longest
//              instead of the latest, not heard from probes; reset to half-open forgets the attempts
// half-open    one success too few; one failure too many; slot not freed; late success counts; another overdue probe
//              overlooked; quiet rule off, or despite a failure; no end without a verdict; no trust after it, or too much; openings decay on trust
// eras         stale outcome not counted as stale, or counted in the era it comes home to; adopting the same begins an era
// modes        shadow counts what it would reject; a hold forgets the shadow beneath; manual recovery half-opens;
//              rejections of the outage before told again; 127 transitions remembered
#[test]
fn circuit_and_model_show_the_same_after_every_operation() {
    let schedules = from_env("SCHEDULES").unwrap_or(500);
    let seed = from_env("SCHEDULES_SEED").unwrap_or(SEED);
    println!("{schedules} schedules of seed {seed}");
    let config = Runs {
        cases: u32::try_from(schedules).expect("so many never end"),
        max_shrink_iters: 20_000,
        failure_persistence: None,
        ..Runs::default()
    };
    // Not ChaCha, the default: unoptimized, it takes more time than the schedules.
    let rng = TestRng::from_seed(RngAlgorithm::XorShift, &[seed.to_le_bytes(), (!seed).to_le_bytes()].concat());
    let schedule =
        (settings(), vec(operation(), 1..100)).prop_map(|(settings, operations)| Schedule { settings, operations });
    let threads = [OtherThread::new(), OtherThread::new()];
    match TestRunner::new_with_rng(config, rng)
        .run(&schedule, |schedule| play(&schedule, &threads).map_err(TestCaseError::fail))
    {
        Ok(()) => {}
        Err(TestError::Fail(_, schedule)) => {
            let (schedule, difference) = shortest(schedule, &threads);
            panic!("seed {seed}: {difference}\n{schedule:?}");
        }
        Err(TestError::Abort(why)) => panic!("seed {seed}: {why}"),
    }
}

/// Whatever the probes that ended have shown, and however the others fail to end.
#[test]
fn a_circuit_cannot_stay_half_open_for_ever_while_calls_come() {
    let endings: [fn(Permit) -> Option<Permit>; 3] = [
        |ignored| {
            ignored.ignore();
            None
        },
        |dropped| {
            drop(dropped);
            None
        },
        Some,
    ];
    for (successes, failures) in (0..3).flat_map(|successes| (0..3).map(move |failures| (successes, failures))) {
        for end in endings {
            let (circuit, clock) = rig(|settings| settings.probes(3).probe_failures_tolerated(2));
            circuit.reset(&alice(), To::HalfOpen);
            succeed(&circuit, successes);
            fail(&circuit, failures);
            // A call every second, for longer than every deadline together.
            let mut permits = Vec::new();
            let left = (0..100).any(|_| {
                clock.advance(secs(1));
                permits.extend(circuit.try_acquire().ok().and_then(end));
                state(&circuit) != State::HalfOpen
            });
            assert!(left, "half-open for ever after {successes} successes and {failures} tolerated failures");
        }
    }
}

/// What a test plays.
#[derive(Clone)]
struct Schedule {
    settings: Settings,
    operations: Vec<Operation>,
}

impl fmt::Debug for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:#?}", self.settings)?;
        self.operations.iter().enumerate().try_for_each(|(step, operation)| writeln!(f, "{step:3} {operation:?}"))
    }
}

/// Leaves out what the failure does not need: proptest does not look again once it has made the steps simpler.
fn shortest(mut schedule: Schedule, threads: &[OtherThread]) -> (Schedule, String) {
    let mut difference = play(&schedule, threads).expect_err("it has just failed");
    let mut step = schedule.operations.len();
    while let Some(earlier) = step.checked_sub(1) {
        step = earlier;
        let mut shorter = schedule.clone();
        shorter.operations.remove(step);
        if let Err(still) = play(&shorter, threads) {
            (schedule, difference, step) = (shorter, still, schedule.operations.len() - 1);
        }
    }
    (schedule, difference)
}

fn play(schedule: &Schedule, threads: &[OtherThread]) -> Result<(), String> {
    let mut stage = Stage::new(&schedule.settings, threads);
    for (step, operation) in schedule.operations.iter().enumerate() {
        stage.step(*operation).map_err(|difference| format!("at step {step} {difference}"))?;
    }
    stage.end_all().map_err(|difference| format!("at the end {difference}"))
}

fn from_env(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().expect("a number"))
}

const SEED: u64 = 20_240_229;
