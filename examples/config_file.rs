//! Circuits and their store from a file and the environment: `cargo run --features full --example config_file`.
//!
//! Set `CIRCUIT_BREAKER_CIRCUIT_PAYMENTS_PROBES=1` to replace a value, or `CIRCUIT_BREAKER_DEFAULT_PROBE=1` to see the answer to a slip.

use std::error::Error;

use tower_circuit_breaker::settings::Settings;

/// With [`Settings::from_file`], it need not be compiled in.
const FILE: &str = include_str!("config_file.toml");

fn main() -> Result<(), Box<dyn Error>> {
    // An `unwrap` here would show the error as Rust sees it, not as people do.
    let settings = match Settings::from_toml(FILE).and_then(Settings::with_env) {
        Ok(settings) => settings,
        Err(error) => {
            eprintln!("{error}");
            std::process::exit(1);
        }
    };

    // Nothing is opened yet: that does `registry.restore(..)`, or `start`.
    let registry = settings.registry()?.build()?;
    for config in settings.circuits() {
        println!("{}", registry.circuit(config)?.config().explain());
    }
    // A circuit without a table has the settings of the longest pattern that covers its name, or the defaults.
    for name in ["host:b.example.com", "orders"] {
        println!("{}", registry.circuit(settings.circuit(name)?)?.config().explain());
    }

    match settings.persistence() {
        Some(kept) => println!("The circuits are kept in {}.\n", kept.store()),
        None => println!("The circuits are not kept.\n"),
    }
    println!("What the registry says of its store: {:?}\n", registry.store_status());

    println!("What is refused, and how:");
    for slip in [
        "[circuits.payments]\nfailure_rat = 0.5",
        "[circuits.payments]\nprobes = 0",
        "[circuits.payments]\nopen_for = 60",
        "[persistence]\nstore = \"mysql://ana:s3cret@db/breakers\"",
        "[circuits.payments]\nprobes = 3\nprobes = 4",
        "[circuits.'host?']\nprobes = 3",
        "[groups.touchy]\n[circuits.payments]\ngroup = 'tuchy'",
        "[defaults]\nopen_for = { base = '5 s' }\n[circuits.payments]\nopen_for = { max = '2 s' }",
    ] {
        match Settings::from_toml(slip) {
            Ok(_) => println!("  nothing"),
            Err(error) => println!("  {error}"),
        }
    }
    if let Err(error) = Settings::default().with_vars([("CIRCUIT_BREAKER_PERSISTANCE", "true")]) {
        println!("  {error}");
    }
    // What only the program that reads it can know.
    match Settings::from_toml("[persistence]\nenabled = true\nstore = \"redis://:s3cret@db\"")?.registry() {
        Ok(_) => println!("  nothing: the feature `redis` is compiled in"),
        Err(error) => println!("  {error}"),
    }
    Ok(())
}
