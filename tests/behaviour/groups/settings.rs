//! The settings of a group, and settings that can never work.

use tower_circuit_breaker::config::ConfigError;

use super::*;

fn refused(group: &Group) -> ConfigError {
    Config::builder("payments").group(group).build().expect_err("the group can never work")
}

#[test]
fn a_share_outside_its_range_is_refused_with_field_value_and_range() {
    for (share, shown) in [
        (0.0, "0"),
        (-0.0, "-0"),
        (-0.5, "-0.5"),
        (1.5, "1.5"),
        (f64::NAN, "NaN"),
        (f64::INFINITY, "inf"),
        (f64::NEG_INFINITY, "-inf"),
        (1.000_000_1, "1.0000001"),
    ] {
        let error = refused(&Group::new("endpoints").at_most_open(share));
        assert_eq!(error.field(), "at_most_open");
        assert_eq!(error.to_string(), format!("at_most_open is {shown}, allowed is more than 0 and at most 1"));
    }
    for share in [f64::MIN_POSITIVE, 0.1, 1.0] {
        let group = Group::new("endpoints").at_most_open(share);
        assert!(Config::builder("payments").group(&group).build().is_ok(), "{share}");
    }
}

#[test]
fn a_name_that_could_forge_a_line_is_refused_and_escaped() {
    for name in ["", " ", "a\nb", "a\u{1b}[2J", "a\u{202e}b", "a\u{200b}", "\0", &"x".repeat(201), &"é".repeat(101)] {
        let error = refused(&Group::new(name));
        assert_eq!(error.field(), "group");
        let text = error.to_string();
        assert!(text.ends_with("allowed is 1 to 200 bytes of printable text"), "{text}");
        assert!(!text.chars().any(|c| c.is_control() || c == '\u{202e}' || c == '\u{200b}'), "{text:?}");
    }
    for name in ["orders endpoints", "é中🦀", &"x".repeat(200), "\"quoted\""] {
        assert!(Config::builder("payments").group(&Group::new(name)).build().is_ok(), "{name}");
    }
}

#[test]
fn a_group_allows_half_of_its_circuits_to_open_by_default() {
    let group = Group::new("orders endpoints");
    assert_eq!(
        (group.name(), group.share(), group.members(), group.open(), group.open_slots()),
        ("orders endpoints", 0.5, 0, 0, 1)
    );
    assert_eq!(format!("{group:?}"), r#"Group { name: "orders endpoints", at_most_open: 0.5, members: 0, open: 0 }"#);
}

#[test]
fn an_explanation_names_the_group_and_its_share() {
    let group = Group::new("orders endpoints");
    let text = Config::builder("orders-1").group(&group).build().unwrap().explain();
    let line = text.lines().last().unwrap();
    assert_eq!(
        line,
        "The circuit is in the group \"orders endpoints\", of which at most 50 % may be open at the same time, but always one. \
         Otherwise the circuit stays closed."
    );
    assert!(!Config::new("orders-1").unwrap().explain().contains("group"));
    let debug = format!("{:?}", Config::builder("orders-1").group(&group).build().unwrap());
    assert!(debug.contains("group: orders endpoints, at_most_open: 0.5"), "{debug}");
}

#[test]
fn the_last_group_of_a_configuration_counts() {
    let (first, last) = (Group::new("first"), Group::new("last"));
    let circuit = Circuit::new(Config::builder("payments").group(&first).group(&last).build().unwrap());
    assert_eq!((first.members(), last.members()), (0, 1));
    drop(circuit);
}
