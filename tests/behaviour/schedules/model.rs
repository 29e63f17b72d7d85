//! A circuit as the design describes it, without regard to cost: one thread, plain vectors, everything recomputed.
//!
//! It remembers every outcome, every era and every permit for ever, and derives windows, runs, verdicts and slots from them
//! when they are needed. It shares no code with the circuit. All times are milliseconds.

mod eras;
mod evidence;
mod groups;
mod probing;
mod shown;

use std::time::Duration;

use tower_circuit_breaker::circuit::Totals;
use tower_circuit_breaker::outcome::FailureKind;
use tower_circuit_breaker::state::{Generation, Mode, Reason, RejectReason, State};

use self::eras::{Era, is_tripped};
use self::evidence::{
    Hanging, NANOS_PER_MILLI, Seen, hangs, hangs_from, hangs_lately, leaves, met, relapse, run, score, tally,
    throttled, width,
};
use self::groups::Group;
use self::shown::{Edge, REMEMBERED};
pub(super) use self::shown::{Shown, ShownRefusal};
use super::operation::Ending;
use super::settings::Settings;
use crate::rig::millis;

#[derive(Debug)]
pub(super) struct Model {
    settings: Settings,
    now: u64,
    /// Every era so far; the last one is the current one.
    eras: Vec<Era>,
    /// Every outcome that entered a window.
    seen: Vec<Seen>,
    /// Every verdict of a probe: its era, and whether it succeeded.
    verdicts: Vec<(u64, bool)>,
    /// Every Retry-After: its era, and until when.
    asked: Vec<(u64, u64)>,
    /// Every permit that has not ended, oldest first.
    permits: Vec<Permit>,
    attempt: u32,
    /// The half-open eras in a row that ended without a success, because a probe was overdue.
    rounds_in_vain: u32,
    /// The probes of each era that ended without a verdict, or gave their slots back, oldest first.
    without: Vec<(u64, Gap)>,
    /// The weights of the probes that have perhaps failed, with their eras.
    doubts: Vec<(u64, u64)>,
    /// How long the last opening was, and in which era.
    last_open: u64,
    opened_in: u64,
    /// Every failure that entered a window, every rejection of the throttle, which has a weight, and every call without a
    /// judgement, which counts as slow.
    beside: Vec<Seen>,
    /// When the ramp ends, if there is one.
    ramp_until: u64,
    /// The group of the circuit, if there is one.
    group: Option<Group>,
    totals: Totals,
    generation: Generation,
    edges: Vec<Edge>,
}

#[derive(Debug, Clone, Copy)]
struct Permit {
    era: u64,
    right: Right,
    started: u64,
    /// Whether the probe was overdue when another call came.
    has_lost_its_slot: bool,
}

/// A probe that says nothing of the service by its end.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Gap {
    Ended,
    Overdue,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Right {
    Counted,
    Probe,
    Uncounted,
}

/// A call that was not permitted.
#[derive(Debug, Clone)]
pub(super) struct Refusal {
    reason: RejectReason,
    retry_after: Option<Duration>,
    why: Option<Edge>,
}

/// How a call ended, once a dropped one is judged.
#[derive(Debug, Clone, Copy)]
enum Ended {
    Success,
    Failure { units: u64, kind: FailureKind, retry_after: Option<Duration> },
    Ignored,
    Cancelled,
}

impl Ended {
    fn failure(self) -> Option<FailureKind> {
        match self {
            Self::Failure { kind, .. } => Some(kind),
            Self::Success | Self::Ignored | Self::Cancelled => None,
        }
    }
}

const UNRECORDED: FailureKind = FailureKind::Named("unrecorded");

