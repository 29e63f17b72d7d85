//! The failure that opened a circuit: the kind and the error text, which the status, the log, the audit and rejections
//! show.
//!
//! An outage has thousands of failures, but opens the circuit only a few times. Therefore the error text is written
//! only for a failure that is about to open the circuit.

use std::fmt;
use std::sync::Arc;

use crate::event::guarded;
use crate::outcome::{Failure, FailureKind};
use crate::state::text;

/// A closure that writes the error text of a failed call. The closure is called only if the failure is about to open
/// the circuit.
#[derive(Clone, Copy)]
pub(crate) struct Text<'a>(Option<&'a dyn Fn() -> Option<String>>);

impl<'a> Text<'a> {
    /// The value for a failure without a text.
    pub(crate) const NONE: Self = Self(None);

    #[inline]
    pub(crate) const fn new(write: &'a dyn Fn() -> Option<String>) -> Self {
        Self(Some(write))
    }
}

impl fmt::Debug for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Text").field(&self.0.is_some()).finish()
    }
}

/// The failure that opens a circuit, with its kind and its error text.
#[derive(Debug)]
pub(super) struct Failed {
    pub(super) kind: FailureKind,
    pub(super) text: Option<Arc<str>>,
}

impl Failed {
    /// Returns the kind and the error text of a failure. Calls `text` to write the error text. The caller must hold no
    /// lock, because errors and classifiers are foreign code.
    #[cold]
    pub(super) fn new(failure: Failure, text: Text<'_>) -> Self {
        let text = text.0.and_then(|write| guarded(write).flatten());
        Self { kind: failure.kind(), text: text.and_then(|text| text::of_failure(&text)) }
    }
}
