//! The circuit and its model, side by side.

use std::sync::mpsc;
use std::thread;

use tower_circuit_breaker::circuit::{NextCall, To};
use tower_circuit_breaker::clock::{Clock, MockClock, Tick};
use tower_circuit_breaker::config::Recovery;
use tower_circuit_breaker::outcome::Weight;
use tower_circuit_breaker::state::{Act, Generation, Reason, RejectReason};
use tower_circuit_breaker::window::Tally;
use tower_circuit_breaker::{Circuit, Config, Failure, Group, Outcome, Permit, Rejected, State};

use super::model::{Model, Shown, ShownRefusal};
use super::operation::{Ending, Neighbourly, Operation};
use super::settings::Settings;
use crate::rig::{alice, millis, no_rules};

pub(super) struct Stage<'a> {
    clock: MockClock,
    circuit: Circuit,
    permits: Vec<Permit>,
    model: Model,
    /// Whether a limit is that of a throttle, and otherwise of a ramp.
    throttles: bool,
    threads: &'a [OtherThread],
    generation: u64,
    group: Option<Group>,
    neighbours: Vec<Circuit>,
}

impl<'a> Stage<'a> {
    pub(super) fn new(settings: &Settings, threads: &'a [OtherThread]) -> Self {
        let clock = MockClock::new();
        let group = settings.group.map(|share| Group::new("random").at_most_open(share.to_f64()));
        let circuit = Circuit::new(settings.config(&clock, group.as_ref()));
        let model = Model::new(settings.clone(), now(&clock));
        Self {
            clock,
            circuit,
            permits: Vec::new(),
            model,
            throttles: settings.throttle.is_some(),
            threads,
            generation: 0,
            group,
            neighbours: Vec::new(),
        }
    }

    pub(super) fn step(&mut self, operation: Operation) -> Result<(), String> {
        match operation {
            Operation::Calls { times, ending, thread } => {
                for _ in 0..times {
                    if self.begin(thread)? {
                        self.end(self.permits.len() - 1, ending);
                    }
                    self.compare()?;
                }
            }
            Operation::Begin { thread } => {
                self.begin(thread)?;
            }
            Operation::End { permit, ending } => {
                if !self.permits.is_empty() {
                    self.end(permit % self.permits.len(), ending);
                }
            }
            Operation::Wait(by) => self.wait(by),
            Operation::WaitUntilDue { which, offset } => {
                let due = self.model.due();
                if !due.is_empty() {
                    let at = due[which % due.len()].saturating_add_signed(offset.into());
                    self.wait(at.saturating_sub(now(&self.clock)));
                }
            }
            Operation::Trip { hold } => {
                self.circuit.trip(&alice(), hold.map(millis));
                self.model.act(Act::Trip, hold);
            }
            Operation::Disable { hold } => {
                self.circuit.disable(&alice(), hold.map(millis));
                self.model.act(Act::Disable, hold);
            }
            Operation::Shadow => {
                self.circuit.shadow(&alice());
                self.model.act(Act::Shadow, None);
            }
            Operation::Resume => {
                self.circuit.resume(&alice());
                self.model.act(Act::Resume, None);
            }
            Operation::Reset(to) => self.reset(to),
            Operation::ManyEras(eras) => (0..eras).for_each(|_| self.reset(To::Closed)),
            Operation::AdoptEqual { restored } => self.adopt_equal(restored)?,
            Operation::Join => {
                if let Some(group) = &self.group {
                    let settings = no_rules(Config::builder("neighbour")).consecutive_failures(1).group(group);
                    let settings =
                        settings.clock(self.clock.clone()).recovery(Recovery::Manual).without_shipped_observers();
                    self.neighbours.push(Circuit::new(settings.build().expect("they are valid")));
                    self.model.join();
                }
            }
            Operation::Neighbour { .. } if self.neighbours.is_empty() => {}
            Operation::Neighbour { which, act } => self.neighbour(which % self.neighbours.len(), act),
        }
        self.compare()
    }

    /// Whoever is still under way comes home late.
    pub(super) fn end_all(&mut self) -> Result<(), String> {
        while !self.permits.is_empty() {
            self.end(0, Ending::Dropped);
            self.compare()?;
        }
        Ok(())
    }

