//! Fifty times the normal load for ten seconds: `cargo run --features full --example surge`.
//!
//! The server collapses under the load. The program shows the surge five times side by side, each time with a server of its own:
//! without anything, with a circuit breaker alone, with health probe and ramp, with load shedding, and with all of them. The program
//! takes half a minute. Each printed number is counted from the notes of callers, servers and circuits (`record.rs`). The surge is also
//! drawn, to `target/surge.svg`.

mod record;
mod report;
mod server;
mod svg;
mod traffic;

use std::process::ExitCode;

use tower_circuit_breaker::BoxError;

use traffic::{SCRIPT, Setup};

#[tokio::main]
async fn main() -> ExitCode {
    match surge().await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => {
            eprintln!("error: this run did not show what it is there to show");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn surge() -> Result<bool, BoxError> {
    report::introduction();
    let (nothing, breaker, recovery, shedding, all) = tokio::try_join!(
        traffic::play(Setup::Nothing, SCRIPT),
        traffic::play(Setup::Breaker, SCRIPT),
        traffic::play(Setup::Recovery, SCRIPT),
        traffic::play(Setup::Shedding, SCRIPT),
        traffic::play(Setup::All, SCRIPT),
    )?;
    let runs = [nothing, breaker, recovery, shedding, all];
    report::table(&runs);

    std::fs::create_dir_all(concat!(env!("CARGO_MANIFEST_DIR"), "/target"))?;
    std::fs::write(concat!(env!("CARGO_MANIFEST_DIR"), "/target/surge.svg"), svg::draw(&runs))?;
    println!("The same as a picture: target/surge.svg");
    Ok(report::claims(&runs))
}
