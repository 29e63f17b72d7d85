//! Suggestions for misspelt names ("did you mean"), by the edit distance to the known names.
//!
//! The sender of a request can choose the names of keyed circuits, and can send a wrong name of any length. Therefore
//! the work for a suggestion is limited. The limit counts the cells of the table of edit distances, and not the names.
//! Only a band of the table is computed, and a comparison ends when the two names can no longer be near. The limit for
//! one suggestion is about a millisecond of work, so that a suggestion needs no thread of its own.

/// Returns the name that is closest to `typed`, if it is close enough for a suggestion.
///
/// Upper and lower case are the same. At most a third of the letters may be wrong, because a text with more wrong
/// letters is another word. One wrong letter is always allowed. More than [`MOST_CHANGES`] wrong letters are never
/// allowed. If all names need more work than [`Work::of_one`], only the first names are compared.
pub(crate) fn nearest<'a>(typed: &str, names: impl Iterator<Item = &'a str>) -> Option<String> {
    Work::of_one().nearest(typed, names)
}

/// The work that the remaining comparisons may do, in cells of the table of edit distances.
#[derive(Debug)]
pub(crate) struct Work {
    cells: usize,
}

impl Work {
    /// Returns the limit of the work for one suggestion.
    pub(crate) const fn of_one() -> Self {
        Self { cells: 1 << 20 }
    }

    /// Returns the limit of the work for all suggestions in one report of misspelt names.
    pub(crate) const fn of_report() -> Self {
        Self { cells: 1 << 25 }
    }

    /// Returns the name that is closest to `typed`, as [`nearest`] does, until the limit of the work is reached.
    pub(crate) fn nearest<'a>(&mut self, typed: &str, names: impl Iterator<Item = &'a str>) -> Option<String> {
        // A text of more than `LONGEST` letters is no misspelt name. Its end is not read, because it can be a whole
        // request.
        let typed = folded(typed.chars().take(LONGEST + 1));
        if typed.len() > LONGEST {
            return None;
        }
        let mut limit = (typed.len() / 3).clamp(1, MOST_CHANGES);
        let (mut near, mut table) = (None::<(usize, &str)>, Table::default());
        for name in names {
            // Each name costs some work, even if the name is not compared, because its letters are counted.
            let Some(left) = self.cells.checked_sub(EACH) else { break };
            self.cells = left;
            if name.len() > LONGEST * 4 || name.chars().count().abs_diff(typed.len()) > limit {
                continue;
            }
            let (distance, cells) = table.distance(&typed, name, limit);
            self.cells = self.cells.saturating_sub(cells);
            if distance <= limit && near.is_none_or(|near| (distance, name) < near) {
                near = Some((distance, name));
                // A later name must be at least as near, so that a smaller band of the table is enough.
                limit = distance;
            }
        }
        near.map(|(_, name)| name.to_owned())
    }
}

/// The buffers for the rows of the table, which are kept so that further comparisons allocate nothing.
#[derive(Debug, Default)]
struct Table {
    name: Vec<char>,
    rows: [Vec<usize>; 3],
}

impl Table {
    /// Returns the distance of the two names and the number of computed cells. The distance is the number of letters to
    /// insert, remove, replace, or exchange with their neighbour (optimal string alignment). If the returned distance
    /// is above `limit`, the true distance is above `limit`, but may be another number.
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
            // A cell outside the band has a distance above `limit`, so that its value stays `far`.
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
            // The comparison ends if all cells of two rows are above the limit. One row is not enough, because an
            // exchange of neighbours uses the row before the last.
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

/// Returns the letters in lower case. A letter stays one letter, so that the length of a name is known without a copy.
fn folded_letters(letters: impl Iterator<Item = char>) -> impl Iterator<Item = char> {
    letters.map(|letter| letter.to_lowercase().next().unwrap_or(letter))
}

/// The largest number of wrong letters. More wrong letters are no typing mistake, even in a long word.
const MOST_CHANGES: usize = 8;
/// The largest number of letters in a text that is compared, which is the length of the longest valid name plus
/// [`MOST_CHANGES`].
const LONGEST: usize = 208;
/// The work in cells that each name costs, even if the name is not compared.
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
