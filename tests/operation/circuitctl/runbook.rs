//! What the runbook tells people to type at night.

use super::Circuitctl;

const RUNBOOK: &str = include_str!("../../../docs/runbook.md");

/// The commands in it, in blocks and in sentences; those in tables may leave the program's name out.
fn commands() -> Vec<String> {
    let typed = RUNBOOK.lines().filter_map(|line| line.trim().strip_prefix("$ circuitctl ")).map(str::to_owned);
    // Every second piece stands between backticks.
    let prose = RUNBOOK.lines().filter(|line| !line.trim().starts_with("```"));
    let quoted = prose.flat_map(|line| line.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>());
    let named = quoted.filter_map(|text| match text.strip_prefix("circuitctl ") {
        Some(command) => Some(command.to_owned()),
        None => text.contains(" NAME ").then_some(text),
    });
    typed.chain(named).map(|command| command.split(" | ").next().unwrap_or_default().to_owned()).collect()
}

/// Splits as a shell does, as far as the runbook goes.
fn words(command: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quoted = false;
    for c in command.chars() {
        match c {
            '\'' => quoted = !quoted,
            ' ' if !quoted => words.push(String::new()),
            c => words.last_mut().unwrap().push(c),
        }
    }
    words
}

#[test]
fn every_command_of_the_runbook_can_be_typed() {
    let commands = commands();
    assert!(commands.len() >= 25, "{commands:?}");
    for command in commands {
        let words = words(&command);
        let arguments: Vec<&str> = words.iter().map(String::as_str).collect();
        let said = Circuitctl::on("file:/nowhere").run(&arguments);
        // The store is not there: that is all that is wrong with it.
        assert_eq!(said.code, 4, "{command}: {said:?}");
    }
}

#[test]
fn the_runbook_has_the_exit_codes_that_help_has() {
    let help = Circuitctl::on("").does(&["--help"]).split_whitespace().collect::<Vec<_>>().join(" ");
    let rows = RUNBOOK.lines().filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |")?.split_once(" | "));
    let codes: Vec<_> = rows.filter(|(code, _)| code.parse::<u8>().is_ok()).collect();
    assert_eq!(codes.len(), 8, "{codes:?}");
    for (code, meaning) in codes {
        let meaning = meaning.replace("the `--id`", "the --id");
        assert!(help.contains(&format!("{code} {meaning}")), "--help does not say: {code} {meaning}\n{help}");
    }
}
