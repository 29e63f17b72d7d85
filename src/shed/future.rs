//! The future of a call through a load-shedding service. The future holds the inner future without a box, or the answer
//! to a shed call.

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;

use crate::rejection::Rejection;

pin_project! {
    /// The future of a call through [`LoadShedding`](super::LoadShedding).
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped before it is ready, the inner future is dropped. The layer itself holds no permit that
    /// could be lost.
    // `E` is a separate parameter. Without it, the compiler cannot resolve the error type of `R` in a future whose
    // errors are boxed. For details, see the comment of `Flight` in `call/flight.rs`.
    #[must_use = "futures do nothing unless polled"]
    pub struct SheddingFuture<F, R, Req, Res, Err, E = <R as Rejection<Req, Res, Err>>::Error>
    where
        R: Rejection<Req, Res, Err, Error = E>,
    {
        #[pin]
        kind: Kind<F, Result<Res, E>>,
        marker: PhantomData<fn(Req) -> (Err, R)>,
    }
}

pin_project! {
    #[project = KindProjection]
    enum Kind<F, Answer> {
        Called { #[pin] future: F },
        Shed { answer: Option<Answer> },
    }
}

impl<F, R, Req, Res, Err> SheddingFuture<F, R, Req, Res, Err>
where
    R: Rejection<Req, Res, Err>,
{
    pub(super) const fn called(future: F) -> Self {
        Self { kind: Kind::Called { future }, marker: PhantomData }
    }

    pub(super) const fn shed(answer: Result<Res, R::Error>) -> Self {
        Self { kind: Kind::Shed { answer: Some(answer) }, marker: PhantomData }
    }
}

impl<F, R, Req, Res, Err> Future for SheddingFuture<F, R, Req, Res, Err>
where
    F: Future<Output = Result<Res, Err>>,
    R: Rejection<Req, Res, Err>,
{
    type Output = Result<Res, R::Error>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().kind.project() {
            KindProjection::Called { future } => future.poll(context).map_err(R::map_err),
            KindProjection::Shed { answer } => {
                Poll::Ready(answer.take().expect("a future is not polled after it is done"))
            }
        }
    }
}

impl<F, R, Req, Res, Err> fmt::Debug for SheddingFuture<F, R, Req, Res, Err>
where
    R: Rejection<Req, Res, Err>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match &self.kind {
            Kind::Called { .. } => "Called",
            Kind::Shed { .. } => "Shed",
        };
        f.debug_tuple("SheddingFuture").field(&format_args!("{kind}")).finish()
    }
}
