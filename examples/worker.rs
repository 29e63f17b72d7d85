//! A pool of workers without tower: `cargo run --features full --example worker`.
//!
//! The workers pause while the circuit of their database is open, so that no job fails in vain, and go on by themselves. Settings come
//! from a file, `GET /health` answers with the status, and Ctrl-C ends the program after the jobs under way.

use std::collections::VecDeque;
use std::error::Error;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::{Router, http::StatusCode, routing::get};
use tokio::net::TcpListener;
use tokio::sync::{Mutex, watch};
use tokio::task::JoinSet;
use tokio::time::sleep;
use tower_circuit_breaker::Circuit;
use tower_circuit_breaker::call::Observed;
use tower_circuit_breaker::settings::Settings;

/// In production a file beside the program, read by `Settings::from_file`.
const SETTINGS: &str = r#"
[circuits.database]
consecutive_failures = 3
open_for = { base = "200 ms", max = "1 s", jitter = 0.1 }
probes = 1
"#;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let settings = Settings::from_toml(SETTINGS)?.with_env()?;
    let registry = settings.registry()?.build()?;
    let circuit = registry.circuit(settings.circuit("database")?)?;
    println!("{}", registry.restore(Duration::from_secs(1)).await?); // starts the store, if the settings have one

    let (stopper, stopped) = watch::channel(false);
    let database = Database::new();
    let jobs: Jobs = Arc::new(Mutex::new((1..=60).collect()));

    let mut tasks = JoinSet::new();
    tasks.spawn(report(circuit.clone(), stopped.clone()));
    tasks.spawn(serve(circuit.clone(), stopped.clone()));
    tasks.spawn(interrupt(stopper.clone(), stopped.clone()));
    tasks.spawn(database.clone().outage(Duration::from_millis(200)..Duration::from_millis(900)));
    let mut workers = JoinSet::new();
    for _ in 0..3 {
        workers.spawn(work(circuit.clone(), database.clone(), Arc::clone(&jobs), stopped.clone()));
    }

    let mut done = 0;
    while let Some(jobs) = workers.join_next().await {
        done += jobs?;
    }
    stopper.send_replace(true);
    while tasks.join_next().await.is_some() {}

    let totals = circuit.totals();
    println!("{done} jobs are done and {} are left.", jobs.lock().await.len());
    println!("{} inserts failed, and {} were rejected.", totals.failures, totals.rejected);
    println!("{}", registry.shutdown(Duration::from_secs(1)).await);
    Ok(())
}

type Jobs = Arc<Mutex<VecDeque<u32>>>;

/// Does jobs until none is left or the program stops, and returns their number.
async fn work(circuit: Circuit, database: Database, jobs: Jobs, mut stopped: watch::Receiver<bool>) -> usize {
    let mut done = 0;
    loop {
        let Some(job) = jobs.lock().await.pop_front() else { return done };
        // Here the worker pauses while the circuit is open.
        let permit = tokio::select! {
            permit = circuit.acquire() => Some(permit),
            () = stop(&mut stopped) => None,
        };
        let Some(permit) = permit else {
            jobs.lock().await.push_front(job);
            return done;
        };
        match permit.call_within(Duration::from_millis(500), database.insert(job)).await {
            Ok(()) => done += 1,
            Err(_) => jobs.lock().await.push_back(job),
        }
        if *stopped.borrow() {
            return done;
        }
    }
}

/// Waits until the program is to stop.
async fn stop(stopped: &mut watch::Receiver<bool>) {
    drop(stopped.wait_for(|stopped| *stopped).await);
}

/// Stops the program at Ctrl-C. The workers end their jobs, and take no others.
async fn interrupt(stopper: watch::Sender<bool>, mut stopped: watch::Receiver<bool>) {
    tokio::select! {
        _ = tokio::signal::ctrl_c() => drop(stopper.send_replace(true)),
        () = stop(&mut stopped) => {}
    }
}

/// Prints each change of the circuit.
async fn report(circuit: Circuit, mut stopped: watch::Receiver<bool>) {
    let mut observed = Observed::default();
    loop {
        tokio::select! {
            standing = circuit.changed(&mut observed) => {
                let next = if observed.would_admit { "a call may pass" } else { "workers wait" };
                println!("{:>9}: {next}", standing.as_str());
            }
            () = stop(&mut stopped) => return,
        }
    }
}

/// Answers `GET /health` with the status as JSON: 200 if the next call would be admitted, 503 otherwise.
async fn serve(circuit: Circuit, mut stopped: watch::Receiver<bool>) {
    let health = move || async move {
        let code = if circuit.would_admit() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        (code, serde_json::to_string(&circuit.status()).expect("a status can be written"))
    };
    let app = Router::new().route("/health", get(health));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    println!("http://{}/health", listener.local_addr().expect("it is bound"));
    axum::serve(listener, app)
        .with_graceful_shutdown(async move { stop(&mut stopped).await })
        .await
        .expect("the server ends at the shutdown");
}

/// Stands for the client of a database that has an outage.
#[derive(Clone)]
struct Database(watch::Sender<bool>);

impl Database {
    fn new() -> Self {
        Self(watch::Sender::new(true))
    }

    async fn insert(&self, _: u32) -> io::Result<()> {
        sleep(Duration::from_millis(20)).await;
        if *self.0.borrow() { Ok(()) } else { Err(io::ErrorKind::ConnectionRefused.into()) }
    }

    async fn outage(self, lasts: std::ops::Range<Duration>) {
        sleep(lasts.start).await;
        self.0.send_replace(false);
        sleep(lasts.end - lasts.start).await;
        self.0.send_replace(true);
    }
}
