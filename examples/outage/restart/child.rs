//! One of the processes: it restores its circuit, calls the server through it, and says what happens, line by line.

use std::time::{Duration, UNIX_EPOCH};

use reqwest::{Method, Request, Url};
use tower::ServiceExt;
use tower_circuit_breaker::clock::{Clock, MonotonicClock};
use tower_circuit_breaker::coordinator::{Recovered, Restored};
use tower_circuit_breaker::store::AnyStore;
use tower_circuit_breaker::{BoxError, Config, Registry, Rejected, State};

use crate::client::{Breaker, client};

/// What a child is told.
#[derive(Debug, Clone)]
pub(crate) struct Orders {
    /// Where the circuit is kept, or nowhere.
    pub(crate) store: Option<String>,
    pub(crate) circuit: String,
    pub(crate) server: Url,
}

impl Orders {
    pub(crate) const FLAG: &str = "--one-process-of-the-restart";
    const NOWHERE: &str = "nowhere";

    pub(crate) fn arguments(&self) -> [&str; 4] {
        [Self::FLAG, self.store.as_deref().unwrap_or(Self::NOWHERE), &self.circuit, self.server.as_str()]
    }

    pub(crate) fn read(mut arguments: impl Iterator<Item = String>) -> Result<Self, BoxError> {
        let mut next = || arguments.next().ok_or("the example starts its processes itself");
        let store = Some(next()?).filter(|store| store != Self::NOWHERE);
        Ok(Self { store, circuit: next()?, server: next()?.parse()? })
    }
}

/// Calls until it is killed. Should its parent be killed first, it ends by itself.
pub(crate) async fn run(orders: Orders) -> Result<(), BoxError> {
    let mut registry = Registry::builder().instance("outage-example");
    if let Some(url) = &orders.store {
        registry = registry.store(AnyStore::open(url)?);
    }
    let registry = registry.build()?;
    let circuit = registry.circuit(Config::new(&orders.circuit)?)?;
    let report = registry.restore(Duration::from_secs(5)).await?;
    match report.circuits.get(&orders.circuit) {
        Some(Restored::From { store, whose, standing, .. }) => {
            let whose = if *whose == Recovered::Own { "the state of this instance" } else { "the published state" };
            println!("restored {report}; from {store}, {whose}: {standing}");
        }
        _ => println!("restored {report}"),
    }

    let client = client(Breaker::One(circuit.clone()))?;
    let mut tick = tokio::time::interval(EVERY);
    let mut told = circuit.status().state == State::Open;
    for _ in 0..AT_MOST {
        tick.tick().await;
        let request = Request::new(Method::GET, orders.server.clone());
        match client.clone().oneshot(request).await {
            Err(error) if Rejected::find(error.as_ref()).is_some() => println!("rejected"),
            Ok(_) | Err(_) => println!("admitted"),
        }
        let status = circuit.status();
        if !told && status.state == State::Open {
            told = true;
            let why = status.transitions.last().map_or(String::new(), |edge| edge.reason.to_string());
            let until = wall() + status.retry_after.unwrap_or_default();
            println!("opened {} {why}", until.as_micros());
        }
    }
    Ok(())
}

/// Returns the time of the host, which parent and children have in common.
pub(crate) fn wall() -> Duration {
    MonotonicClock::new().wall().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// How often it calls, a call after the other.
const EVERY: Duration = Duration::from_millis(50);
const AT_MOST: u32 = 400;
