//! Text for a terminal: columns that are aligned, and nothing in them that is not text.

use crate::is_terminal;

/// The colours of states; each of them is in words, too.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Colour {
    None,
    Red,
    Yellow,
    Green,
}

/// Whether to use them: for a person, unless they say no (<https://no-color.org>).
pub(crate) fn colour() -> bool {
    let is = |name: &str, text: &str| std::env::var_os(name).is_some_and(|value| value == text);
    is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()) && !is("TERM", "dumb")
}

/// Paints a text that is padded already: what paints it has no width.
pub(crate) fn painted(text: &str, colour: Colour) -> String {
    let code = match colour {
        Colour::None => return text.to_owned(),
        Colour::Red => 31,
        Colour::Yellow => 33,
        Colour::Green => 32,
    };
    format!("\u{1b}[{code}m{text}\u{1b}[0m")
}

/// Returns the text with everything escaped that moves the cursor, ends the line or turns the text around. What a store holds was
/// written by others.
pub(crate) fn plain(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut plain, c| {
        if is_tame(c) {
            plain.push(c);
        } else {
            plain.extend(c.escape_unicode());
        }
        plain
    })
}

pub(crate) fn is_tame(c: char) -> bool {
    !c.is_control()
        && !matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

/// Rows under a heading, each column as wide as its widest cell. The last is as long as it is.
pub(crate) struct Table {
    rows: Vec<Vec<(String, Colour)>>,
}

impl Table {
    pub(crate) fn new(heading: &[&str]) -> Self {
        Self { rows: vec![heading.iter().map(|&text| (text.to_owned(), Colour::None)).collect()] }
    }

    pub(crate) fn row(&mut self, cells: Vec<(String, Colour)>) {
        self.rows.push(cells.into_iter().map(|(text, colour)| (plain(&text), colour)).collect());
    }

    /// Returns the lines, each indented by so much.
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
