//! A service goes down and comes back, and a process is killed: `cargo run --features full --example outage`.
//!
//! Two clients call the service, one through a circuit breaker and one without, while it is taken down, slowed down and broken. Then a
//! process is killed while its circuit is open, and the next process still leaves the service alone. The program takes half a minute.
//!
//! Servers, sockets, timeouts, processes and the kill are real. Both clients retry alike, and both servers follow the same script at the
//! same time. Each printed number is counted from the notes of servers, callers and circuit (`record.rs`). The timeline is also drawn,
//! to `target/outage.svg`.
//!
//! The second part (`restart.rs`) keeps its circuit in `data/circuit_breaker.db`, or in the store that `-- --store URL` names:
//! `sqlite://PATH`, `file:FOLDER`, `postgres://…`, `redis://…`. The part fails if a request reaches the service before its time.

mod arguments;
mod client;
mod record;
mod report;
mod restart;
mod server;
mod svg;

use std::process::ExitCode;
use std::time::Duration;

use metrics_exporter_prometheus::PrometheusBuilder;
use reqwest::{Method, Request, Url};
use tokio::task::JoinSet;
use tower::ServiceExt;
use tower_circuit_breaker::clock::{Clock, MonotonicClock};
use tower_circuit_breaker::{BoxError, Circuit, Config, OpenDuration, Rejected};

use arguments::{Asked, asked};
use client::{Client, client};
use record::{How, Log, Notes, What};
use restart::Restart;
use server::{Health, Server};

const CALLS_PER_SECOND: u32 = 50;
const LINES_PER_SECOND: u32 = 2;

/// What happens to the service, and for how many seconds.
const SCRIPT: [(&str, Health, u32); 7] = [
    ("healthy", Health::Healthy, 3),
    ("down", Health::Down, 4),
    ("back", Health::Healthy, 3),
    ("slow", Health::Slow, 4),
    ("back", Health::Healthy, 5),
    ("answers 500", Health::Failing, 3),
    ("back", Health::Healthy, 3),
];

#[tokio::main]
async fn main() -> ExitCode {
    let done = match asked(std::env::args().skip(1)) {
        Ok(Asked::Child(orders)) => restart::child::run(orders).await,
        Ok(Asked::Demonstration { store }) => demonstrate(&store).await,
        Err(error) => Err(error),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn demonstrate(store: &str) -> Result<(), BoxError> {
    let restart = Restart::prepare(store).await;
    let restart = restart.map_err(|error| format!("--store: {error}\nusage: {}", arguments::USAGE))?;
    let metrics = PrometheusBuilder::new().install_recorder()?;
    let circuit = outages().await?;
    let held = restart.play().await?;

    circuit.refresh_metrics();
    println!("What Prometheus would have scraped at the end:\n\n{}", metrics.render());
    if held { Ok(()) } else { Err("a request reached the dead server between the kill and the deadline".into()) }
}

/// The first part, in one process: returns its circuit, for the metrics.
async fn outages() -> Result<Circuit, BoxError> {
    let clock = MonotonicClock::new();
    let start = clock.precise();
    let (with, with_notes) = Log::new(clock, start);
    let (without, without_notes) = Log::new(clock, start);

    // What takes a minute elsewhere takes a second here: the default is 5 s, doubling to 60 s. All else is as it comes.
    let open_for = OpenDuration::exponential(Duration::from_millis(250), Duration::from_secs(1));
    let config = Config::builder("orders").open_for(open_for).observer(with_notes.clone()).build()?;
    report::introduction(&config);

    let circuit = Circuit::new(config);
    let mut with = Side::new(client(Some(&circuit))?, with_notes, with)?;
    let mut without = Side::new(client(None)?, without_notes, without)?;
    let phases = play(&circuit, &mut with, &mut without).await?;

    report::table(&phases, &with.log, &without.log);
    report::claims(&phases, &with.log, &without.log);

    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/target/outage.svg");
    std::fs::create_dir_all(concat!(env!("CARGO_MANIFEST_DIR"), "/target"))?;
    std::fs::write(path, svg::draw(&phases, &with.log, &without.log))?;
    println!("The same as a picture: target/outage.svg\n");
    Ok(circuit)
}

/// Plays the script to both sides, and returns when what was done.
async fn play(circuit: &Circuit, with: &mut Side, without: &mut Side) -> Result<Vec<report::Phase>, BoxError> {
    let mut calls = JoinSet::new();
    let mut tick = tokio::time::interval(Duration::from_secs(1) / CALLS_PER_SECOND);
    let mut phases: Vec<report::Phase> = Vec::new();
    let mut printed = with.notes.now();

    for (name, health, seconds) in SCRIPT {
        with.server.set(health)?;
        without.server.set(health)?;
        let began = with.notes.now();
        report::chapter(began, name);
        for n in 1..=seconds * CALLS_PER_SECOND {
            tick.tick().await;
            calls.spawn(with.call());
            calls.spawn(without.call());
            if n % (CALLS_PER_SECOND / LINES_PER_SECOND) == 0 {
                let now = with.notes.now();
                with.log.catch_up();
                without.log.catch_up();
                report::line(printed..now, health, circuit.status().state, &with.log, &without.log);
                printed = now;
            }
        }
        phases.push(report::Phase { name, health, time: began..with.notes.now() });
    }
    // The last callers still wait, and they count.
    calls.join_all().await;
    with.log.catch_up();
    without.log.catch_up();
    Ok(phases)
}

/// A server, and the client that calls it.
struct Side {
    server: Server,
    client: Client,
    url: Url,
    notes: Notes,
    log: Log,
}

impl Side {
    fn new(client: Client, notes: Notes, log: Log) -> Result<Self, BoxError> {
        let server = Server::start(notes.clone())?;
        let url = format!("http://{}/orders", server.address()).parse()?;
        Ok(Self { server, client, url, notes, log })
    }

    /// Makes one call, and notes how it ended.
    fn call(&self) -> impl Future<Output = ()> + Send + use<> {
        let (client, notes) = (self.client.clone(), self.notes.clone());
        let request = Request::new(Method::GET, self.url.clone());
        async move {
            let began = notes.now();
            let how = match client.oneshot(request).await {
                Ok(response) if response.status().is_success() => How::Ok,
                Err(error) if Rejected::find(error.as_ref()).is_some() => How::Rejected,
                Ok(_) | Err(_) => How::Failed,
            };
            notes.add(What::Ended { began, how });
        }
    }
}
