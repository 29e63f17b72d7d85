//! The conversion of rejections, and of the errors of the service, into one error type of the user.

use std::fmt;
use std::marker::PhantomData;

use super::Rejection;
use crate::error::Rejected;

/// Converts rejections and the errors of the service into your own error type `E`. `E` implements `From<Rejected>`, and
/// `From` for the errors of the service. Only these conversions can allocate.
pub struct ErrorsAs<E>(PhantomData<fn() -> E>);

impl<E> ErrorsAs<E> {
    pub(crate) const fn new() -> Self {
        Self(PhantomData)
    }
}

impl<Req, Res, Inner, E: From<Rejected> + From<Inner>> Rejection<Req, Res, Inner> for ErrorsAs<E> {
    type Error = E;

    fn reject(&self, rejected: Rejected, _: Req) -> Result<Res, E> {
        Err(rejected.into())
    }

    fn map_err(error: Inner) -> E {
        error.into()
    }
}

// Implemented by hand, because a derive would require `Clone` and `Debug` of the error.
impl<E> Clone for ErrorsAs<E> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<E> Copy for ErrorsAs<E> {}

impl<E> fmt::Debug for ErrorsAs<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ErrorsAs").finish_non_exhaustive()
    }
}
