//! A night of eight instances, under each way of sharing: `cargo run --features full --example fleet`.
//!
//! Eight processes call one service, and keep their circuits in one store. The service dies and comes back. Then one instance is
//! on a bad path to the service. Then the service dies again, and the instance that probes first is killed with its probe. The
//! night is played with `Advise`, with `Follow` and with `Quorum`, and takes about 80 seconds in all.
//!
//! Processes, HTTP, the store and the kill are real. The example starts itself as the instances (`instance.rs`), and its own
//! process is the service (`service.rs`). Each printed number is counted from the notes of the service and of the instances
//! (`record.rs`). The requests are also drawn, to `target/fleet.svg`.
//!
//! The store is SQLite in a temporary folder, or the store of the argument, for example `-- redis://127.0.0.1/0`. `-- --quick`
//! plays a shorter night with `Quorum` only. The example fails if a circuit stays open after the night.

mod instance;
mod night;
mod place;
mod process;
mod record;
mod report;
mod service;
mod svg;

use std::process::ExitCode;

use tower_circuit_breaker::BoxError;
use tower_circuit_breaker::coordinator::Sharing;

use instance::Part;
use night::{Script, play};
use place::Place;

const INSTANCES: usize = 8;
const CALLS_PER_SECOND: u32 = 5;
const USAGE: &str = "fleet [STORE] [--quick], where STORE is sqlite://PATH, file:FOLDER, postgres://… or redis://…";

#[tokio::main]
async fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1).peekable();
    let done = if arguments.next_if(|first| first == Part::FLAG).is_some() {
        match Part::read(arguments) {
            Ok(part) => instance::run(part).await,
            Err(error) => Err(error),
        }
    } else {
        tokio::select! {
            done = demonstrate(arguments) => done,
            // Dropping the demonstration ends the processes and removes the files.
            _ = tokio::signal::ctrl_c() => Err("interrupted".into()),
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn demonstrate(arguments: impl Iterator<Item = String>) -> Result<(), BoxError> {
    let (mut store, mut quick) = (None, false);
    for argument in arguments {
        match argument.as_str() {
            "--quick" => quick = true,
            url if url.contains(':') && store.is_none() => store = Some(argument),
            other => return Err(format!("there is no `{other}`: {USAGE}").into()),
        }
    }
    let sharings: &[Sharing] =
        if quick { &[Sharing::Quorum] } else { &[Sharing::Advise, Sharing::Follow, Sharing::Quorum] };
    let script = if quick { Script::QUICK } else { Script::FULL };
    let place = Place::open(store).await.map_err(|error| format!("{error}\nusage: {USAGE}"))?;
    report::introduction(&script, place.kind());

    let mut nights = Vec::new();
    for sharing in sharings {
        nights.push(play(*sharing, &script, &place).await?);
    }
    report::table(&nights);

    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/target/fleet.svg");
    std::fs::create_dir_all(concat!(env!("CARGO_MANIFEST_DIR"), "/target"))?;
    std::fs::write(path, svg::draw(&nights))?;
    println!("The requests as a picture: target/fleet.svg");
    Ok(())
}
