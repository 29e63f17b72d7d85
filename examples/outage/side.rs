//! One side of a comparison: a server, and the client that calls it. All sides of a part follow the same script at the same time.

use std::ops::Range;
use std::time::Duration;

use reqwest::{Method, Request, Url};
use tokio::task::JoinSet;
use tower::ServiceExt;
use tower_circuit_breaker::state::State;
use tower_circuit_breaker::{BoxError, Rejected};

use crate::client::{Breaker, Client, client};
use crate::record::{How, Log, Notes, Start, What};
use crate::server::{Health, SHARDS, Server, Shard};

pub(crate) const CALLS_PER_SECOND: u32 = 50;
const LINES_PER_SECOND: u32 = 2;

/// A part of a script: its name, what the service is like, and for how many seconds.
pub(crate) type Act = (&'static str, Health, u32);

/// A part of the script as it was played.
#[derive(Debug)]
pub(crate) struct Phase {
    pub(crate) name: &'static str,
    pub(crate) health: Health,
    pub(crate) time: Range<Duration>,
}

impl Phase {
    pub(crate) fn is_sick(&self) -> bool {
        self.health != Health::Healthy
    }
}

/// A server, and the client that calls it.
pub(crate) struct Side {
    pub(crate) name: &'static str,
    /// The name of the circuit that is shown, if there is one.
    pub(crate) circuit: Option<&'static str>,
    pub(crate) log: Log,
    notes: Notes,
    server: Server,
    client: Client,
    orders: Url,
}

impl Side {
    /// Starts a server, and builds the client with the breaker that the closure returns.
    pub(crate) fn new(
        name: &'static str,
        circuit: Option<&'static str>,
        start: Start,
        breaker: impl FnOnce(&Server, &Notes) -> Result<Breaker, BoxError>,
    ) -> Result<Self, BoxError> {
        let (log, notes) = Log::new(start);
        let server = Server::start(notes.clone())?;
        let client = client(breaker(&server, &notes)?)?;
        let orders = format!("http://{}/orders/", server.address()).parse()?;
        Ok(Self { name, circuit, log, notes, server, client, orders })
    }

    /// Returns the state in which the circuit was left, by the notes.
    pub(crate) fn state(&self) -> Option<State> {
        let states = self.log.states(&(Duration::ZERO..Duration::MAX), self.circuit?);
        states.last().map(|(_, state)| *state)
    }

    /// Makes one call, and notes how it ended.
    fn call(&self, shard: Shard) -> Result<impl Future<Output = ()> + Send + use<>, BoxError> {
        let (client, notes) = (self.client.clone(), self.notes.clone());
        let request = Request::new(Method::GET, self.orders.join(&shard.to_string())?);
        Ok(async move {
            let began = notes.now();
            let how = match client.oneshot(request).await {
                Ok(response) if response.status().is_success() => How::Ok,
                Err(error) if Rejected::find(error.as_ref()).is_some() => How::Rejected,
                Ok(_) | Err(_) => How::Failed,
            };
            notes.add(What::Ended { began, shard, how });
        })
    }
}

/// Plays the script to all sides, and returns when what was done. The observer is called with each begin of a phase, and with
/// each time of which the notes are complete.
pub(crate) async fn play(
    script: &[Act],
    sides: &mut [Side],
    mut observer: impl FnMut(Moment, &[Side]),
) -> Result<Vec<Phase>, BoxError> {
    let mut calls = JoinSet::new();
    let mut tick = tokio::time::interval(Duration::from_secs(1) / CALLS_PER_SECOND);
    let mut phases: Vec<Phase> = Vec::new();
    let now = |sides: &[Side]| sides[0].notes.now();
    let mut shown = now(sides);
    let mut dice = 1;

    for &(name, health, seconds) in script {
        for side in &mut *sides {
            side.server.set(health)?;
        }
        let began = now(sides);
        observer(Moment::Begin { at: began, name }, sides);
        for n in 1..=seconds * CALLS_PER_SECOND {
            tick.tick().await;
            let shard = roll(&mut dice);
            for side in &*sides {
                calls.spawn(side.call(shard)?);
            }
            if n % (CALLS_PER_SECOND / LINES_PER_SECOND) == 0 {
                let time = shown..now(sides);
                sides.iter_mut().for_each(|side| side.log.catch_up());
                shown = time.end;
                observer(Moment::Passed { time, health }, sides);
            }
        }
        phases.push(Phase { name, health, time: began..now(sides) });
    }
    // The last callers still wait, and they count.
    calls.join_all().await;
    sides.iter_mut().for_each(|side| side.log.catch_up());
    Ok(phases)
}

/// Something to show while a script is played.
#[derive(Debug)]
pub(crate) enum Moment {
    Begin { at: Duration, name: &'static str },
    Passed { time: Range<Duration>, health: Health },
}

/// Draws a shard, the same ones each time, by the constants of Knuth's MMIX; the high bits are the good ones.
fn roll(dice: &mut u64) -> Shard {
    *dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*dice >> 33) % SHARDS
}