impl Model {
    pub(super) fn new(settings: Settings, now: u64) -> Self {
        let group = settings.group.map(Group::new);
        let mut model = Self {
            group,
            settings,
            now,
            eras: Vec::new(),
            seen: Vec::new(),
            verdicts: Vec::new(),
            asked: Vec::new(),
            permits: Vec::new(),
            attempt: 0,
            rounds_in_vain: 0,
            without: Vec::new(),
            doubts: Vec::new(),
            last_open: 0,
            opened_in: 0,
            beside: Vec::new(),
            ramp_until: 0,
            totals: Totals::default(),
            generation: Generation::default(),
            edges: Vec::new(),
        };
        let (number, state, mode, began, rejected) = (1, State::Closed, model.first_mode(), now, 0);
        let (beneath, open_until, hold_until, on_trust) = (mode, None, None, false);
        model.eras.push(Era { number, state, mode, beneath, began, open_until, hold_until, rejected, on_trust });
        model
    }

    pub(super) fn set_now(&mut self, now: u64) {
        self.now = now;
    }

    /// Asks for a permit; whether it is for a probe. `unlucky` is the reason of a lost draw, if the call lost one.
    pub(super) fn acquire(&mut self, unlucky: Option<RejectReason>) -> Result<bool, Box<Refusal>> {
        loop {
            let era = *self.era();
            match (era.mode, era.state) {
                (Mode::ForcedOpen | Mode::Disabled, _) if self.is_over(era.hold_until) => self.end_hold(),
                (Mode::ForcedOpen, _) => return self.refuse(RejectReason::Tripped, self.rejects_until()),
                (Mode::Disabled, _) => return Ok(self.permit(Right::Uncounted)),
                (_, State::Closed) if unlucky == Some(RejectReason::Ramp) && self.ramps() => {
                    let until = self.ramp_until.min(self.now + 1_000);
                    return self.refuse(RejectReason::Ramp, Some(until));
                }
                (_, State::Closed) if unlucky == Some(RejectReason::Throttled) && self.throttled_share() > 0.0 => {
                    self.beside.push(Seen { at: self.now, era: era.number, units: 1, slow: false });
                    self.totals.throttled += u64::from(era.mode != Mode::Shadow);
                    return self.refuse(RejectReason::Throttled, Some(self.now + 1_000));
                }
                (_, State::Closed) => return Ok(self.permit(Right::Counted)),
                (_, State::Open) if self.is_over(era.open_until) => {
                    self.enter(State::HalfOpen, era.mode, Reason::WaitElapsed { waited: self.open_for() });
                }
                (_, State::Open) => return self.refuse(RejectReason::Tripped, era.open_until),
                (_, State::HalfOpen) => {
                    if self.has_overdue() {
                        self.give_up_or_go_on();
                    } else if self.is_quiet() {
                        let (successes, half_open_for) = (self.verdict().0, self.age());
                        self.enter(State::Closed, era.mode, Reason::QuietService { successes, half_open_for });
                    } else if self.can_use_another() {
                        return Ok(self.permit(Right::Probe));
                    } else {
                        return self.refuse(RejectReason::HalfOpen, None);
                    }
                }
            }
        }
    }

    /// Ends the permit at that place among those that have not ended.
    pub(super) fn end(&mut self, permit: usize, ending: Ending) {
        let Permit { era, right, started, has_lost_its_slot } = self.permits.remove(permit);
        let took = self.now - started;
        let (mut ended, mut doubt) = (self.judged(ending, took, right), 0);
        // A dropped probe, and a probe whose caller did not wait long enough, have perhaps failed.
        if let Ended::Failure { units, kind, .. } = ended
            && right == Right::Probe
            && (kind == UNRECORDED || kind == FailureKind::Deadline && units < 128)
        {
            doubt = units;
            ended = if matches!(ending, Ending::Unrecorded) { Ended::Cancelled } else { Ended::Ignored };
        }
        match ended {
            Ended::Success => self.totals.successes += 1,
            Ended::Failure { .. } => self.totals.failures += 1,
            Ended::Ignored => self.totals.ignored += 1,
            Ended::Cancelled => self.totals.cancelled += 1,
        }
        match right {
            Right::Uncounted => {}
            Right::Counted | Right::Probe if era != self.era().number => self.totals.stale += 1,
            Right::Counted => self.count(ended, took),
            Right::Probe => self.judge(ended, doubt, took, has_lost_its_slot),
        }
    }

