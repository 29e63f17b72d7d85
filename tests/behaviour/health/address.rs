//! Addresses of health endpoints in the configuration and in settings.

use tower_circuit_breaker::config::ConfigBuilder;
use tower_circuit_breaker::{Circuit, Config};

use crate::rig::{millis, secs};

fn refused(change: impl FnOnce(ConfigBuilder) -> ConfigBuilder) -> String {
    change(Config::builder("payments")).build().unwrap_err().to_string()
}

#[test]
fn the_settings_of_health_probes_have_ranges_and_need_an_address() {
    let address = |settings: ConfigBuilder| settings.health("http://payments/healthz");
    for (refused, error) in [
        (refused(|set| address(set).health_every(millis(9))), "health_every is 9 ms, allowed is 10 ms to 3600 s"),
        (refused(|set| address(set).health_deadline(secs(61))), "health_deadline is 61 s, allowed is 1 ms to 60 s"),
        (
            refused(|set| set.health_required(true)),
            "health is not set, allowed is an address, beside the other settings of health probes",
        ),
        (
            refused(|set| set.health("https://user:secret@payments/healthz")),
            "health is `https://user:***@payments/healthz`, allowed is an address without TLS, or a closure with your own client \
             (`Circuit::probe_with`)",
        ),
    ] {
        assert_eq!(refused, error);
    }
}

#[test]
fn an_address_in_the_configuration_is_explained_and_makes_a_probe() {
    let config = Config::builder("payments").health("grpc://payments:50051").health_required(true).build().unwrap();
    let explained = config.explain();
    assert!(explained.contains("`grpc://payments:50051` is checked every 1 s, with a deadline of 1 s."), "{explained}");
    assert!(explained.contains("No call is a probe until a check has succeeded"), "{explained}");
    let probe = format!("{:?}", Circuit::new(config).health_probe().unwrap());
    assert!(probe.contains("every: 1s") && probe.contains("required: true"), "{probe}");
    assert!(Circuit::new(Config::new("payments").unwrap()).health_probe().is_none());
}

#[cfg(feature = "settings")]
#[test]
fn a_settings_file_has_the_address_and_the_times_of_health_probes() {
    use tower_circuit_breaker::settings::Settings;
    let file = "[defaults]\nhealth_every = '2 s'\n[circuits.payments]\nhealth = 'http://payments/healthz'\nhealth_deadline = '100 ms'\n\
        health_required = true\n[circuits.orders]\nhealth = false\n[circuits.users]\nprobes = 1";
    let settings = Settings::from_toml(file).unwrap();
    let explained = settings.circuit("payments").unwrap().explain();
    assert!(
        explained.contains("`http://payments/healthz` is checked every 2 s, with a deadline of 100 ms."),
        "{explained}"
    );
    for other in ["orders", "users", "unnamed"] {
        assert!(!settings.circuit(other).unwrap().explain().contains("is checked"), "{other} has no address");
    }
    let wrong = Settings::from_toml("[circuits.payments]\nhealth = 5").unwrap_err().to_string();
    assert!(wrong.contains("circuits.payments.health is 5, allowed is an address like"), "{wrong}");
}
