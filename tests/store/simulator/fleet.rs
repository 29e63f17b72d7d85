//! The instances, and what happens to them.

mod promises;

use std::collections::BTreeMap;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tower_circuit_breaker::circuit::To;
use tower_circuit_breaker::clock::{Clock, Tick, TokioClock};
use tower_circuit_breaker::coordinator::Sharing;
use tower_circuit_breaker::operation::{Order, Refused};
use tower_circuit_breaker::record::{CircuitRecord, join};
use tower_circuit_breaker::state::{Mode, Reason, Transition};
use tower_circuit_breaker::store::{AnyStore, TieredStore};
use tower_circuit_breaker::{By, Circuit, Config, OpenDuration, Outcome, Registry, State, Status};

use super::register::{Faults, Register, decided};
use crate::dice::Dice;

/// What the instances share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Registers {
    One,
    /// A fast one, and a durable one behind it that loses nothing.
    Two,
}

impl Registers {
    /// The most by which the clocks of two registers differ.
    const APART: Duration = Duration::from_millis(1_500);
}

/// One process.
struct Instance {
    id: String,
    registry: Registry,
    circuit: Circuit,
    /// The highest generation that it has known.
    generation: u64,
    seen_era: u64,
    /// Never had failures enough to open by itself, even on advice.
    good: bool,
    born: Tick,
}

/// An act of an operator.
#[derive(Debug, Clone)]
struct Acted {
    user: String,
    mode: Mode,
    at: Tick,
    on: String,
}

pub(crate) struct Fleet {
    seed: u64,
    dice: Dice,
    clock: TokioClock,
    sharing: Sharing,
    registers: Vec<Register>,
    instances: Vec<Instance>,
    births: u64,
    acts: Vec<Acted>,
    lost_data: Option<Tick>,
    /// How many calls really failed on each instance, over all its lives.
    failures: BTreeMap<String, u64>,
    crashes: Vec<(String, Tick)>,
}

impl Fleet {
    pub(crate) async fn play(seed: u64, which: Registers) -> Result<u64, String> {
        let mut dice = Dice::new(seed);
        let sharing = match dice.roll(3) {
            0 => Sharing::Advise,
            1 => Sharing::Follow,
            _ => Sharing::Quorum,
        };
        let registers = match which {
            Registers::One => vec![Register::new(dice.next(), "register", Duration::ZERO, sharing)],
            Registers::Two => ["fast", "durable"]
                .map(|kind| {
                    let seed = dice.next();
                    let most = u64::try_from(Registers::APART.as_millis()).expect("it is short");
                    Register::new(seed, kind, Duration::from_millis(dice.roll(most)), sharing)
                })
                .to_vec(),
        };
        let mut fleet = Self {
            seed,
            dice,
            clock: TokioClock::new(),
            sharing,
            registers,
            instances: Vec::new(),
            births: 0,
            acts: Vec::new(),
            lost_data: None,
            failures: BTreeMap::new(),
            crashes: Vec::new(),
        };
        let size = 2 + fleet.dice.roll(5);
        for n in 0..size {
            // The first ones are good: whatever happens to the others, they stay closed under advice.
            let instance = fleet.born(&format!("node-{n}"), n < 2);
            fleet.instances.push(instance);
        }
        let steps = 40 + fleet.dice.roll(120);
        for step in 0..steps {
            fleet.step().await;
            fleet.hold(&format!("step {step}"))?;
            if fleet.dice.chance(20) {
                fleet.restarts_are_the_same(&format!("step {step}")).await?;
            }
        }
        fleet.calm().await
    }

    /// The store as one process has it: what a process remembers of its tiers dies with it.
    fn store(&self) -> AnyStore {
        Self::store_of(&self.registers)
    }

    fn store_of(registers: &[Register]) -> AnyStore {
        match registers {
            [fast, durable] => AnyStore::new(TieredStore::new(fast.clone(), durable.clone())),
            registers => AnyStore::new(registers[0].clone()),
        }
    }

