//! The spelling of states, modes and acts in a record, and the cleaning of texts from a store.
//!
//! An earlier version of this crate cannot read a record with a new word. Therefore a new word needs a new version of
//! the format (`CircuitRecord::VERSION`).

pub(super) use crate::shown::one_line as clean;
use crate::state::{Act, Mode, State};

/// Defines a module for `serde(with)` that writes a value as its word, such as `half_open`, and reads the value from
/// the word.
macro_rules! spelt {
    ($module:ident, $word:ty, [$($value:expr),+]) => {
        pub(super) mod $module {
            use serde::de::Error as _;
            use serde::ser::Error as _;
            use serde::{Deserialize, Deserializer, Serializer};

            use super::*;

            /// The values that a record can contain.
            pub(in crate::record) const WORDS: &[$word] = &[$($value),+];

            pub(in crate::record) fn serialize<S: Serializer>(word: &$word, to: S) -> Result<S::Ok, S::Error> {
                // A word that `deserialize` refuses would make the whole record unreadable, so this function refuses
                // the word too.
                if !WORDS.contains(word) {
                    return Err(S::Error::custom(format!("`{}` cannot be recorded", word.as_str())));
                }
                to.serialize_str(word.as_str())
            }

            pub(in crate::record) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<$word, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(from)?;
                let allowed = || WORDS.iter().map(|word| word.as_str()).collect::<Vec<_>>().join(", ");
                WORDS.iter().copied().find(|word| word.as_str() == text).ok_or_else(|| {
                    D::Error::custom(format!("`{}` is unknown, allowed are {}", clean(&text, 40), allowed()))
                })
            }
        }
    };
}

spelt!(state, State, [State::Closed, State::Open, State::HalfOpen]);
spelt!(mode, Mode, [Mode::Automatic, Mode::ForcedOpen, Mode::Disabled, Mode::Shadow]);
spelt!(act, Act, [Act::Trip, Act::Reset, Act::Disable, Act::Resume, Act::Shadow]);

pub(super) mod generation {
    use serde::{Deserialize, Deserializer, Serializer};

    use crate::state::Generation;

    pub(in crate::record) fn serialize<S: Serializer>(generation: &Generation, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u64(generation.get())
    }

    pub(in crate::record) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Generation, D::Error> {
        u64::deserialize(from).map(Generation::new)
    }
}
