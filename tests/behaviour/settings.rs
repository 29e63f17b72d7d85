//! What files and the environment mean: each key, and how the tables lie over each other.

mod at_most_open;
mod environment;
mod files;
mod merged;
mod refused;
#[cfg(feature = "full")]
mod registry;
mod secrets;
mod store;

use std::time::Duration;

use tower_circuit_breaker::clock::MockClock;
use tower_circuit_breaker::config::{ConfigBuilder, Recovery};
use tower_circuit_breaker::settings::{Settings, SettingsError};
use tower_circuit_breaker::{Circuit, Config, OpenDuration, Registry, Window};

use crate::rig::{admit, fail, millis, reject, secs};

type Change = fn(ConfigBuilder) -> ConfigBuilder;

/// The annotated file of the module's documentation.
const SAMPLE: &str = include_str!("../../examples/config_file.toml");

/// A key and its value, in TOML and JSON, and what the builder calls it.
const KEYS: [(&str, &str, &str, Change); 41] = [
    ("failure_rate", "0.25", "0.25", |c| c.failure_rate(0.25)),
    ("failure_rate", "1", "1", |c| c.failure_rate(1.0)),
    ("failure_rate", "false", "false", |c| c.without_failure_rate()),
    ("min_calls", "7", "7", |c| c.min_calls(7)),
    ("consecutive_failures", "9", "9", |c| c.consecutive_failures(9)),
    ("consecutive_failures", "false", "false", |c| c.without_consecutive_failures()),
    ("consecutive_failures", "{ raised_at_traffic = 7 }", "{\"raised_at_traffic\": 7}", |c| {
        c.consecutive_failures_raised_at_traffic(7)
    }),
    ("failure_score", "7.5", "7.5", |c| c.failure_score(7.5)),
    ("failure_score", "false", "false", |c| c),
    ("slow_call_rate", "false", "false", |c| c),
    ("window", "'30 s'", "\"30 s\"", |c| c.window(Window::time(secs(30)))),
    ("window", "{ calls = 300 }", "{\"calls\": 300}", |c| c.window(Window::calls(300))),
    ("window", "{ time = '30 s' }", "{\"time\": \"30 s\"}", |c| c.window(Window::time(secs(30)))),
    ("window", "{ time = '1 min', buckets = 6 }", "{\"buckets\": 6, \"time\": \"1 min\"}", |c| {
        c.window(Window::time(secs(60)).buckets(6))
    }),
    ("open_for", "'90 s'", "\"90 s\"", |c| c.open_for(OpenDuration::fixed(secs(90)))),
    ("open_for", "{ fixed = '9 s', jitter = 0.2 }", "{\"fixed\": \"9 s\", \"jitter\": 0.2}", |c| {
        c.open_for(OpenDuration::fixed(secs(9)).jitter(0.2))
    }),
    ("open_for", "{ base = '1 s', max = '8 s' }", "{\"base\": \"1 s\", \"max\": \"8 s\"}", |c| {
        c.open_for(OpenDuration::exponential(secs(1), secs(8)))
    }),
    (
        "open_for",
        "{ base = '1 s', max = '8 s', jitter = 0 }",
        "{\"base\": \"1 s\", \"max\": \"8 s\", \"jitter\": 0}",
        |c| c.open_for(OpenDuration::exponential(secs(1), secs(8)).jitter(0.0)),
    ),
    ("recovery", "'manual'", "\"manual\"", |c| c.recovery(Recovery::Manual)),
    ("recovery", "'automatic'", "\"automatic\"", |c| c),
    ("probes", "4", "4", |c| c.probes(4)),
    ("probes_in_flight", "2", "2", |c| c.probes_in_flight(2)),
    ("probe_failures_tolerated", "1", "1", |c| c.probe_failures_tolerated(1)),
    ("probe_deadline", "'1.5 s'", "\"1.5 s\"", |c| c.probe_deadline(millis(1500))),
    ("quiet_after", "'10min'", "\"10min\"", |c| c.quiet_after(secs(600))),
    ("throttle", "3.5", "3.5", |c| c.throttle(3.5)),
    ("throttle", "true", "true", |c| c.throttle(2.0)),
    ("throttle", "false", "false", |c| c),
    ("ramp", "'30 s'", "\"30 s\"", |c| c.ramp(secs(30))),
    ("ramp", "'0 s'", "\"0 s\"", |c| c.ramp(Duration::ZERO)),
    ("cancelled_counts_after", "'0 ms'", "\"0 ms\"", |c| c.cancelled_counts_after(Duration::ZERO)),
    ("cancelled_counts_after", "'never'", "\"never\"", |c| c.cancelled_never_counts()),
    ("trip_on_any_outcome", "true", "true", |c| c.trip_on_any_outcome(true)),
    ("trip_on_any_outcome", "false", "false", |c| c.trip_on_any_outcome(false)),
    ("sharded", "true", "true", |c| c.sharded()),
    ("sharded", "false", "false", |c| c),
    ("measure_durations", "true", "true", |c| c.measure_durations()),
    ("measure_durations", "false", "false", |c| c),
    ("shadow", "true", "true", |c| c.shadow()),
    ("shadow", "false", "false", |c| c),
    ("reset_cooldown", "'5 min'", "\"5 min\"", |c| c.reset_cooldown(secs(300))),
];

