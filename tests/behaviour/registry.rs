//! The registry: one circuit a name, and no two opinions about its settings.

use std::sync::mpsc;
use std::thread;

use tower_circuit_breaker::circuit::To;
use tower_circuit_breaker::clock::MockClock;
use tower_circuit_breaker::config::{ConfigBuilder, Recovery};
use tower_circuit_breaker::event::{Event, Observer};
use tower_circuit_breaker::operation::Refused;
use tower_circuit_breaker::state::{Act, Reason};
use tower_circuit_breaker::{Config, OpenDuration, Registry, RegistryError, State, Window};

use crate::rig::{alice, fail, millis, secs, state, succeed};

fn named(name: &str) -> Config {
    Config::builder(name).clock(MockClock::new()).build().unwrap()
}

#[test]
fn the_same_name_gives_the_same_circuit() {
    let registry = Registry::new();
    let first = registry.circuit(named("payments")).unwrap();
    let second = registry.clone().circuit(named("payments")).unwrap();
    fail(&first, 5);
    assert_eq!(state(&second), State::Open);
    assert_eq!(registry.get("payments").map(|circuit| state(&circuit)), Some(State::Open));
    assert!(registry.get("Payments").is_none(), "names are compared as they are");
    assert_eq!(registry.circuits().len(), 1);
}

#[test]
fn other_settings_for_a_name_are_an_error_that_shows_the_difference() {
    let registry = Registry::new();
    let first = registry.circuit(named("payments")).unwrap();
    let other = Config::builder("payments").failure_rate(0.5).probes(7).build().unwrap();
    let error = registry.circuit(other).unwrap_err();
    assert_eq!(
        error.to_string(),
        "circuit `payments` exists with other settings: failure_rate is 0.4, requested is 0.5; probes is 3, requested is 7"
    );
    assert!(
        matches!(error, RegistryError::Different { name, differences, .. } if name == "payments" && differences.len() == 2)
    );
    fail(&first, 5);
    assert_eq!(registry.get("payments").map(|circuit| state(&circuit)), Some(State::Open), "the first one stays");
}

#[test]
fn no_setting_is_too_small_to_be_a_difference() {
    type Change = fn(ConfigBuilder) -> ConfigBuilder;
    let changes: [(&str, Change); 26] = [
        ("failure_rate", |c| c.failure_rate(0.400_000_1)),
        ("no failure_rate", ConfigBuilder::without_failure_rate),
        ("min_calls", |c| c.min_calls(21)),
        ("consecutive_failures", |c| c.consecutive_failures(6)),
        ("raised_at_traffic", |c| c.consecutive_failures(5)),
        ("failure_score", |c| c.failure_score(10.0)),
        ("slow_call_rate", |c| c.slow_call_rate(0.5).slower_than(secs(1))),
        ("window", |c| c.window(Window::time(secs(11)))),
        ("window.buckets", |c| c.window(Window::time(secs(10)).buckets(11))),
        ("calls", |c| c.window(Window::calls(20))),
        ("open_for", |c| c.open_for(OpenDuration::fixed(secs(5)))),
        ("open_for.base", |c| c.open_for(OpenDuration::exponential(millis(5_001), secs(60)))),
        ("open_for.jitter", |c| c.open_for(OpenDuration::default().jitter(0.101))),
        ("recovery", |c| c.recovery(Recovery::Manual)),
        ("probes", |c| c.probes(4)),
        ("probes_in_flight", |c| c.probes_in_flight(2)),
        ("probe_failures_tolerated", |c| c.probe_failures_tolerated(1)),
        ("probe_deadline", |c| c.probe_deadline(millis(30_001))),
        ("quiet_after", |c| c.quiet_after(millis(60_001))),
        ("throttle", |c| c.throttle(2.0)),
        ("failure_rate", |c| c.throttle(2.0).throttled_failure_rate(0.9)),
        ("ramp", |c| c.ramp(secs(10))),
        ("cancelled_counts_after", |c| c.cancelled_counts_after(millis(1_001))),
        ("reset_cooldown", |c| c.reset_cooldown(millis(60_001))),
        ("measure_durations", ConfigBuilder::measure_durations),
        ("sharded", ConfigBuilder::sharded),
    ];
    for (name, change) in changes {
        let registry = Registry::new();
        registry.circuit(Config::new("payments").unwrap()).unwrap();
        let other = change(Config::builder("payments")).build().unwrap();
        let error = registry.circuit(other).map(drop).expect_err(name);
        let RegistryError::Different { differences, .. } = error else { panic!("{name}: {error}") };
        for difference in differences {
            let (before, after) = difference
                .split_once(" is ")
                .and_then(|(_, two)| two.split_once(", requested is "))
                .expect("two values");
            assert!(
                !difference.contains(['(', ':']),
                "{name}: a value of Rust and not of a settings file: {difference}"
            );
            assert_ne!(before, after, "{name}: who reads it sees no difference");
        }
    }
}

