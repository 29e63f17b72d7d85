//! Splits a Rust source into code, comments, literals and blanks.
//!
//! The judges of this test program read sources with these few rules and without a parser, because then the program needs
//! only std.

/// The kind of a piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A word or a piece of punctuation.
    Code,
    /// A comment from `//` to the end of the line, or from `/*` to `*/`.
    Comment,
    /// A string or a character.
    Literal,
    Blank,
}

/// A piece of a source, with the line where the piece begins.
#[derive(Debug)]
pub(crate) struct Piece<'a> {
    pub(crate) line: usize,
    pub(crate) kind: Kind,
    pub(crate) text: &'a str,
}

/// Splits a source into its pieces, which together are the whole source.
pub(crate) fn pieces(source: &str) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let (mut rest, mut line) = (source, 1);
    while let Some(first) = rest.chars().next() {
        let word = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
        let behind_word = rest[word..].trim_start_matches('#');
        let (length, kind) = if rest.starts_with("//") {
            (rest.find('\n').unwrap_or(rest.len()), Kind::Comment)
        } else if rest.starts_with("/*") {
            (rest.find("*/").map_or(rest.len(), |end| end + 2), Kind::Comment)
        } else if matches!(&rest[..word], "r" | "br" | "cr") && behind_word.starts_with('"') {
            let open = rest.len() - behind_word.len();
            let close = format!("\"{}", &rest[word..open]);
            let end = rest[open + 1..].find(&close).map_or(rest.len(), |end| open + 1 + end + close.len());
            (end, Kind::Literal)
        } else if first == '"' || is_char_literal(rest) {
            (quoted(rest, first), Kind::Literal)
        } else if word > 0 {
            (word, Kind::Code)
        } else if first.is_whitespace() {
            (first.len_utf8(), Kind::Blank)
        } else {
            (if rest.starts_with("::") { 2 } else { first.len_utf8() }, Kind::Code)
        };
        pieces.push(Piece { line, kind, text: &rest[..length] });
        line += rest[..length].matches('\n').count();
        rest = &rest[length..];
    }
    pieces
}

/// `'x'` and `'\n'`, not the lifetime `'x`.
fn is_char_literal(rest: &str) -> bool {
    let mut chars = rest.chars();
    chars.next() == Some('\'') && (chars.next() == Some('\\') || chars.next() == Some('\''))
}

fn quoted(rest: &str, quote: char) -> usize {
    let mut escaped = false;
    let mut closes = |c| {
        let closes = c == quote && !escaped;
        escaped = c == '\\' && !escaped;
        closes
    };
    rest.char_indices().skip(1).find(|(_, c)| closes(*c)).map_or(rest.len(), |(at, _)| at + 1)
}
