//! The processes of a fleet, each of which is a worker (`worker.rs`).

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

use tokio::sync::watch;

use super::worker;

/// A transition of the circuit of a worker.
#[derive(Debug, Clone)]
pub(crate) struct Edge {
    pub(crate) to: String,
    /// In µs after the epoch.
    pub(crate) at: u64,
    /// For the messages of failed assertions.
    #[expect(dead_code, reason = "read by `Debug` only")]
    reason: String,
}

/// The lines of a worker so far.
#[derive(Debug, Default)]
struct Seen {
    /// The state after the restore.
    ready: Option<String>,
    edges: Vec<Edge>,
    /// The last call that found no service.
    error: Option<String>,
    /// The other lines, which are answers to commands.
    answers: Vec<String>,
}

/// The calls of a worker by their end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Totals {
    pub(crate) successes: u64,
    pub(crate) failures: u64,
    pub(crate) rejected: u64,
}

/// The settings that all workers of a fleet share.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) store: String,
    pub(crate) sharing: &'static str,
    /// The port of the service.
    pub(crate) service: u16,
    /// The first open duration.
    pub(crate) open_for: Duration,
}

/// A process, which is killed at the latest when it is dropped.
pub(crate) struct Worker {
    pub(crate) id: String,
    child: Child,
    commands: ChildStdin,
    seen: watch::Receiver<Seen>,
    /// The number of answers that were read.
    read: usize,
}

impl Worker {
    /// Starts a worker of this version. Called by the thread of a test, because a process dies with its thread.
    pub(crate) fn start(plan: &Plan, id: &str) -> Self {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]).arg(std::env::current_exe().unwrap());
        command.args(["--exact", "fleet::worker", "--nocapture", "--test-threads=1"]);
        Self::spawn(command, plan, id)
    }

    /// Starts a worker that is a program of its own.
    pub(crate) fn start_program(program: &std::path::Path, plan: &Plan, id: &str) -> Self {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]).arg(program);
        Self::spawn(command, plan, id)
    }

    fn spawn(mut command: Command, plan: &Plan, id: &str) -> Self {
        command.env(worker::STORE, &plan.store).env(worker::ID, id).env(worker::SHARING, plan.sharing);
        command.env(worker::SERVICE, plan.service.to_string());
        command.env(worker::OPEN_MS, plan.open_for.as_millis().to_string());
        // A panic of a worker is shown with the output of the test.
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let mut child = command.spawn().expect("setpriv of util-linux starts a worker");
        let (commands, out) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let (sender, seen) = watch::channel(Seen::default());
        std::thread::spawn(move || {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                if let Some(line) = line.strip_prefix("fleet: ") {
                    sender.send_modify(|seen| seen.note(line));
                }
            }
        });
        Self { id: id.to_owned(), child, commands, seen, read: 0 }
    }

    pub(crate) fn command(&mut self, command: &str) {
        writeln!(self.commands, "{command}").unwrap_or_else(|error| panic!("{}: {command}: {error}", self.id));
    }

    /// Waits for the restore, and returns the state after it.
    pub(crate) async fn ready(&mut self) -> String {
        self.wait("a restore", |seen| seen.ready.is_some()).await;
        self.seen.borrow().ready.clone().unwrap()
    }

    /// Waits until the circuit has this state.
    pub(crate) async fn becomes(&mut self, state: &str) {
        self.wait(state, |seen| seen.state() == state).await;
    }

    /// Waits for the answer to a command.
    pub(crate) async fn answer(&mut self) -> String {
        let read = self.read;
        self.wait("an answer", |seen| seen.answers.len() > read).await;
        self.read += 1;
        self.seen.borrow().answers[read].clone()
    }

    pub(crate) async fn totals(&mut self) -> Totals {
        self.command("totals");
        let answer = self.answer().await;
        let numbers: Vec<u64> = answer.split(' ').skip(1).map(|number| number.parse().unwrap()).collect();
        Totals { successes: numbers[0], failures: numbers[1], rejected: numbers[2] }
    }

    /// Shuts the worker down in order.
    pub(crate) async fn stop(mut self) {
        self.command("stop");
        let answer = self.answer().await;
        assert!(answer.starts_with("stopped"), "{}: {answer}", self.id);
        tokio::task::block_in_place(|| self.child.wait()).unwrap();
    }

    /// Ends the process with SIGKILL, so that it has no time to write.
    pub(crate) fn kill9(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Stops the process, as a suspended machine does.
    pub(crate) fn stand_still(&self) {
        self.signal("STOP");
    }

    /// Lets a stopped process go on.
    pub(crate) fn go_on(&self) {
        self.signal("CONT");
    }

    fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args(["-s", signal, &self.child.id().to_string()]).status();
        assert!(sent.is_ok_and(|status| status.success()), "kill -s {signal}");
    }

    pub(crate) fn error(&self) -> Option<String> {
        self.seen.borrow().error.clone()
    }

    pub(crate) fn state(&self) -> String {
        self.seen.borrow().state().to_owned()
    }

    /// Returns the transitions since this time.
    pub(crate) fn edges(&self, from: u64) -> Vec<Edge> {
        self.seen.borrow().edges.iter().filter(|edge| edge.at >= from).cloned().collect()
    }

    async fn wait(&mut self, wanted: &str, is_there: impl FnMut(&Seen) -> bool) {
        let waited = tokio::time::timeout(Duration::from_secs(60), self.seen.wait_for(is_there)).await;
        let is_there = waited.is_ok_and(|waited| waited.is_ok());
        assert!(is_there, "{} waits a minute for {wanted}: {:?}", self.id, self.seen.borrow());
    }
}

impl Seen {
    fn note(&mut self, line: &str) {
        let words: Vec<&str> = line.splitn(5, ' ').collect();
        match words[..] {
            ["ready", state, ..] => self.ready = Some(state.to_owned()),
            ["edge", _, to, at, reason] => {
                let (to, reason) = (to.to_owned(), reason.to_owned());
                self.edges.push(Edge { to, at: at.parse().unwrap(), reason });
            }
            ["error", ..] => self.error = Some(line.to_owned()),
            _ => self.answers.push(line.to_owned()),
        }
    }

    fn state(&self) -> &str {
        self.edges.last().map_or_else(|| self.ready.as_deref().unwrap_or(""), |edge| &edge.to)
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Starts workers `node-1` to `node-N`, and waits until each is ready.
pub(crate) async fn start(plan: &Plan, workers: usize) -> Vec<Worker> {
    let mut fleet: Vec<_> = (1..=workers).map(|number| Worker::start(plan, &format!("node-{number}"))).collect();
    for worker in &mut fleet {
        assert_eq!(worker.ready().await, "closed", "{}", worker.id);
    }
    fleet
}

pub(crate) fn command_all(fleet: &mut [Worker], command: &str) {
    fleet.iter_mut().for_each(|worker| worker.command(command));
}

/// Waits until each circuit has this state, and returns the transitions since `from`, in the order of their times.
pub(crate) async fn all_become(fleet: &mut [Worker], state: &str, from: u64) -> Vec<Edge> {
    for worker in fleet.iter_mut() {
        worker.becomes(state).await;
    }
    edges(fleet, from)
}

/// Returns the transitions of all workers since `from`, in the order of their times.
pub(crate) fn edges(fleet: &[Worker], from: u64) -> Vec<Edge> {
    let mut edges: Vec<_> = fleet.iter().flat_map(|worker| worker.edges(from)).collect();
    edges.sort_by_key(|edge| edge.at);
    edges
}
