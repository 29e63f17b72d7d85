//! The first part: three outages of a whole service, without a breaker, with one, and with one that has a health probe and a ramp.

use std::time::Duration;

use tower_circuit_breaker::{BoxError, Circuit, Config, ConfigBuilder, OpenDuration};

use crate::client::{Breaker, DEADLINE, PER_ATTEMPT, RETRIES};
use crate::record::{Notes, Start};
use crate::report;
use crate::server::{Health, SLOW, USUAL, WORKERS};
use crate::side::{Act, CALLS_PER_SECOND, Phase, Side, play};

const SCRIPT: [Act; 7] = [
    ("healthy", Health::Healthy, 3),
    ("down", Health::Down, 4),
    ("back", Health::Healthy, 3),
    ("slow", Health::Slow, 4),
    ("back", Health::Healthy, 5),
    ("answers 500", Health::Failing, 3),
    ("back", Health::Healthy, 3),
];

pub(crate) const PLAIN: &str = "orders";
pub(crate) const EARLY: &str = "orders-early";

/// By default 1 s, and a ramp of 10 s in a fleet. A sixtieth of that would be less than the distance of the calls, which is 20 ms.
const CHECK_EVERY: Duration = Duration::from_millis(25);
const CHECK_DEADLINE: Duration = Duration::from_millis(100);
const RAMP: Duration = Duration::from_millis(100);

/// The part as it was played.
pub(crate) struct Played {
    pub(crate) phases: Vec<Phase>,
    pub(crate) sides: [Side; 3],
    /// For the metrics.
    pub(crate) circuits: [Circuit; 2],
}

pub(crate) async fn run() -> Result<Played, BoxError> {
    let start = Start::now();
    let mut circuits = Vec::new();
    let mut breaker = |config: ConfigBuilder| -> Result<Circuit, BoxError> {
        let circuit = Circuit::new(config.build()?);
        circuits.push(circuit.clone());
        Ok(circuit)
    };
    let mut sides = [
        Side::new("no breaker", None, start, |_, _| Ok(Breaker::Nothing))?,
        Side::new("breaker", Some(PLAIN), start, |_, notes| Ok(Breaker::One(breaker(settings(PLAIN, notes))?)))?,
        Side::new("+ probe, ramp", Some(EARLY), start, |server, notes| {
            let circuit = breaker(
                settings(EARLY, notes)
                    .health(&format!("http://{}/health", server.address()))
                    .health_every(CHECK_EVERY)
                    .health_deadline(CHECK_DEADLINE)
                    .ramp(RAMP),
            )?;
            // A registry with a store runs the health probe by itself.
            tokio::spawn(circuit.health_probe().ok_or("the circuit has no address")?.run()?);
            Ok(Breaker::One(circuit))
        })?,
    ];
    let circuits: [Circuit; 2] = circuits.try_into().map_err(|_| "two sides have a circuit")?;

    introduction(circuits[0].config(), circuits[1].config());
    let phases = play(&SCRIPT, &mut sides, |moment, sides| report::moment(&moment, sides)).await?;
    Ok(Played { phases, sides, circuits })
}

/// Returns what both circuits have in common.
fn settings(name: &str, notes: &Notes) -> ConfigBuilder {
    // What takes a minute elsewhere takes a second here: the default is 5 s, doubling to 60 s. All else is as it comes.
    let open_for = OpenDuration::exponential(Duration::from_millis(250), Duration::from_secs(1));
    Config::builder(name).open_for(open_for).observer(notes.clone())
}

fn introduction(plain: &Config, early: &Config) {
    let seconds: u32 = SCRIPT.iter().map(|(_, _, seconds)| seconds).sum();
    println!(
        "1. Three outages of a whole service

Three clients make {CALLS_PER_SECOND} calls a second each, for {seconds} s, to a server each. All servers do the same at the same
time: {WORKERS} workers, {USUAL:?} a request, {SLOW:?} when slow; a request that its caller gave up on is worked off all the same.
All clients have a deadline of {DEADLINE:?}, {RETRIES} retries with backoff and {PER_ATTEMPT:?} for an attempt.

  no breaker      retries only
  breaker         a circuit breaker, the circuit `{PLAIN}`
  + probe, ramp   a circuit breaker with a health probe and a ramp, the circuit `{EARLY}`

What takes a minute elsewhere takes a second here, so a circuit is open for 1 s at most; by default that is 60 s. `{PLAIN}`
in its own words:

{}
`{EARLY}` says besides:

{}
`ok`, `fail`, `rej`: calls that succeeded, failed and were rejected. `reach`: requests as the server counted them.
`p50`: the median of what callers waited in ms, answered or not.
",
        report::explained(plain),
        report::explained_besides(early, plain)
    );
}
