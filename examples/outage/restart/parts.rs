//! What the parent holds: a process that it can kill, and a server that is dead to everybody but counts who comes.

use std::io::{BufRead, BufReader};
use std::ops::Range;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::mpsc::{self, UnboundedReceiver};
use tokio::task::JoinSet;
use tower_circuit_breaker::BoxError;

use super::child::{Orders, wall};

/// A process of this example. It is killed with the parent's interest in it.
#[derive(Debug)]
pub(super) struct Process {
    child: Child,
    lines: UnboundedReceiver<(Duration, String)>,
    calls: Vec<(Duration, bool)>,
}

impl Process {
    pub(super) fn start(orders: &Orders) -> Result<Self, BoxError> {
        let mut command = Command::new(std::env::current_exe()?);
        let mut child = command.args(orders.arguments()).stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
        let said = child.stdout.take().ok_or("a child without a voice")?;
        let (sender, lines) = mpsc::unbounded_channel();
        // Ends with the child, whose voice ends with it.
        thread::spawn(move || {
            BufReader::new(said).lines().map_while(Result::ok).try_for_each(|line| sender.send((wall(), line)))
        });
        Ok(Self { child, lines, calls: Vec::new() })
    }

    /// Waits until the process says that word, and returns what it says behind it.
    pub(super) async fn says(&mut self, word: &str) -> Result<String, BoxError> {
        let said = async {
            while let Some((at, line)) = self.lines.recv().await {
                if let Some(rest) = line.strip_prefix(word) {
                    return Ok(rest.trim().to_owned());
                }
                self.calls.extend(call(at, &line));
            }
            Err(format!("a process ended before it said `{word}`").into())
        };
        let late = |_| format!("no process said `{word}` within {PATIENCE:?}");
        tokio::time::timeout(PATIENCE, said).await.map_err(late)?
    }

    /// Ends it as `kill -9` does: it learns nothing of it and writes nothing more.
    pub(super) fn kill(&mut self) -> Result<(), BoxError> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Counts its calls that ended in that time: admitted, and rejected.
    pub(super) fn calls(&mut self, time: &Range<Duration>) -> (usize, usize) {
        while let Ok((at, line)) = self.lines.try_recv() {
            self.calls.extend(call(at, &line));
        }
        let count = |admitted| self.calls.iter().filter(|(at, was)| time.contains(at) && *was == admitted).count();
        (count(true), count(false))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill().ok();
    }
}

fn call(at: Duration, line: &str) -> Option<(Duration, bool)> {
    match line {
        "admitted" => Some((at, true)),
        "rejected" => Some((at, false)),
        _ => None,
    }
}

/// A server that hangs up on everybody. To connect to it is to have reached it.
#[derive(Debug)]
pub(super) struct Dead {
    pub(super) url: reqwest::Url,
    reached: UnboundedReceiver<Duration>,
    seen: Vec<Duration>,
    _accepting: JoinSet<()>,
}

impl Dead {
    pub(super) async fn start() -> Result<Self, BoxError> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}/orders", listener.local_addr()?).parse()?;
        let (sender, reached) = mpsc::unbounded_channel();
        let mut accepting = JoinSet::new();
        accepting.spawn(async move {
            while let Ok((caller, _)) = listener.accept().await {
                sender.send(wall()).ok();
                drop(caller);
            }
        });
        Ok(Self { url, reached, seen: Vec::new(), _accepting: accepting })
    }

    /// Waits until somebody comes, and returns when that was.
    pub(super) async fn next(&mut self) -> Option<Duration> {
        let at = tokio::time::timeout(PATIENCE, self.reached.recv()).await.ok()??;
        self.seen.push(at);
        Some(at)
    }

    /// Counts who came in that time.
    pub(super) fn reached(&mut self, time: &Range<Duration>) -> usize {
        while let Ok(at) = self.reached.try_recv() {
            self.seen.push(at);
        }
        self.seen.iter().filter(|at| time.contains(at)).count()
    }
}

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(15);
