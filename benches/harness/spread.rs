//! From a trip in one instance to the rejection in another: both in this process, each with its runtime on a thread of its own.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;
use std::time::Instant;

use tokio::runtime::{Builder, Runtime};
use tower_circuit_breaker::circuit::To;
use tower_circuit_breaker::coordinator::Sharing;
use tower_circuit_breaker::event::{Event, Observer};
use tower_circuit_breaker::store::AnyStore;
use tower_circuit_breaker::{By, Circuit, Config, Failure, OpenDuration, Registry, State};

use crate::cli::quantile;

/// Dates what a circuit does, in the thread that makes it do so.
#[derive(Debug)]
struct Stopwatch(Sender<(State, Instant)>);

impl Observer for Stopwatch {
    fn on_event(&self, _: &str, event: &Event<'_>) {
        if let Event::Transition(edge) = event {
            self.0.send((edge.to.state, Instant::now())).ok();
        }
    }
}

/// One instance of the service.
struct Instance {
    circuit: Circuit,
    changes: Receiver<(State, Instant)>,
    // Dropped in this order: the registry's task ends with its runtime.
    _registry: Registry,
    _runtime: Runtime,
}

impl Instance {
    fn start(url: &str, id: &str) -> Self {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a thread can be had");
        let (sender, changes) = channel();
        let store = AnyStore::open(url).expect("the bench knows its addresses");
        let registry = Registry::builder().store(store).instance(id).sharing(Sharing::Follow);
        let registry = registry.build().expect("settings that can work");
        let config = Config::builder("bench").without_shipped_observers().observer(Stopwatch(sender));
        let config = config.consecutive_failures(1).open_for(OpenDuration::fixed(HOUR));
        let circuit = registry.circuit(config.build().expect("settings that can work")).expect("there is room");
        let report = runtime.block_on(registry.restore(PATIENCE)).expect("a runtime runs");
        assert!(report.is_complete(), "{report}");
        Self { circuit, changes, _registry: registry, _runtime: runtime }
    }

    /// Waits until the circuit is in that state, and returns since when.
    fn is(&self, state: State) -> Instant {
        loop {
            let (to, at) = self.changes.recv_timeout(PATIENCE).expect("what one instance did reaches the other");
            if to == state {
                return at;
            }
        }
    }
}

/// Returns a row of the table: milliseconds from the failure that opens the one circuit to the opening of the other.
pub(crate) fn row(name: &str, url: &str, trips: usize) -> Vec<String> {
    let (one, other) = (Instance::start(url, "one"), Instance::start(url, "other"));
    // Until both watch.
    std::thread::sleep(Duration::from_secs(1));
    let by = By::new("bench", "for the next trip").expect("a name and a reason");
    let mut millis = Vec::with_capacity(trips);
    for trip in 0..trips {
        let permit = one.circuit.try_acquire().expect("it was reset");
        let start = Instant::now();
        permit.failure(Failure::hard());
        millis.push(other.is(State::Open).saturating_duration_since(start).as_secs_f64() * 1e3);
        one.is(State::Open);
        one.circuit.reset(&by, To::Closed);
        one.is(State::Closed);
        other.is(State::Closed);
        // Out of step with whoever polls: steps of the golden ratio fall everywhere alike.
        std::thread::sleep(GAP.mul_f64(fraction(trip)));
    }
    let [median, p90, p99, most] = [0.5, 0.9, 0.99, 1.0].map(|share| format!("{:.1}", quantile(&mut millis, share)));
    vec![name.to_owned(), trips.to_string(), median, p90, p99, most]
}

fn fraction(trip: usize) -> f64 {
    (f64::from(u32::try_from(trip).unwrap_or(0)) * 0.618_033_988_75).fract()
}

pub(crate) const HEADER: [&str; 6] = ["ms from the trip", "trips", "median", "p90", "p99", "most"];
const HOUR: Duration = Duration::from_secs(3600);
const PATIENCE: Duration = Duration::from_secs(30);
/// As long as the longest poll of a watch.
const GAP: Duration = Duration::from_millis(250);
