//! What variables mean, and which are none of ours.

use tower_circuit_breaker::settings::Settings;

use super::{payments, same, toml};
use crate::rig::secs;

#[test]
fn variables_override_a_document_in_a_variable_that_overrides_the_file() {
    let file = toml(
        "[defaults]\nprobes = 2\nmin_calls = 30\nquiet_after = '1 s'\n[circuits.payments]\n[circuits.'/users/{id}']",
    );
    let settings = file
        .with_vars([
            ("CIRCUIT_BREAKER_CONFIG", "defaults.probes = 4\ndefaults.min_calls = 40\n[circuits.orders]\nprobes = 9"),
            ("CIRCUIT_BREAKER_DEFAULT_MIN_CALLS", " 50 "),
            ("CIRCUIT_BREAKER_CIRCUIT_USERS_ID_WINDOW", "{ calls = 70 }"),
            ("CIRCUIT_BREAKER_CIRCUIT_ORDERS_OPEN_FOR", "7 s"),
            ("CIRCUIT_BREAKER_DEFAULT_SHADOW", ""),
        ])
        .unwrap();
    same(payments(&settings), |c| c.probes(4).min_calls(50).quiet_after(secs(1)), "all three layers");
    assert!(settings.circuit("/users/{id}").unwrap().explain().contains("the last 70 calls"));
    let orders = settings.circuit("orders").unwrap().explain();
    assert!(orders.contains("9 successes") && orders.contains("open for 7 s"), "{orders}");
}

#[test]
fn a_misspelt_variable_is_refused_with_the_nearest_known_one() {
    for (name, says) in [
        (
            "CIRCUIT_BREAKER_PERSISTANCE",
            ", did you mean `CIRCUIT_BREAKER_PERSISTENCE`? allowed are CIRCUIT_BREAKER_CONFIG",
        ),
        ("CIRCUIT_BREAKER_DISABLE", ", did you mean `CIRCUIT_BREAKER_DISABLED`?"),
        ("CIRCUIT_BREAKER_DEFAULTS_PROBES", ", did you mean `CIRCUIT_BREAKER_DEFAULT_PROBES`?"),
        ("CIRCUIT_BREAKER_CIRCUIT_PAYMENT_PROBES", ", did you mean `CIRCUIT_BREAKER_CIRCUIT_PAYMENTS_PROBES`?"),
        ("CIRCUIT_BREAKER_PORTS", ""),
    ] {
        let error = toml("[circuits.payments]").with_vars([(name, "1")]).unwrap_err();
        let starts = format!("environment variable {name}: unknown{says}");
        assert!(error.to_string().starts_with(&starts), "{error} should start with {starts}");
    }
}

#[test]
fn other_peoples_variables_are_left_alone() {
    let names = [
        "PATH",
        "CIRCUIT_BREAKER",
        "CIRCUIT_BREAKER_DISABLED",
        // Kubernetes sets these in every pod beside a service called `circuit-breaker` or `circuit-breaker-ui`.
        "CIRCUIT_BREAKER_SERVICE_HOST",
        "CIRCUIT_BREAKER_SERVICE_PORT",
        "CIRCUIT_BREAKER_UI_SERVICE_PORT_HTTP",
        "CIRCUIT_BREAKER_PORT",
        "CIRCUIT_BREAKER_UI_PORT_80_TCP",
        "CIRCUIT_BREAKER_PORT_80_TCP_ADDR",
        "CIRCUIT_BREAKER_PORT_53_UDP_PROTO",
    ];
    drop(Settings::default().with_vars(names.map(|name| (name, "tcp://10.0.0.1:80"))).unwrap());
}

#[test]
fn a_wrong_variable_is_refused_with_name_key_and_value() {
    for (name, value, says) in [
        (
            "DEFAULT_PROBES",
            "many",
            "defaults.probes is \"many\", allowed is a whole number that is not negative, up to 4294967295",
        ),
        ("DEFAULT_PROBES", "0", "defaults.probes is 0, allowed is 1 to 10000"),
        ("CIRCUIT_PAYMENTS_SHADOW", "yes", "circuits.payments.shadow is \"yes\", allowed is true or false"),
        ("PERSISTENCE", "1", "persistence.enabled is \"1\", allowed is true or false"),
        ("DEFAULT_WINDOW", "{ calls = ", "is not a valid inline table of TOML: "),
        (
            "DEFAULT_WINDOW",
            "{ calls = 5 }\nother = 1",
            "is not a valid inline table of TOML: more text follows the table",
        ),
        ("CONFIG", "x = 1", "unknown key `x`"),
        ("CONFIG", "{\"x\": 1}", "unknown key `x`"),
    ] {
        let name = format!("CIRCUIT_BREAKER_{name}");
        let error = toml("[circuits.payments]").with_vars([(&name, value)]).unwrap_err();
        assert!(error.to_string().starts_with(&format!("environment variable {name}: {says}")), "{error}");
    }
    let error = Settings::default().with_vars([("CIRCUIT_BREAKER_CONFIG", "/no/such/file.toml")]).unwrap_err();
    let says = "/no/such/file.toml, named by environment variable CIRCUIT_BREAKER_CONFIG: cannot be read: ";
    assert!(error.to_string().starts_with(says), "{error}");
}

#[cfg(unix)]
#[test]
fn a_variable_that_is_no_text_is_refused() {
    use std::ffi::OsString;
    use std::os::unix::ffi::OsStringExt as _;

    let broken = |text: &str| OsString::from_vec([text.as_bytes(), b"\xff"].concat());
    let error =
        Settings::default().with_vars([(OsString::from("CIRCUIT_BREAKER_STORE"), broken("file:"))]).unwrap_err();
    assert_eq!(error.to_string(), "environment variable CIRCUIT_BREAKER_STORE: is not valid UTF-8");
    assert!(Settings::default().with_vars([(broken("CIRCUIT_BREAKER_STORE"), "file:data")]).is_err());
    drop(Settings::default().with_vars([(broken("PATH"), broken(""))]).unwrap());
}

#[test]
fn a_variable_that_two_circuits_share_is_refused() {
    let settings = toml("[circuits.a-b]\n[circuits.a_b]");
    let error = settings.with_vars([("CIRCUIT_BREAKER_CIRCUIT_A_B_PROBES", "1")]).unwrap_err();
    let says = "may mean circuits.a-b.probes or circuits.a_b.probes; set the key in CIRCUIT_BREAKER_CONFIG";
    assert!(error.to_string().contains(says), "{error}");
}

#[test]
fn a_variable_cannot_repair_a_wrong_file_but_breaks_a_right_file() {
    assert!(Settings::from_toml("defaults.probes = 0").is_err(), "a file must be right by itself");
    let right = toml("defaults.window = { calls = 30 }");
    assert!(right.with_vars([("CIRCUIT_BREAKER_DEFAULT_MIN_CALLS", "31")]).is_err());
}
