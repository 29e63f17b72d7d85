//! The future of a call through the circuit breaker service.
//!
//! The response future holds the inner future and the permit inline, so that a call allocates no box. If the circuit
//! rejects the call, the response future is ready at the first poll.

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;

use crate::call::Flight;
use crate::classify::Classifier;
use crate::rejection::Rejection;

pin_project! {
    /// The future of a call through a [`CircuitBreaker`](crate::CircuitBreaker).
    ///
    /// # Cancel safety
    ///
    /// Dropping the future before it is ready drops the inner future and cancels the call. A cancelled call that was
    /// pending for at least `cancelled_counts_after` counts as a failure of weight 0.5. Any other cancelled call counts
    /// neither as a success nor as a failure. A cancelled probe frees its slot.
    ///
    /// # Type parameters
    ///
    /// `D` is the [`Call`](Classifier::Call) of the classifier, and `E` is the [`Error`](Rejection::Error) of the
    /// rejection. Do not set `D` and `E`, because their defaults are always right.
    // In a spawned task with a boxed error type, the compiler checks the future for every lifetime of the trait object
    // in the box, not only for `'static`. Classifiers accept only `'static` errors, so the compiler cannot resolve
    // `C::Call` and `R::Error` for the other lifetimes. The parameters `D` and `E` replace these two types, and the
    // compiler need not resolve parameters.
    #[must_use = "futures do nothing unless polled"]
    pub struct ResponseFuture<
        F,
        C,
        R,
        Req,
        Res,
        Err,
        D = <C as Classifier<Req, Res, Err>>::Call,
        E = <R as Rejection<Req, Res, Err>>::Error,
    >
    where
        C: Classifier<Req, Res, Err, Call = D>,
        R: Rejection<Req, Res, Err, Error = E>,
    {
        #[pin]
        kind: Kind<F, C, R, Req, Res, Err, D, E>,
    }
}

pin_project! {
    #[project = KindProjection]
    #[project_replace = KindReplaced]
    enum Kind<F, C, R, Req, Res, Err, D, E>
    where
        C: Classifier<Req, Res, Err, Call = D>,
        R: Rejection<Req, Res, Err, Error = E>,
    {
        // Fields are dropped in the order of their declaration. The drop of the inner future is still a part of the
        // call, so the inner future is declared first. The drop of the flight (permit and classifier) ends the call.
        Called { #[pin] future: F, flight: Flight<C, Req, Res, Err, D>, rejection: PhantomData<fn() -> R> },
        // The future of a call without a circuit. The request has no key, or the key has no circuit.
        Unguarded { #[pin] future: F },
        Rejected { answer: Option<Result<Res, E>> },
    }
}

impl<F, C, R, Req, Res, Err> ResponseFuture<F, C, R, Req, Res, Err>
where
    C: Classifier<Req, Res, Err>,
    R: Rejection<Req, Res, Err>,
{
    pub(crate) const fn called(future: F, flight: Flight<C, Req, Res, Err>) -> Self {
        Self { kind: Kind::Called { future, flight, rejection: PhantomData } }
    }

    pub(crate) const fn unguarded(future: F) -> Self {
        Self { kind: Kind::Unguarded { future } }
    }

    pub(crate) const fn rejected(answer: Result<Res, R::Error>) -> Self {
        Self { kind: Kind::Rejected { answer: Some(answer) } }
    }
}

/// Either an error, or a response that is not classified yet together with the flight (permit and classifier) of the
/// call. The flight is `None` if no circuit guards the call or if the circuit rejected the call.
#[cfg(feature = "http")]
type Unjudged<C, Req, Res, Err, E> = Result<(Res, Option<Flight<C, Req, Res, Err>>), E>;

#[cfg(feature = "http")]
impl<F, C, R, Req, Res, Err> ResponseFuture<F, C, R, Req, Res, Err>
where
    F: Future<Output = Result<Res, Err>>,
    C: Classifier<Req, Res, Err>,
    R: Rejection<Req, Res, Err>,
{
    /// Polls the call as [`poll`](Future::poll) does, but does not classify the response. Returns the response together
    /// with the permit and the classifier of the call, so that the caller can classify the response later.
    pub(crate) fn poll_response(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Unjudged<C, Req, Res, Err, R::Error>> {
        let mut kind = self.project().kind;
        let response = match kind.as_mut().project() {
            KindProjection::Called { future, flight, .. } => ready!(flight.poll_response(future, context)),
            KindProjection::Unguarded { future } => ready!(future.poll(context)),
            KindProjection::Rejected { answer } => {
                let answer = answer.take().expect("a future is not polled after it is done");
                return Poll::Ready(answer.map(|response| (response, None)));
            }
        };
        // `project_replace` drops the pinned inner future in place, and moves out only the flight.
        let flight = match kind.project_replace(Kind::Rejected { answer: None }) {
            KindReplaced::Called { flight, .. } => Some(flight),
            KindReplaced::Unguarded { .. } | KindReplaced::Rejected { .. } => None,
        };
        Poll::Ready(response.map(|response| (response, flight)).map_err(R::map_err))
    }
}

impl<F, C, R, Req, Res, Err> Future for ResponseFuture<F, C, R, Req, Res, Err>
where
    F: Future<Output = Result<Res, Err>>,
    C: Classifier<Req, Res, Err>,
    R: Rejection<Req, Res, Err>,
{
    type Output = Result<Res, R::Error>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().kind.project() {
            KindProjection::Called { future, flight, .. } => {
                let result = ready!(flight.poll(future, context));
                Poll::Ready(result.map_err(R::map_err))
            }
            KindProjection::Unguarded { future } => Poll::Ready(ready!(future.poll(context)).map_err(R::map_err)),
            KindProjection::Rejected { answer } => {
                Poll::Ready(answer.take().expect("a future is not polled after it is done"))
            }
        }
    }
}

impl<F, C, R, Req, Res, Err> fmt::Debug for ResponseFuture<F, C, R, Req, Res, Err>
where
    C: Classifier<Req, Res, Err>,
    R: Rejection<Req, Res, Err>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match &self.kind {
            Kind::Called { .. } => "Called",
            Kind::Unguarded { .. } => "Unguarded",
            Kind::Rejected { .. } => "Rejected",
        };
        f.debug_tuple("ResponseFuture").field(&format_args!("{kind}")).finish()
    }
}
