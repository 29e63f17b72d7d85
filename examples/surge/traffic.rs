//! The callers: the normal load, fifty times that, and the normal load again, to a server behind what is to be shown.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tower::timeout::TimeoutLayer;
use tower::util::BoxCloneService;
use tower::{ServiceBuilder, ServiceExt, service_fn};
use tower_circuit_breaker::clock::TokioClock;
use tower_circuit_breaker::health::HealthRun;
use tower_circuit_breaker::shed::LoadSheddingLayer;
use tower_circuit_breaker::state::RejectReason;
use tower_circuit_breaker::{BoxError, Circuit, CircuitBreakerLayer, Config, Rejected};

use super::record::{Call, How, Notes, Record, What};
use super::server::Server;

/// What stands between callers and server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Setup {
    Nothing,
    Breaker,
    /// A breaker with a health probe and a ramp.
    Recovery,
    /// A breaker and load shedding.
    Shedding,
    /// A breaker with a health probe and a ramp, and load shedding.
    All,
}

impl Setup {
    pub(crate) const EACH: [Self; 5] = [Self::Nothing, Self::Breaker, Self::Recovery, Self::Shedding, Self::All];

    const fn recovers_early(self) -> bool {
        matches!(self, Self::Recovery | Self::All)
    }

    const fn sheds(self) -> bool {
        matches!(self, Self::Shedding | Self::All)
    }
}

/// What a caller asks for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Operation {
    pub(crate) name: &'static str,
    /// As estimated; over 100 it may be shed.
    pub(crate) load: u64,
    pub(crate) takes: Duration,
}

pub(crate) const LIGHT: Operation = Operation { name: "look", load: 10, takes: Duration::from_millis(2) };
pub(crate) const HEAVY: Operation = Operation { name: "report", load: 300, takes: Duration::from_millis(60) };
/// One call in so many is heavy, at random.
pub(crate) const HEAVY_ONE_IN: u64 = 10;

pub(crate) const NORMAL: u32 = 20;
pub(crate) const SURGE: u32 = 50 * NORMAL;
pub(crate) const TIMEOUT: Duration = Duration::from_secs(1);

/// The health probe and the ramp.
pub(crate) const CHECK_EVERY: Duration = Duration::from_millis(250);
pub(crate) const CHECK_DEADLINE: Duration = Duration::from_millis(250);
pub(crate) const RAMP: Duration = Duration::from_millis(500);

pub(crate) const BEFORE: Range<Duration> = Duration::ZERO..Duration::from_secs(3);
pub(crate) const DURING: Range<Duration> = BEFORE.end..Duration::from_secs(13);
pub(crate) const AFTER: Range<Duration> = DURING.end..Duration::from_secs(27);

/// The calls a second, and until when.
pub(crate) const SCRIPT: [(Duration, u32); 3] = [(BEFORE.end, NORMAL), (DURING.end, SURGE), (AFTER.end, NORMAL)];

/// Plays all of it, in about half a minute by tokio's clock.
pub(crate) async fn play(setup: Setup, script: [(Duration, u32); 3]) -> Result<Record, BoxError> {
    let (mut record, notes) = Record::new();
    let server = Server::new(notes.clone());
    let circuit = Circuit::new(config(setup, &notes)?);
    // Ends with this function, as the health probe of an application ends with its task.
    let mut probe = JoinSet::new();
    if setup.recovers_early() {
        probe.spawn(health_probe(&circuit, &server)?);
    }
    let client = client(setup, &circuit, server)?;
    let mut calls = JoinSet::new();
    let mut tick = tokio::time::interval(TICK);
    let mut dice = 1_u64;
    for (end, per_second) in script {
        let mut due = 0.0;
        while notes.now() < end {
            tick.tick().await;
            due += f64::from(per_second) * TICK.as_secs_f64();
            // Not 1.0: a sum of fractions may fall short of it.
            while due > 0.999 {
                due -= 1.0;
                // The same numbers each time, by the constants of Knuth's MMIX; its high bits are the good ones.
                dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let operation = if (dice >> 33).is_multiple_of(HEAVY_ONE_IN) { HEAVY } else { LIGHT };
                calls.spawn(call(client.clone(), operation, notes.clone()));
            }
        }
    }
    // The last callers still wait, and they count.
    calls.join_all().await;
    record.catch_up();
    Ok(record)
}

type Client = BoxCloneService<Operation, (), BoxError>;

/// Returns the defaults, with a ramp where one is to be shown.
fn config(setup: Setup, notes: &Notes) -> Result<Config, BoxError> {
    // The seed makes the jitter of the open duration and the draws of the ramp the same each time.
    let config = Config::builder("shop").clock(TokioClock::new()).observer(notes.clone()).seed(1);
    Ok(if setup.recovers_early() { config.ramp(RAMP).build()? } else { config.build()? })
}

/// Checks the server by a light operation of its own, while the circuit is not closed.
fn health_probe(circuit: &Circuit, server: &Arc<Server>) -> Result<HealthRun, BoxError> {
    let server = Arc::clone(server);
    let probe = circuit.probe_with(CHECK_EVERY, move || Arc::clone(&server).work(LIGHT));
    Ok(probe.deadline(CHECK_DEADLINE).run()?)
}

/// Builds the client, from the caller's side inwards: shedding, breaker, timeout.
fn client(setup: Setup, circuit: &Circuit, server: Arc<Server>) -> Result<Client, BoxError> {
    let probe = Arc::clone(&server);
    let shedding = LoadSheddingLayer::new(circuit, move || probe.load())
        .above(0.85)
        // The light operations of the surge alone are about half of what the server can do.
        .until_below(0.3)
        .for_operations_over(100)
        .operation(|operation: &Operation| (operation.name, operation.load))
        .build()?;
    let service = ServiceBuilder::new()
        .option_layer(setup.sheds().then_some(shedding))
        .option_layer((setup != Setup::Nothing).then(|| CircuitBreakerLayer::new(circuit)))
        .layer(TimeoutLayer::new(TIMEOUT))
        .service(service_fn(move |operation| Arc::clone(&server).work(operation)));
    Ok(BoxCloneService::new(service))
}

async fn call(client: Client, operation: Operation, notes: Notes) {
    let began = notes.now();
    let how = match client.oneshot(operation).await {
        Ok(()) => How::Ok,
        Err(error) => match Rejected::find(error.as_ref()).map(Rejected::reason) {
            Some(RejectReason::LoadShed) => How::Shed,
            Some(_) => How::Rejected,
            None => How::Failed,
        },
    };
    let took = notes.now().saturating_sub(began);
    notes.add(What::Ended(Call { began, took, is_light: operation.load <= 100, how }));
}

const TICK: Duration = Duration::from_millis(10);
