//! The name that was probably meant.

/// Returns the name that is closest to what was typed, if one is close.
pub(super) fn nearest<'a>(typed: &str, names: impl Iterator<Item = &'a str>) -> Option<String> {
    // A third of the letters wrong is another word; and of any length beyond that nobody types.
    let limit = (typed.chars().count() / 3).clamp(1, 8);
    // Once, not for each name: what a request asks for may be as long as a request can be.
    let typed = folded(typed);
    let near = names.map(|name| (distance(&typed, name, limit), name)).filter(|(distance, _)| *distance <= limit);
    near.min().map(|(_, name)| name.to_owned())
}

/// How many letters must be added, left out, changed or swapped with their neighbour, if it is no more than `limit`
/// (optimal string alignment).
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

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn a_typo_finds_the_name_that_was_meant_and_a_stranger_none() {
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
}