    /// Adopts what the circuit already is, in a record of another generation.
    pub(super) fn adopt_generation(&mut self, generation: Generation) {
        self.generation = generation;
    }

    /// Returns the moments to come at which something falls due, in milliseconds.
    pub(super) fn due(&self) -> Vec<u64> {
        let (era, settings) = (self.era(), &self.settings);
        let mut due: Vec<u64> = era.hold_until.into_iter().collect();
        match era.state {
            State::Closed => {
                due.extend(width(settings).map(|width| era.began + width.div_ceil(NANOS_PER_MILLI)));
                due.push(era.began + 1_000);
                due.extend((1..=2).map(|times| (self.now + times * self.last_open).saturating_sub(self.closed_for())));
                let of_the_era = self.seen.iter().filter(|seen| seen.era == era.number);
                let oldest_and_latest = of_the_era.clone().take(1).chain(of_the_era.rev().take(1));
                due.extend(oldest_and_latest.filter_map(|seen| leaves(settings, seen.at)));
            }
            State::Open => due.extend(era.open_until),
            State::HalfOpen => {
                due.extend([era.began + settings.probe_deadline, era.began + settings.quiet_after]);
                due.push(era.began + self.patience());
            }
        }
        for permit in &self.permits {
            due.push(permit.started + settings.probe_deadline);
            due.extend(settings.cancelled_counts_after.map(|after| permit.started + after));
            due.extend(settings.slow.map(|(_, slower_than)| permit.started + slower_than));
            due.extend(hangs_from(settings, permit.started));
        }
        due.push(self.ramp_until);
        due.extend(self.asked.last().map(|(_, until)| *until));
        due.retain(|at| *at > self.now);
        due
    }

    /// The share of the requests that the throttle rejects, unless a hold decides.
    fn throttled_share(&self) -> f64 {
        let era = self.era();
        let counts = era.state == State::Closed && matches!(era.mode, Mode::Automatic | Mode::Shadow);
        let share = throttled(&self.settings, &self.seen, &self.beside, era.number, self.now);
        share.filter(|_| counts).map_or(0.0, |(beyond, of)| beyond / of)
    }

    /// Whether only a share of the calls passes, or would if the state decided.
    fn ramps(&self) -> bool {
        self.now < self.ramp_until
    }

    fn permit(&mut self, right: Right) -> bool {
        self.permits.push(Permit { era: self.era().number, right, started: self.now, has_lost_its_slot: false });
        right == Right::Probe
    }

    fn refuse(&mut self, reason: RejectReason, until: Option<u64>) -> Result<bool, Box<Refusal>> {
        if self.era().mode == Mode::Shadow {
            self.totals.would_reject += 1;
            return Ok(self.permit(Right::Uncounted));
        }
        self.totals.rejected += 1;
        self.eras.last_mut().expect("there is always an era").rejected += 1;
        // Only of this outage: what opened the circuit before it was last closed is no reason.
        let mut outage = self.edges.iter().rev().take(REMEMBERED).take_while(|edge| is_tripped(edge.to));
        let why = outage.find(|edge| matches!(edge.to, (_, Mode::ForcedOpen) | (State::Open, _))).cloned();
        Err(Box::new(Refusal { reason, retry_after: until.map(|until| millis(until - self.now)), why }))
    }

    fn judged(&self, ending: Ending, took: u64, right: Right) -> Ended {
        let after = self.settings.cancelled_counts_after;
        match ending {
            Ending::Success => Ended::Success,
            Ending::Failure { hundredths, retry_after } => {
                // The nearest 1/256.
                let units = u64::from((hundredths * 256 + 50) / 100);
                Ended::Failure { units, kind: FailureKind::Error, retry_after }
            }
            Ending::Ignored => Ended::Ignored,
            Ending::Dropped | Ending::Unrecorded if after.is_some_and(|after| took >= after) => {
                Ended::Failure { units: 128, kind: FailureKind::Cancelled, retry_after: None }
            }
            Ending::Unrecorded if after.is_some() && right != Right::Uncounted => {
                Ended::Failure { units: 128, kind: UNRECORDED, retry_after: None }
            }
            Ending::Dropped | Ending::Unrecorded => Ended::Cancelled,
            Ending::Deadline(deadline) => {
                let units = after.map_or(0, |after| match after {
                    _ if deadline >= after || took >= after => 128,
                    // The nearest 1/256.
                    _ => (took * 256 + after) / (2 * after),
                });
                match units {
                    0 => Ended::Ignored,
                    units => Ended::Failure { units, kind: FailureKind::Deadline, retry_after: None },
                }
            }
        }
    }

