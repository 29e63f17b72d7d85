//! Loom models of the gauge of load shedding, which elects one of two concurrent calls to poll the load. The elected
//! call sees the reading of the last poll.
//!
//! | model | the mutation that makes it fail |
//! |---|---|
//! | `loom_of_two_calls_one_looks` | `elect` loads `looking` and stores it; `elect` does not check again that a poll is due |
//! | `loom_a_look_knows_the_previous_result` | the exchange in `elect`, or the store in `drop`, is Relaxed |
//! | `loom_load_and_shedding_are_read_from_one_look` | the reading is written in two steps |

use std::sync::{Arc, mpsc};
use std::time::Duration;

use loom::model::Builder;
use loom::thread;

use super::gauge::{EVERY, Gauge};
use super::shedder::Limits;
use crate::clock::Tick;
use crate::sync::{AtomicU32, Relaxed};

/// Runs the model in every order of the threads' steps that loom distinguishes, and with every value that an atomic
/// load may return.
fn in_every_order(model: impl Fn() + Send + Sync + 'static) {
    let mut builder = Builder::new();
    builder.preemption_bound = None;
    builder.check(model);
}

#[test]
fn loom_of_two_calls_one_looks() {
    in_every_order(|| {
        let (gauge, looks) = (Arc::new(Gauge::new()), mpsc::channel());
        let (other, sender) = (Arc::clone(&gauge), looks.0.clone());
        beside(move || look(&other, NOW, 0.5, &sender), || look(&gauge, NOW, 0.5, &looks.0));
        assert_eq!(looks.1.try_iter().count(), 1, "the clock stands still, and the load was looked at");
    });
}

#[test]
fn loom_a_look_knows_the_previous_result() {
    in_every_order(|| {
        let (gauge, looks) = (Arc::new(Gauge::new()), mpsc::channel());
        let (other, sender) = (Arc::clone(&gauge), looks.0.clone());
        // The first load is above the limit. The second load is between the limits, where shedding continues but does
        // not begin.
        let later = NOW.saturating_add(EVERY);
        beside(move || look(&other, NOW, 0.9, &sender), || look(&gauge, later, 0.82, &looks.0));
        let looks: Vec<f64> = looks.1.try_iter().collect();
        assert_eq!(gauge.seen().shedding(), looks.starts_with(&[0.9]), "the looks were {looks:?}");
    });
}

#[test]
fn loom_load_and_shedding_are_read_from_one_look() {
    in_every_order(|| {
        let (gauge, looks) = (Arc::new(Gauge::new()), mpsc::channel());
        let other = Arc::clone(&gauge);
        let look_twice = move || {
            look(&other, NOW, 0.9, &looks.0);
            look(&other, NOW.saturating_add(EVERY), 0.1, &looks.0);
        };
        beside(look_twice, || {
            let seen = gauge.seen();
            assert_eq!(seen.shedding(), seen.load() == Some(0.9), "{seen:?}");
        });
    });
}

/// Runs `aside` on its own thread and `here` on this thread. Each thread first takes a step on a shared counter,
/// because loom remembers only the last step on a word, and would otherwise not try both orders of the threads.
fn beside(aside: impl FnOnce() + Send + 'static, here: impl FnOnce()) {
    let start = Arc::new(AtomicU32::new(0));
    let same = Arc::clone(&start);
    let other = thread::spawn(move || {
        same.fetch_add(1, Relaxed);
        aside();
    });
    start.fetch_add(1, Relaxed);
    here();
    other.join().expect("a model does not panic");
}

/// Polls the load if a poll is due, as a call does, and sends the load to `looks`, which keeps the order of the polls.
/// The channel is one of `std`, so that loom ignores its steps.
fn look(gauge: &Gauge, now: Tick, load: f64, looks: &mpsc::Sender<f64>) {
    if gauge.is_due(now)
        && let Some(look) = gauge.elect(now)
    {
        looks.send(load).expect("the model listens");
        let _shedding = look.end(now, Some(load), &LIMITS);
    }
}

const LIMITS: Limits = Limits { above: 0.85, below: 0.8, operations_over: 100 };
const NOW: Tick = Tick::from_nanos(Duration::from_secs(3600).as_nanos() as u64);
