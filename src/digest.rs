//! A hash for names that stores keep, with the same result on every host and in every version.
//!
//! The hashers of `std` may differ between hosts and versions. Instances of two versions must agree on the names that
//! are made from this hash.

/// Returns the FNV-1a hash of 128 bits.
pub(crate) fn fnv1a(bytes: impl IntoIterator<Item = u8>) -> u128 {
    bytes.into_iter().fold(OFFSET, |hash, byte| (hash ^ u128::from(byte)).wrapping_mul(PRIME))
}

const OFFSET: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;

#[cfg(test)]
mod tests {
    use super::fnv1a;

    #[test]
    fn the_digest_follows_the_specification() {
        assert_eq!(fnv1a(*b""), 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d);
        assert_eq!(fnv1a(*b"a"), 0xd228_cb69_6f1a_8caf_7891_2b70_4e4a_8964);
    }
}
