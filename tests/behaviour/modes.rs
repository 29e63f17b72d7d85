//! What operators lay over a circuit: holds, shadow, resets, and the environment's kill switch.

use std::process::Command;
use std::sync::mpsc;
use std::time::Duration;

use tower_circuit_breaker::circuit::To;
use tower_circuit_breaker::config::{ConfigBuilder, Recovery};
use tower_circuit_breaker::event::{Event, Observer};
use tower_circuit_breaker::state::{Act, Mode, Reason, RejectReason, Standing, Transition};
use tower_circuit_breaker::{By, Circuit, Config, Failure, Registry, State};

use crate::rig::{NANO, admit, alice, close, fail, last, millis, open, probe, reject, rig, secs, state, succeed, why};

fn mode(circuit: &Circuit) -> Mode {
    circuit.status().mode
}

/// Checks that calls go through, and that the circuit learns nothing from them.
#[track_caller]
fn passes_uncounted(circuit: &Circuit) {
    let before = circuit.status();
    for _ in 0..100 {
        admit(circuit).failure(Failure::hard());
    }
    let after = circuit.status();
    assert_eq!((after.era, after.tally, after.run.to_bits()), (before.era, before.tally, before.run.to_bits()));
}

#[test]
fn a_trip_rejects_every_call_until_a_reset() {
    let (circuit, clock) = rig(|settings| settings);
    let in_flight = admit(&circuit);
    let edge = circuit.trip(&alice(), None);
    assert_eq!((edge.to.mode, edge.lasts), (Mode::ForcedOpen, None));
    assert_eq!(edge.reason, Reason::Operator { act: Act::Trip, by: alice().into() });
    in_flight.success();
    for _ in 0..100 {
        clock.advance(secs(24 * 3600));
        let rejected = reject(&circuit);
        assert_eq!((rejected.reason(), rejected.retry_after()), (RejectReason::Tripped, None));
    }
    assert!(reject(&circuit).to_string().contains("tripped by alice: maintenance"), "callers hear who and why");
    circuit.reset(&alice(), To::Closed);
    succeed(&circuit, 1);
}

#[test]
fn a_trip_with_an_end_is_then_half_open() {
    for open_first in [false, true] {
        let (circuit, clock) = rig(|settings| settings);
        if open_first {
            open(&circuit);
        }
        assert_eq!(circuit.trip(&alice(), Some(secs(600))).lasts, Some(secs(600)));
        clock.advance(secs(600) - NANO);
        assert_eq!(reject(&circuit).retry_after(), Some(NANO));
        clock.advance(NANO);
        let probe = admit(&circuit);
        assert_eq!((probe.is_probe(), mode(&circuit)), (true, Mode::Automatic), "opened before: {open_first}");
        assert_eq!(why(&circuit), Reason::HoldEnded { held: secs(600) });
    }
}

#[test]
fn a_reset_ends_every_state_and_mode() {
    type Lay = fn(&Circuit);
    let lays: [(&str, Lay); 5] = [
        ("open", |circuit| {
            open(circuit);
        }),
        ("tripped", |circuit| drop(circuit.trip(&alice(), None))),
        ("disabled", |circuit| drop(circuit.disable(&alice(), None))),
        ("shadow", |circuit| drop(circuit.shadow(&alice()))),
        ("closed", |_| ()),
    ];
    for (name, lay) in lays {
        for (to, expected) in [(To::Closed, State::Closed), (To::HalfOpen, State::HalfOpen)] {
            let (circuit, _) = rig(|settings| settings);
            fail(&circuit, 1);
            lay(&circuit);
            let edge = circuit.reset(&alice(), to);
            assert_eq!((edge.to.state, edge.to.mode), (expected, Mode::Automatic), "{name}");
            assert_eq!(edge.reason, Reason::Operator { act: Act::Reset, by: alice().into() }, "{name}");
            assert_eq!(circuit.status().run.to_string(), "0", "{name}: it starts with no evidence");
            assert_eq!(admit(&circuit).is_probe(), to == To::HalfOpen, "{name}");
        }
    }
}

#[test]
fn a_disabled_circuit_lets_everything_through_uncounted_until_resumed() {
    let (circuit, clock) = rig(|settings| settings);
    open(&circuit);
    clock.advance(secs(2));
    let edge = circuit.disable(&alice(), None);
    assert_eq!((edge.to.mode, edge.lasts), (Mode::Disabled, None));
    passes_uncounted(&circuit);
    assert!(!circuit.status().standing().is_tripped(), "nobody is to be woken by it");

    let edge = circuit.resume(&alice()).expect("there was something to end");
    assert_eq!(edge.reason, Reason::Operator { act: Act::Resume, by: alice().into() });
    assert_eq!(reject(&circuit).retry_after(), Some(secs(3)), "the opening beneath goes on");
    assert_eq!(circuit.resume(&alice()), None, "nothing lies over it now");
}

