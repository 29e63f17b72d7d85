//! The chain of an error and its sources, which every search for the cause of an error follows.
//!
//! The chain has a limit, because a faulty `source` of an application's error can return errors without end. Searches
//! run during calls and must always end.

use std::error::Error;
use std::io;
use std::iter::successors;

/// Returns an error and its sources, from the outermost error to the innermost one. Ends after [`LONGEST`] errors.
///
/// The `source` of an `io::Error` skips the error that the `io::Error` wraps, and returns the source of the wrapped
/// error. The chain contains the wrapped error too.
pub(crate) fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    successors(Some(error), |error| next(*error)).take(LONGEST)
}

fn next<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a (dyn Error + 'static)> {
    match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        Some(wrapped) => Some(wrapped),
        None => error.source(),
    }
}

/// Returns the first error of the type `E` among an error and its sources.
pub(crate) fn find<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    chain(error).find_map(|error| error.downcast_ref())
}

/// The largest number of errors in a chain.
const LONGEST: usize = 32;

#[cfg(all(test, not(breaker_loom)))]
mod tests {
    use std::fmt;

    use super::*;

    /// An error whose source is the error itself.
    #[derive(Debug)]
    struct Endless;

    impl fmt::Display for Endless {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("again")
        }
    }

    impl Error for Endless {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            Some(self)
        }
    }

    #[test]
    fn a_chain_without_an_end_ends_at_the_limit() {
        assert_eq!(chain(&Endless).count(), LONGEST);
        assert!(find::<fmt::Error>(&Endless).is_none());
    }

    #[test]
    fn an_error_that_an_io_error_wraps_is_a_part_of_the_chain() {
        let error = io::Error::other(io::Error::other(fmt::Error));
        assert_eq!(chain(&error).count(), 3);
        assert!(find::<fmt::Error>(&error).is_some());
    }
}
