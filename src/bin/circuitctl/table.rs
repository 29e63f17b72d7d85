//! Text for a terminal, with aligned columns, colours, and escapes for control characters.

use crate::is_terminal;

/// The colours of states. Each state is also printed as a word, so that a terminal without colours shows as much.
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

/// Returns the text in a colour. The caller pads the text before, because the control characters of the colour have no
/// width on the terminal.
pub(crate) fn painted(text: &str, colour: Colour) -> String {
    let code = match colour {
        Colour::None => return text.to_owned(),
        Colour::Red => 31,
        Colour::Yellow => 33,
        Colour::Green => 32,
    };
    format!("\u{1b}[{code}m{text}\u{1b}[0m")
}

/// Returns the text with escapes for all characters that move the cursor, end the line or reverse the direction of
/// text. The escapes protect the terminal, because other programs may have written the content of the store.
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

/// Returns true if the character has no effect on the terminal but its own glyph.
pub(crate) fn is_tame(c: char) -> bool {
    !c.is_control()
        && !matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

/// Rows under a heading. Each column is as wide as its widest cell, and the last column is not padded.
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

    /// Returns the lines, each indented by this number of spaces.
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
