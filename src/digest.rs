//! The SHA-256 digest for the names of files, the ids of audit rows and the etags of stores. Every host and every
//! version of this crate computes the same digest.
//!
//! The hashers of `std` may differ between hosts and versions, but instances of two versions must compute the same
//! names. The digest must be collision-resistant, because the senders of requests can choose keys, and operators can
//! choose the ids of orders. Two different keys must not share a file, and two different ids must not share a row.

use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};

/// Returns the SHA-256 of the joined parts, as 64 hexadecimal digits.
pub(crate) fn sha256<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> String {
    let mut hasher = Sha256::new();
    parts.into_iter().for_each(|part| hasher.update(part));
    hexadecimal(&hasher.finalize())
}

/// Returns the digest as lower-case hexadecimal digits.
pub(crate) fn hexadecimal(digest: &[u8]) -> String {
    let mut digits = String::with_capacity(2 * digest.len());
    for byte in digest {
        write!(digits, "{byte:02x}").expect("a string can be written to");
    }
    digits
}

#[cfg(test)]
mod tests {
    use super::sha256;

    #[test]
    fn the_digest_follows_the_specification() {
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(sha256([&b"abc"[..]]), abc);
        assert_eq!(sha256([&b"a"[..], b"", b"bc"]), abc);
    }
}
