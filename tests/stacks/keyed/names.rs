//! Keys come from requests: what their circuits are called.

use std::collections::BTreeSet;

use super::*;

#[test]
fn hostile_keys_get_names_of_their_own_and_none_is_refused() {
    let (registry, clock) = (Registry::new(), MockClock::new());
    let by = keyed(&registry, &clock, |builder| builder.prefix("host:"));
    let long = "x".repeat(10_000);
    let longer = format!("{long}y");
    let keys = [
        "",
        " ",
        "\0",
        "a\nb",
        "a\r\nSet-Cookie: b",
        "a_b",
        "a b",
        "/",
        "//",
        "../../etc/passwd",
        "é",
        "\u{202e}evil",
        "\u{feff}",
        "%00",
        "{}",
        "'; DROP TABLE circuit_breaker_states; --",
        &long,
        &longer,
        "🦀🦀",
    ];
    for key in keys {
        by.circuit(key).unwrap_or_else(|| panic!("{key:?} has no circuit")).try_acquire().unwrap().success();
    }
    let names: BTreeSet<_> = registry.circuits().iter().map(|circuit| circuit.name().to_owned()).collect();
    assert_eq!(names.len(), keys.len(), "{names:?}");
    for name in &names {
        assert!(name.starts_with("host:") && name.len() <= 200, "{name}");
        assert!(!name.chars().any(|c| c.is_control() || c.is_whitespace()), "{name:?}");
    }
    for key in keys {
        assert_eq!(by.circuit(key).unwrap().totals().successes, 1, "{key:?} finds its own again");
    }
    assert_eq!(by.status().unguarded, 0);
}

#[test]
fn the_generated_name_of_a_key_cannot_be_requested_as_a_key() {
    let (registry, clock) = (Registry::new(), MockClock::new());
    let by = keyed(&registry, &clock, |builder| builder);
    let made = by.circuit("a b").unwrap();
    fail(&by, "a b", 5);
    let asked = by.circuit(made.name().strip_prefix("k:").unwrap()).unwrap();
    assert_ne!(asked.name(), made.name());
    assert_eq!(asked.status().state, State::Closed);
}

#[test]
fn two_layers_with_prefixes_share_a_registry_and_no_circuit() {
    let (registry, clock) = (Registry::new(), MockClock::new());
    let (one, two) = (
        keyed(&registry, &clock, |builder| builder.prefix("payments:")),
        keyed(&registry, &clock, |builder| builder.prefix("orders:")),
    );
    fail(&one, "a.example", 5);
    assert_eq!(two.circuit("a.example").unwrap().status().state, State::Closed);
    assert_eq!(registry.circuits().len(), 2);
}

#[test]
fn a_name_is_the_same_in_every_process() {
    let (registry, clock) = (Registry::new(), MockClock::new());
    let by = keyed(&registry, &clock, |builder| builder);
    // `printf 'a b' | sha256sum`: a record that is kept under it must be found by every later version.
    assert_eq!(by.circuit("a b").unwrap().name(), "k:a_b~c8687a08aa5d6ed2044328fa6a697ab8");
}

#[test]
fn no_prefix_gives_a_key_the_name_of_a_fleet() {
    let registry = Registry::new();
    for prefix in ["@", "@fleet:", "@fleet:orders/"] {
        let by = Keyed::builder(&registry, |_| Config::builder("fixed")).prefix(prefix);
        let error = by.by(BY_TEXT).unwrap_err();
        assert_eq!(error.field(), "prefix", "{error}");
        assert!(
            error.to_string().ends_with("begins no name with `@fleet:`, which names the members of a fleet"),
            "{error}"
        );
    }
    for prefix in ["@host:", "@fleets:", "fleet:"] {
        drop(Keyed::builder(&registry, Config::builder).prefix(prefix).by(BY_TEXT).unwrap());
    }
}
