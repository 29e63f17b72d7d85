//! Tables and text for a terminal, with aligned columns, colours, and escapes for control characters.

use crate::is_terminal;
use crate::shown::forges;

/// The colours of states. Each state is also printed as a word, so that a terminal without colours shows the state too.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Colour {
    None,
    Red,
    Yellow,
    Green,
}

/// Returns true if stdout is a terminal with colours and `NO_COLOR` is not set (<https://no-color.org>).
pub(crate) fn colour() -> bool {
    let is = |name: &str, text: &str| std::env::var_os(name).is_some_and(|value| value == text);
    is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()) && !is("TERM", "dumb")
}

/// Returns the text with the control characters for a colour. The control characters have no width on the terminal, so
/// callers must measure the text without a colour to align columns.
pub(crate) fn painted(text: &str, colour: Colour) -> String {
    let code = match colour {
        Colour::None => return text.to_owned(),
        Colour::Red => 31,
        Colour::Yellow => 33,
        Colour::Green => 32,
    };
    format!("\u{1b}[{code}m{text}\u{1b}[0m")
}

/// Cuts a long text, and escapes all characters that move the cursor, end the line, change the direction of the text or
/// are invisible. This protects the terminal from texts that other programs have written to the store.
pub(crate) fn plain(text: &str) -> String {
    bounded(text, LONGEST_TEXT)
}

/// Returns the text with deceptive characters escaped. If the escaped text has more than `limit` characters, the text
/// is cut and ends with `…`.
fn bounded(text: &str, limit: usize) -> String {
    let (mut plain, mut length) = (String::new(), 0);
    for c in text.chars() {
        let escape = forges(c).then(|| c.escape_unicode());
        length += escape.as_ref().map_or(1, ExactSizeIterator::len);
        if length > limit {
            plain.push('…');
            break;
        }
        match escape {
            Some(escape) => plain.extend(escape),
            None => plain.push(c),
        }
    }
    plain
}

/// A text table with a row of headings. Each column except the last is as wide as the widest text in the column. One
/// long text would make all rows wider, so texts in these columns have a low limit. The last column is not padded, so
/// texts there have a higher limit.
pub(crate) struct Table {
    rows: Vec<Vec<(String, Colour)>>,
}

impl Table {
    pub(crate) fn new(heading: &[&str]) -> Self {
        Self { rows: vec![heading.iter().map(|&text| (text.to_owned(), Colour::None)).collect()] }
    }

    pub(crate) fn row(&mut self, cells: Vec<(String, Colour)>) {
        let last = cells.len() - 1;
        let limit = |column| if column == last { LONGEST_TEXT } else { LONGEST_CELL };
        let cells = cells.into_iter().enumerate();
        self.rows.push(cells.map(|(column, (text, colour))| (bounded(&text, limit(column)), colour)).collect());
    }

    /// Returns the lines of the table, each indented by `indent` spaces.
    pub(crate) fn lines(&self, indent: usize, colours: bool) -> String {
        let width = |column: usize| self.rows.iter().map(|row| row[column].0.chars().count()).max().unwrap_or(0);
        let columns = self.rows[0].len();
        let widths: Vec<_> = (0..columns).map(|column| if column + 1 < columns { width(column) } else { 0 }).collect();
        let mut text = String::new();
        for row in &self.rows {
            text.push_str(&" ".repeat(indent));
            for (column, ((cell, colour), width)) in row.iter().zip(&widths).enumerate() {
                if column > 0 {
                    text.push_str("  ");
                }
                text.push_str(&painted(cell, if colours { *colour } else { Colour::None }));
                text.push_str(&" ".repeat(width.saturating_sub(cell.chars().count())));
            }
            text.push('\n');
        }
        text
    }
}

/// The largest number of characters of a text in a padded column. The longest name of a circuit fits.
const LONGEST_CELL: usize = 200;
/// The largest number of characters of a text that is not in a padded column. The reasons that this crate writes are
/// shorter.
const LONGEST_TEXT: usize = 1_000;
