//! What load shedding adds to a call: while the machine is idle, while it is busy, and to a call that is shed; and what a look
//! at the CPU costs the one call in 250 ms that takes it.

#[path = "harness/calls.rs"]
mod calls;
#[path = "harness/cli.rs"]
mod cli;
#[path = "harness/instant.rs"]
mod instant;
#[path = "harness/rounds.rs"]
mod rounds;

use tower::Layer;
use tower_circuit_breaker::clock::MonotonicClock;
use tower_circuit_breaker::config::ConfigBuilder;
use tower_circuit_breaker::shed::{CpuProbe, LoadProbe, LoadSheddingBuilder, LoadSheddingLayer};
use tower_circuit_breaker::{By, Circuit, CircuitBreakerLayer, Config};

use calls::{answer, call_through, inner};
use cli::{Options, print_table};
use instant::InstantClock;
use rounds::{PRICE_HEADER, Rounds, price_rows};

fn main() {
    let options = Options::from_args();

    // Compared with the bare service: what the layer costs by itself.
    let mut alone = Rounds::default();
    let mut service = inner(answer);
    alone.case("bare service_fn", move |calls| call_through(&mut service, calls));
    for (name, load, instant) in [
        ("shedding layer, idle", 0.1, false),
        ("shedding layer, idle, Instant clock", 0.1, true),
        ("shedding layer, busy, light operation", 0.99, false),
    ] {
        let circuit = circuit(instant);
        let mut service = builder(&circuit, load, 1).build().expect("it can work").layer(inner(answer));
        alone.case(name, move |calls| call_through(&mut service, calls));
    }
    print_table(&PRICE_HEADER, &price_rows(&alone.measure(&options)));

    // Compared with the breaker: what it adds where it belongs.
    let mut around = Rounds::default();
    let mut service = breaker(&circuit(false)).layer(inner(answer));
    around.case("breaker", move |calls| call_through(&mut service, calls));
    for (name, load) in [("breaker, shedding, idle", 0.1), ("breaker, shedding, busy, light operation", 0.99)] {
        let circuit = circuit(false);
        let breaker = breaker(&circuit).layer(inner(answer));
        let mut service = builder(&circuit, load, 1).build().expect("it can work").layer(breaker);
        around.case(name, move |calls| call_through(&mut service, calls));
    }
    let shed = circuit(false);
    let service = breaker(&shed).layer(inner(answer));
    let mut service = builder(&shed, 0.99, 500).build().expect("it can work").layer(service);
    around.case("shed, boxed error", move |calls| call_through(&mut service, calls));

    let disabled = circuit(false);
    disabled.disable(&By::new("bench", "to see what it costs to step aside").expect("a name and a reason"), None);
    let service = breaker(&disabled).layer(inner(answer));
    let mut service = builder(&disabled, 0.99, 500).build().expect("it can work").layer(service);
    around.case("breaker, shedding, busy, heavy but disabled", move |calls| call_through(&mut service, calls));

    let circuit = circuit(false);
    let mut typed = builder(&circuit, 0.99, 500).typed_errors().build().expect("it can work").layer(inner(answer));
    around.case("shed, typed error", move |calls| call_through(&mut typed, calls));
    let probe = CpuProbe::new();
    around.case("a look at the CPU", move |looks| {
        for _ in 0..looks {
            std::hint::black_box(probe.load());
        }
    });
    print_table(&PRICE_HEADER, &price_rows(&around.measure(&options)));
}

fn config() -> ConfigBuilder {
    Config::builder("bench").without_shipped_observers()
}

fn circuit(instant: bool) -> Circuit {
    let config = if instant { config().clock(InstantClock(MonotonicClock::new())) } else { config() };
    Circuit::new(config.build().expect("settings that can work"))
}

fn breaker(circuit: &Circuit) -> CircuitBreakerLayer {
    CircuitBreakerLayer::new(circuit)
}

/// A load that is always the same, and operations likewise.
fn builder(
    circuit: &Circuit,
    load: f64,
    operation: u64,
) -> LoadSheddingBuilder<impl Fn(&u64) -> (&str, u64) + Clone + use<>> {
    LoadSheddingLayer::new(circuit, move || load).operation(move |_: &u64| ("bench", operation))
}
