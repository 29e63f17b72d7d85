//! Two threads on one circuit: what they make together of what one thread makes alone.
//!
//! If the bare service does not make twice as much, there were no two cores to be had, and the table says nothing.

#[path = "harness/calls.rs"]
mod calls;
#[path = "harness/cli.rs"]
mod cli;
#[path = "harness/threads.rs"]
mod threads;

use tower::Layer;
use tower_circuit_breaker::config::ConfigBuilder;
use tower_circuit_breaker::{Circuit, CircuitBreakerLayer, Config, Window};

use calls::{answer, call_through, inner};
use cli::{Options, print_table};
use threads::{Contest, THROUGHPUT_HEADER, throughput_rows};

fn main() {
    let mut contest = Contest::default();
    contest.case("bare service_fn", || |calls| call_through(&mut inner(answer), calls));
    for (name, config) in [
        ("run rule only", plain().without_failure_rate()),
        ("run rule only, sharded", plain().without_failure_rate().sharded()),
        ("default rules", plain()),
        ("default rules, sharded", plain().sharded()),
        ("window of 100 calls", plain().window(Window::calls(100))),
    ] {
        let circuit = Circuit::new(config.build().expect("settings that can work"));
        let layer = CircuitBreakerLayer::new(&circuit);
        contest.case(name, move || {
            let mut service = layer.layer(inner(answer));
            move |calls| call_through(&mut service, calls)
        });
    }
    print_table(&THROUGHPUT_HEADER, &throughput_rows(&contest.measure(&Options::from_args())));
}

fn plain() -> ConfigBuilder {
    Config::builder("bench").without_shipped_observers()
}
