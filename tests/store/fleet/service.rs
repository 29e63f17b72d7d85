//! A service in this process that counts its calls by instance, and that can be made to fail, to hang and to recover.

use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::worker::micros;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Works,
    Fails,
    /// Gives no answer until the mode changes.
    Hangs,
}

/// A call that has reached the service.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) instance: String,
    /// The time of the arrival in µs after the epoch.
    pub(crate) at: u64,
    /// The time of the answer, or of the end of the connection. `None` while the call is under way.
    end: Option<u64>,
}

#[derive(Debug)]
struct Book {
    mode: Mode,
    calls: Vec<Call>,
}

/// Ends with its connections when it is dropped.
#[derive(Debug)]
pub(crate) struct Service {
    port: u16,
    book: watch::Sender<Book>,
    _accepting: JoinSet<()>,
}

impl Service {
    /// Starts a service whose calls take so long.
    pub(crate) async fn start(takes: Duration) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (book, _) = watch::channel(Book { mode: Mode::Works, calls: Vec::new() });
        let mut accepting = JoinSet::new();
        let served = book.clone();
        accepting.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                while connections.try_join_next().is_some() {}
                connections.spawn(serve(stream, takes, served.clone()));
            }
        });
        Self { port, book, _accepting: accepting }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Returns the time of the change. Each later call finds the new mode.
    pub(crate) fn set(&self, mode: Mode) -> u64 {
        self.book.send_modify(|book| book.mode = mode);
        micros()
    }

    /// Returns the calls that arrived from `from` on and before `to`.
    pub(crate) fn calls(&self, from: u64, to: u64) -> Vec<Call> {
        let book = self.book.borrow();
        book.calls.iter().filter(|call| (from..to).contains(&call.at)).cloned().collect()
    }

    /// Waits until a call that arrived from `from` on is under way, and returns its instance.
    pub(crate) async fn caller(&self, from: u64) -> String {
        let mut book = self.book.subscribe();
        let is_it = |call: &&Call| call.at >= from && call.end.is_none();
        let found = book.wait_for(|book| book.calls.iter().any(|call| is_it(&call)));
        let found =
            tokio::time::timeout(Duration::from_secs(60), found).await.expect("a call within a minute").unwrap();
        found.calls.iter().find(is_it).unwrap().instance.clone()
    }
}

/// Returns the largest number of calls under way at one time.
pub(crate) fn most_at_once(calls: &[Call]) -> usize {
    let ends = |call: &Call| call.end.unwrap_or(u64::MAX);
    let under_way = |at: u64| calls.iter().filter(|call| call.at <= at && at < ends(call)).count();
    calls.iter().map(|call| under_way(call.at)).max().unwrap_or(0)
}

async fn serve(stream: TcpStream, takes: Duration, book: watch::Sender<Book>) {
    stream.set_nodelay(true).ok();
    let (read, mut write) = stream.into_split();
    let mut lines = BufReader::new(read).lines();
    while let Ok(Some(instance)) = lines.next_line().await {
        let (mut number, mut mode) = (0, Mode::Works);
        book.send_modify(|book| {
            (number, mode) = (book.calls.len(), book.mode);
            book.calls.push(Call { instance, at: micros(), end: None });
        });
        if mode == Mode::Hangs {
            let mut changes = book.subscribe();
            let changed = changes.wait_for(|book| book.mode != Mode::Hangs);
            tokio::select! {
                changed = changed => mode = changed.unwrap().mode,
                // The process of the caller has ended.
                _ = lines.next_line() => return end(&book, number),
            }
        }
        if !takes.is_zero() {
            tokio::time::sleep(takes).await;
        }
        // The end is noted before the answer, because the next call may arrive before a note after the answer.
        end(&book, number);
        if write.write_all(if mode == Mode::Works { b"+" } else { b"-" }).await.is_err() {
            return;
        }
    }
}

fn end(book: &watch::Sender<Book>, number: usize) {
    book.send_modify(|book| book.calls[number].end = Some(micros()));
}
