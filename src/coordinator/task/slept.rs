//! The wake-up of a machine that was suspended.
//!
//! During a suspend, timers and the clock of the process stand still, and the wall clock continues. After the wake-up,
//! the timer of the next poll would still wait for its remaining time. Therefore all records are loaded immediately if
//! the wall clock has advanced more than the clock of the process.
//!
//! Nothing else in the task depends on the wall clock. Therefore a step of the wall clock only causes a load of all
//! records and a heartbeat. In a virtual machine, the wall clock may stand still too. Then the polls come at their
//! usual times.

use std::time::Duration;
use std::time::SystemTime;

use super::Task;
use crate::clock::Tick;

/// The readings of both clocks at the last check.
#[derive(Debug, Default)]
pub(super) struct Slept {
    last: Option<(Tick, SystemTime)>,
    /// The number of wake-ups. If an operation began before the last wake-up, the time of the store in its answer is
    /// not used, because the store may have read its clock before the suspend.
    pub(super) wake_ups: u64,
}

impl Slept {
    /// Returns true if the wall clock has gained more than [`GAIN`] on the clock of the process since the last call.
    /// The machine was then probably suspended.
    pub(super) fn since_last_time(&mut self, now: Tick, wall: SystemTime) -> bool {
        let Some((tick, before)) = self.last.replace((now, wall)) else { return false };
        let passed = wall.duration_since(before).unwrap_or_default();
        passed.saturating_sub(now.saturating_since(tick)) > GAIN
    }
}

impl Task {
    /// Handles a wake-up of the machine, and loads all records now. The time of the store counts as unknown until the
    /// next answer of the store, so that no write has a wrong date.
    pub(super) fn wake_up(&mut self, now: Tick) {
        self.slept.wake_ups += 1;
        self.ledger.link.forget_time();
        self.ledger.membership.wake_up(now);
        self.ledger.link.hurry(now);
        self.load_all(now);
    }
}

/// The smallest gain of the wall clock that counts as a suspend. A smaller gain can be a correction by a time server.
const GAIN: Duration = Duration::from_secs(5);

#[cfg(all(test, not(breaker_loom)))]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::circuit::Circuit;
    use crate::clock::{Clock, TokioClock};
    use crate::config::Config;
    use crate::coordinator::hub::Coordinator;
    use crate::outcome::Outcome;
    use crate::record::Timestamp;
    use crate::registry::Registry;
    use crate::store::{AuditRow, FaultyStore, MemoryStore, Operation};

    /// Creates a registry with one circuit, and its task.
    fn task() -> (Registry, Circuit, Task) {
        let registry = Registry::builder().store(MemoryStore::with_clock(TokioClock::new())).build().unwrap();
        let config = Config::builder("payments").clock(TokioClock::new()).build().unwrap();
        let circuit = registry.circuit(config).unwrap();
        let Coordinator(hub) = registry.companion().unwrap();
        let task = Task::new(hub);
        (registry, circuit, task)
    }

    /// Pretends that the machine was suspended for an hour.
    fn suspend(task: &mut Task) {
        let before = task.ledger.clock.wall().checked_sub(Duration::from_secs(3_600)).unwrap();
        task.slept.last = Some((task.ledger.clock.now(), before));
    }

    /// Lets the task work for this time.
    async fn work(task: &mut Task, time: Duration) {
        tokio::time::timeout(time, async { while task.step().await {} }).await.ok();
    }

    fn open(circuit: &Circuit) {
        for _ in 0..5 {
            circuit.try_acquire().unwrap().record(Outcome::failure());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_opening_at_the_wake_up_is_written_within_a_second() {
        let (registry, circuit, mut task) = task();
        work(&mut task, Duration::from_secs(5)).await;
        open(&circuit);
        suspend(&mut task);
        work(&mut task, Duration::from_millis(500)).await;
        assert_eq!(registry.store_status().unwrap().unsaved, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_from_before_the_wake_up_has_no_time() {
        let store = FaultyStore::new(MemoryStore::with_clock(TokioClock::new()));
        let registry = Registry::builder().store(store.clone()).build().unwrap();
        let _circuit = registry.circuit(Config::builder("payments").clock(TokioClock::new()).build().unwrap()).unwrap();
        let mut task = Task::new(&registry.companion::<Coordinator>().unwrap().0);
        store.faults().delay(&[Operation::Load], Duration::from_millis(300));
        work(&mut task, Duration::from_millis(200)).await;
        suspend(&mut task);
        task.hub.called.notify_one();
        let time = |task: &Task| task.ledger.link.time(task.ledger.clock.now());
        work(&mut task, Duration::from_millis(200)).await;
        assert_eq!(time(&task), None, "the load that began before the suspend is answered");
        work(&mut task, Duration::from_millis(200)).await;
        assert!(time(&task).is_some(), "the load that began after the suspend is answered");
    }

    #[tokio::test(start_paused = true)]
    async fn a_row_of_a_registry_without_circuits_is_written_after_the_wake_up() {
        let registry = Registry::builder().store(MemoryStore::with_clock(TokioClock::new())).build().unwrap();
        let mut task = Task::new(&registry.companion::<Coordinator>().unwrap().0);
        work(&mut task, Duration::from_secs(5)).await;
        let row = AuditRow {
            id: String::new(),
            service: "gone".to_owned(),
            action: "opened".to_owned(),
            reason: String::new(),
            user: None,
            timestamp: Timestamp::default(),
            generation: 0,
            instance: String::new(),
        };
        task.ledger.outbox.push(Tick::ZERO, row);
        suspend(&mut task);
        work(&mut task, Duration::from_secs(5)).await;
        assert_eq!(task.ledger.outbox.len(), 0);
    }

    #[test]
    fn a_machine_has_slept_if_only_the_wall_clock_went_on() {
        let second = |seconds: u64| Duration::from_secs(seconds);
        for (passed, wall, expected) in [(1, 1, false), (1, 5, false), (1, 7, true), (3_600, 3_601, false)] {
            let mut slept = Slept::default();
            let (tick, before) = (Tick::ZERO.saturating_add(second(60)), SystemTime::UNIX_EPOCH + second(60));
            assert!(!slept.since_last_time(tick, before), "there is nothing to compare at first");
            assert_eq!(slept.since_last_time(tick.saturating_add(second(passed)), before + second(wall)), expected);
            assert!(!slept.since_last_time(tick.saturating_add(second(passed)), before), "a clock that was set back");
        }
    }
}
