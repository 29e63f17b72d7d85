//! Hostile inputs of six kinds, counted, each from a fixed seed: records, headers, settings, addresses, requests and keys.
//!
//! `HOSTILE` in the environment is the number of inputs of each kind (1000), and `HOSTILE_SEED` the seed. Each input has dice of
//! its own, made of the seed and the number of the input. A failure prints both. `HOSTILE_FROM` begins at a number, so that a
//! failure can be repeated alone. `scripts/hostile` runs large numbers and prints the table.

mod addresses;
mod dice;
mod headers;
mod keys;
mod records;
mod requests;
mod settings;

use std::panic::{AssertUnwindSafe, catch_unwind};

use dice::Dice;

/// Makes the inputs of a kind, and prints their row of the table. `one` makes one input and returns the broken rule, if there
/// is one. A kind whose inputs are expensive makes one input in `cost`.
fn attack(kind: &str, cost: u64, mut one: impl FnMut(&mut Dice) -> Result<(), String>) {
    let inputs = (number("HOSTILE").unwrap_or(1_000) / cost).max(1);
    let (seed, from) = (number("HOSTILE_SEED").unwrap_or(SEED), number("HOSTILE_FROM").unwrap_or(0));
    for input in from..from + inputs {
        let mut dice = Dice::new(seed, input);
        let broken = match catch_unwind(AssertUnwindSafe(|| one(&mut dice))) {
            Ok(Ok(())) => continue,
            Ok(Err(broken)) => broken,
            Err(_) => "a panic, whose text is above".to_owned(),
        };
        println!("hostile: {kind} | {input} | {seed} | failed");
        panic!("{kind}: HOSTILE_SEED={seed} HOSTILE_FROM={input}: {}", broken.chars().take(2_000).collect::<String>());
    }
    println!("hostile: {kind} | {inputs} | {seed} | held");
}

/// Returns an error if a text is longer than `most` characters, has a character that forges a line, or has the secret of the inputs.
fn is_fit_to_show(text: &str, most: usize) -> Result<(), String> {
    if text.chars().count() > most {
        return Err(format!("a text of {} bytes, allowed are {most} characters: {text}", text.len()));
    }
    if let Some(c) = text.chars().find(|c| c.is_control() && *c != '\n' || FORGES.contains(c)) {
        return Err(format!("a text with {c:?}: {text:?}"));
    }
    if text.contains(SECRET) { Err(format!("a text with the secret: {text}")) } else { Ok(()) }
}

fn holds(rule: bool, text: impl FnOnce() -> String) -> Result<(), String> {
    if rule { Ok(()) } else { Err(text()) }
}

/// Fails if the inputs have not reached the rules. The inputs of a repeated failure need not reach all rules.
#[track_caller]
fn reached(rules: bool, text: &str) {
    assert!(rules || number("HOSTILE_FROM").is_some(), "{text}");
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().expect("a number"))
}

/// A few of the characters that forge, of each kind: directions, blanks that show nothing, and separators of lines.
const FORGES: [char; 6] = ['\u{202e}', '\u{200b}', '\u{2028}', '\u{2800}', '\u{feff}', '\u{ad}'];
/// The secret that inputs contain and that no text may show.
const SECRET: &str = "Zs3cretZ";
const SEED: u64 = 20_261_129;
