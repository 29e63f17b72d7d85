//! The conversion of the name of a circuit to the name of its file, and back.
//!
//! Common characters are kept, so that a person can recognise the file of a circuit. All other bytes are escaped.

use std::fmt::Write;

use crate::digest::fnv1a;

/// Returns the name of a circuit's files, without an extension.
///
/// Two short names never have the same file, not even on a file system that ignores case. In a long name a hash
/// replaces the end. Therefore a reader of such a file must compare the name in the record.
pub(super) fn escape(name: &str) -> String {
    let mut stem = String::with_capacity(name.len());
    // The last place where the stem can be cut without splitting an escape.
    let mut head = 0;
    for (at, byte) in name.bytes().enumerate() {
        match byte {
            b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' => stem.push(byte.into()),
            // A leading dot is escaped, because it would make a hidden file or `..`.
            b'.' if at > 0 => stem.push('.'),
            _ => write!(stem, "%{byte:02X}").expect("a string can be written to"),
        }
        if stem.len() <= LONGEST - DIGEST {
            head = stem.len();
        }
    }
    if stem.len() > LONGEST {
        stem.truncate(head);
        write!(stem, "{CUT}{:032x}", fnv1a(name.bytes())).expect("a string can be written to");
    }
    stem
}

/// Returns the circuit of a file's name. Returns `None` if `escape` never returns this file name, or if the file name
/// is cut.
pub(super) fn unescape(stem: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(stem.len());
    let mut rest = stem.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || char::from(rest.next()?).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        bytes.push(digit()? << 4 | digit()?);
    }
    // If `escape` returns another file name for this circuit, this crate did not write the file.
    String::from_utf8(bytes).ok().filter(|name| escape(name) == stem)
}

/// Returns true if a hash replaces the end of the name.
pub(super) fn is_cut(stem: &str) -> bool {
    stem.contains(CUT)
}

/// The longest stem, in bytes. File systems allow 255 bytes, and the suffixes need the rest.
const LONGEST: usize = 120;
/// The length of the mark and the 32 hexadecimal digits of the hash.
const DIGEST: usize = 33;
/// The mark before a hash. A stem without a hash never contains the mark, because `escape` escapes this character.
const CUT: char = '~';

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escaped_names_stay_readable_for_people() {
        for (name, stem) in [
            ("payments", "payments"),
            ("payments.eu-1_b", "payments.eu-1_b"),
            ("GET/x", "%47%45%54%2Fx"),
            ("..", "%2E."),
            ("a%2Fb", "a%252%46b"),
            ("ä~", "%C3%A4%7E"),
        ] {
            assert_eq!(escape(name), stem, "escape of {name}");
            assert_eq!(unescape(stem).as_deref(), Some(name), "unescape of {stem}");
        }
    }

    #[test]
    fn foreign_file_names_are_not_found() {
        for stem in ["Payments", ".hidden", "a%2", "a%zz", "%61", "a%2fb", "%FF", "a b"] {
            assert_eq!(unescape(stem), None, "unescape of {stem}");
        }
    }

    #[test]
    fn long_names_are_cut_between_escapes_and_stay_different() {
        let long = |end: &str| escape(&("/".repeat(199) + end));
        assert_ne!(long("a"), long("b"), "names that differ at their end only");
        assert_eq!(escape(&"x".repeat(120)).len(), 120, "what just fits is not cut");
        for stem in [long("a"), escape(&"x".repeat(121)), escape(&"\u{1f980}".repeat(50))] {
            assert!(stem.len() <= LONGEST && is_cut(&stem), "{stem}");
            assert!(stem.rfind('%').is_none_or(|at| at + 3 <= stem.len() - DIGEST), "an escape was cut: {stem}");
        }
    }

    #[test]
    fn the_stem_of_a_long_name_never_changes_because_folders_keep_stems() {
        assert_eq!(escape(&"x".repeat(121)), "x".repeat(87) + "~d10892a5dee0e755e26bcd511a19e4d7");
    }
}
