//! Suggestions for misspelt names, which are the known names that a user probably meant.

/// Returns the name that is closest to `typed`, if it is close enough for a suggestion.
///
/// Upper and lower case are the same. A third of the letters may be wrong, because with more wrong letters the text is
/// another word. At least one letter may be wrong, and at most [`MOST_CHANGES`].
pub(crate) fn nearest<'a>(typed: &str, names: impl Iterator<Item = &'a str>) -> Option<String> {
    let limit = (typed.chars().count() / 3).clamp(1, MOST_CHANGES);
    // The typed name is changed to lower case once and not for each name, because a request may contain a name as long
    // as the request itself.
    let typed = folded(typed);
    let near = names.map(|name| (distance(&typed, name, limit), name)).filter(|(distance, _)| *distance <= limit);
    near.min().map(|(_, name)| name.to_owned())
}

/// Returns the number of letters to insert, remove, replace, or exchange with their neighbour (optimal string
/// alignment). A number above `limit` means only that the true number is above `limit` too.
fn distance(a: &[char], b: &str, limit: usize) -> usize {
    let b = folded(b);
    if a.len().abs_diff(b.len()) > limit {
        return limit + 1;
    }
    let mut before: Vec<usize> = Vec::new();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, letter) in a.iter().enumerate() {
        let mut next = vec![i + 1];
        for (j, other) in b.iter().enumerate() {
            let mut cost = (row[j] + usize::from(letter != other)).min(row[j + 1] + 1).min(next[j] + 1);
            if i > 0 && j > 0 && *letter == b[j - 1] && a[i - 1] == *other {
                cost = cost.min(before[j - 1] + 1);
            }
            next.push(cost);
        }
        before = std::mem::replace(&mut row, next);
    }
    row[b.len()]
}

fn folded(text: &str) -> Vec<char> {
    text.chars().flat_map(char::to_lowercase).collect()
}

/// The largest number of wrong letters. More wrong letters are no typing mistake, even in a long word.
const MOST_CHANGES: usize = 8;

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn a_typo_finds_the_intended_name_and_a_foreign_word_finds_none() {
        let names = ["payments", "payouts", "orders", "db"];
        let near = |typed: &str| nearest(typed, names.into_iter());
        for (typed, meant) in
            [("paymets", "payments"), ("pyaments", "payments"), ("Orders", "orders"), ("payout", "payouts")]
        {
            assert_eq!(near(typed).as_deref(), Some(meant), "{typed}");
        }
        for typed in ["inventory", "x", "", "payments-of-the-second-kind"] {
            assert_eq!(near(typed), None, "{typed}");
        }
    }

    #[test]
    fn the_nearest_word_needs_the_fewest_changes() {
        let keys = ["failure_rate", "failure_score", "probes", "probes_in_flight"];
        for (word, near) in [
            ("failure_rat", "failure_rate"),
            ("failureRate", "failure_rate"),
            ("FAILURE-RATE", "failure_rate"),
            ("failure_socre", "failure_score"),
            ("probe", "probes"),
            ("porbes", "probes"),
            ("probes_inflight", "probes_in_flight"),
        ] {
            assert_eq!(nearest(word, keys.into_iter()).as_deref(), Some(near), "{word}");
        }
        for word in ["", "x", "threshold", &"failure".repeat(100_000)] {
            assert_eq!(nearest(word, keys.into_iter()), None);
        }
    }
}
