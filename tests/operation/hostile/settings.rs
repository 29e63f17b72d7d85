//! Files and variables of settings that anybody wrote.

use tower_circuit_breaker::settings::Settings;

use super::{Dice, SECRET, attack, is_fit_to_show, reached};

const FILE: &str = include_str!("../../../examples/config_file.toml");

const VARIABLES: [&str; 11] = [
    "CIRCUIT_BREAKER_CONFIG",
    "CIRCUIT_BREAKER_STORE",
    "CIRCUIT_BREAKER_CACHE",
    "CIRCUIT_BREAKER_PERSISTENCE",
    "CIRCUIT_BREAKER_INSTANCE",
    "CIRCUIT_BREAKER_FLEET",
    "CIRCUIT_BREAKER_QUORUM_SHARE",
    "CIRCUIT_BREAKER_DEFAULT_WINDOW",
    "CIRCUIT_BREAKER_DEFAULT_PROBES",
    "CIRCUIT_BREAKER_DISABLED",
    "CIRCUIT_BREAKER_STORES",
];

/// Rules: an error is one bounded line, and neither an error nor the settings show the password of a store.
#[test]
fn mutated_settings_break_no_rule() {
    let address = format!("postgres://ana:{SECRET}@db:5432/x?sslmode=require");
    let file = FILE.replace("sqlite://data/circuit_breaker.db", &address);
    assert!(file.contains(&address), "the example has another store");
    let (mut accepted, mut refused) = (0, 0);
    attack("settings", 1, |dice| {
        let text = dice.mutated_text(&file);
        let results = match dice.below(3) {
            0 => Settings::from_toml(&text),
            1 => Settings::from_json(&text),
            _ => Settings::default().with_vars(variables(dice, &address)),
        };
        match results {
            Ok(settings) => {
                accepted += 1;
                is_fit_to_show(&masked(&format!("{settings:?}")), 1 << 20)
            }
            Err(error) => {
                refused += 1;
                is_fit_to_show(&masked(&error.to_string()), 6_000)?;
                is_fit_to_show(&masked(&format!("{error:?}")), 12_000)
            }
        }
    });
    reached(accepted > 0 && refused > 0, &format!("{accepted} settings were accepted, and {refused} refused"));
}

/// A mutation of the file may move the secret out of its address. Only the secret of a whole address must be masked.
fn masked(text: &str) -> String {
    if text.contains(&format!("ana:{SECRET}@")) { text.to_owned() } else { text.replace(SECRET, "") }
}

fn variables(dice: &mut Dice, address: &str) -> Vec<(String, String)> {
    let value = |dice: &mut Dice| match dice.below(3) {
        0 => address.to_owned(),
        1 => format!("{}{address}", dice.pick(&["", " ", "\"", "'", "url="])),
        _ => dice.text(),
    };
    (0..=dice.below(4)).map(|_| (dice.pick(&VARIABLES).to_owned(), value(dice))).collect()
}
