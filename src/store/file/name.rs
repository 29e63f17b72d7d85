//! The conversion of the name of a circuit to the name of its file, and back.
//!
//! Common characters are kept, so that a person can recognise the file of a circuit. All other bytes are escaped.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use super::lock::with_suffix;
use crate::digest::sha256;

/// Returns the name of a circuit's files, without an extension.
///
/// Two short names always have different files, even on a file system that ignores case. In a long name a digest
/// replaces the end, so that only the record contains the whole name. The digest must be collision-resistant, because
/// the sender of a request may choose the name.
pub(super) fn escape(name: &str) -> String {
    let mut stem = String::with_capacity(name.len());
    // The last place where the stem can be cut for a digest without splitting an escape.
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
        stem.push(CUT);
        stem.push_str(&sha256([name.as_bytes()]));
    }
    stem
}

/// Returns the name of the circuit that a stem (a file name without its extension) belongs to. Returns `None` if
/// `escape` never returns this stem, or if a digest replaces the end of the stem.
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

/// Returns true if a digest replaces the end of the stem.
pub(super) fn is_cut(stem: &str) -> bool {
    stem.contains(CUT)
}

/// Returns the name of a temporary file beside the file of a circuit.
pub(super) fn temporary(file: &Path, random: u64, number: u64) -> PathBuf {
    with_suffix(file, &format!(".{random:016x}-{number}{TEMPORARY}"))
}

/// Returns true if the name has the form of the names that `temporary` returns. Any other file may belong to another
/// program.
pub(super) fn is_temporary(file: &str) -> bool {
    let Some((stem, rest)) = file.strip_suffix(TEMPORARY).and_then(|rest| rest.rsplit_once(".json.")) else {
        return false;
    };
    let Some((random, number)) = rest.split_once('-') else { return false };
    is_stem(stem)
        && random.len() == 16
        && is_hex(random)
        && number.parse::<u64>().is_ok_and(|n| n.to_string() == number)
}

/// Returns true if `escape` can return this stem. Any other stem belongs to another program.
pub(super) fn is_stem(stem: &str) -> bool {
    match stem.split_once(CUT) {
        Some((_, digest)) => stem.len() <= LONGEST && digest.len() == DIGEST - 1 && is_hex(digest),
        None => unescape(stem).is_some_and(|name| !name.is_empty()),
    }
}

fn is_hex(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// The longest stem, in bytes. File systems allow 255 bytes, and the suffixes need the rest.
const LONGEST: usize = 120;
/// The length of the `~` together with the 64 hexadecimal digits of the digest, in bytes.
const DIGEST: usize = 65;
/// The mark before a digest. A stem without a digest never contains the mark, because `escape` escapes this character.
const CUT: char = '~';
const TEMPORARY: &str = ".tmp";

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
        assert_eq!(
            escape(&"x".repeat(121)),
            "x".repeat(55) + "~79072a47bfaa54e6057a9ee21e0dea64b9edbfd160c4ccadbb657e64b6d22ee4"
        );
    }

    #[test]
    fn a_temporary_file_is_recognised_by_its_exact_form() {
        let long = "/".repeat(200);
        for name in ["payments", "GET/x", "a.json.b", &long] {
            let made = temporary(Path::new(&(escape(name) + ".json")), 7, 12);
            assert!(is_temporary(made.to_str().unwrap()), "{}", made.display());
        }
        for file in [
            "accounts.json.backup-of-monday.tmp",
            "a.json.1-1.tmp",
            "a.json.0000000000000001-.tmp",
            "a.json.0000000000000001-01.tmp",
            "a.json.000000000000000A-1.tmp",
            "A.json.0000000000000001-1.tmp",
            ".json.0000000000000001-1.tmp",
            "a~b.json.0000000000000001-1.tmp",
            "a.json.0000000000000001-1.tmp~",
        ] {
            assert!(!is_temporary(file), "{file} is of another program");
        }
    }
}
