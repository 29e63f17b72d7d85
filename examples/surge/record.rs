//! What happened, when: every number that is printed, drawn or asserted is counted from these notes.

use std::ops::Range;
use std::time::Duration;

use tokio::sync::mpsc;
use tower_circuit_breaker::State;
use tower_circuit_breaker::clock::{Clock, Tick, TokioClock};
use tower_circuit_breaker::event::{Event, Observer};

#[derive(Debug, Clone, Copy)]
pub(crate) enum What {
    /// A request reached the server.
    Reached,
    /// A caller has its answer, or knows that it gets none.
    Ended(Call),
    /// The circuit opened, for so long.
    Opened(Duration),
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Call {
    pub(crate) began: Duration,
    pub(crate) took: Duration,
    pub(crate) is_light: bool,
    pub(crate) how: How,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum How {
    Ok,
    Failed,
    /// The circuit was open.
    Rejected,
    /// The server was busy, and the operation heavy.
    Shed,
}

/// The pen: whoever sees something happen writes it down with a clone of this.
#[derive(Debug, Clone)]
pub(crate) struct Notes {
    clock: TokioClock,
    start: Tick,
    sender: mpsc::UnboundedSender<(Duration, What)>,
}

impl Notes {
    pub(crate) fn now(&self) -> Duration {
        self.clock.now().saturating_since(self.start)
    }

    pub(crate) fn add(&self, what: What) {
        // Nobody reads any more once the run is over, and then nothing is lost.
        self.sender.send((self.now(), what)).ok();
    }
}

impl Observer for Notes {
    fn on_event(&self, _: &str, event: &Event<'_>) {
        if let Event::Transition(edge) = event
            && edge.to.state == State::Open
        {
            self.add(What::Opened(edge.lasts.unwrap_or_default()));
        }
    }
}

/// All notes of a run.
#[derive(Debug)]
pub(crate) struct Record {
    receiver: mpsc::UnboundedReceiver<(Duration, What)>,
    notes: Vec<(Duration, What)>,
}

impl Record {
    pub(crate) fn new() -> (Self, Notes) {
        let (sender, receiver) = mpsc::unbounded_channel();
        let clock = TokioClock::new();
        (Self { receiver, notes: Vec::new() }, Notes { clock, start: clock.now(), sender })
    }

    /// Takes in what was written.
    pub(crate) fn catch_up(&mut self) {
        while let Ok(note) = self.receiver.try_recv() {
            self.notes.push(note);
        }
    }

    /// Returns the calls that began in that time.
    pub(crate) fn calls(&self, time: &Range<Duration>) -> impl Iterator<Item = Call> {
        self.notes.iter().filter_map(|(_, what)| match what {
            What::Ended(call) if time.contains(&call.began) => Some(*call),
            What::Ended(_) | What::Reached | What::Opened(_) => None,
        })
    }

    pub(crate) fn count(&self, time: &Range<Duration>, is: impl Fn(&Call) -> bool) -> usize {
        self.calls(time).filter(is).count()
    }

    /// Returns the share of the light operations begun in that time that succeeded.
    pub(crate) fn light_share(&self, time: &Range<Duration>) -> f64 {
        let light = self.count(time, |call| call.is_light);
        per(self.count(time, |call| call.is_light && call.how == How::Ok), light)
    }

    /// Returns how many requests reached the server in that time.
    pub(crate) fn reached(&self, time: &Range<Duration>) -> usize {
        self.notes.iter().filter(|(at, what)| matches!(what, What::Reached) && time.contains(at)).count()
    }

    /// Returns how long 99 of 100 callers waited at most whose calls ended like that.
    pub(crate) fn p99(&self, time: &Range<Duration>, is: impl Fn(&Call) -> bool) -> Option<Duration> {
        let mut waits: Vec<_> = self.calls(time).filter(is).map(|call| call.took).collect();
        waits.sort_unstable();
        waits.get(waits.len().checked_sub(1)? * 99 / 100).copied()
    }

    /// Returns how long the circuit opened for, each time.
    pub(crate) fn openings(&self) -> impl DoubleEndedIterator<Item = Duration> {
        self.notes.iter().filter_map(|(_, what)| if let What::Opened(lasts) = what { Some(*lasts) } else { None })
    }

    /// Returns how long after the start of that time the first call began since which every call succeeded.
    pub(crate) fn recovered_in(&self, time: &Range<Duration>) -> Option<Duration> {
        let mut calls: Vec<_> = self.calls(time).collect();
        calls.sort_unstable_by_key(|call| call.began);
        let unwell = calls.iter().rposition(|call| call.how != How::Ok);
        let first = calls.get(unwell.map_or(0, |last| last + 1))?;
        Some(first.began.saturating_sub(time.start))
    }
}

pub(crate) fn per(part: usize, all: usize) -> f64 {
    let number = |count: usize| u32::try_from(count).map_or(f64::MAX, f64::from);
    number(part) / number(all.max(1))
}
