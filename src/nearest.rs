//! Suggestions for misspelt names ("did you mean"), chosen by edit distance.
//!
//! A remote caller can send a misspelt name of any length, and can create keyed circuits with many names. Therefore the
//! work for a suggestion is limited. The unit of work is a computed cell of the table of edit distances. Only a band of
//! the table is computed, and a comparison ends when the two names can no longer be near. The limit for one suggestion
//! is about a millisecond of work, which is short enough for an async task.

/// Returns the name with the smallest edit distance to `typed`, or `None` if no name is near enough for a suggestion.
///
/// Upper and lower case are equal. A name is near enough if at most a third of the letters of `typed` are wrong. One
/// wrong letter is always allowed, and more than [`MOST_CHANGES`] wrong letters are never allowed. If the names need
/// more work than [`Work::of_one`] allows, only the first names are compared.
pub(crate) fn nearest<'a>(typed: &str, names: impl Iterator<Item = &'a str>) -> Option<String> {
    Work::of_one().nearest(typed, names)
}

/// The amount of work that is left for comparisons, in cells of the table of edit distances.
#[derive(Debug)]
pub(crate) struct Work {
    cells: usize,
}

impl Work {
    /// Returns the amount of work that is allowed for one suggestion.
    pub(crate) const fn of_one() -> Self {
        Self { cells: 1 << 20 }
    }

    /// Returns the amount of work that is allowed for all suggestions in one report of misspelt names.
    pub(crate) const fn of_report() -> Self {
        Self { cells: 1 << 25 }
    }

    /// Returns the name with the smallest edit distance to `typed`, as the function [`nearest`] does. When the allowed
    /// work is used up, the remaining names are not compared.
    pub(crate) fn nearest<'a>(&mut self, typed: &str, names: impl Iterator<Item = &'a str>) -> Option<String> {
        // A text of more than `LONGEST` letters cannot be a misspelt name. The rest of such a text is not read, because
        // a text can be as long as a request.
        let typed = folded(typed.chars().take(LONGEST + 1));
        if typed.len() > LONGEST {
            return None;
        }
        let mut limit = (typed.len() / 3).clamp(1, MOST_CHANGES);
        let (mut near, mut table) = (None::<(usize, &str)>, Table::default());
        for name in names {
            // Counting the letters of a name costs some work, even if the name is not compared.
            let Some(left) = self.cells.checked_sub(EACH) else { break };
            self.cells = left;
            if name.len() > LONGEST * 4 || name.chars().count().abs_diff(typed.len()) > limit {
                continue;
            }
            let (distance, cells) = table.distance(&typed, name, limit);
            self.cells = self.cells.saturating_sub(cells);
            if distance <= limit && near.is_none_or(|near| (distance, name) < near) {
                near = Some((distance, name));
                // Only a name with at most this distance can still be the result. The smaller limit makes the band of
                // the table narrower.
                limit = distance;
            }
        }
        near.map(|(_, name)| name.to_owned())
    }
}

/// Buffers for one name and for three rows of the table of edit distances. The buffers are reused, so that further
/// comparisons allocate nothing.
#[derive(Debug, Default)]
struct Table {
    name: Vec<char>,
    rows: [Vec<usize>; 3],
}

impl Table {
    /// Returns the edit distance of the two names and the number of computed cells. The distance is the smallest number
    /// of steps that make the names equal. A step inserts, removes or replaces a letter, or swaps two neighbouring
    /// letters (optimal string alignment). If the true distance is above `limit`, the result is some number above
    /// `limit`.
    fn distance(&mut self, typed: &[char], name: &str, limit: usize) -> (usize, usize) {
        let Self { name: letters, rows: [before, row, next] } = self;
        letters.clear();
        letters.extend(folded_letters(name.chars()));
        let (far, width) = (limit + 1, letters.len());
        for row in [&mut *before, row, next] {
            row.clear();
            row.resize(width + 1, far);
        }
        (0..=width.min(limit)).for_each(|j| row[j] = j);
        let mut cells = width;
        let mut least_before = 0;
        for (i, letter) in typed.iter().enumerate() {
            // Cells outside of the band have a distance above `limit`. Their value stays `far`.
            let (start, end) = (i.saturating_sub(limit), width.min(i + limit + 1));
            next[start] = if start == 0 { (i + 1).min(far) } else { far };
            let mut least = next[start];
            for j in start..end {
                let other = letters[j];
                let mut cost = (row[j] + usize::from(*letter != other)).min(row[j + 1] + 1).min(next[j] + 1);
                if i > 0 && j > 0 && *letter == letters[j - 1] && typed[i - 1] == other {
                    cost = cost.min(before[j - 1] + 1);
                }
                next[j + 1] = cost.min(far);
                least = least.min(cost);
            }
            if end < width {
                next[end + 1] = far;
            }
            cells += end.saturating_sub(start);
            // The comparison ends if all cells of two successive rows are above the limit. One row is not enough,
            // because a swap of neighbouring letters uses the row before the previous row.
            if least.min(std::mem::replace(&mut least_before, least)) > limit {
                return (far, cells);
            }
            std::mem::swap(before, row);
            std::mem::swap(row, next);
        }
        (row[width], cells)
    }
}

