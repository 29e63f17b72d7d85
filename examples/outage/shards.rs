//! The second part: one of three shards of a service is down, and two thirds of the calls would succeed.

use std::time::Duration;

use tower_circuit_breaker::keyed::Keyed;
use tower_circuit_breaker::window::Window;
use tower_circuit_breaker::{BoxError, Circuit, Config, ConfigBuilder, OpenDuration, Registry};

use crate::client::{Breaker, ShardOf, shard_of};
use crate::record::{Log, Notes, Start};
use crate::report;
use crate::server::{Health, LOST, SHARDS};
use crate::side::{Act, Phase, Side, play};

const SCRIPT: [Act; 3] =
    [("healthy", Health::Healthy, 2), ("shard down", Health::ShardDown, 6), ("back", Health::Healthy, 3)];

pub(crate) const PLAIN: &str = "shards";
pub(crate) const THROTTLED: &str = "shards-throttled";
pub(crate) const OF_LOST: &str = "shard:2";

const THROTTLE: f64 = 2.0;
const WINDOW: Duration = Duration::from_secs(2);

/// The part as it was played.
pub(crate) struct Played {
    pub(crate) phases: Vec<Phase>,
    pub(crate) sides: [Side; 4],
}

pub(crate) async fn run() -> Result<Played, BoxError> {
    let start = Start::now();
    let registry = Registry::new();
    let mut besides = String::new();
    let mut sides = [
        Side::new("no breaker", None, start, |_, _| Ok(Breaker::Nothing))?,
        Side::new("breaker", Some(PLAIN), start, |_, notes| {
            Ok(Breaker::One(Circuit::new(settings(PLAIN, notes).build()?)))
        })?,
        Side::new("throttle", Some(THROTTLED), start, |_, notes| {
            let config = settings(THROTTLED, notes).throttle(THROTTLE).build()?;
            besides = report::explained_besides(&config, &settings(PLAIN, notes).build()?);
            Ok(Breaker::One(Circuit::new(config)))
        })?,
        Side::new("per shard", Some(OF_LOST), start, |_, notes| {
            let (notes, key): (_, ShardOf) = (notes.clone(), shard_of);
            let circuits = Keyed::builder(&registry, move |name| settings(name, &notes));
            Ok(Breaker::PerShard(circuits.prefix("shard:").max_keys(10).by(key)?))
        })?,
    ];

    println!(
        "2. One of {SHARDS} shards is down

One of {SHARDS} shards goes down: calls for shard {LOST} get a 503. Four clients, and else all is as above, with a window of 2 s:

  no breaker      retries only
  breaker         one circuit for all shards, as most services have it
  throttle        one circuit for all shards, with `throttle({THROTTLE:.1})`
  per shard       a circuit for each shard

The circuit with the throttle says besides:

{besides}"
    );
    let phases = play(&SCRIPT, &mut sides, |moment, sides| report::changes(&moment, sides)).await?;
    Ok(Played { phases, sides })
}

/// Returns what all circuits have in common.
fn settings(name: &str, notes: &Notes) -> ConfigBuilder {
    let open_for = OpenDuration::exponential(Duration::from_millis(250), Duration::from_secs(1));
    let window = Window::time(WINDOW);
    // The metrics at the end are those of the first part.
    Config::builder(name).open_for(open_for).window(window).observer(notes.clone()).seed(1).without_shipped_observers()
}

impl Played {
    /// Prints a row for each side, and what it comes to. Returns whether that is about what this is there to show.
    pub(crate) fn report(&self) -> bool {
        let down = &self.phases[1].time;
        let back = &self.phases[2].time;
        println!("\nWhile one of {SHARDS} shards is down   calls for the good shards        calls for the lost shard");
        println!(
            "                                     ok     of     ok %     rej        reach   median ms   all well after"
        );
        let mut shares = Vec::new();
        for side in &self.sides {
            let good = side.log.begun_for(std::slice::from_ref(down), |shard| shard != LOST);
            let lost = side.log.begun_for(std::slice::from_ref(down), |shard| shard == LOST);
            let all = good.ok + good.failed + good.rejected;
            shares.push(report::share(good.ok, all));
            println!(
                "  {:<28} {:>8} {all:>6} {:>6.0} % {:>7} {:>12} {:>11} {:>16}",
                side.name,
                good.ok,
                report::share(good.ok, all) * 100.0,
                good.rejected,
                lost.reached,
                report::wait(&lost, 50),
                well(&side.log, back),
            );
        }
        let &[_, breaker, throttle, per_shard] = &shares[..] else { return false };
        println!(
            "\nOf the good calls the breaker kept {:.0} %, the throttle {:.0} %, and a circuit per shard {:.0} %.\n",
            breaker * 100.0,
            throttle * 100.0,
            per_shard * 100.0
        );
        per_shard > 0.9 && breaker < per_shard
    }
}

fn well(log: &Log, back: &std::ops::Range<Duration>) -> String {
    log.recovered_in(back).map_or("not yet".to_owned(), |after| format!("{:.1} s", after.as_secs_f64()))
}