#[test]
fn a_registry_is_bounded() {
    let registry = Registry::with_limit(2);
    registry.circuit(named("a")).unwrap();
    registry.circuit(named("b")).unwrap();
    let error = registry.circuit(named("c")).unwrap_err();
    assert_eq!(error.to_string(), "no room for circuit `c`: the registry holds its limit of 2");
    assert!(matches!(error, RegistryError::Full { limit: 2, .. }));
    registry.circuit(named("a")).expect("the ones that are there can still be had");
    assert!(registry.get("c").is_none());
}

#[tokio::test]
async fn status_and_reset_reach_every_circuit_in_the_order_of_names() {
    let registry = Registry::default();
    for name in ["orders", "payments", "billing"] {
        registry.circuit(named(name)).unwrap();
    }
    fail(&registry.get("orders").unwrap(), 5);
    registry.get("billing").unwrap().trip(&alice(), None);
    let standings = || {
        let all = registry.status_all();
        all.iter().map(|status| format!("{} {}", status.name, status.standing())).collect::<Vec<_>>()
    };
    assert_eq!(standings(), ["billing forced_open", "orders open", "payments closed"]);

    let refused = registry.reset_all(&alice(), To::Closed, false).await;
    assert_eq!(
        refused.values().filter(|answer| answer.is_err()).count(),
        3,
        "two were tripped just now, one is closed"
    );
    let done = registry.reset_all(&alice(), To::HalfOpen, true).await;
    assert!(matches!(done["payments"], Err(Refused::NothingToReset { .. })), "a healthy circuit does not probe");
    let edges: Vec<_> = done.into_values().flatten().map(|done| done.transition.unwrap()).collect();
    let reason = Reason::Operator { act: Act::Reset, by: alice().into() };
    assert_eq!(edges.len(), 2);
    assert!(edges.iter().all(|edge| edge.reason == reason && edge.to.state == State::HalfOpen));
    assert_eq!(standings(), ["billing half_open", "orders half_open", "payments closed"]);
    registry.reset_all(&alice(), To::Closed, true).await;
    assert_eq!(standings(), ["billing closed", "orders closed", "payments closed"]);
    for circuit in registry.circuits() {
        succeed(&circuit, 1);
    }

    let refused = registry.reset_all(&alice(), To::HalfOpen, true).await;
    assert!(refused.values().all(|answer| matches!(answer, Err(Refused::NothingToReset { .. }))), "{refused:?}");
    for circuit in registry.circuits() {
        let permit = circuit.try_acquire().unwrap();
        assert!(!permit.is_probe());
    }
}

/// An observer that asks the registry while its circuit is being made.
#[derive(Debug)]
struct Asks(Registry);

impl Observer for Asks {
    fn on_event(&self, circuit: &str, _: &Event<'_>) {
        assert!(self.0.get(circuit).is_some());
    }

    fn wants_calls(&self) -> bool {
        self.0.get("orders").is_none()
    }
}

#[test]
fn an_observer_of_a_new_circuit_may_query_the_registry() {
    let (done, made) = mpsc::channel();
    // On a thread, so that a deadlock fails instead of hanging.
    thread::spawn(move || {
        let registry = Registry::new();
        let config = Config::builder("orders").observer(Asks(registry.clone())).build().unwrap();
        done.send(registry.circuit(config).unwrap().totals().observer_panics)
    });
    assert_eq!(made.recv_timeout(secs(10)), Ok(0));
}
