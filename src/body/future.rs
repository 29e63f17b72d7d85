//! The future of a call with a tracked body. If the classifier judges the call by the head of the response, the body is
//! not tracked.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::{Method, Response, StatusCode};
use http_body::Body;
use pin_project_lite::pin_project;

use super::stream::{Tail, TrackedBody};
use crate::call::Flight;
use crate::classify::{BodyClassifier, Classifier};
use crate::future::ResponseFuture;
use crate::rejection::Rejection;

pin_project! {
    /// The future of a call through [`TrackedBodies`](super::TrackedBodies). Returns the response with a tracked body.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped before it is ready, the inner future is dropped, the permit is returned, and the call
    /// counts as cancelled, as for [`ResponseFuture`]. A cancelled call is neutral, or a failure of weight 0.5 if the
    /// call has waited for at least `cancelled_counts_after`. After the future is ready, the body has the permit, and a
    /// drop of the body ends the call, see [`TrackedBody`].
    // `D` is the data of the classifier, and `E` is the error of a rejection. `D` and `E` are type parameters, because
    // the compiler cannot resolve the two types if a spawned task contains this future and `Err` is a boxed error. The
    // doc of `Flight` has the reason.
    #[must_use = "futures do nothing unless polled"]
    pub struct TrackedFuture<
        F,
        C,
        R,
        Req,
        B,
        Err,
        D = <C as Classifier<Req, Response<B>, Err>>::Call,
        E = <R as Rejection<Req, Response<B>, Err>>::Error,
    >
    where
        B: Body,
        C: BodyClassifier<Req, B, Err, Call = D>,
        R: Rejection<Req, Response<B>, Err, Error = E>,
    {
        #[pin]
        inner: ResponseFuture<F, C, R, Req, Response<B>, Err, D, E>,
        content: Content,
    }
}

impl<F, C, R, Req, B, Err> TrackedFuture<F, C, R, Req, B, Err>
where
    B: Body,
    C: BodyClassifier<Req, B, Err>,
    R: Rejection<Req, Response<B>, Err>,
{
    pub(super) const fn new(inner: ResponseFuture<F, C, R, Req, Response<B>, Err>, content: Content) -> Self {
        Self { inner, content }
    }
}

impl<F, C, R, Req, B, Err> Future for TrackedFuture<F, C, R, Req, B, Err>
where
    F: Future<Output = Result<Response<B>, Err>>,
    B: Body,
    C: BodyClassifier<Req, B, Err>,
    R: Rejection<Req, Response<B>, Err>,
{
    type Output = Result<Response<TrackedBody<B, C, Req, Err>>, R::Error>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let (response, flight) = ready!(this.inner.poll_response(context))?;
        let tail = flight.and_then(|flight| after_head(flight, &response, *this.content));
        Poll::Ready(Ok(response.map(|body| TrackedBody::new(body, tail))))
    }
}

impl<F, C, R, Req, B, Err> fmt::Debug for TrackedFuture<F, C, R, Req, B, Err>
where
    B: Body,
    C: BodyClassifier<Req, B, Err>,
    R: Rejection<Req, Response<B>, Err>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TrackedFuture").field("inner", &self.inner).finish_non_exhaustive()
    }
}

/// Returns the tail of the call (the part until the end of the body). If the classifier can judge by the head of the
/// response, or if the response has no content, the call is judged now, and the function returns `None`.
fn after_head<B, C, Req, Err>(
    mut flight: Flight<C, Req, Response<B>, Err>,
    response: &Response<B>,
    content: Content,
) -> Option<Tail<B, C, Req, Err>>
where
    B: Body,
    C: BodyClassifier<Req, B, Err>,
{
    if flight.judge_early(
        |classifier, call, elapsed| classifier.head(call, response, elapsed),
        |classifier| Classifier::<Req, _, Err>::describe(classifier, Ok(response)),
    ) {
        return None;
    }
    // The response has no content, so the call is judged now. Otherwise the call would count as cancelled if the caller
    // drops the empty body without a poll.
    if !content.follows(response.status()) || flight.run(|| response.body().is_end_stream()) {
        flight.judge((), |classifier, call, (), elapsed| classifier.end(call, None, elapsed), |_, ()| None);
        return None;
    }
    flight.answered();
    Some(Tail::new(flight, response))
}

/// The rule that decides if a response has content. The method of the request decides which rule is used (RFC 9110,
/// section 6.4.1).
#[derive(Debug, Clone, Copy)]
pub(super) enum Content {
    AsUsual,
    /// The response to `HEAD` never has content.
    Never,
    /// A successful response to `CONNECT` has no content, because the connection becomes a tunnel.
    UnlessSuccess,
}

impl Content {
    fn follows(self, status: StatusCode) -> bool {
        let bare = status.is_informational() || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        match self {
            Self::AsUsual => !bare,
            Self::Never => false,
            Self::UnlessSuccess => !bare && !status.is_success(),
        }
    }
}

impl From<&Method> for Content {
    fn from(method: &Method) -> Self {
        match *method {
            Method::HEAD => Self::Never,
            Method::CONNECT => Self::UnlessSuccess,
            _ => Self::AsUsual,
        }
    }
}