    /// Takes an outcome into the window, and trips if a rule is met.
    fn count(&mut self, ended: Ended, took: u64) {
        let units = match ended {
            Ended::Success => 0,
            Ended::Failure { units, .. } => units,
            Ended::Ignored | Ended::Cancelled => {
                self.beside.push(Seen { at: self.now, era: self.era().number, units: 0, slow: true });
                return;
            }
        };
        self.listen(ended);
        let slow = self.settings.slow.is_some_and(|(_, slower_than)| took >= slower_than);
        let (now, era) = (self.now, *self.era());
        self.seen.push(Seen { at: now, era: era.number, units, slow });
        if ended.failure().is_some() {
            self.beside.push(Seen { at: now, era: era.number, units: 0, slow: false });
        }
        if ended.failure().is_none() && !slow && !self.settings.trip_on_any_outcome {
            return;
        }
        self.weigh(true, ended.failure());
    }

    /// Trips if a rule is met. Without an outcome only the slow-call rule can be met.
    fn weigh(&mut self, has_outcome: bool, failure: Option<FailureKind>) {
        let (now, era) = (self.now, *self.era());
        let sums = tally(&self.settings, &self.seen, era.number, now);
        let hanging = Hanging { calls: self.hanging_lately(), has_outcome };
        let run = run(&self.seen, era.number);
        let on_trust = era.on_trust && self.seen.iter().all(|seen| seen.era != era.number || seen.units > 0);
        let lowered = || self.ramps().then(|| relapse(&self.settings, sums, hanging, run, now - era.began)).flatten();
        let unproven = (has_outcome && on_trust && run >= 128).then(|| Reason::Unproven { score: score(run) });
        let configured = || met(&self.settings, sums, hanging, run, now - era.began);
        if let Some(reason) = unproven.or_else(configured).or_else(lowered) {
            // One fewer for each last open duration spent closed, unless nothing has shown yet that the service is back.
            if !self.may_open(has_outcome) {
                return;
            }
            let healed =
                if on_trust || self.ramps() { 0 } else { self.closed_for().checked_div(self.last_open).unwrap_or(0) };
            self.attempt = self.attempt.saturating_sub(u32::try_from(healed).unwrap_or(u32::MAX));
            self.open(reason, failure);
        }
    }

    /// The calls of a closed circuit that hang, unless a hold decides.
    fn hanging(&self) -> u64 {
        self.under_way(hangs)
    }

    /// Those of them that became slow within the length of the window.
    fn hanging_lately(&self) -> u64 {
        self.under_way(hangs_lately)
    }

    fn under_way(&self, hangs: impl Fn(&Settings, u64, u64) -> bool) -> u64 {
        let era = self.era();
        let counts = era.state == State::Closed && matches!(era.mode, Mode::Automatic | Mode::Shadow);
        let counted = |permit: &&Permit| counts && permit.right == Right::Counted && permit.era == era.number;
        let hang = self.permits.iter().filter(counted).filter(|it| hangs(&self.settings, it.started, self.now));
        hang.map(|_| 1).sum()
    }

    /// Notes a Retry-After, capped at five minutes.
    fn listen(&mut self, ended: Ended) {
        if let Ended::Failure { retry_after: Some(after), .. } = ended {
            let after = u64::try_from(after.as_millis()).unwrap_or(u64::MAX).min(5 * 60 * 1_000);
            self.asked.push((self.era().number, self.now + after));
        }
    }
}
