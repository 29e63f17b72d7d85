//! The notes of a night, from which every number is counted.

use std::ops::Range;
use std::time::{Duration, Instant};

use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tower_circuit_breaker::State;

/// An event of one instance, and its time since the start of the night.
#[derive(Debug)]
pub(crate) struct Note {
    pub(crate) at: Duration,
    pub(crate) instance: usize,
    pub(crate) what: What,
}

impl Note {
    fn change(&self) -> Option<Option<State>> {
        if let What::Changed(state) = self.what { Some(state) } else { None }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum What {
    /// The instance has restored its circuit.
    Ready,
    /// A request of the instance reached the service.
    Reached,
    /// The request that the service keeps without an answer reached the service.
    Kept,
    /// The circuit has changed its state, or the process has ended.
    Changed(Option<State>),
    /// A call of the closed circuit succeeded, or failed.
    Succeeded,
    Failed,
    /// A call was rejected.
    Rejected,
    /// A probe has ended.
    Probed,
}

/// The writer of notes.
#[derive(Debug, Clone)]
pub(crate) struct Notes {
    start: Instant,
    sender: UnboundedSender<Note>,
}

impl Notes {
    pub(crate) fn now(&self) -> Duration {
        self.start.elapsed()
    }

    pub(crate) fn add(&self, instance: usize, what: What) {
        // Notes after the night are not needed.
        self.sender.send(Note { at: self.now(), instance, what }).ok();
    }
}

/// All notes of a night.
#[derive(Debug)]
pub(crate) struct Log {
    pub(crate) notes: Vec<Note>,
    receiver: UnboundedReceiver<Note>,
}

impl Log {
    pub(crate) fn new() -> (Self, Notes) {
        let (sender, receiver) = mpsc::unbounded_channel();
        (Self { notes: Vec::new(), receiver }, Notes { start: Instant::now(), sender })
    }

    /// Reads notes for that time, or until the notes meet the condition. Returns the time of the note with which the notes met
    /// the condition.
    pub(crate) async fn read(&mut self, time: Duration, is_met: impl Fn(&Self) -> bool) -> Option<Duration> {
        let read = async {
            loop {
                let note = self.receiver.recv().await?;
                let at = note.at;
                self.notes.push(note);
                if is_met(self) {
                    return Some(at);
                }
            }
        };
        tokio::time::timeout(time, read).await.ok().flatten()
    }

    /// Returns the instance whose request the service keeps, and the time at which the request arrived.
    pub(crate) fn kept(&self) -> Option<(usize, Duration)> {
        self.notes.iter().find(|note| note.what == What::Kept).map(|note| (note.instance, note.at))
    }

    /// Returns the present state of the circuit of an instance. `None` after the end of its process.
    pub(crate) fn state(&self, instance: usize) -> Option<State> {
        let change = self.notes.iter().rev().filter(|note| note.instance == instance).find_map(Note::change);
        change.unwrap_or(Some(State::Closed))
    }

    /// Returns the states of the circuit of an instance, each with its time.
    pub(crate) fn states(&self, instance: usize, end: Duration) -> Vec<(Range<Duration>, Option<State>)> {
        let (mut states, mut since, mut state) = (Vec::new(), Duration::ZERO, Some(State::Closed));
        for note in self.notes.iter().filter(|note| note.instance == instance) {
            if let Some(next) = note.change() {
                states.push((since..note.at, state));
                (since, state) = (note.at, next);
            }
        }
        states.push((since..end, state));
        states
    }

    /// Counts the notes of that kind in that time, of the instances that the filter accepts.
    pub(crate) fn count(&self, time: &Range<Duration>, what: What, of: impl Fn(usize) -> bool) -> usize {
        let is_counted = |note: &&Note| time.contains(&note.at) && note.what == what && of(note.instance);
        self.notes.iter().filter(is_counted).count()
    }
}
