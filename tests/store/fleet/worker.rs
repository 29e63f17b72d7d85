//! One instance of a fleet, as a process of its own, which calls a service under a circuit breaker.
//!
//! The parent sends commands on the standard input, and the process writes lines that begin with `fleet: `:
//!
//! | command | effect |
//! |---|---|
//! | `rate N` | makes N calls a second; `rate 0` ends the calls |
//! | `calls N LIMIT` | the same, until LIMIT calls have ended; then the line is `done` |
//! | `fail` | records failures until the circuit rejects calls |
//! | `succeed` | records a success |
//! | `totals` | the line is `totals`, successes, failures, rejections |
//! | `stop` | shuts the registry down and ends the process |
//!
//! The first line is `ready` with the state after the restore. Each transition is a line `edge`: from, to, the time in µs after
//! the epoch, and the reason. A call that finds no service is a line `error`. Only the public API of an older version is used, because the same file is built against that
//! version (`old.rs`).

use std::io::Write as _;
use std::time::{Duration, SystemTime};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tower_circuit_breaker::coordinator::Sharing;
use tower_circuit_breaker::event::{Event, observer_fn};
use tower_circuit_breaker::store::AnyStore;
use tower_circuit_breaker::{Circuit, Config, OpenDuration, Outcome, Registry};

pub(crate) const STORE: &str = "FLEET_WORKER_STORE";
pub(crate) const ID: &str = "FLEET_WORKER_ID";
pub(crate) const SHARING: &str = "FLEET_WORKER_SHARING";
/// The port of the service.
pub(crate) const SERVICE: &str = "FLEET_WORKER_SERVICE";
/// The first open duration in milliseconds.
pub(crate) const OPEN_MS: &str = "FLEET_WORKER_OPEN_MS";

/// Runs until the command `stop`, or until the parent closes the input. Returns at once in a process that is no worker.
pub(crate) async fn work(sharing: impl FnOnce(&str) -> Sharing) {
    let Ok(store) = std::env::var(STORE) else { return };
    let [id, word, port, open_ms] = [ID, SHARING, SERVICE, OPEN_MS].map(|name| std::env::var(name).unwrap());
    let registry = Registry::builder().store(AnyStore::open(&store).unwrap()).instance(&id);
    let registry = registry.sharing(sharing(&word)).build().unwrap();
    let base = Duration::from_millis(open_ms.parse().unwrap());
    let observer = observer_fn(|_, event| {
        if let Event::Transition(edge) = event {
            say(&format!("edge {} {} {} {}", edge.from.state, edge.to.state, micros(), edge.reason));
        }
    });
    let open_for = OpenDuration::exponential(base, base * 12).jitter(0.0);
    // The run of the design. The default lets a busy instance fail 20 calls before it opens, with or without a fleet.
    let config = Config::builder("payments").consecutive_failures(5).open_for(open_for).observer(observer);
    let circuit = registry.circuit(config.build().unwrap()).unwrap();
    let report = registry.restore(Duration::from_secs(60)).await.unwrap();
    say(&format!("ready {} {report}", circuit.status().state));
    let caller = Caller { id, port: port.parse().unwrap(), circuit };
    let mut commands = commands();
    // Each command ends the calls of the command before, except for the calls under way. A cancelled call could count as a
    // failure.
    let (number_of_commands, _) = watch::channel(0);
    let mut calls = JoinSet::new();
    while let Some(command) = commands.recv().await {
        let words: Vec<&str> = command.split(' ').collect();
        let number = |at: usize| words[at].parse::<u32>().unwrap();
        match words[0] {
            "rate" | "calls" => {
                number_of_commands.send_modify(|number| *number += 1);
                let limit = if words[0] == "rate" { u32::MAX } else { number(2) };
                if number(1) > 0 {
                    calls.spawn(caller.clone().call_often(number(1), limit, number_of_commands.subscribe()));
                }
            }
            "fail" => {
                while let Ok(permit) = caller.circuit.try_acquire() {
                    permit.record(Outcome::failure());
                }
            }
            "succeed" => caller.circuit.try_acquire().unwrap().success(),
            "totals" => {
                let totals = caller.circuit.totals();
                say(&format!("totals {} {} {}", totals.successes, totals.failures, totals.rejected));
            }
            "stop" => {
                let report = registry.shutdown(Duration::from_secs(20)).await;
                say(&format!("stopped {report}"));
                return;
            }
            _ => panic!("{command}"),
        }
    }
}

#[derive(Clone)]
struct Caller {
    id: String,
    port: u16,
    circuit: Circuit,
}

impl Caller {
    /// Begins a call at each tick, also while earlier calls are under way, until the next command for calls.
    async fn call_often(self, rate: u32, limit: u32, mut next: watch::Receiver<u32>) {
        let (sender, mut idle) = mpsc::unbounded_channel();
        let mut ticks = tokio::time::interval(Duration::from_secs(1) / rate);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut calls = JoinSet::new();
        for _ in 0..limit {
            tokio::select! {
                _ = ticks.tick() => {}
                _ = next.changed() => break,
            }
            while calls.try_join_next().is_some() {}
            let Ok(permit) = self.circuit.try_acquire() else { continue };
            let (stream, sender, caller) = (idle.try_recv().ok(), sender.clone(), self.clone());
            calls.spawn(async move {
                match caller.exchange(stream).await {
                    Ok((answer, stream)) => {
                        sender.send(stream).ok();
                        permit.record(if answer { Outcome::Success } else { Outcome::failure() });
                    }
                    Err(error) => {
                        permit.record(Outcome::failure());
                        say(&format!("error {error}"));
                    }
                }
            });
        }
        while calls.join_next().await.is_some() {}
        if limit < u32::MAX {
            say("done");
        }
    }

    /// Calls the service, and returns true if the service has done its work.
    async fn exchange(&self, stream: Option<TcpStream>) -> std::io::Result<(bool, TcpStream)> {
        let mut stream = match stream {
            Some(stream) => stream,
            None => TcpStream::connect(("127.0.0.1", self.port)).await?,
        };
        stream.set_nodelay(true)?;
        stream.write_all(format!("{}\n", self.id).as_bytes()).await?;
        let answer = stream.read_u8().await?;
        Ok((answer == b'+', stream))
    }
}

fn commands() -> mpsc::UnboundedReceiver<String> {
    let (sender, commands) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    commands
}

fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    // The test harness may have begun a line. The parent may have closed the output.
    writeln!(out, "\nfleet: {line}").and_then(|()| out.flush()).ok();
}

/// Returns the time in µs after the epoch, which all processes of this machine share.
#[expect(clippy::disallowed_methods, reason = "a time that processes share")]
pub(crate) fn micros() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    since.as_micros().try_into().unwrap()
}