#[test]
fn a_timed_disabling_ends_in_the_state_beneath() {
    let (circuit, clock) = rig(|settings| settings);
    circuit.disable(&alice(), Some(secs(60)));
    passes_uncounted(&circuit);
    clock.advance(secs(60));
    fail(&circuit, 1);
    assert_eq!(why(&circuit), Reason::HoldEnded { held: secs(60) });
    assert_eq!((state(&circuit), mode(&circuit)), (State::Closed, Mode::Automatic));
    fail(&circuit, 4);
    assert_eq!(state(&circuit), State::Open, "it counts again, the call that ended the hold included");
}

#[test]
fn a_circuit_in_shadow_changes_state_and_counts_would_be_rejections() {
    let (circuit, clock) = rig(ConfigBuilder::shadow);
    assert_eq!(mode(&circuit), Mode::Shadow);
    fail(&circuit, 5);
    assert_eq!((state(&circuit), mode(&circuit)), (State::Open, Mode::Shadow));
    passes_uncounted(&circuit);
    assert_eq!(circuit.totals().would_reject, 100);

    clock.advance(secs(5));
    let probe = admit(&circuit);
    assert!(probe.is_probe());
    assert!(!admit(&circuit).is_probe(), "it would have been rejected");
    probe.success();
    succeed(&circuit, 2);
    assert_eq!((state(&circuit), mode(&circuit)), (State::Closed, Mode::Shadow));
    let totals = circuit.totals();
    assert_eq!((totals.would_reject, totals.rejected), (101, 0));
}

#[test]
fn shadow_keeps_the_state_beneath_and_ends_with_a_resume() {
    let (circuit, clock) = rig(|settings| settings);
    open(&circuit);
    clock.advance(secs(1));
    assert_eq!(circuit.shadow(&alice()).reason, Reason::Operator { act: Act::Shadow, by: alice().into() });
    succeed(&circuit, 1);
    assert_eq!(state(&circuit), State::Open);
    circuit.resume(&alice()).expect("there was something to end");
    assert_eq!(reject(&circuit).retry_after(), Some(secs(4)));
}

#[test]
fn a_closed_circuit_has_no_end_after_any_earlier_state() {
    type Lay = fn(&Circuit);
    let lays: [(&str, Lay); 3] = [
        ("resumed", |circuit| {
            circuit.disable(&alice(), None);
            circuit.resume(&alice());
        }),
        ("shadow", |circuit| drop(circuit.shadow(&alice()))),
        ("disabled for no time", |circuit| {
            circuit.disable(&alice(), Some(Duration::ZERO));
            succeed(circuit, 1);
        }),
    ];
    for (name, lay) in lays {
        let (circuit, clock) = rig(|settings| settings);
        // Once open, so that there is a deadline to forget.
        open(&circuit);
        close(&circuit, &clock);
        lay(&circuit);
        assert_eq!((last(&circuit).to.state, last(&circuit).lasts), (State::Closed, None), "{name}");
    }
}

#[test]
fn a_standing_has_a_text_and_knows_tripped_and_open() {
    let (circuit, clock) = rig(|settings| settings);
    let standing = || circuit.status().standing();
    let is = |standing: Standing| (standing.to_string(), standing.is_tripped(), standing.is_open());
    assert_eq!(is(standing()), ("closed".to_owned(), false, false));
    circuit.trip(&alice(), None);
    assert_eq!(is(standing()), ("forced_open".to_owned(), true, true));
    circuit.reset(&alice(), To::Closed);
    drop(probe(&circuit, &clock));
    assert_eq!(is(standing()), ("half_open".to_owned(), true, false), "tripped until it is closed");
    circuit.shadow(&alice());
    assert_eq!(is(standing()), ("half_open (shadow)".to_owned(), true, false));
    circuit.disable(&alice(), None);
    assert_eq!(is(standing()), ("disabled".to_owned(), false, false));
}

#[test]
fn an_act_needs_a_user_and_a_reason() {
    let long = |length| "é".repeat(length);
    for (user, reason, problem) in [
        ("", "why", "user is empty"),
        ("  ", "why", "user is empty"),
        ("alice", "", "reason is empty"),
        ("alice", "\t", "reason is empty"),
        (&long(201), "why", "user has 201 characters"),
        ("alice", &long(501), "reason has 501 characters"),
        ("alice\n", "why", "user has control characters"),
        ("alice", "done\r\n12:00 bob: tripped", "reason has control characters"),
        ("alice", "\u{1b}[2J", "reason has control characters"),
    ] {
        let error = By::new(user, reason).expect_err(problem).to_string();
        assert!(error.starts_with(problem), "{error}");
    }
    let by = By::new(&long(200), &long(500)).expect("characters are counted, not bytes");
    assert_eq!((by.user(), by.reason()), (&*long(200), &*long(500)));
    assert_eq!(alice().to_string(), "alice: maintenance");
}

/// The name of the circuit that the environment of a child process names.
const KILLED: &str = "killed-by-the-environment";

/// Whether this is the child. Variables of the own process cannot be set, other tests read them at the same time.
fn is_child() -> bool {
    std::env::var("CIRCUIT_BREAKER_DISABLED").is_ok_and(|names| names.contains(KILLED))
}

