//! Loom models of the election: whatever two calls do at once, one looks at the load, and it knows what the last look saw.
//!
//! | model | the step that is broken |
//! |---|---|
//! | `loom_of_two_calls_one_looks` | `elect` loads `looking` and stores it; it does not ask again whether a look is due |
//! | `loom_a_look_knows_what_the_last_one_saw` | the exchange in `elect`, or the store in `drop`, is Relaxed |
//! | `loom_what_is_seen_is_of_one_look` | what was seen is written in two steps |

use std::sync::{Arc, mpsc};
use std::time::Duration;

use loom::model::Builder;
use loom::thread;

use super::gauge::{EVERY, Gauge};
use super::shedder::Limits;
use crate::clock::Tick;
use crate::sync::{AtomicU32, Relaxed};

/// Plays every order of the threads' steps that loom tells apart, and every value that a load may see.
fn in_every_order(model: impl Fn() + Send + Sync + 'static) {
    let mut builder = Builder::new();
    builder.preemption_bound = None;
    builder.check(model);
}

#[test]
fn loom_of_two_calls_one_looks() {
    in_every_order(|| {
        let (gauge, looks) = (Arc::new(Gauge::new()), mpsc::channel());
        let (its, told) = (Arc::clone(&gauge), looks.0.clone());
        beside(move || look(&its, NOW, 0.5, &told), || look(&gauge, NOW, 0.5, &looks.0));
        assert_eq!(looks.1.try_iter().count(), 1, "the clock stands still, and the load was looked at");
    });
}

#[test]
fn loom_a_look_knows_what_the_last_one_saw() {
    in_every_order(|| {
        let (gauge, looks) = (Arc::new(Gauge::new()), mpsc::channel());
        let (its, told) = (Arc::clone(&gauge), looks.0.clone());
        // Above the limit; then between the two, where it goes on if it had begun.
        let later = NOW.saturating_add(EVERY);
        beside(move || look(&its, NOW, 0.9, &told), || look(&gauge, later, 0.82, &looks.0));
        let looks: Vec<f64> = looks.1.try_iter().collect();
        assert_eq!(gauge.seen().shedding(), looks.starts_with(&[0.9]), "the looks were {looks:?}");
    });
}

#[test]
fn loom_what_is_seen_is_of_one_look() {
    in_every_order(|| {
        let (gauge, looks) = (Arc::new(Gauge::new()), mpsc::channel());
        let its = Arc::clone(&gauge);
        let look_twice = move || {
            look(&its, NOW, 0.9, &looks.0);
            look(&its, NOW.saturating_add(EVERY), 0.1, &looks.0);
        };
        beside(look_twice, || {
            let seen = gauge.seen();
            assert_eq!(seen.shedding(), seen.load() == Some(0.9), "{seen:?}");
        });
    });
}

/// Runs `aside` on a thread of its own beside `here`, from a step on that both take: or loom, which of the steps on a word
/// remembers the last, would not play each of them first.
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

/// What a call does that finds the load due: the channel is of std, and tells in which order they looked.
fn look(gauge: &Gauge, now: Tick, load: f64, looks: &mpsc::Sender<f64>) {
    if gauge.is_due(now)
        && let Some(look) = gauge.elect(now)
    {
        looks.send(load).expect("the model listens");
        let _told = look.end(now, Some(load), &LIMITS);
    }
}

const LIMITS: Limits = Limits { above: 0.85, below: 0.8, operations_over: 100 };
const NOW: Tick = Tick::from_nanos(Duration::from_secs(3600).as_nanos() as u64);
