//! What a window adds to a call: its size costs memory, never time; its buckets are summed up for failures only.

#[path = "harness/cli.rs"]
mod cli;
#[path = "harness/rounds.rs"]
mod rounds;

use std::time::Duration;

use tower_circuit_breaker::config::ConfigBuilder;
use tower_circuit_breaker::{Circuit, Config, Failure, Window};

use cli::{Options, print_table};
use rounds::{PRICE_HEADER, Rounds, price_rows};

fn main() {
    let options = Options::from_args();
    for (title, fails) in [("every call succeeds", false), ("every third call fails", true)] {
        println!("{title}:\n");
        print_table(&PRICE_HEADER, &price_rows(&windows(fails).measure(&options)));
    }
}

fn windows(fails: bool) -> Rounds {
    let ten_seconds = Window::time(Duration::from_secs(10));
    let mut rounds = Rounds::default();
    for (name, config, fill) in [
        ("no window: run rule only", plain().without_failure_rate(), 0),
        ("ring of 100", plain().window(Window::calls(100)), 100),
        ("ring of 10 000", plain().window(Window::calls(10_000)), 10_000),
        ("ring of 1 000 000", plain().window(Window::calls(1_000_000)), 1_000_000),
        ("time, 10 buckets", plain().window(ten_seconds), 0),
        ("time, 60 buckets", plain().window(ten_seconds.buckets(60)), 0),
        ("time, 10 buckets, sharded", plain().window(ten_seconds).sharded(), 0),
        ("time, 60 buckets, sharded", plain().window(ten_seconds.buckets(60)).sharded(), 0),
    ] {
        let circuit = Circuit::new(config.build().expect("settings that can work"));
        // Full before it is measured: the first round of a ring is not like the others.
        call(&circuit, fill, fails);
        rounds.case(name, move |calls| call(&circuit, calls, fails));
    }
    rounds
}

/// Makes calls that end at once. Every third is too few to trip, and never meets itself in a ring.
fn call(circuit: &Circuit, calls: u64, fails: bool) {
    for number in 0..calls {
        let permit = circuit.try_acquire().expect("it never trips");
        if fails && number % 3 == 2 { permit.failure(Failure::hard()) } else { permit.success() }
    }
}

fn plain() -> ConfigBuilder {
    Config::builder("bench").without_shipped_observers().failure_rate(1.0)
}