    fn born(&mut self, id: &str, good: bool) -> Instance {
        self.births += 1;
        let seed = self.seed.wrapping_mul(1_000).wrapping_add(self.births);
        let registry = Registry::builder().store(self.store()).instance(id).sharing(self.sharing).seed(seed);
        let registry = registry.build().expect("valid settings");
        let config = Config::builder("payments").clock(TokioClock::new()).seed(seed).without_shipped_observers();
        // Only runs trip, so that it is plain which instance has what evidence.
        let config = config.without_failure_rate();
        let open_for = OpenDuration::exponential(Duration::from_secs(3), Duration::from_secs(20));
        let config = config.open_for(open_for).build().expect("valid settings");
        let circuit = registry.circuit(config).expect("there is room");
        registry.start().expect("there is a runtime");
        Instance { id: id.to_owned(), registry, circuit, generation: 0, seen_era: 1, good, born: self.clock.now() }
    }

    async fn step(&mut self) {
        tokio::time::sleep(Duration::from_millis(self.dice.roll(1_200))).await;
        let who = usize::try_from(self.dice.roll(self.instances.len() as u64)).expect("small");
        match self.dice.roll(100) {
            0..35 => self.calls(who, false),
            35..62 => self.calls(who, true),
            62..72 => self.act(who),
            72..79 => self.crash(who).await,
            79..93 => self.faults(),
            _ => self.lose(),
        }
    }

    /// A few calls; the good ones have single failures only.
    fn calls(&mut self, who: usize, failing: bool) {
        let count = 1 + self.dice.roll(8);
        let instance = &self.instances[who];
        let failures = self.failures.entry(instance.id.clone()).or_default();
        for _ in 0..count {
            let Ok(permit) = instance.circuit.try_acquire() else { return };
            match (failing, instance.good) {
                (true, true) => {
                    *failures += 1;
                    permit.record(Outcome::failure());
                    // Open or half-open by an act, it may be rejected: then there is no more to say.
                    if let Ok(permit) = instance.circuit.try_acquire() {
                        permit.success();
                    }
                    return;
                }
                (true, false) => {
                    *failures += 1;
                    permit.record(Outcome::failure());
                }
                (false, _) => permit.success(),
            }
        }
    }

    fn act(&mut self, who: usize) {
        let user = format!("user-{}", self.acts.len());
        let by = By::new(&user, "a schedule").expect("valid");
        let Instance { registry, circuit, .. } = &self.instances[who];
        let hold = Some(Duration::from_secs(10_000)).filter(|_| self.dice.chance(50));
        let (mode, order) = match self.dice.roll(4) {
            0 => (Mode::ForcedOpen, hold.into_iter().fold(Order::trip(&by), Order::hold)),
            1 => {
                (Mode::Disabled, hold.map_or(Order::disable(&by).indefinitely(), |hold| Order::disable(&by).hold(hold)))
            }
            2 => (Mode::Automatic, Order::reset(&by, To::HalfOpen).force()),
            _ => (Mode::Automatic, Order::reset(&by, To::Closed).force()),
        };
        let order = order.id(&user);
        // Done at the first poll. Nobody waits for the store: the schedule goes on.
        let answer = pin!(registry.operate(circuit.name(), &order));
        match answer.poll(&mut Context::from_waker(Waker::noop())) {
            // The circuit is closed, and no other instance's trip or hold is known here.
            Poll::Ready(Err(Refused::NothingToReset { .. })) => return,
            Poll::Ready(Err(refused)) => panic!("seed {}: {refused}", self.seed),
            Poll::Ready(Ok(_)) | Poll::Pending => {}
        }
        self.acts.push(Acted { user, mode, at: self.clock.now(), on: self.instances[who].id.clone() });
    }

    /// The process dies, and comes back after a while with the same id.
    async fn crash(&mut self, who: usize) {
        let Instance { id, good, .. } = self.instances.swap_remove(who);
        self.crashes.push((id.clone(), self.clock.now()));
        tokio::time::sleep(Duration::from_millis(self.dice.roll(3_000))).await;
        let instance = self.born(&id, good);
        self.instances.push(instance);
    }

    fn faults(&mut self) {
        let which = usize::try_from(self.dice.roll(self.registers.len() as u64)).expect("small");
        let dice = &mut self.dice;
        let faults = match dice.roll(4) {
            0 => Faults::default(),
            1 => Faults { down: true, ..Faults::default() },
            _ => Faults {
                down: false,
                fails: dice.roll(30),
                loses_reply: dice.roll(30),
                applies_late: dice.roll(15),
                slow: dice.roll(40),
                loses_news: dice.roll(60),
            },
        };
        self.registers[which].set(faults);
    }

