//! What is refused, and in which words.

use tower_circuit_breaker::settings::Settings;

use super::{refused, toml};

#[test]
fn an_unknown_key_is_refused_in_every_table_with_the_nearest_key() {
    for (text, says) in [
        (
            "[circuit.payments]",
            "unknown key `circuit`, did you mean `circuits`? allowed are persistence, defaults, groups, circuits",
        ),
        ("[persistance]", "unknown key `persistance`, did you mean `persistence`?"),
        ("[persistence]\nstroe = 'file:x'", "unknown key `stroe` in persistence, did you mean `store`?"),
        ("[persistence]\nenabld = true", "unknown key `enabld` in persistence, did you mean `enabled`?"),
        ("[defaults]\nfailureRate = 1", "unknown key `failureRate` in defaults, did you mean `failure_rate`?"),
        (
            "[circuits.payments]\nfailure_rat = 1",
            "unknown key `failure_rat` in circuits.payments, did you mean `failure_rate`?",
        ),
        ("[circuits.'/a b'.window]\ncals = 1", "unknown key `cals` in circuits.\"/a b\".window, did you mean `calls`?"),
        ("[defaults.open_for]\nbas = 1", "unknown key `bas` in defaults.open_for, did you mean `base`?"),
        ("[defaults]\nthreshold = 1", "unknown key `threshold` in defaults, allowed are failure_rate, min_calls,"),
        ("probes = 1", "`probes` is outside a table, allowed is defaults.probes or a table below circuits"),
        ("[defaults]\n\"a\\nb\" = 1", "unknown key `a\\nb` in defaults"),
    ] {
        let error = refused(text);
        assert!(error.starts_with(&format!("the TOML text: {says}")), "{error:?} should start with {says:?}");
        assert!(!error.contains(char::is_control), "a key must not forge a line of a log: {error:?}");
    }
}

#[test]
fn a_wrong_value_is_refused_with_key_value_and_allowed_values() {
    let off = "allowed is a number, or false for no such rule";
    for (key, value, says) in [
        ("failure_rate", "'high'", &*format!("\"high\", {off}")),
        ("failure_rate", "'0.5'", &format!("\"0.5\", {off}")),
        ("failure_rate", "true", &format!("true, {off}")),
        ("failure_rate", "0.0", "0, allowed is more than 0 and at most 1"),
        ("failure_rate", "nan", "NaN, allowed is more than 0 and at most 1"),
        ("failure_rate", "[0.5]", "a list, allowed is a number"),
        ("failure_rate", "2026-01-01", "a date, allowed is a number"),
        ("min_calls", "-1", "-1, allowed is a whole number that is not negative, up to 4294967295"),
        ("min_calls", "20.0", "20, allowed is a whole number"),
        ("min_calls", "4294967296", "4294967296, allowed is a whole number"),
        ("consecutive_failures", "0", "0, allowed is 1 to 4294967295"),
        ("consecutive_failures", "1.5", "1.5, allowed is a whole number, or false for no such rule"),
        (
            "consecutive_failures",
            "{}",
            "a table, allowed is a whole number, false for no such rule, or { raised_at_traffic = 5 }",
        ),
        ("consecutive_failures", "'five'", "\"five\", allowed is a whole number, or false for no such rule, or {"),
        ("probe_deadline", "30", "30, allowed is a number with its unit (ms, s, min, h, d), like \"10 s\""),
        ("probe_deadline", "'30'", "\"30\", allowed is a number with its unit"),
        ("probe_deadline", "'30 m'", "\"30 m\", allowed is a number with its unit"),
        ("probe_deadline", "'366 d'", "366 d, allowed is 1 ms to 365 days"),
        (
            "cancelled_counts_after",
            "'nevr'",
            "\"nevr\", allowed is a number with its unit (ms, s, min, h, d), like \"10 s\", or \"never\"",
        ),
        ("recovery", "'by hand'", "\"by hand\", allowed is \"automatic\" or \"manual\""),
        (
            "window",
            "10",
            "10, allowed is a duration like \"10 s\", { time = \"10 s\", buckets = 10 } or { calls = 100 }",
        ),
        ("window", "{ calls = 5, time = '1 s' }", "a table, allowed is a duration like"),
        ("window", "{ calls = 5, buckets = 2 }", "a table, allowed is a duration like"),
        ("window", "{}", "a table, allowed is a duration like"),
        ("open_for", "{}", "a table, allowed is a duration like \"60 s\", { base = \"5 s\", max"),
        ("open_for", "{ fixed = '5 s', max = '6 s' }", "a table, allowed is a duration like"),
        ("open_for", "5", "5, allowed is a duration like \"60 s\""),
        ("ttl_open", "'1 ms'", "\"1 ms\", allowed is 1 s to 365 d"),
    ] {
        let error = Settings::from_toml(&format!("[circuits.payments]\n{key} = {value}")).expect_err(value);
        let said = error.to_string();
        let starts = format!("the TOML text: circuits.payments.{key} is {says}");
        assert!(said.starts_with(&starts), "{said:?} should start with {starts:?}");
        assert_eq!((error.origin(), error.key()), ("the TOML text", Some(&*format!("circuits.payments.{key}"))));
    }
}