fn folded(letters: impl Iterator<Item = char>) -> Vec<char> {
    folded_letters(letters).collect()
}

/// Returns the letters in lower case. Each letter becomes exactly one letter, so that the number of letters does not
/// change.
fn folded_letters(letters: impl Iterator<Item = char>) -> impl Iterator<Item = char> {
    letters.map(|letter| letter.to_lowercase().next().unwrap_or(letter))
}

/// The largest number of wrong letters. Even in a long word, more wrong letters are probably not a typing mistake.
const MOST_CHANGES: usize = 8;
/// The largest number of letters in a text that is compared. The value is the largest length of a valid name, which is
/// 200, plus [`MOST_CHANGES`].
const LONGEST: usize = 208;
/// The number of cells by which each name reduces the allowed work, even if the name is not compared.
const EACH: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

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

    #[test]
    fn the_work_for_an_unknown_name_is_bounded_for_all_names() {
        // Names that end alike are far only in their last letters, so that no comparison ends early.
        let alike: Vec<_> = (0..20_000).map(|n| format!("{}{n:09}{n:09}", "x".repeat(182))).collect();
        let foreign: Vec<_> = (0..20_000).map(|n| format!("c{n}-{}", "x".repeat(190))).collect();
        for (names, typed) in [(&alike, "x".repeat(200)), (&foreign, "y".repeat(196)), (&foreign, "y".repeat(10 << 20))]
        {
            let (mut work, mut seen) = (Work::of_one(), 0);
            work.nearest(&typed, names.iter().map(String::as_str).inspect(|_| seen += 1));
            let most = if typed.len() > LONGEST { 0 } else { Work::of_one().cells / EACH };
            assert!(seen <= most, "{seen} names were compared");
        }
        let mut table = Table::default();
        let typed: Vec<_> = "x".repeat(200).chars().collect();
        let (_, cells) = table.distance(&typed, &alike[0], MOST_CHANGES);
        assert!(cells <= 200 + 200 * (2 * MOST_CHANGES + 1), "only a band of the table: {cells}");
        let (_, cells) = table.distance(&typed, &"y".repeat(200), MOST_CHANGES);
        assert!(cells <= 200 + 11 * (2 * MOST_CHANGES + 1), "a comparison of foreign words ends early: {cells}");
    }

    #[test]
    fn work_that_is_used_up_is_not_exceeded_by_later_names() {
        let mut work = Work { cells: 60 };
        assert_eq!(work.nearest("paymets", ["payments"].into_iter()).as_deref(), Some("payments"));
        assert_eq!(work.nearest("paymets", ["payments"].into_iter()), None);
    }

    /// The whole table, without a band.
    fn naive(a: &[char], b: &[char]) -> usize {
        let mut table = vec![vec![0; b.len() + 1]; a.len() + 1];
        for i in 0..=a.len() {
            for j in 0..=b.len() {
                table[i][j] = match (i, j) {
                    (0, _) => j,
                    (_, 0) => i,
                    _ => {
                        let replaced = table[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
                        let least = replaced.min(table[i - 1][j] + 1).min(table[i][j - 1] + 1);
                        let swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
                        if swapped { least.min(table[i - 2][j - 2] + 1) } else { least }
                    }
                };
            }
        }
        table[a.len()][b.len()]
    }

    #[test]
    fn the_distance_within_the_limit_is_that_of_the_whole_table() {
        // A generator of fixed numbers, so that a failure can be repeated.
        let mut state = 1_u32;
        let mut dice = move |sides: u32| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 16) % sides
        };
        let mut table = Table::default();
        for _ in 0..20_000 {
            let mut word =
                || (0..dice(9)).map(|_| char::from(b'a' + u8::try_from(dice(3)).unwrap())).collect::<Vec<_>>();
            let (a, b) = (word(), word());
            let (limit, whole) = (dice(5) as usize, naive(&a, &b));
            if a.len().abs_diff(b.len()) <= limit {
                let (distance, _) = table.distance(&a, &b.iter().collect::<String>(), limit);
                assert_eq!(distance.min(limit + 1), whole.min(limit + 1), "{a:?} {b:?} within {limit}");
            }
        }
    }
}
