//! What somebody who misspelt a key probably meant.

use super::error::SettingsError;
use super::mask::quoted;

/// Refuses a key, with the nearest of those that are known.
pub(super) fn unknown(origin: &str, table: &str, key: &str, path: &str, known: &[&str]) -> SettingsError {
    let place = if table.is_empty() { String::new() } else { format!(" in {table}") };
    let meant = meant(key, known.iter().copied());
    let says = format!("unknown key `{}`{place}{meant} allowed are {}", shown(key), known.join(", "));
    SettingsError::of(origin, path, says)
}

/// Says `, did you mean …?`, or just a comma.
pub(super) fn meant<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> String {
    nearest(word, known).map_or(",".to_owned(), |near| format!(", did you mean `{near}`?"))
}

/// A key as an error shows it, between backticks.
pub(super) fn shown(key: &str) -> String {
    let quoted = quoted(key);
    quoted.trim_matches('"').to_owned()
}

/// Returns the known word that it takes the fewest changes to get to, if that is no more than a third of the letters.
fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let word: Vec<char> = word.chars().take(LONGEST).flat_map(char::to_lowercase).collect();
    let (changes, near) = known.map(|known| (distance(&word, &known.to_lowercase()), known)).min()?;
    (changes <= (word.len() / 3).max(1)).then_some(near)
}

/// The number of letters to insert, remove, replace, or exchange with their neighbour.
fn distance(a: &[char], b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let (mut before, mut last): (Vec<usize>, Vec<usize>) = (Vec::new(), (0..=b.len()).collect());
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let replaced = last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut fewest = replaced.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                fewest = fewest.min(before[j - 2] + 1);
            }
            row.push(fewest);
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

/// Longer words are no slips of a finger, and the time grows with the square.
const LONGEST: usize = 300;

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: [&str; 4] = ["failure_rate", "failure_score", "probes", "probes_in_flight"];

    #[test]
    fn the_nearest_word_is_the_one_with_the_fewest_changes() {
        for (word, near) in [
            ("failure_rat", "failure_rate"),
            ("failureRate", "failure_rate"),
            ("FAILURE-RATE", "failure_rate"),
            ("failure_socre", "failure_score"),
            ("probe", "probes"),
            ("porbes", "probes"),
            ("probes_inflight", "probes_in_flight"),
        ] {
            assert_eq!(nearest(word, KNOWN.into_iter()), Some(near), "{word}");
        }
        for word in ["", "x", "threshold", &"failure".repeat(100_000)] {
            assert_eq!(nearest(word, KNOWN.into_iter()), None);
        }
    }
}
