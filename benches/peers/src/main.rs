//! This breaker beside others, in one process and interleaved: a closed call, a rejected one, and two threads.
//!
//! `cargo run --release --manifest-path benches/peers/Cargo.toml -- --rounds 201` prints the table that the README quotes.
//! Of every peer the setting that is nearest to a rule of ours; none has an observer, but for the row that says so.

#[path = "../../harness/calls.rs"]
mod calls;
#[path = "../../harness/cli.rs"]
mod cli;
#[path = "../../harness/rounds.rs"]
mod rounds;
#[path = "../../harness/threads.rs"]
mod threads;

use std::future::ready;
use std::hint::black_box;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use failsafe::futures::CircuitBreaker as _;
use failsafe::{backoff, failure_policy};
use tower::{Layer, Service};
use tower_circuit_breaker::config::ConfigBuilder;
use tower_circuit_breaker::{Circuit, CircuitBreakerLayer, Config, Failure, OpenDuration, Window};
use tower_resilience_circuitbreaker::{CircuitBreakerLayer as Resilience, FailureModel};

use calls::{Answer, Broken, answer, call_through, inner, poll_to_end};
use cli::{Options, print_table};
use rounds::{PRICE_HEADER, Price, Rounds, price_rows};
use threads::{Contest, THROUGHPUT_HEADER, Throughput, throughput_rows};

fn fail(_: u64) -> Answer {
    ready(Err(Broken))
}

/// The same measurements of every breaker.
#[derive(Default)]
struct Tables {
    closed: Rounds,
    rejected: Rounds,
    contest: Contest,
}

impl Tables {
    /// Adds a breaker. `new` makes one around that inner service, and a caller of it for each thread.
    fn breaker<C, N>(&mut self, name: &str, new: impl Fn(fn(u64) -> Answer) -> N)
    where
        C: FnMut(u64) + Send + 'static,
        N: Fn() -> C + 'static,
    {
        self.closed.case(name, new(answer)());
        let mut rejecting = new(fail)();
        rejecting(ENOUGH_TO_OPEN);
        self.rejected.case(name, rejecting);
        self.contest.case(name, new(answer));
    }

    fn ours(&mut self, name: &str, config: impl Fn() -> ConfigBuilder) {
        self.breaker(name, |answer| {
            let config = config().open_for(OpenDuration::fixed(HOUR)).build().expect("settings that can work");
            let layer = CircuitBreakerLayer::new(&Circuit::new(config)).typed_errors();
            move || through(layer.layer(inner(answer)))
        });
    }

    /// The permit alone, as the peers that are no layers have it: the caller makes the call and says how it ended.
    fn permit(&mut self, name: &str, config: impl Fn() -> ConfigBuilder) {
        self.breaker(name, |answer| {
            let config = config().open_for(OpenDuration::fixed(HOUR)).build().expect("settings that can work");
            let circuit = Circuit::new(config);
            move || {
                let circuit = circuit.clone();
                around(answer, move |future| match black_box(circuit.try_acquire()) {
                    Ok(permit) => match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
                        Poll::Ready(Ok(answer)) => {
                            black_box(answer);
                            permit.success();
                        }
                        Poll::Ready(Err(_)) => permit.failure(Failure::hard()),
                        Poll::Pending => unreachable!("the answer is ready"),
                    },
                    Err(rejected) => drop(black_box(rejected)),
                })
            }
        });
    }

    fn resilience(&mut self, name: &str, model: FailureModel, slow: bool) {
        self.breaker(name, |answer| {
            let builder =
                Resilience::builder().failure_model(model).wait_duration_in_open(HOUR).sliding_window_size(100);
            let slower_than = Duration::from_secs(1);
            let builder = if slow { builder.slow_call_duration_threshold(slower_than) } else { builder };
            // Only a clone of the service shares the breaker; a second one of the same layer is another.
            let service = builder.build().expect("settings that can work").layer(inner(answer));
            move || through(service.clone())
        });
    }
}