/// Runs one test of this binary in a child process that has the kill switch set.
#[track_caller]
fn run_as_child(test: &str) {
    let name = format!("{}::{test}", module_path!().split_once("::").expect("a module of the binary").1);
    let output = Command::new(std::env::current_exe().expect("a test has a path"))
        .args(["--exact", &name])
        .env("CIRCUIT_BREAKER_DISABLED", format!("orders, {KILLED}"))
        .output()
        .expect("the test binary runs");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("1 passed"), "no test is called {name}: {said}");
}

#[derive(Debug)]
struct Transitions(mpsc::Sender<Transition>);

impl Observer for Transitions {
    fn on_event(&self, _: &str, event: &Event<'_>) {
        if let Event::Transition(edge) = event {
            self.0.send((*edge).clone()).ok();
        }
    }
}

#[test]
fn the_kill_switch_outranks_rules_and_operators_and_is_reported() {
    if !is_child() {
        return run_as_child("the_kill_switch_outranks_rules_and_operators_and_is_reported");
    }
    let (sender, told) = mpsc::channel();
    let circuit = Circuit::new(Config::builder(KILLED).observer(Transitions(sender)).build().unwrap());
    assert_eq!(told.try_iter().map(|edge| edge.reason).collect::<Vec<_>>(), [Reason::KillSwitch]);
    assert!(circuit.status().bypassed);
    passes_uncounted(&circuit);
    let edge = circuit.trip(&alice(), None);
    assert_eq!(
        (mode(&circuit), circuit.status().bypassed),
        (Mode::ForcedOpen, true),
        "the act is kept, and has no effect"
    );
    assert!(edge.bypassed, "observers are told that calls go through all the same");
    passes_uncounted(&circuit);
    circuit.reset(&alice(), To::HalfOpen);
    assert!(!admit(&circuit).is_probe());
    assert_eq!(circuit.totals().rejected, 0);

    let (other, _) = rig(|settings| settings);
    open(&other);
    reject(&other);
}

#[derive(Debug)]
struct Asking(Registry);

impl Observer for Asking {
    fn on_event(&self, circuit: &str, _: &Event<'_>) {
        assert!(self.0.get(circuit).is_some(), "it is in the registry when it is told of");
    }
}

#[test]
#[expect(clippy::disallowed_methods, reason = "tasks are spawned as an application does")]
fn no_health_probe_is_made_under_the_kill_switch() {
    if !is_child() {
        return run_as_child("no_health_probe_is_made_under_the_kill_switch");
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let circuit = Circuit::new(Config::builder(KILLED).build().unwrap());
        let (sender, checks) = mpsc::channel();
        let probe = circuit.probe_with(millis(100), move || {
            sender.send(()).unwrap();
            async { Ok::<(), String>(()) }
        });
        tokio::spawn(probe.run().unwrap());
        circuit.reset(&alice(), To::HalfOpen);
        tokio::time::sleep(secs(60)).await;
        assert!(circuit.status().health.unwrap().running && checks.try_recv().is_err());
    });
}

#[test]
fn an_observer_of_the_kill_switch_may_query_the_registry() {
    if !is_child() {
        return run_as_child("an_observer_of_the_kill_switch_may_query_the_registry");
    }
    let (sender, done) = mpsc::channel();
    // In a thread of its own, so that a deadlock is a failure and not a test that never ends.
    std::thread::spawn(move || {
        let registry = Registry::new();
        let circuit = registry.circuit(Config::builder(KILLED).observer(Asking(registry.clone())).build().unwrap());
        sender.send(circuit.unwrap().totals().observer_panics).ok();
    });
    assert_eq!(done.recv_timeout(secs(10)), Ok(0));
}

#[test]
fn a_configured_shadow_rejects_only_while_an_operator_holds_the_circuit() {
    let (circuit, clock) = rig(ConfigBuilder::shadow);
    circuit.trip(&alice(), Some(secs(60)));
    reject(&circuit);
    clock.advance(secs(60));
    drop(admit(&circuit));
    assert_eq!((mode(&circuit), state(&circuit)), (Mode::Shadow, State::HalfOpen), "the hold has ended");
    circuit.disable(&alice(), None);
    circuit.resume(&alice());
    assert_eq!(mode(&circuit), Mode::Shadow, "a resume takes the hold away first");
    circuit.trip(&alice(), None);
    circuit.reset(&alice(), To::Closed);
    assert_eq!(mode(&circuit), Mode::Shadow, "a reset leads back to what is configured");
    circuit.resume(&alice());
    assert_eq!(mode(&circuit), Mode::Automatic, "shadow can be taken away too");
    assert_eq!(circuit.resume(&alice()), None, "and then there is nothing more to take");
}

#[test]
fn a_hold_promises_no_more_than_its_end() {
    let (circuit, clock) = rig(|settings| settings.recovery(Recovery::Manual));
    circuit.trip(&alice(), Some(secs(5)));
    let rejected = reject(&circuit);
    assert!(rejected.to_string().ends_with("; the hold ends in 5 s"), "{rejected}");
    clock.advance(secs(5));
    open(&circuit);
    circuit.trip(&alice(), Some(secs(5)));
    assert_eq!(reject(&circuit).retry_after(), None, "beneath it is an opening that only a reset ends");
}
