//! The protocol of a fleet, played with the real rules and a register that delays, loses and repeats writes.
//!
//! 1 to 5 members vote, lease and probe by what they know of one record. Answers are lost, writes arrive late or twice,
//! results are held back over rounds, members crash, and the register is flushed or returns with an old copy. A member sends a
//! result again until its record shows that the result is in, or can no longer count. The invariants are checked at each
//! accepted write, against a list of the votes and probes that really happened (`truth`). At the end the faults stop, and the
//! fleet must close while calls come.
//!
//! `SCHEDULES=40000 cargo test --all-features --release --test store fleet_model` plays so many, and `SEED=n` plays one.

mod member;
mod truth;

use std::collections::BTreeMap;

use tower_circuit_breaker::State;
use tower_circuit_breaker::record::{CircuitRecord, Command, Effect, OperatorCommand, Timestamp, apply, join};
use tower_circuit_breaker::state::{Act, By};

use super::NOW;
use crate::dice::Dice;
use crate::rig::secs;
use member::{Member, Proposal};
use truth::Truth;

/// The probes that close the fleet.
const PROBES: u32 = 3;
const LEASE_MS: u64 = 10_000;
const VOTE_MS: u64 = 10_000;
const QUIET_MS: u64 = 60_000;

/// A stored record with its etag.
type Content = Option<(u64, CircuitRecord)>;

/// A write on its way to the register.
#[derive(Debug, Clone)]
struct Sent {
    due: u64,
    from: usize,
    /// The start of the member that waits for the answer. `None` if the answer is lost.
    answers: Option<u64>,
    expected: Option<u64>,
    proposal: Proposal,
}