fn main() {
    let options = Options::from_args();
    let mut tables = Tables::default();
    let plain = || Config::builder("bench").without_shipped_observers();
    let slow = || plain().slow_call_rate(0.5).slower_than(Duration::from_secs(1));

    tables.closed.case("no breaker", through(inner(answer)));
    tables.rejected.case("no breaker", through(inner(fail)));
    // If this does not make twice as much on two threads, there were no two cores to be had.
    tables.contest.case("no breaker", || through(inner(answer)));
    tables.ours("**this crate**, run rule only", || plain().without_failure_rate());
    tables.ours("**this crate**, default rules", plain);
    tables.ours("**this crate**, default rules, sharded", || plain().sharded());
    tables.ours("**this crate**, default rules, metrics and logs", || Config::builder("bench"));
    tables.ours("**this crate**, default rules, slow calls", slow);
    tables.ours("**this crate**, window of 100 calls", || plain().window(Window::calls(100)));
    tables.permit("**this crate**, permit beside tower, run rule only", || plain().without_failure_rate());
    tables.permit("**this crate**, permit beside tower, default rules", plain);
    tables.resilience(
        "tower-resilience-circuitbreaker 0.14.0, consecutive",
        FailureModel::ConsecutiveFailures { k: 5 },
        false,
    );
    tables.resilience("tower-resilience-circuitbreaker 0.14.0, window of 100", FailureModel::SlidingWindow, false);
    tables.resilience("tower-resilience-circuitbreaker 0.14.0, … slow calls", FailureModel::SlidingWindow, true);
    others(&mut tables);

    print(&tables.closed.measure(&options), &tables.rejected.measure(&options), &tables.contest.measure(&options));
}

fn others(tables: &mut Tables) {
    tables.breaker("ninelives 0.2.0, consecutive", |answer| {
        let config = ninelives::CircuitBreakerConfig::new(5, HOUR, 1).expect("settings that can work");
        let layer = ninelives::CircuitBreakerLayer::new(config).expect("settings that can work");
        let service = layer.layer(inner(answer));
        move || through(service.clone())
    });
    tables.breaker("failsafe 1.3.0, consecutive (not tower)", |answer| {
        let policy = failure_policy::consecutive_failures(5, backoff::constant(HOUR));
        let breaker = failsafe::Config::new().failure_policy(policy).build();
        move || {
            let breaker = breaker.clone();
            around(answer, move |future| poll_to_end(pin!(breaker.call(future))))
        }
    });
    tables.breaker("failsafe 1.3.0, default policy (not tower)", |answer| {
        let breaker = failsafe::Config::new().build();
        move || {
            let breaker = breaker.clone();
            around(answer, move |future| poll_to_end(pin!(breaker.call(future))))
        }
    });
    tables.breaker("recloser 1.4.0, window of 100 (not tower)", |answer| {
        let recloser = recloser::Recloser::custom().error_rate(0.5).closed_len(100).open_wait(HOUR).build();
        let breaker = recloser::AsyncRecloser::from(recloser);
        move || {
            let breaker = breaker.clone();
            around(answer, move |future| poll_to_end(pin!(breaker.call(future))))
        }
    });
}

/// Calls of a tower service.
fn through<S: Service<u64>>(mut service: S) -> impl FnMut(u64) {
    move |calls| call_through(&mut service, calls)
}

/// Calls of a breaker that takes the future.
fn around(answer: fn(u64) -> Answer, call: impl Fn(Answer)) -> impl FnMut(u64) {
    let answer = black_box(answer);
    move |calls| (0..calls).for_each(|request| call(answer(black_box(request))))
}

fn print(closed: &[Price], rejected: &[Price], contest: &[Throughput]) {
    let row = |closed: &Price| {
        let Price { name, added, median, p10, p90, .. } = closed;
        let [p10, p90] = [p10, p90].map(|nanos| (nanos - median + added).max(0.0));
        let spread = format!("{p10:.0} – {p90:.0}");
        let rejected = rejected.iter().find(|price| price.name == *name)?;
        let rejection = format!("{:.0}", rejected.median);
        let mut row = vec![name.clone(), format!("{added:.0}"), spread, rejection];
        match contest.iter().find(|throughput| throughput.name == *name) {
            Some(Throughput { one, two, .. }) => {
                row.extend([format!("{one:.1}"), format!("{two:.1}"), format!("{:.2}", two / one)]);
            }
            None => row.extend([const { String::new() }; 3]),
        }
        Some(row)
    };
    let rows: Vec<_> = closed.iter().filter_map(row).collect();
    let header =
        ["", "closed call: ns added", "p10 – p90", "rejected call: ns", "1 thread: M calls/s", "2 threads", "2 : 1"];
    print_table(&header, &rows);

    println!("In full. Closed:\n");
    print_table(&PRICE_HEADER, &price_rows(closed));
    println!("Rejected:\n");
    print_table(&PRICE_HEADER, &price_rows(rejected));
    print_table(&THROUGHPUT_HEADER, &throughput_rows(contest));
}

const HOUR: Duration = Duration::from_secs(3600);
/// Every rule here has tripped by then.
const ENOUGH_TO_OPEN: u64 = 1_000;
