//! The lines that are logged while a test runs, on its own thread.

use std::fmt::Debug;
use std::sync::mpsc;

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::DefaultGuard;
use tracing::{Event, Level, Metadata, Subscriber};

/// Collects until it is dropped.
pub(crate) struct Lines {
    lines: mpsc::Receiver<(Level, String)>,
    _guard: DefaultGuard,
}

impl Lines {
    pub(crate) fn collect() -> Self {
        Self::of("circuit_breaker")
    }

    /// Collects those of that target.
    pub(crate) fn of(target: &'static str) -> Self {
        let (sender, lines) = mpsc::channel();
        Self { lines, _guard: tracing::subscriber::set_default(Collector { sender, target }) }
    }

    /// Returns the lines since the last look that have the words in them.
    pub(crate) fn with(&self, words: &str) -> Vec<String> {
        self.levels(words).into_iter().map(|(_, line)| line).collect()
    }

    pub(crate) fn levels(&self, words: &str) -> Vec<(Level, String)> {
        self.lines.try_iter().filter(|(_, line)| line.contains(words)).collect()
    }
}

struct Collector {
    sender: mpsc::Sender<(Level, String)>,
    target: &'static str,
}

struct Message(String);

impl Visit for Message {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if field.name() == "message" {
            self.0 = format!("{value:?}");
        }
    }
}

impl Subscriber for Collector {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == self.target
    }

    fn event(&self, event: &Event<'_>) {
        let mut message = Message(String::new());
        event.record(&mut message);
        // Nobody may be listening any more.
        self.sender.send((*event.metadata().level(), message.0)).ok();
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}
