//! The cases, compiled once for each version.

/// Defines the module of a version: the same text, over another crate.
macro_rules! version {
    ($version:ident) => {
        pub(crate) mod $version {
            use std::hint::black_box;
            use std::pin::pin;
            use std::task::{Context, Waker};
            use std::time::Duration;
            use std::borrow::Cow;
            use std::cell::Cell;

            use ::$version::circuit::To;
            use ::$version::config::ConfigBuilder;
            use ::$version::keyed::Keyed;
            use ::$version::{By, Circuit, CircuitBreakerLayer, Config, Failure, OpenDuration, Registry, Window};
            use tower::{Layer, Service};

            use crate::calls::{answer, call_from, call_through, inner, poll_to_end};
            use crate::rounds::Rounds;
            use crate::threads::Contest;

            fn name(case: &str) -> String {
                format!("{case}\t{}", stringify!($version))
            }

            /// One thread.
            pub(crate) fn prices(rounds: &mut Rounds) {
                for (case, config) in [
                    ("closed, default rules", plain()),
                    ("closed, run rule only", run_only()),
                    ("closed, default rules, shipped observers and a recorder", Config::builder("bench")),
                    ("closed, slow calls", slow(plain())),
                    ("closed, default rules, sharded", plain().sharded()),
                    ("closed, ring of 100 calls", plain().window(Window::calls(100))),
                ] {
                    let mut service = CircuitBreakerLayer::new(&of(config)).layer(inner(answer));
                    rounds.case(&name(case), move |calls| call_through(&mut service, calls));
                }
                rejections(rounds);
                permits(rounds);
                let mut service = CircuitBreakerLayer::keyed(by_number(1_000)).layer(inner(answer));
                let mut from = 0;
                rounds.case_of(&name("keyed, 1 000 keys"), Some(8_192), move |calls| {
                    call_from(&mut service, from, calls);
                    from += calls;
                });
            }

            fn rejections(rounds: &mut Rounds) {
                let mut typed = CircuitBreakerLayer::new(&opened(plain())).typed_errors().layer(inner(answer));
                rounds.case(&name("rejected, typed"), move |calls| call_through(&mut typed, calls));
                let mut boxed = CircuitBreakerLayer::new(&opened(plain())).layer(inner(answer));
                rounds.case(&name("rejected, boxed"), move |calls| call_through(&mut boxed, calls));
                let observed = opened(Config::builder("bench"));
                let mut observed = CircuitBreakerLayer::new(&observed).typed_errors().layer(inner(answer));
                rounds.case(&name("rejected, typed, shipped observers and a recorder"), move |calls| {
                    call_through(&mut observed, calls);
                });

                let circuit = of(plain().probe_deadline(HOUR));
                circuit.reset(&by(), To::HalfOpen);
                let probe = circuit.try_acquire().expect("the first probe is free");
                let mut half_open = CircuitBreakerLayer::new(&circuit).typed_errors().layer(inner(answer));
                rounds.case(&name("rejected, half-open"), move |calls| {
                    assert!(probe.is_probe(), "the slot stays taken");
                    call_through(&mut half_open, calls);
                });

                let circuit = of(plain());
                let mut ready = CircuitBreakerLayer::new(&circuit).typed_errors().layer(inner(answer));
                assert!(ready.poll_ready(&mut Context::from_waker(Waker::noop())).is_ready(), "it always is");
                circuit.trip(&by(), None);
                rounds.case(&name("rejected, typed, inner ready"), move |calls| call_through(&mut ready, calls));

                let circuit = opened(plain());
                rounds.case(&name("rejected, `try_acquire`"), move |calls| {
                    for _ in 0..calls {
                        assert!(black_box(circuit.try_acquire()).is_err(), "it is open");
                    }
                });
            }

            fn permits(rounds: &mut Rounds) {
                for (rules, config) in [("default rules", plain()), ("run rule only", run_only())] {
                    let circuit = of(config);
                    let same = circuit.clone();
                    rounds.case(&name(&format!("`try_acquire` and success, {rules}")), move |calls| {
                        for _ in 0..calls {
                            circuit.try_acquire().expect("it is closed").success();
                        }
                    });
                    rounds.case(&name(&format!("`circuit.call`, {rules}")), move |calls| {
                        for request in 0..calls {
                            poll_to_end(pin!(same.call(answer(black_box(request)))));
                        }
                    });
                }
                let never_opens = plain().without_consecutive_failures().failure_rate(1.0);
                for (rules, config) in [
                    ("default window", never_opens),
                    ("run rule only", run_only().consecutive_failures(1_000_000)),
                ] {
                    let circuit = of(config);
                    rounds.case(&name(&format!("every third call fails, {rules}")), move |calls| {
                        for call in 0..calls {
                            let permit = circuit.try_acquire().expect("it is closed");
                            if call % 3 == 0 { permit.failure(Failure::hard()) } else { permit.success() }
                        }
                    });
                }
            }

            /// One and two threads.
            pub(crate) fn contests(contest: &mut Contest) {
                for (case, config) in [
                    ("default rules", plain()),
                    ("run rule only", run_only()),
                    ("default rules, shipped observers and a recorder", Config::builder("bench")),
                    ("slow calls", slow(plain())),
                    ("default rules, sharded", plain().sharded()),
                    ("ring of 100 calls", plain().window(Window::calls(100))),
                ] {
                    let layer = CircuitBreakerLayer::new(&of(config));
                    contest.case(&name(case), move || {
                        let mut service = layer.layer(inner(answer));
                        move |calls| call_through(&mut service, calls)
                    });
                }
                let layer = CircuitBreakerLayer::new(&opened(plain())).typed_errors();
                contest.case(&name("rejections"), move || {
                    let mut service = layer.layer(inner(answer));
                    move |calls| call_through(&mut service, calls)
                });
                for (case, keys) in [("keyed, 1 key", 1), ("keyed, 1 000 keys", 1_000)] {
                    let layer = CircuitBreakerLayer::keyed(by_number(keys));
                    // Each circuit is called often enough by two threads to be spread, where a version does that.
                    std::thread::scope(|scope| {
                        for thread in 0..2 {
                            let mut service = layer.layer(inner(answer));
                            scope.spawn(move || call_from(&mut service, thread * APART, 2_000_000));
                        }
                    });
                    let next = Cell::new(0);
                    contest.case(&name(case), move || {
                        let mut service = layer.layer(inner(answer));
                        let mut from = next.replace(next.get() + APART);
                        move |calls| {
                            call_from(&mut service, from, calls);
                            from += calls;
                        }
                    });
                }
            }

            type ByNumber = Box<dyn Fn(&u64) -> Option<Cow<'_, str>> + Send + Sync>;

            /// The circuits of numbered keys, all of them met before. The requests go through all keys, in an order of their own.
            fn by_number(keys: usize) -> Keyed<ByNumber> {
                let names: Vec<String> = (0..keys).map(|n| format!("host-{n}.example.com")).collect();
                let names: &'static [String] = names.leak();
                let by: ByNumber = Box::new(|request| {
                    let at = usize::try_from(request.wrapping_mul(STEP) % names.len() as u64).expect("below a length");
                    Some(Cow::Borrowed(&*names[at]))
                });
                let settings = plain();
                let keyed = Keyed::builder(&Registry::with_limit(keys), move |_| settings.clone()).prefix("k:").max_keys(keys);
                let keyed = keyed.by(by).expect("settings that can work");
                for name in names {
                    keyed.circuit(name).expect("all are at rest").try_acquire().expect("closed").success();
                }
                keyed
            }

            /// Opened by its own rule, for longer than any bench takes.
            fn opened(config: ConfigBuilder) -> Circuit {
                let circuit = of(config.without_failure_rate().open_for(OpenDuration::fixed(HOUR)));
                while let Ok(permit) = circuit.try_acquire() {
                    permit.failure(Failure::hard());
                }
                circuit
            }

            fn plain() -> ConfigBuilder {
                Config::builder("bench").without_shipped_observers()
            }

            fn run_only() -> ConfigBuilder {
                plain().without_failure_rate()
            }

            fn slow(config: ConfigBuilder) -> ConfigBuilder {
                config.slow_call_rate(0.5).slower_than(Duration::from_secs(1))
            }

            fn of(config: ConfigBuilder) -> Circuit {
                Circuit::new(config.build().expect("settings that can work"))
            }

            fn by() -> By {
                By::new("bench", "to see what a rejection costs").expect("a name and a reason")
            }

            const HOUR: Duration = Duration::from_secs(3600);
            const STEP: u64 = 7_919;
            const APART: u64 = 50_021;
        }
    };
}

version!(old);
version!(new);
