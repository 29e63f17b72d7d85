//! `at_most_open`: the circuits that get the key from one table are one group.

use super::*;
use tower_circuit_breaker::{Circuit, Failure, State};

fn circuit(settings: &Settings, name: &str) -> Circuit {
    Circuit::new(settings.circuit(name).unwrap())
}

/// Opens each circuit, as far as its group allows, and returns whether each is open.
fn open(circuits: &[Circuit]) -> Vec<bool> {
    let fail = |circuit: &Circuit| {
        (0..5).filter_map(|_| circuit.try_acquire().ok()).for_each(|permit| permit.failure(Failure::hard()));
        circuit.state() == State::Open
    };
    circuits.iter().map(fail).collect()
}

fn group(circuit: &Circuit) -> Option<String> {
    let text = circuit.config().explain();
    let (_, rest) = text.split_once("in the group \"")?;
    Some(rest.split_once('"')?.0.to_owned())
}

#[test]
fn the_circuits_of_a_settings_group_are_one_group() {
    let settings = Settings::from_toml(
        "[groups.endpoints]\nat_most_open = 0.5\n[circuits.a]\ngroup = \"endpoints\"\n[circuits.b]\ngroup = \"endpoints\"\n\
         [circuits.'c:*']\ngroup = \"endpoints\"\n[circuits.alone]",
    );
    let settings = settings.unwrap();
    let circuits = ["a", "b", "c:1", "c:2", "alone"].map(|name| circuit(&settings, name));
    assert_eq!(circuits.each_ref().map(group)[..4], ["endpoints"; 4].map(|name| Some(name.to_owned())));
    assert_eq!(group(&circuits[4]), None);
    assert_eq!(open(&circuits), [true, true, false, false, true]);
    assert_eq!(circuits[2].status().suppressed.unwrap().members, 4);
}

#[test]
fn the_circuits_of_a_pattern_are_one_group() {
    let settings =
        Settings::from_toml("[circuits.'host:*']\nat_most_open = 0.5\n[circuits.'host:b']\nprobes = 1").unwrap();
    let circuits = ["host:a", "host:b"].map(|name| circuit(&settings.clone(), name));
    assert_eq!(circuits.each_ref().map(group), ["host:*", "host:*"].map(|name| Some(name.to_owned())));
    assert_eq!(open(&circuits), [true, false]);
}

#[test]
fn the_most_specific_table_with_the_key_makes_the_group() {
    let settings = Settings::from_toml(
        "[defaults]\nat_most_open = false\n[groups.endpoints]\nat_most_open = 0.25\n[circuits.a]\ngroup = \"endpoints\"\n\
         [circuits.b]\nat_most_open = false\n[circuits.c]\ngroup = \"endpoints\"\nat_most_open = 1",
    );
    let settings = settings.unwrap();
    let groups = ["a", "b", "c", "d"].map(|name| group(&circuit(&settings, name)));
    assert_eq!(groups, [Some("endpoints"), None, Some("c"), None].map(|name| name.map(str::to_owned)));
}

#[test]
fn a_share_for_all_circuits_is_refused() {
    for value in ["0.5", "1", "nan", "true"] {
        let error = Settings::from_toml(&format!("[defaults]\nat_most_open = {value}")).unwrap_err().to_string();
        assert!(error.contains("defaults.at_most_open") && error.contains("[groups.NAME]"), "{error}");
    }
}

#[test]
fn a_variable_changes_the_share_of_a_group() {
    let settings = Settings::from_toml("[groups.endpoints]\n[circuits.a]\ngroup = \"endpoints\"").unwrap();
    let with = settings.with_vars([("CIRCUIT_BREAKER_GROUP_ENDPOINTS_AT_MOST_OPEN", "0.25")]);
    let text = with.map(|settings| settings.circuit("a").unwrap().explain());
    assert!(text.as_ref().is_ok_and(|text| text.contains("\"endpoints\", of which at most 25 %")), "{text:?}");
}

#[test]
fn a_wrong_share_is_refused_with_its_table() {
    for (value, shown) in [("0", "0"), ("-0.5", "-0.5"), ("1.5", "1.5"), ("nan", "NaN"), ("inf", "inf")] {
        let error =
            Settings::from_toml(&format!("[groups.endpoints]\nat_most_open = {value}")).unwrap_err().to_string();
        assert!(error.contains("groups.endpoints.at_most_open"), "{error}");
        assert!(error.contains(shown) && error.contains("more than 0 and at most 1"), "{error}");
    }
    for value in ["true", "\"half\"", "[]"] {
        let error = Settings::from_toml(&format!("[circuits.a]\nat_most_open = {value}")).unwrap_err().to_string();
        assert!(error.contains("circuits.a.at_most_open"), "{error}");
    }
}

#[test]
fn a_table_with_a_hostile_name_still_makes_a_group() {
    for name in
        [String::new(), "a\\nb".to_owned(), "\\\"".to_owned(), "x".repeat(5_000), "é".repeat(150), " ".to_owned()]
    {
        let text = format!("[groups.\"{name}\"]\nat_most_open = 0.5\n[circuits.a]\ngroup = \"{name}\"");
        match Settings::from_toml(&text) {
            Ok(settings) => {
                assert!(group(&circuit(&settings, "a")).is_some_and(|name| !name.chars().any(char::is_control)));
            }
            Err(error) => assert!(!error.to_string().chars().any(char::is_control), "{error:?}"),
        }
    }
}
