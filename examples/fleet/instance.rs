//! One of the processes: an instance that calls the service through its circuit, and reports to the parent line by line.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::io::Write;
use std::time::Duration;

use reqwest::{Client, Url};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tower_circuit_breaker::coordinator::Sharing;
use tower_circuit_breaker::event::{Event, Observer};
use tower_circuit_breaker::store::AnyStore;
use tower_circuit_breaker::{BoxError, Circuit, Config, OpenDuration, Outcome, Registry};

use crate::CALLS_PER_SECOND;

/// The arguments of an instance.
#[derive(Debug, Clone)]
pub(crate) struct Part {
    pub(crate) store: String,
    pub(crate) sharing: Sharing,
    /// The name of the circuit and of the fleet.
    pub(crate) circuit: String,
    pub(crate) id: String,
    pub(crate) service: Url,
}

impl Part {
    pub(crate) const FLAG: &str = "--one-instance-of-the-fleet";

    pub(crate) fn arguments(&self) -> [&str; 6] {
        [Self::FLAG, &self.store, self.sharing.as_str(), &self.circuit, &self.id, self.service.as_str()]
    }

    pub(crate) fn read(mut arguments: impl Iterator<Item = String>) -> Result<Self, BoxError> {
        let mut next = || arguments.next().ok_or("the example starts its instances itself");
        let (store, sharing) = (next()?, next()?);
        let sharings = [Sharing::Advise, Sharing::Follow, Sharing::Quorum];
        let sharing = sharings.into_iter().find(|known| known.as_str() == sharing).ok_or("no such sharing")?;
        Ok(Self { store, sharing, circuit: next()?, id: next()?, service: next()?.parse()? })
    }
}

/// Calls the service until the parent kills the instance. If the parent ends first, the instance ends too.
pub(crate) async fn run(part: Part) -> Result<(), BoxError> {
    let registry = Registry::builder()
        .store(AnyStore::open(&part.store)?)
        .instance(&part.id)
        .fleet(&part.circuit)
        .sharing(part.sharing)
        .build()?;
    let config = Config::builder(&part.circuit)
        .consecutive_failures(5)
        .open_for(OpenDuration::exponential(FIRST_OPENING, LONGEST_OPENING))
        .observer(Reporter)
        .build()?;
    let circuit = registry.circuit(config)?;
    let restored = registry.restore(Duration::from_secs(10)).await?;
    if !restored.is_complete() {
        return Err(restored.to_string().into());
    }
    report("ready");

    let client = Client::builder().no_proxy().timeout(Duration::from_secs(5)).build()?;
    let (mut url, mut addresses) = (part.service, addresses());
    loop {
        tokio::select! {
            address = addresses.recv() => match address {
                Some(address) => url = address.parse()?,
                None => return Ok(()),
            },
            () = tokio::time::sleep(pause()) => call(&circuit, &client, &url).await,
        }
    }
}

/// Makes one call, and reports its end.
async fn call(circuit: &Circuit, client: &Client, url: &Url) {
    let Ok(permit) = circuit.try_acquire() else { return report("rejected") };
    let is_probe = permit.is_probe();
    let succeeded = client.get(url.clone()).send().await.is_ok_and(|response| response.status().is_success());
    permit.record(if succeeded { Outcome::Success } else { Outcome::failure() });
    report(match (is_probe, succeeded) {
        (true, _) => "probe",
        (false, true) => "ok",
        (false, false) => "failed",
    });
}

/// Returns the addresses that the parent sends, one in a line, until the parent ends.
fn addresses() -> UnboundedReceiver<String> {
    let (sender, receiver) = unbounded_channel();
    std::thread::spawn(move || std::io::stdin().lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
    receiver
}

/// Reports each change of the circuit.
#[derive(Debug)]
struct Reporter;

impl Observer for Reporter {
    fn on_event(&self, _circuit: &str, event: &Event<'_>) {
        if let Event::Transition(edge) = event {
            report(edge.to.state.as_str());
        }
    }
}

/// Writes a line to the parent. A parent that has ended needs no line.
fn report(line: &str) {
    writeln!(std::io::stdout(), "{line}").ok();
}

/// Returns a time between two calls, of 0.5 to 1.5 times the mean.
fn pause() -> Duration {
    // Each `RandomState` hashes differently.
    let bits = RandomState::new().build_hasher().finish() >> 32;
    let random = u32::try_from(bits).map_or(0.5, f64::from) / f64::from(u32::MAX);
    (Duration::from_secs(1) / CALLS_PER_SECOND).mul_f64(0.5 + random)
}

/// The openings last a fifth of the default and less, so that the night is short.
const FIRST_OPENING: Duration = Duration::from_secs(1);
const LONGEST_OPENING: Duration = Duration::from_secs(2);