struct World {
    dice: Dice,
    now: u64,
    members: Vec<Member>,
    register: Content,
    backup: Content,
    writes: u64,
    sent: Vec<Sent>,
    truth: Truth,
    faulty: bool,
    loses_data: bool,
    up: bool,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let count = 1 + dice.roll(5);
        let (in_flight, tolerated) = (1 + u32::from(dice.chance(30)), u32::from(dice.chance(30)));
        let member = |n| Member::new(usize::try_from(n).unwrap(), in_flight, tolerated, count);
        let members = (0..count).map(member).collect();
        Self {
            loses_data: dice.chance(40),
            dice,
            now: NOW.as_millis(),
            members,
            register: None,
            backup: None,
            writes: 0,
            sent: Vec::new(),
            truth: Truth::new(in_flight, tolerated, count),
            faulty: true,
            up: true,
        }
    }

    fn play(mut self) -> Result<BTreeMap<&'static str, u64>, String> {
        for _ in 0..400 {
            self.step()?;
        }
        (self.faulty, self.up) = (false, true);
        self.members.iter_mut().for_each(|member| member.is_bad = false);
        for _ in 0..4_000 {
            self.step()?;
            let is_closed = self.register.as_ref().is_none_or(|(_, record)| state(record) == State::Closed);
            if is_closed && self.sent.is_empty() {
                return Ok(self.truth.counts);
            }
        }
        Err(format!("the fleet never closes at {}: {:?}", self.now, self.members))
    }

    fn step(&mut self) -> Result<(), String> {
        let longest = if self.dice.chance(8) { 9_000 } else { 250 };
        self.now += self.dice.roll(longest);
        self.arrive()?;
        if self.faulty {
            self.fail();
        }
        let who = usize::try_from(self.dice.roll(self.members.len() as u64)).unwrap();
        let member = &mut self.members[who];
        if member.is_ready(self.now) {
            member.load(&self.register, self.now);
        } else if member.waits {
            return Ok(());
        }
        let is_up = self.up && !member.is_bad;
        if member.has_forgotten {
            return Err(format!("a member forgets a decision: {member:?}"));
        }
        if let Some(proposal) = member.act(self.now, is_up, self.faulty, &mut self.dice, &mut self.truth) {
            self.send(who, proposal);
        }
        Ok(())
    }

    /// Sends a write, which can be lost, late or sent twice.
    fn send(&mut self, from: usize, proposal: Proposal) {
        let (faulty, dice) = (self.faulty, &mut self.dice);
        let slow = faulty && dice.chance(15);
        let due = self.now + dice.roll(if slow { 12_000 } else { 20 });
        let member = &mut self.members[from];
        let answers = (!(faulty && dice.chance(10))).then_some(member.start);
        let sent = Sent { due, from, answers, expected: member.etag, proposal };
        member.sends(self.now);
        if faulty && dice.chance(5) {
            return;
        }
        if faulty && dice.chance(10) {
            self.sent.push(Sent { due: due + dice.roll(8_000), ..sent.clone() });
        }
        self.sent.push(sent);
    }

    /// Lets writes arrive at the register.
    fn arrive(&mut self) -> Result<(), String> {
        while let Some(at) = self.sent.iter().position(|sent| sent.due <= self.now) {
            let sent = self.sent.swap_remove(at);
            let current = self.register.as_ref().map(|(etag, _)| *etag);
            let accepted = current == sent.expected;
            if accepted {
                let before =
                    self.register.take().map_or_else(|| CircuitRecord::unknown("payments"), |(_, record)| record);
                let (after, proposal) = (sent.proposal.record.clone(), &sent.proposal);
                if join(&before, &after) != after {
                    return Err(format!("a write is not newer than the content: {before:?} then {after:?}"));
                }
                self.truth.check(&before, &after, proposal)?;
                self.writes += 1;
                self.register = Some((self.writes, after));
            }
            if sent.answers == Some(self.members[sent.from].start) {
                self.members[sent.from].answered(&self.register);
            }
        }
        Ok(())
    }

    /// Lets something fail, sometimes.
    fn fail(&mut self) {
        let dice = &mut self.dice;
        let who = usize::try_from(dice.roll(self.members.len() as u64)).unwrap();
        match dice.roll(200) {
            0..6 => self.up = !self.up,
            6..9 => self.members[who].is_bad = !self.members[who].is_bad,
            9..12 => self.members[who].crash(),
            12 | 13 => self.backup = self.register.clone(),
            14 if self.loses_data => {
                self.register = None;
                self.truth.lose(self.now);
            }
            15 if self.loses_data => {
                self.register = self.backup.clone();
                self.truth.lose(self.now);
            }
            16 | 17 => self.operate(),
            _ => {}
        }
    }

    /// Lets an operator act, directly at the register.
    fn operate(&mut self) {
        let Some((_, record)) = self.register.clone() else { return };
        let mut after = record.clone();
        let (act, to, hold) = match self.dice.roll(3) {
            0 => (Act::Reset, State::Closed, None),
            1 => (Act::Reset, State::HalfOpen, None),
            _ => (Act::Trip, State::HalfOpen, Some(secs(5))),
        };
        let command = OperatorCommand {
            id: format!("order-{}", self.now),
            replaced: Vec::new(),
            act,
            to,
            hold,
            by: By::new("alice", "a test").unwrap(),
            age: secs(0),
            on: record.operator.as_ref().map_or(0, |last| last.sequence),
            after: 0,
            instance: "tool".to_owned(),
            incarnation: String::new(),
            era: 0,
            in_fleet: false,
        };
        let now = Timestamp::from_millis(self.now);
        if apply(&mut after, &Command::Operated(command), now) == Effect::Applied {
            self.writes += 1;
            self.truth.count("act");
            self.register = Some((self.writes, after));
        }
    }
}

fn state(record: &CircuitRecord) -> State {
    record.fleet.as_ref().map_or(State::Closed, |fleet| fleet.state)
}

fn generation(record: &CircuitRecord) -> u64 {
    record.fleet.as_ref().map_or(0, |fleet| fleet.generation.get())
}

#[test]
fn no_schedule_of_lost_and_late_writes_breaks_a_rule_of_the_fleet() {
    let play =
        |seed| World::new(seed).play().unwrap_or_else(|broken| panic!("seed {seed}, the fleet's rules: {broken}"));
    if let Ok(seed) = std::env::var("SEED") {
        println!("{:?}", play(seed.parse().expect("SEED is a number")));
        return;
    }
    let schedules: u64 = std::env::var("SCHEDULES").map_or(200, |count| count.parse().expect("SCHEDULES is a number"));
    let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
    for seed in 0..schedules {
        for (kind, count) in play(seed) {
            *counts.entry(kind).or_default() += count;
        }
    }
    println!("fleet model: {schedules} schedules, {counts:?}");
    let kinds = "opened began closed reopened vote passed failed late overdue quiet unopposed";
    for kind in kinds.split_whitespace().chain(["began early"]) {
        assert!(schedules < 200 || counts.contains_key(kind), "no schedule has `{kind}`: {counts:?}");
    }
}
