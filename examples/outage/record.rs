//! What happened, when: every number that is printed or drawn is counted from these notes.

use std::ops::Range;
use std::time::Duration;

use tokio::sync::mpsc;
use tower_circuit_breaker::clock::{Clock, MonotonicClock, Tick};
use tower_circuit_breaker::event::{Event, Observer};
use tower_circuit_breaker::state::{State, Transition};

use crate::server::Shard;

/// Something that happened, and when, counted from the start of the run.
#[derive(Debug)]
pub(crate) struct Note {
    pub(crate) at: Duration,
    pub(crate) what: What,
}

#[derive(Debug)]
pub(crate) enum What {
    /// A request reached the server.
    Reached { shard: Shard },
    /// A check of its health reached the server.
    Checked,
    /// A caller has its answer, or knows that it gets none.
    Ended { began: Duration, shard: Shard, how: How },
    /// A circuit changed.
    Changed { circuit: String, edge: Box<Transition> },
}

/// How a call ended for its caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum How {
    Ok,
    Failed,
    Rejected,
}

/// The time that all notes of a part count from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Start {
    clock: MonotonicClock,
    at: Tick,
}

impl Start {
    pub(crate) fn now() -> Self {
        let clock = MonotonicClock::new();
        Self { clock, at: clock.precise() }
    }
}

/// The pen: whoever sees something happen writes it down with a clone of this.
#[derive(Debug, Clone)]
pub(crate) struct Notes {
    start: Start,
    sender: mpsc::UnboundedSender<Note>,
}

impl Notes {
    /// Returns how long the run has lasted.
    pub(crate) fn now(&self) -> Duration {
        self.start.clock.precise().saturating_since(self.start.at)
    }

    pub(crate) fn add(&self, what: What) {
        // Nobody reads any more once the run is over, and then nothing is lost.
        self.sender.send(Note { at: self.now(), what }).ok();
    }
}

/// A circuit writes its transitions down itself.
impl Observer for Notes {
    fn on_event(&self, circuit: &str, event: &Event<'_>) {
        if let Event::Transition(edge) = event {
            self.add(What::Changed { circuit: circuit.to_owned(), edge: Box::new((*edge).clone()) });
        }
    }
}

/// The notes of one side.
#[derive(Debug)]
pub(crate) struct Log {
    notes: Vec<Note>,
    receiver: mpsc::UnboundedReceiver<Note>,
}

impl Log {
    /// Returns an empty log and its pen. Logs with the same start share their time axis.
    pub(crate) fn new(start: Start) -> (Self, Notes) {
        let (sender, receiver) = mpsc::unbounded_channel();
        (Self { notes: Vec::new(), receiver }, Notes { start, sender })
    }

    /// Takes in what was written since the last time.
    pub(crate) fn catch_up(&mut self) {
        while let Ok(note) = self.receiver.try_recv() {
            self.notes.push(note);
        }
    }

    /// Sums up what ended, or reached the server, in that time.
    pub(crate) fn ended_in(&self, time: &Range<Duration>) -> Sum {
        Sum::of(self.notes.iter().filter(|note| time.contains(&note.at)))
    }

    /// Sums up the calls that began in one of those times, however long they took, and what reached the server in them.
    pub(crate) fn begun_in(&self, times: &[Range<Duration>]) -> Sum {
        self.begun_for(times, |_| true)
    }

    /// The same for the calls of some of the shards.
    pub(crate) fn begun_for(&self, times: &[Range<Duration>], is: impl Fn(Shard) -> bool) -> Sum {
        let notes = self.notes.iter().filter(|note| times.iter().any(|time| time.contains(&note.began())));
        Sum::of(notes.filter(|note| match note.what {
            What::Reached { shard } | What::Ended { shard, .. } => is(shard),
            What::Checked | What::Changed { .. } => true,
        }))
    }

    /// Returns the transitions in that time, with the names of their circuits.
    pub(crate) fn transitions(&self, time: &Range<Duration>) -> impl Iterator<Item = (Duration, &str, &Transition)> {
        self.notes.iter().filter(|note| time.contains(&note.at)).filter_map(|note| match &note.what {
            What::Changed { circuit, edge } => Some((note.at, circuit.as_str(), edge.as_ref())),
            What::Reached { .. } | What::Checked | What::Ended { .. } => None,
        })
    }

    /// Returns the states of a circuit over that time, one after the other.
    pub(crate) fn states(&self, time: &Range<Duration>, circuit: &str) -> Vec<(Range<Duration>, State)> {
        let mut states = Vec::new();
        let (mut since, mut state) = (time.start, State::Closed);
        for (at, _, edge) in self.transitions(time).filter(|(_, name, _)| *name == circuit) {
            states.push((since..at, state));
            (since, state) = (at, edge.to.state);
        }
        states.push((since..time.end, state));
        states
    }

    /// Returns how long after the start of `time` the first call began since which every call succeeded.
    ///
    /// Calls that were still under way at its end say more about what came next, and are left out. `None`: the last of the
    /// others did not succeed.
    pub(crate) fn recovered_in(&self, time: &Range<Duration>) -> Option<Duration> {
        let within = |note: &&Note| time.contains(&note.began()) && time.contains(&note.at);
        let mut calls: Vec<_> = self.notes.iter().filter(within).filter_map(Note::call).collect();
        calls.sort_unstable_by_key(|(began, _)| *began);
        let unwell = calls.iter().rposition(|(_, how)| *how != How::Ok);
        let (since, _) = calls.get(unwell.map_or(0, |last| last + 1))?;
        Some(since.saturating_sub(time.start))
    }
}

impl Note {
    /// Returns when the call began, for what is not about a call when it happened.
    fn began(&self) -> Duration {
        self.call().map_or(self.at, |(began, _)| began)
    }

    fn call(&self) -> Option<(Duration, How)> {
        match self.what {
            What::Ended { began, how, .. } => Some((began, how)),
            What::Reached { .. } | What::Checked | What::Changed { .. } => None,
        }
    }
}

/// Counts of some notes.
#[derive(Debug, Default)]
pub(crate) struct Sum {
    pub(crate) ok: usize,
    pub(crate) failed: usize,
    pub(crate) rejected: usize,
    pub(crate) reached: usize,
    pub(crate) checked: usize,
    /// How long each caller waited, shortest first.
    waits: Vec<Duration>,
}

impl Sum {
    fn of<'a>(notes: impl Iterator<Item = &'a Note>) -> Self {
        let mut sum = Self::default();
        for note in notes {
            match note.what {
                What::Reached { .. } => sum.reached += 1,
                What::Checked => sum.checked += 1,
                What::Ended { began, how, .. } => {
                    sum.waits.push(note.at.saturating_sub(began));
                    match how {
                        How::Ok => sum.ok += 1,
                        How::Failed => sum.failed += 1,
                        How::Rejected => sum.rejected += 1,
                    }
                }
                What::Changed { .. } => {}
            }
        }
        sum.waits.sort_unstable();
        sum
    }

    /// Returns the wait that so many per cent of the callers did not exceed.
    pub(crate) fn wait(&self, percent: usize) -> Option<Duration> {
        let last = self.waits.len().checked_sub(1)?;
        self.waits.get(last * percent / 100).copied()
    }
}
