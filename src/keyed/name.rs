//! The names of keyed circuits. A key that is a valid name is used unchanged. Any other key is cut to its first
//! characters, and a hash is added.
//!
//! The hash uses no secret. Every instance must compute the same name after every restart, because names identify the
//! records in the store. The hash is cryptographic, because a caller who chooses keys must not find two keys with the
//! same name.

use sha2::{Digest, Sha256};

use crate::shown::is_printable;

/// The stem of a circuit's name, which is the part behind the prefix. The stem is the key, or the first characters of
/// the key with a hash. Creating a stem does not allocate.
#[derive(Debug)]
pub(super) enum Stem<'a> {
    Plain(&'a str),
    Made { bytes: [u8; LONGEST_MADE], length: usize },
}

impl<'a> Stem<'a> {
    /// Returns the stem of a key. The stem has at most `room` bytes, and `room` must be at least [`LONGEST_MADE`].
    pub(super) fn new(key: &'a str, room: usize) -> Self {
        // The fast check of the bytes is enough for ASCII keys, which are the most frequent. Only other keys need the
        // check of the characters.
        let printable = || key.bytes().all(|byte| byte.is_ascii_graphic()) || key.chars().all(is_printable);
        if (1..=room).contains(&key.len()) && printable() && !looks_made(key) {
            Self::Plain(key)
        } else {
            Self::made(key)
        }
    }

    #[cold]
    fn made(key: &str) -> Self {
        let (mut bytes, mut length) = ([0; LONGEST_MADE], 0);
        for c in key.chars() {
            let c = if is_printable(c) { c } else { '_' };
            if length + c.len_utf8() > READABLE {
                break;
            }
            length += c.encode_utf8(&mut bytes[length..]).len();
        }
        bytes[length] = MARK;
        length += 1;
        for byte in &Sha256::digest(key.as_bytes())[..HASHED] {
            bytes[length] = HEX[usize::from(byte >> 4)];
            bytes[length + 1] = HEX[usize::from(byte & 15)];
            length += 2;
        }
        Self::Made { bytes, length }
    }

    pub(super) fn as_str(&self) -> &str {
        match self {
            Self::Plain(key) => key,
            Self::Made { bytes, length } => std::str::from_utf8(&bytes[..*length]).expect("made of whole characters"),
        }
    }
}

/// Returns true if the text is a valid stem of at most `room` bytes.
#[cfg(feature = "store")]
pub(super) fn is_stem(stem: &str, room: usize) -> bool {
    (1..=room).contains(&stem.len()) && stem.chars().all(is_printable)
}

/// Returns true if a key ends like a hashed stem, with a `~` and a hash.
#[inline]
pub(super) fn looks_made(key: &str) -> bool {
    let Some((_, end)) = key.as_bytes().split_at_checked(key.len().wrapping_sub(2 * HASHED + 1)) else { return false };
    end[0] == MARK && end[1..].iter().all(|byte| HEX.contains(byte))
}

/// The largest length of the readable part of a hashed stem, in bytes. The hash follows this part.
const READABLE: usize = 64;
const MARK: u8 = b'~';
const HEX: &[u8; 16] = b"0123456789abcdef";
/// The number of bytes of the hash that a stem contains. 16 bytes are 128 bits.
const HASHED: usize = 16;
pub(super) const LONGEST_MADE: usize = READABLE + 1 + 2 * HASHED;

#[cfg(all(test, not(breaker_loom)))]
mod tests {
    use super::*;

    fn stem(key: &str) -> String {
        Stem::new(key, 150).as_str().to_owned()
    }

    #[test]
    fn a_valid_key_is_its_own_name() {
        for key in ["a", "api.example.com:8443", "/users/{id}", "[::1]:80", "büro", "x~0", &"x".repeat(150)] {
            assert_eq!(stem(key), key);
        }
    }

    #[test]
    fn any_other_key_gets_a_unique_short_name() {
        let keys = ["", " ", "a b", "a_b\n", "a\u{202e}b", &"x".repeat(151), &"ü".repeat(5_000), "\0"];
        let stems: Vec<_> = keys.iter().map(|key| stem(key)).collect();
        for (key, stem) in keys.iter().zip(&stems) {
            assert!(stem.len() <= LONGEST_MADE && stem.chars().all(is_printable), "{key:?} became {stem:?}");
            assert_eq!(stems.iter().filter(|other| *other == stem).count(), 1, "{stem}");
        }
        assert!(stems[2].starts_with("a_b~"), "what can be read is kept: {}", stems[2]);
        // The first half of the SHA-256 of the empty text (FIPS 180-4). The value must not change, because a later
        // version must find the stored records under the same name.
        assert_eq!(stems[0], "~e3b0c44298fc1c149afbf4c8996fb924");
    }

    #[test]
    fn a_generated_name_cannot_be_requested() {
        let made = stem("a b");
        assert_ne!(stem(&made), made);
    }
}
