//! A service goes down and comes back, and a process is killed: `cargo run --features full --example outage`.
//!
//! The first part (`outages.rs`) calls a service that is taken down, slowed down and broken: without a circuit breaker, with one, and with
//! one that has a health probe and a ramp. In the second part (`shards.rs`) one of three shards is down, for a client without a breaker,
//! with one, with a throttle, and with a circuit per shard. In the third part (`restart.rs`) a process is killed while its circuit is open,
//! and the next process still leaves the service alone. The program takes three quarters of a minute.
//!
//! Servers, sockets, timeouts, processes and the kill are real. All clients retry alike, and all servers of a part follow the same script
//! at the same time. Each printed number is counted from the notes of servers, callers and circuits (`record.rs`). The timelines are also
//! drawn, to `target/outage.svg`.
//!
//! The third part keeps its circuit in `data/circuit_breaker.db`, or in the store that `-- --store URL` names: `sqlite://PATH`,
//! `file:FOLDER`, `postgres://…`, `redis://…`. The program fails if a request reaches the service before its time, and if a run is far
//! from what it is there to show.

mod arguments;
mod client;
mod outages;
mod record;
mod report;
mod restart;
mod server;
mod shards;
mod side;
mod svg;

use std::process::ExitCode;

use metrics_exporter_prometheus::PrometheusBuilder;
use tower_circuit_breaker::BoxError;

use arguments::{Asked, asked};
use restart::Restart;

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

    let outages = outages::run().await?;
    report::table(&outages);
    let soon_well = report::claims(&outages);
    let shards = shards::run().await?;
    let shards_apart = shards.report();
    std::fs::create_dir_all(concat!(env!("CARGO_MANIFEST_DIR"), "/target"))?;
    std::fs::write(concat!(env!("CARGO_MANIFEST_DIR"), "/target/outage.svg"), svg::draw(&outages, &shards))?;
    println!("The same as a picture: target/outage.svg\n");
    let held = restart.play().await?;

    outages.circuits.iter().for_each(tower_circuit_breaker::Circuit::refresh_metrics);
    println!("What Prometheus would have scraped at the end of the first part, without the series that are 0:\n");
    metrics.render().lines().filter(|line| !line.ends_with(" 0")).for_each(|line| println!("{line}"));
    if !held {
        return Err("a request reached the dead server between the kill and the deadline".into());
    }
    if !soon_well || !shards_apart {
        return Err("this run did not show what it is there to show; on a busy machine try again".into());
    }
    Ok(())
}