#[track_caller]
fn same(one: Config, change: Change, how: &str) {
    let other = change(Config::builder("payments")).build().unwrap();
    assert_eq!(one.explain(), other.explain(), "{how}");
    // Of two configurations for one name, a registry says in what they differ.
    let registry = Registry::new();
    registry.circuit(one).unwrap();
    if let Err(error) = registry.circuit(other) {
        panic!("{how}: {error}");
    }
}

#[track_caller]
fn toml(text: &str) -> Settings {
    Settings::from_toml(text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

#[track_caller]
fn refused(text: &str) -> String {
    Settings::from_toml(text).expect_err(text).to_string()
}

/// The text of a value without its quotes, as a variable has it.
fn word(value: &str) -> &str {
    if value.starts_with('{') { value } else { value.trim_matches('\'') }
}

fn payments(settings: &Settings) -> Config {
    settings.circuits().find(|config| config.name() == "payments").expect("there is a table for it")
}

#[test]
fn each_key_is_the_builder_method_in_every_table() {
    for (key, value, json, change) in KEYS {
        let capitals = key.to_uppercase();
        let empty = || toml("[circuits.payments]");
        let own = format!("CIRCUIT_BREAKER_CIRCUIT_PAYMENTS_{capitals}");
        let default = format!("CIRCUIT_BREAKER_DEFAULT_{capitals}");
        let tables: [(&str, Result<Settings, SettingsError>); 6] = [
            ("a table", Ok(toml(&format!("[circuits.payments]\n{key} = {value}")))),
            ("defaults", Ok(toml(&format!("[defaults]\n{key} = {value}\n[circuits.payments]")))),
            ("JSON", Settings::from_json(&format!("{{\"circuits\": {{\"payments\": {{\"{key}\": {json}}}}}}}"))),
            ("a variable", empty().with_vars([(&own, word(value))])),
            ("a variable for all", empty().with_vars([(&default, word(value))])),
            ("a document in a variable", {
                let document = format!("circuits.payments.{key} = {value}");
                Settings::default().with_vars([("CIRCUIT_BREAKER_CONFIG", document)])
            }),
        ];
        for (how, settings) in tables {
            let settings = settings.unwrap_or_else(|error| panic!("{key} in {how}: {error}"));
            same(payments(&settings), change, &format!("{key} = {value} in {how}"));
            same(settings.circuit("payments").unwrap(), change, &format!("{key} = {value} in {how}"));
        }
    }
}

#[test]
fn the_second_limit_of_a_throttle_may_stand_in_another_table() {
    let change: Change = |c| c.throttle(2.0).throttled_failure_rate(0.9);
    let apart = "[defaults]\nthrottled_failure_rate = 0.9\n[circuits.payments]\nthrottle =";
    same(payments(&toml(&format!("{apart} true"))), change, "two tables");
    same(payments(&toml(&format!("{apart} false"))), |c| c, "without a throttle the limit has no effect");
    assert_eq!(
        refused("[circuits.payments]\nthrottle = '2'"),
        "the TOML text: circuits.payments.throttle is \"2\", allowed is a number, true for 2, or false for no throttle"
    );
}

#[test]
fn a_slow_rule_takes_two_keys_which_may_stand_in_different_tables() {
    let change: Change = |c| c.slow_call_rate(0.5).slower_than(secs(2));
    let both = "slow_call_rate = 0.5\nslower_than = '2 s'";
    same(payments(&toml(&format!("[circuits.payments]\n{both}"))), change, "one table");
    let split = "[defaults]\nslow_call_rate = 0.9\nslower_than = '2 s'\n[circuits.payments]\nslow_call_rate = 0.5";
    same(payments(&toml(split)), change, "two tables");
    let off = format!("[defaults]\n{both}\n[circuits.payments]\nslow_call_rate = false");
    same(payments(&toml(&off)), |c| c, "switched off for one circuit, without a word about the other key");
    assert_eq!(
        refused("[defaults]\nslower_than = '2 s'"),
        "the TOML text: defaults.slow_call_rate is not set, allowed is a rate, beside slower_than"
    );
    assert_eq!(
        refused("[circuits.payments]\nslow_call_rate = 0.5"),
        "the TOML text: circuits.payments.slower_than is not set, allowed is a duration, beside slow_call_rate"
    );
}

#[test]
fn a_circuit_has_its_own_keys_then_the_defaults_then_the_builders() {
    let settings = toml("[defaults]\nprobes = 5\nmin_calls = 50\n[circuits.payments]\nprobes = 1\n[circuits.orders]");
    let names: Vec<String> = settings.circuits().map(|config| config.name().to_owned()).collect();
    assert_eq!(names, ["orders", "payments"]);
    same(settings.circuit("payments").unwrap(), |c| c.probes(1).min_calls(50), "its own over the defaults");
    let other = settings.circuit("a-name-without-a-table").unwrap();
    assert!(other.explain().contains("5 successes") && other.explain().contains("at least 50 calls"));
    let error = settings.circuit("two words").unwrap_err();
    assert_eq!(error.field(), "name");
}

#[test]
fn a_key_in_a_nearer_table_replaces_the_whole_value() {
    let settings =
        toml("[defaults]\nwindow = { time = '30 s', buckets = 6 }\n[circuits.payments]\nwindow = { calls = 90 }");
    same(payments(&settings), |c| c.window(Window::calls(90)), "no buckets are left of the default");
}

#[test]
fn an_empty_file_is_the_default_of_everything() {
    for settings in [toml(""), toml("\u{feff}# nothing"), Settings::default(), Settings::from_json("{}").unwrap()] {
        assert_eq!(settings.circuits().count(), 0);
        assert!(settings.persistence().is_none());
        same(settings.circuit("payments").unwrap(), |c| c, "nothing is set");
    }
}

#[test]
fn the_documented_sample_holds_every_key() {
    let settings = toml(SAMPLE);
    let allowed = refused("[circuits.payments]\nx = 1");
    let keys = allowed.rsplit_once("allowed are ").unwrap().1.split(", ");
    let persistence = refused("[persistence]\nx = 1");
    let keys = keys.chain(persistence.rsplit_once("allowed are ").unwrap().1.split(", "));
    for key in keys {
        assert!(SAMPLE.lines().any(|line| line.starts_with(&format!("{key} = "))) || key == "open_for", "{key}");
    }
    // What it calls a default is one.
    let change: Change = |c| {
        let rules = c.consecutive_failures(5).failure_score(10.0).slow_call_rate(0.5).slower_than(secs(2));
        rules.ramp(secs(10)).throttle(2.0)
    };
    same(settings.circuit("payments").unwrap(), change, "all others are the defaults");
}

#[test]
fn a_builder_takes_settings_that_a_file_cannot_express() {
    let clock = MockClock::new();
    let settings = toml("[circuits.payments]\nconsecutive_failures = 1\nopen_for = '1 h'");
    let circuit = Circuit::new(settings.circuit_builder("payments").clock(clock.clone()).build().unwrap());
    fail(&circuit, 1);
    reject(&circuit);
    clock.advance(secs(3600));
    drop(admit(&circuit));
}
