//! Functions that cut, escape and clean texts from outside before an error, a log or a terminal shows the texts.
//!
//! Callers, operators, stores and settings files supply texts of any length. Such a text can contain a password, or
//! invisible characters that make the text look like another text. Only this module has a list of these characters, so
//! that every place in the crate treats the same characters as deceptive. The module depends on no other module, so
//! that every other module can use its functions. The program `circuitctl` compiles the same file.

#[path = "shown/mask.rs"]
pub(crate) mod mask;

pub(crate) use mask::masked;

/// Returns true for a deceptive character, which ends a line, changes the direction of the text, or cannot be seen. A
/// text with such a character can look like another text.
///
/// The list has the general categories Cc, Cf, Zl and Zp of Unicode, and the property `Default_Ignorable_Code_Point`.
/// The list also has characters that look blank but are not white space. Spaces are not in the list, because the text
/// of an operator may have several words.
pub(crate) fn forges(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{34f}' | '\u{600}'..='\u{605}' | '\u{61c}' | '\u{6dd}' | '\u{70f}' | '\u{890}'..='\u{891}'
            | '\u{8e2}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}' | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{2800}' | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{110bd}'
            | '\u{110cd}' | '\u{13430}'..='\u{1343f}' | '\u{13441}'..='\u{13442}' | '\u{16fe4}'
            | '\u{1bca0}'..='\u{1bca3}' | '\u{1d159}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

/// Returns true if the name of a circuit may contain the character. A name has no spaces, because a space would end the
/// name in a log line.
pub(crate) fn is_printable(c: char) -> bool {
    !c.is_whitespace() && !forges(c)
}

/// Returns the first `limit` characters of the text. Deceptive characters are replaced by spaces.
pub(crate) fn one_line(text: &str, limit: usize) -> String {
    text.chars().take(limit).map(|c| if forges(c) { ' ' } else { c }).collect()
}

/// Returns a text from outside in a form that is safe in an error. Passwords in addresses are masked, the text is
/// escaped, and at most 200 characters are kept.
pub(crate) fn quoted(text: &str) -> String {
    // The text is cut before the search for a password, because a request can contain a text of megabytes.
    let start = cut(text, LONGEST_SEARCHED);
    if start.contains("//") { escaped(&masked(start), LONGEST_QUOTED) } else { escaped(start, LONGEST_QUOTED) }
}

/// Returns the text with escapes for quotes, backslashes and deceptive characters. A result of more than `limit`
/// characters is cut and ends with `…`.
pub(crate) fn escaped(text: &str, limit: usize) -> String {
    let (mut shown, mut length) = (String::new(), 0);
    for c in text.chars() {
        let before = shown.len();
        if forges(c) && !c.is_control() {
            shown.extend(c.escape_unicode());
        } else {
            shown.extend(c.escape_debug());
        }
        length += shown[before..].chars().count();
        if length > limit {
            shown.truncate(before);
            shown.push('…');
            break;
        }
    }
    shown
}

/// Returns the first `limit` characters of the text.
pub(crate) fn cut(text: &str, limit: usize) -> &str {
    text.char_indices().nth(limit).map_or(text, |(end, _)| &text[..end])
}

/// The largest number of characters that an error shows of a text. Every valid name fits into this limit.
const LONGEST_QUOTED: usize = 200;
/// The largest number of characters of a text that are searched for a password. The rest of the text is not shown.
const LONGEST_SEARCHED: usize = 1_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_invisible_or_directional_character_forges_and_visible_ones_do_not() {
        for c in ('\u{0}'..='\u{1f}').chain('\u{7f}'..='\u{9f}').chain('\u{e0000}'..='\u{e0fff}') {
            assert!(forges(c), "{c:?}");
        }
        // Each character comes from another block: soft hyphen, joiners, marks of direction, separators, blanks,
        // fillers, selectors.
        for c in "\u{ad}\u{34f}\u{61c}\u{115f}\u{1160}\u{17b4}\u{180e}\u{200b}\u{200d}\u{200e}\u{2028}\u{2029}\u{202e}\u{2060}\u{2066}\
                  \u{2800}\u{3164}\u{fe0f}\u{feff}\u{ffa0}\u{fff9}\u{1bca0}\u{1d159}\u{1d173}"
            .chars()
        {
            assert!(forges(c) && !is_printable(c), "{c:?}");
            assert_eq!(one_line(&format!("a{c}b"), 9), "a b");
            assert_eq!(escaped(&c.to_string(), 10), c.escape_unicode().to_string());
        }
        for c in " aZ0~-_/*é中🦀ߐ\u{301}\u{2801}\u{a0}\u{3000}".chars() {
            assert!(!forges(c), "{c:?}");
        }
        assert!([' ', '\u{a0}', '\u{3000}', '\u{2003}'].into_iter().all(|c| !is_printable(c)));
    }

    #[test]
    fn a_quoted_text_is_bounded_escaped_and_without_a_password() {
        assert_eq!(quoted("payments"), "payments");
        assert_eq!(quoted("a\n\u{1b}[2J\"\u{202e}"), "a\\n\\u{1b}[2J\\\"\\u{202e}");
        assert_eq!(quoted("tenant:ana@example.com"), "tenant:ana@example.com");
        assert_eq!(quoted("redis://:pa\\ss@h"), "redis://:***@h");
        for text in ["x".repeat(10 << 20), "\u{e0001}".repeat(5_000), format!("redis://:{}@h", "s".repeat(5_000))] {
            let quoted = quoted(&text);
            assert!(quoted.chars().count() <= LONGEST_QUOTED + 1 && !quoted.contains("sss"), "{quoted}");
        }
        assert_eq!(quoted(&"n".repeat(200)).len(), 200);
    }
}