    /// Asks both for a permit; whether they gave one.
    fn begin(&mut self, thread: usize) -> Result<bool, String> {
        let (status, is_open) = (self.circuit.status(), self.circuit.is_open());
        let would_admit = self.circuit.would_admit();
        let here = || self.circuit.try_acquire();
        let result = thread.checked_sub(1).map_or_else(here, |other| self.threads[other].acquire(&self.circuit));
        let gets = match &result {
            Ok(permit) if permit.is_probe() => NextCall::Probe,
            Ok(_) => NextCall::Admitted,
            Err(_) => NextCall::Rejected,
        };
        let is_of = |reason| result.as_ref().is_err_and(|rejected| rejected.reason() == reason);
        let is_tripped = is_of(RejectReason::Tripped);
        // Only the call draws, so what was said before is that it may pass.
        let drawn = [RejectReason::Ramp, RejectReason::Throttled].into_iter().find(|reason| is_of(*reason));
        let gets = if drawn.is_some() { NextCall::Admitted } else { gets };
        let said = (status.next_call, is_open, would_admit);
        if said != (gets, is_tripped, result.is_ok() || drawn.is_some()) {
            return Err(format!("it said {said:?}, and the call is {gets:?}: {status:#?}"));
        }
        // In shadow only the count shows how the draw ended.
        let by_limit = if self.throttles { RejectReason::Throttled } else { RejectReason::Ramp };
        let in_shadow = self.circuit.totals().would_reject > status.totals.would_reject;
        let in_shadow = in_shadow.then_some(by_limit);
        let unlucky = drawn.or(in_shadow);
        let expected = self.model.acquire(unlucky);
        let shown = result.as_ref().map(Permit::is_probe).map_err(ShownRefusal::from);
        let expected = expected.map_err(|refusal| ShownRefusal::from(*refusal));
        if shown != expected {
            return Err(format!("they answer differently:\n  circuit {shown:?}\n  model   {expected:?}"));
        }
        let admitted = result.is_ok();
        self.permits.extend(result);
        Ok(admitted)
    }

    fn end(&mut self, permit: usize, ending: Ending) {
        let ended = self.permits.remove(permit);
        match ending {
            Ending::Success => ended.success(),
            Ending::Failure { hundredths, retry_after } => {
                let failure = Failure::new(Weight::new(f64::from(hundredths) / 100.0).expect("above 0, at most 1"));
                ended.failure(retry_after.map_or(failure, |after| failure.with_retry_after(after)));
            }
            Ending::Ignored => ended.ignore(),
            Ending::Dropped => ended.cancel(),
            Ending::Unrecorded => drop(ended),
            Ending::Deadline(deadline) => ended.record(Outcome::deadline(millis(deadline))),
        }
        self.model.end(permit, ending);
    }

    fn reset(&mut self, to: To) {
        self.circuit.reset(&alice(), to);
        self.model.reset(to);
    }

    fn neighbour(&mut self, which: usize, act: Neighbourly) {
        match act {
            Neighbourly::Leave => {
                self.neighbours.remove(which);
                self.model.leave(which);
            }
            Neighbourly::Fail => {
                if let Ok(permit) = self.neighbours[which].try_acquire() {
                    permit.failure(Failure::hard());
                }
                self.model.open_neighbour(which);
            }
            Neighbourly::Reset => {
                self.neighbours[which].reset(&alice(), To::Closed);
                self.model.close_neighbour(which);
            }
        }
    }

    fn wait(&mut self, by: u64) {
        self.clock.advance(millis(by));
        self.model.set_now(now(&self.clock));
    }

    /// Equal state, mode and deadline change only the generation: not the era, and not the window, unless evidence is restored.
    fn adopt_equal(&mut self, restored: bool) -> Result<(), String> {
        self.generation += 1;
        let mut snapshot = self.circuit.snapshot();
        snapshot.generation = Generation::new(self.generation);
        if restored && snapshot.state == State::Closed {
            // It would be added to what is there; `adopt.rs` tests that.
            (snapshot.run, snapshot.tally) = (0.0, Tally::default());
        }
        self.model.adopt_generation(snapshot.generation);
        let reason = if restored { Reason::Restored } else { Reason::Followed };
        match self.circuit.adopt(&snapshot, reason) {
            None => Ok(()),
            Some(edge) => Err(format!("it adopted what it was: {edge:?}")),
        }
    }

    fn compare(&mut self) -> Result<(), String> {
        self.model.ask();
        let status = self.circuit.status();
        let open =
            || self.neighbours.iter().map(|neighbour| neighbour.status().state == State::Open).collect::<Vec<_>>();
        let counts = self.group.as_ref().map(|group| (group.open(), group.open_slots(), group.members(), open()));
        if counts != self.model.counts() {
            return Err(format!("the group is {counts:?}, and in the model {:?}", self.model.counts()));
        }
        let (shown, expected) = (Shown::from(status), Shown::from(&self.model));
        if shown == expected { Ok(()) } else { Err(format!("they differ:{}", shown.difference(&expected))) }
    }
}

/// A thread that acquires permits, so that a circuit keeps its evidence in several places.
pub(super) struct OtherThread {
    circuits: mpsc::Sender<Circuit>,
    results: mpsc::Receiver<Result<Permit, Rejected>>,
}

impl OtherThread {
    pub(super) fn new() -> Self {
        let (circuits, asked) = mpsc::channel::<Circuit>();
        let (answer, results) = mpsc::channel();
        // It ends when the test drops its sender.
        thread::spawn(move || asked.iter().try_for_each(|circuit| answer.send(circuit.try_acquire())));
        Self { circuits, results }
    }

    fn acquire(&self, circuit: &Circuit) -> Result<Permit, Rejected> {
        self.circuits.send(circuit.clone()).expect("the thread lives as long as the test");
        self.results.recv().expect("the thread lives as long as the test")
    }
}

fn now(clock: &MockClock) -> u64 {
    clock.now().saturating_since(Tick::ZERO).as_millis().try_into().expect("a test is short")
}