    /// The store loses data: all of it, or what was written since the last copy.
    fn lose(&mut self) {
        // The first: a durable one behind it loses nothing.
        let register = &self.registers[0];
        match self.dice.roll(4) {
            0 | 1 => return register.back_up(),
            2 => register.flush(),
            _ => register.fail_over(),
        }
        self.lost_data = Some(self.clock.now());
    }

    /// The faults are over: what must hold in the end.
    async fn calm(mut self) -> Result<u64, String> {
        self.registers.iter().for_each(|register| register.set(Faults::default()));
        let calm = self.clock.now();
        // The longest backoff, what is applied late, the slowest poll of 1.7 minutes, and some; with two, the longest pauses of
        // both, and what reaches the durable one last.
        tokio::time::sleep(Duration::from_secs(if self.registers.len() > 1 { 180 } else { 130 })).await;
        if self.sharing != Sharing::Advise {
            self.recover().await?;
        }
        self.hold("calm")?;
        let writes: u64 = self.registers.iter().map(Register::writes).sum();
        let states: Vec<_> = self.instances.iter().map(|instance| instance.circuit.status().standing()).collect();
        tokio::time::sleep(Duration::from_secs(20)).await;
        self.hold("long calm")?;
        self.restarts_are_the_same("long calm").await?;
        let later: u64 = self.registers.iter().map(Register::writes).sum();
        if later != writes {
            return Err(format!("{} writes although nothing happens", later - writes));
        }
        let after: Vec<_> = self.instances.iter().map(|instance| instance.circuit.status().standing()).collect();
        if states != after {
            return Err(format!("it never settles: {states:?} then {after:?}"));
        }
        self.converged().and_then(|()| self.acts_are_kept(calm)).map_err(|broken| self.told(&broken))?;
        let eras = self
            .instances
            .iter()
            .fold(0u64, |sum, instance| sum.wrapping_mul(31).wrapping_add(instance.circuit.status().era));
        Ok(self.registers.iter().fold(eras, |sum, register| sum.wrapping_mul(31).wrapping_add(register.trace())))
    }

    /// The service is well, and each instance calls: the fleet must close, whatever it went through.
    async fn recover(&mut self) -> Result<(), String> {
        for _ in 0..300 {
            tokio::time::sleep(Duration::from_secs(1)).await;
            for instance in &self.instances {
                if let Ok(permit) = instance.circuit.try_acquire() {
                    permit.success();
                }
            }
            self.hold("recovery")?;
        }
        tokio::time::sleep(Duration::from_secs(30)).await;
        let fleets = self.registers.iter().filter_map(|register| register.record("payments")?.fleet);
        let is_closed = fleets.clone().all(|fleet| fleet.state == State::Closed);
        let is_held = |status: &Status| matches!(status.mode, Mode::ForcedOpen | Mode::Disabled);
        let statuses: Vec<_> = self.instances.iter().map(|instance| instance.circuit.status()).collect();
        let are_closed = statuses.iter().all(|status| is_held(status) || status.state == State::Closed);
        if !are_closed || !is_closed && !statuses.iter().any(is_held) {
            return Err(self.told("calls succeed everywhere, and the fleet does not close"));
        }
        Ok(())
    }

    /// What is broken, with what led to it.
    fn told(&self, broken: &str) -> String {
        let mut text = format!("{broken}\n{:?}", self.sharing);
        for register in &self.registers {
            text.push_str(&format!("\nthe store has {:#?}", register.record("payments")));
        }
        for Instance { id, circuit, .. } in &self.instances {
            let edges = circuit.status().transitions;
            let edge = |edge: &Transition| {
                format!(
                    "\n  {:?} era {} {} -> {} on {}: {}",
                    edge.at, edge.era, edge.from, edge.to, edge.generation, edge.reason
                )
            };
            text.push_str(&format!("\n{id}:{}", edges.iter().rev().take(8).rev().map(edge).collect::<String>()));
        }
        text
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        // Registries end their tasks; the runtime takes what is left.
        self.instances.drain(..).for_each(|instance| drop(instance.registry));
    }
}
