//! The spelling of states, modes and acts in a record, and the cleaning of texts from a store.
//!
//! An earlier version cannot read a record with a new word, so that a new word needs a new version of the record.

pub(super) use crate::state::text::one_line as clean;
use crate::state::{Act, Mode, State};

/// Defines a module with the serialization of a type as its word, and with the deserialization from a word.
macro_rules! spelt {
    ($module:ident, $word:ty, [$($value:expr),+]) => {
        pub(super) mod $module {
            use serde::{Deserialize, Deserializer, Serializer, de::Error};

            use super::*;

            pub(in crate::record) fn serialize<S: Serializer>(word: &$word, to: S) -> Result<S::Ok, S::Error> {
                to.serialize_str(word.as_str())
            }

            pub(in crate::record) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<$word, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(from)?;
                let all = [$($value),+];
                let allowed = || all.map(|word| word.as_str()).join(", ");
                all.into_iter().find(|word| word.as_str() == text).ok_or_else(|| {
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