#[test]
fn a_part_of_a_value_is_refused_with_its_own_path() {
    for (value, says) in [
        ("window = { calls = 0 }", "window.calls is 0, allowed is 1 to 16777216"),
        ("window = { time = 10 }", "window.time is 10, allowed is a number with its unit"),
        ("window = { time = '10 s', buckets = 1 }", "window.buckets is 1, allowed is 2 to 60"),
        ("open_for = { base = '9 s', max = '5 s' }", "open_for.base is 9 s, allowed is 1 ms to 5 s"),
        ("open_for = { fixed = '9 s', jitter = 0.6 }", "open_for.jitter is 0.6, allowed is 0 to 0.5"),
    ] {
        let error = refused(&format!("[circuits.payments]\n{value}"));
        assert!(error.starts_with(&format!("the TOML text: circuits.payments.{says}")), "{error}");
    }
}

#[test]
fn a_value_made_wrong_by_another_key_names_its_origin() {
    assert_eq!(
        refused("[circuits.payments]\nwindow = { calls = 10 }"),
        "the TOML text: circuits.payments.min_calls is 20, allowed is 1 to 10; the value is the default and the limit \
         comes from circuits.payments.window.calls"
    );
    assert_eq!(
        refused("[defaults]\nmin_calls = 50\n[circuits.payments]\nwindow = { calls = 10 }"),
        "the TOML text: circuits.payments.min_calls is 50, allowed is 1 to 10; the value comes from \
         defaults.min_calls and the limit comes from circuits.payments.window.calls"
    );
    let error = refused("[circuits.payments]\nthrottle = 2.0\nwindow = { calls = 50 }");
    assert!(error.contains("window is a number of calls"), "{error}");
    assert!(!error.contains("default"), "the text sets the window: {error}");
    let error = toml("[circuits.payments]\nwindow = { calls = 90 }")
        .with_vars([("CIRCUIT_BREAKER_DEFAULT_MIN_CALLS", "91")])
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "the TOML text: circuits.payments.min_calls is 91, allowed is 1 to 90; the value comes from defaults.min_calls, \
         environment variable CIRCUIT_BREAKER_DEFAULT_MIN_CALLS and the limit comes from circuits.payments.window.calls"
    );
}

#[test]
fn a_circuit_with_an_impossible_name_is_refused() {
    assert_eq!(
        refused("[circuits.'two words']"),
        "the TOML text: circuits.\"two words\" is not a valid name, \
         allowed is 1 to 200 bytes of printable text without spaces"
    );
    for name in ["", "a\\u200bb", "a\\u0007", &"x".repeat(201)] {
        assert!(refused(&format!("[circuits.\"{name}\"]")).contains("is not a valid name"), "{name}");
    }
}

#[test]
fn a_duplicate_key_is_refused_in_both_formats() {
    let twice = refused("[circuits.payments]\nprobes = 1\nprobes = 2");
    assert_eq!(twice, "the TOML text: is not valid TOML in line 3: duplicate key `probes`");
    let error = Settings::from_json(r#"{"circuits": {"payments": {"probes": 1, "probes": 1}}}"#).unwrap_err();
    assert_eq!(error.to_string(), "the JSON text: circuits.payments.probes occurs twice, allowed is once");
    let error = Settings::from_json(r#"{"defaults": {}, "defaults": {}}"#).unwrap_err();
    assert_eq!(error.key(), Some("defaults"));
}

#[test]
fn a_value_in_place_of_a_table_is_refused() {
    for (text, says) in [("circuits = 1", "circuits is 1"), ("circuits.payments = 'x'", "circuits.payments is \"x\"")] {
        assert_eq!(refused(text), format!("the TOML text: {says}, allowed is a table"));
    }
    assert_eq!(refused("[[circuits]]\nname = 'x'"), "the TOML text: circuits is a list, allowed is a table");
    let says = |text| Settings::from_json(text).expect_err(text).to_string();
    assert_eq!(says("[]"), "the JSON text: is a list, allowed is a table");
    assert_eq!(says("{\"defaults\": null}"), "the JSON text: defaults is null, allowed is a table");
    assert!(says("{\"defaults\": }").starts_with("the JSON text: is not valid JSON: expected value at line 1"));
    assert!(says("").starts_with("the JSON text: is not valid JSON: EOF"));
    assert!(refused("[defaults]\n\nprobes 1").starts_with("the TOML text: is not valid TOML in line 3: "));
}
