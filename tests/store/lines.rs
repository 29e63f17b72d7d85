//! The log lines of this crate while a test runs. Other test binaries include this file by its path.
//!
//! One collector is set for the whole process, and passes each line to the tests that listen. A subscriber of one thread
//! would lose lines, because `tracing` remembers a line as disabled if a thread without a subscriber has reached the line
//! first.

#![expect(dead_code, reason = "each test binary uses a part of the file")]
#![expect(clippy::disallowed_types, reason = "loom does not run these tests")]

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::{Mutex, mpsc};
use std::thread::{self, ThreadId};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

#[derive(Debug, Clone)]
pub(crate) struct Line {
    pub(crate) level: Level,
    fields: BTreeMap<&'static str, String>,
}

impl Line {
    /// Returns the text of a field, or an empty text if the line has no such field.
    pub(crate) fn field(&self, name: &str) -> &str {
        self.fields.get(name).map_or("", String::as_str)
    }

    pub(crate) fn message(&self) -> &str {
        self.field("message")
    }
}

impl Visit for Line {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.fields.insert(field.name(), value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.fields.insert(field.name(), format!("{value:?}"));
    }
}

/// Collects lines until it is dropped.
pub(crate) struct Lines(mpsc::Receiver<Line>);

impl Lines {
    /// Collects the lines of this thread with the target `circuit_breaker`.
    pub(crate) fn collect() -> Self {
        Self::of("circuit_breaker")
    }

    /// Collects the lines of this thread with the target.
    pub(crate) fn of(target: &'static str) -> Self {
        Self::listen(Some(thread::current().id()), Some(target))
    }

    /// Collects the lines of this thread with any target of this crate.
    pub(crate) fn of_each_target() -> Self {
        Self::listen(Some(thread::current().id()), None)
    }

    /// Collects the lines of all threads with any target of this crate, for a test with a process of its own.
    pub(crate) fn of_each_thread() -> Self {
        Self::listen(None, None)
    }

    fn listen(thread: Option<ThreadId>, target: Option<&'static str>) -> Self {
        // An earlier test may have set the collector.
        tracing::subscriber::set_global_default(Collector).ok();
        let (sender, lines) = mpsc::channel();
        LISTENERS.lock().unwrap().push(Listener { thread, target, sender });
        Self(lines)
    }

    /// Returns the lines since the last look.
    pub(crate) fn take(&self) -> Vec<Line> {
        self.0.try_iter().collect()
    }

    /// Returns the messages since the last look that have the words in them.
    pub(crate) fn with(&self, words: &str) -> Vec<String> {
        self.levels(words).into_iter().map(|(_, message)| message).collect()
    }

    /// Returns the levels and messages since the last look that have the words in them.
    pub(crate) fn levels(&self, words: &str) -> Vec<(Level, String)> {
        let lines = self.0.try_iter().map(|line| (line.level, line.message().to_owned()));
        lines.filter(|(_, message)| message.contains(words)).collect()
    }
}

struct Listener {
    /// `None` for all threads.
    thread: Option<ThreadId>,
    /// `None` for all targets of this crate.
    target: Option<&'static str>,
    sender: mpsc::Sender<Line>,
}

static LISTENERS: Mutex<Vec<Listener>> = Mutex::new(Vec::new());

struct Collector;

impl Subscriber for Collector {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        // A line without a target has the path of its module.
        ["circuit_breaker", "tower_circuit_breaker"].iter().any(|of_ours| metadata.target().starts_with(of_ours))
    }

    fn event(&self, event: &Event<'_>) {
        let mut line = Line { level: *event.metadata().level(), fields: BTreeMap::new() };
        event.record(&mut line);
        let (thread, target) = (thread::current().id(), event.metadata().target());
        LISTENERS.lock().unwrap().retain(|listener| {
            let hears = listener.thread.is_none_or(|of| of == thread) && listener.target.is_none_or(|of| of == target);
            // A listener whose test has ended is removed.
            !hears || listener.sender.send(line.clone()).is_ok()
        });
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}
