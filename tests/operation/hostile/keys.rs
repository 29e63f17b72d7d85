//! Keys that a stranger chooses, between the calls of the application.

use std::borrow::Cow;
use std::time::Duration;

use tower_circuit_breaker::clock::MockClock;
use tower_circuit_breaker::keyed::Keyed;
use tower_circuit_breaker::{Circuit, Config, Outcome, Registry, State};

use super::{Dice, attack, holds, is_fit_to_show};

type ByText = fn(&String) -> Option<Cow<'_, str>>;

fn finish(circuit: &Circuit, dice: &mut Dice, fails: bool) {
    let Ok(permit) = circuit.try_acquire() else { return };
    match dice.below(8) {
        0 => drop(permit),
        1 => permit.cancel(),
        2 => permit.ignore(),
        _ if fails => permit.record(Outcome::failure()),
        _ => permit.success(),
    }
}

/// Rules: every key is guarded; names are short, begin with the prefix and forge nothing; the number of circuits is bounded; no
/// circuit of the application changes; and the circuit of a host that always fails opens in spite of the flood.
#[test]
fn hostile_keys_break_no_rule() {
    // An input is a flood of some hundred keys.
    attack("keys", 20, |dice| {
        let (registry, clock) = (Registry::new(), MockClock::new());
        let named =
            |name: &str| Config::builder(name).clock(clock.clone()).without_shipped_observers().build().unwrap();
        let own: Vec<_> = ["payments", "host", ":"].map(|name| registry.circuit(named(name)).unwrap()).into();
        let max = 16 + dice.below(64);
        let of_clock = clock.clone();
        let template = move |name: &str| Config::builder(name).clock(of_clock.clone()).without_shipped_observers();
        let by: ByText = |key| Some(key.as_str().into());
        let keyed = Keyed::builder(&registry, template).prefix("host:").max_keys(max).by(by).unwrap();
        let (fails, flood) = (dice.once_in(2), dice.below(3 * max));
        let mut calls = 0;
        while keyed.circuit("victim").is_some_and(|circuit| !circuit.is_open()) {
            calls += 1;
            holds(calls < 40, || {
                format!("the victim is closed after {calls} calls, {flood} keys between them, of {max}")
            })?;
            let victim = keyed.circuit("victim").and_then(|circuit| circuit.try_acquire().ok());
            let Some(victim) = victim else { return Err("the victim is unguarded".to_owned()) };
            victim.record(Outcome::failure());
            for _ in 0..flood {
                clock.advance(Duration::from_micros(dice.roll() % 40_000));
                // Each key comes once, because a key that comes back as often as the victim is a host in use.
                let text = if dice.once_in(2) { dice.text() } else { String::new() };
                let key = format!("{text}{}", dice.roll());
                let Some(circuit) = keyed.circuit(&key) else { return Err(format!("{key:?} is unguarded")) };
                is_fit_to_show(circuit.name(), 200)?;
                holds(circuit.name().starts_with("host:"), || circuit.name().to_owned())?;
                finish(&circuit, dice, fails);
            }
            let circuits = registry.circuits().len();
            holds(circuits <= max + own.len(), || format!("{circuits} circuits, {max} keys"))?;
        }
        let untouched = |circuit: &Circuit| circuit.state() == State::Closed && circuit.totals() == Default::default();
        holds(own.iter().all(untouched), || "a circuit of the application has changed".to_owned())
    });
}
