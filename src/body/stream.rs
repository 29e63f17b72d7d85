//! The tracked body, which passes on the frames of the inner body, and ends the call when the inner body ends.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Buf;
use http::header::{CONTENT_LENGTH, TRAILER, TRANSFER_ENCODING};
use http::{HeaderMap, Response, Version};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use crate::call::Flight;
use crate::classify::{BodyClassifier, Classifier, is_grpc_message, is_grpc_web};
use crate::clock::Tick;

pin_project! {
    /// The body of a response through [`TrackedBodies`](super::TrackedBodies). Keeps the permit until the call is
    /// judged.
    ///
    /// The call is judged once, as soon as trailers arrive, the stream ends, an error occurs or the body panics. A
    /// stream counts as ended as soon as the inner body reports that no frame follows, because the caller may not poll
    /// again. The body has no permit if it belongs to the response for a rejected call, to a call without a circuit, or
    /// to a call that was judged by the head. Such a body only passes on frames.
    ///
    /// # Cancel safety
    ///
    /// If a future that waits for the next frame is dropped, no frame is lost, because the next poll of the body
    /// returns the frame.
    ///
    /// If the body is dropped before its end, the inner body is dropped and the permit is returned. The slot of a probe
    /// becomes free. Unless the classifier decides otherwise, the call is cancelled. A cancelled call is a failure of
    /// weight 0.5 if the caller has waited for the next frame for at least `cancelled_counts_after`. Otherwise the
    /// cancelled call is neutral. The wait begins when a poll returns `Pending`, and ends with the next frame. A caller
    /// that has received a frame and does not poll again is not waiting. Therefore the drop is neutral if the caller
    /// reads slowly, or stops reading while frames still arrive.
    ///
    /// If the body has a `Content-Length` or an exact size, the body has ended once all bytes are delivered, even if
    /// the caller does not poll again. The body has not ended if trailers may follow, or if the caller has polled for
    /// more.
    // `D` is the data that the classifier keeps for the call. The doc of `Flight` explains why `D` is a type parameter.
    #[must_use = "a body that is dropped before its end counts as a cancelled call"]
    pub struct TrackedBody<B, C, Req, Err, D = <C as Classifier<Req, Response<B>, Err>>::Call>
    where
        B: Body,
        C: BodyClassifier<Req, B, Err, Call = D>,
    {
        // `inner` is declared before `tail`, so that the inner body is dropped first. The drop of the inner body is a
        // part of the call, and the drop of the tail ends the call.
        #[pin]
        inner: B,
        tail: Option<Tail<B, C, Req, Err, D>>,
    }
}

impl<B, C, Req, Err> TrackedBody<B, C, Req, Err>
where
    B: Body,
    C: BodyClassifier<Req, B, Err>,
{
    pub(super) const fn new(inner: B, tail: Option<Tail<B, C, Req, Err>>) -> Self {
        Self { inner, tail }
    }

    /// Returns the inner body.
    #[must_use]
    pub const fn get_ref(&self) -> &B {
        &self.inner
    }

    /// Returns the inner body. If the call is not judged yet, the call ends now as if the tracked body were dropped.
    #[must_use]
    pub fn into_inner(self) -> B {
        self.inner
    }
}

impl<B, C, Req, Err> Body for TrackedBody<B, C, Req, Err>
where
    B: Body,
    C: BodyClassifier<Req, B, Err>,
{
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let mut this = self.project();
        let Some(tail) = this.tail else { return this.inner.poll_frame(context) };
        let (frame, is_last) = tail.flight.run(|| {
            let frame = this.inner.as_mut().poll_frame(context);
            // Checks for the end after each frame. A caller that also checks `is_end_stream` does not poll again after
            // the last frame.
            let is_last = matches!(frame, Poll::Ready(Some(Ok(_)))) && this.inner.is_end_stream();
            (frame, is_last)
        });
        let judged = match &frame {
            Poll::Pending => tail.wait(),
            Poll::Ready(Some(Ok(frame))) => tail.take(frame, is_last),
            Poll::Ready(Some(Err(error))) => tail.fail(error),
            Poll::Ready(None) => tail.end(None),
        };
        if judged {
            *this.tail = None;
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// Creates an untracked body, which belongs to no call. For example, a fallback responds with an untracked body.
impl<B, C, Req, Err> From<B> for TrackedBody<B, C, Req, Err>
where
    B: Body,
    C: BodyClassifier<Req, B, Err>,
{
    fn from(body: B) -> Self {
        Self::new(body, None)
    }
}

/// Creates an untracked body, which belongs to no call.
impl<B, C, Req, Err> Default for TrackedBody<B, C, Req, Err>
where
    B: Body + Default,
    C: BodyClassifier<Req, B, Err>,
{
    fn default() -> Self {
        Self::new(B::default(), None)
    }
}

impl<B, C, Req, Err> fmt::Debug for TrackedBody<B, C, Req, Err>
where
    B: Body + fmt::Debug,
    C: BodyClassifier<Req, B, Err>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TrackedBody").field("inner", &self.inner).field("tracked", &self.tail.is_some()).finish()
    }
}

/// The part of a call from the head of the response to the end of the body. Contains the flight (the permit and the
/// classifier of the call), and the time since which the caller waits for a frame.
pub(super) struct Tail<B, C, Req, Err, D = <C as Classifier<Req, Response<B>, Err>>::Call>
where
    B: Body,
    C: BodyClassifier<Req, B, Err, Call = D>,
{
    flight: Flight<C, Req, Response<B>, Err, D>,
    /// The time at which the caller began to wait for the next frame. `None` if the caller is not waiting.
    waits_since: Option<Tick>,
    /// The number of bytes of the body that have not arrived yet. `None` if the length of the body is unknown, or if
    /// trailers may follow. If the body is dropped when this number is zero, the call has ended, because a reader that
    /// counts bytes does not poll for the end. For example, hyper's server counts bytes for HTTP/1 clients.
    left: Option<u64>,
    /// True if the body may report its end too early, before the trailers. The client of tonic-web reports the end when
    /// the inner stream has ended. At this time, the client may still hold a message and the trailers.
    ends_early: bool,
}

impl<B, C, Req, Err> Tail<B, C, Req, Err>
where
    B: Body,
    C: BodyClassifier<Req, B, Err>,
{
    pub(super) fn new(mut flight: Flight<C, Req, Response<B>, Err>, response: &Response<B>) -> Self {
        let headers = response.headers();
        // If trailers may follow, the call ends with the trailers, so the length is ignored. Trailers may follow in a
        // gRPC response, and in a response that announces trailers. In HTTP/1.1 and older, a response with a length has
        // no trailers.
        let announced = response.version() > Version::HTTP_11 && headers.contains_key(TRAILER);
        let left =
            if announced || is_grpc_message(headers) || is_grpc_web(headers) || headers.contains_key(TRANSFER_ENCODING)
            {
                // A `Transfer-Encoding` overrides the `Content-Length` (RFC 9112, section 6.3).
                None
            } else if let Some(length) = headers.get(CONTENT_LENGTH) {
                length.to_str().ok().and_then(|length| length.parse().ok())
            } else {
                // hyper's server computes `Content-Length` from the exact size. For an HTTP/1 client, the server then
                // counts bytes and does not poll for the end.
                flight.run(|| response.body().size_hint().exact())
            };
        let ends_early = is_grpc_web(headers);
        Self { flight, waits_since: None, left, ends_early }
    }

    fn wait(&mut self) -> bool {
        if self.waits_since.is_none() {
            self.waits_since = Some(self.flight.now());
            // Gives the permit a start time. If the head arrived without a wait, the permit has no start time yet.
            self.flight.begin_waiting();
        }
        false
    }

    /// Records a frame of the inner body. Returns true if the call has been judged.
    fn take(&mut self, frame: &Frame<B::Data>, is_last: bool) -> bool {
        self.waits_since = None;
        if let Some(trailers) = frame.trailers_ref() {
            return self.end(Some(trailers));
        }
        if let (Some(left), Some(data)) = (&mut self.left, frame.data_ref()) {
            *left = left.saturating_sub(data.remaining() as u64);
        }
        if is_last && self.ends_early {
            // Trailers may follow, so the next poll judges the call. If the body is dropped without another poll,
            // `drop` ends the call.
            self.left = Some(0);
            return false;
        }
        is_last && self.end(None)
    }

    fn fail(&mut self, error: &B::Error) -> bool {
        self.flight.judge(
            error,
            |classifier, call, error, elapsed| classifier.body_error(call, error, elapsed),
            |classifier, error| classifier.describe_body_error(error),
        );
        true
    }

    fn end(&mut self, trailers: Option<&HeaderMap>) -> bool {
        self.flight.judge((), |classifier, call, (), elapsed| classifier.end(call, trailers, elapsed), |_, ()| None);
        true
    }
}

impl<B, C, Req, Err, D> Drop for Tail<B, C, Req, Err, D>
where
    B: Body,
    C: BodyClassifier<Req, B, Err, Call = D>,
{
    fn drop(&mut self) {
        if self.flight.is_polling() {
            // The body has panicked during a poll. The drop of the flight judges the call as panicked.
            return;
        }
        // If all bytes have arrived and the caller is not waiting for a frame, the call has ended. A caller that waits
        // for another frame expects trailers.
        if self.left == Some(0) && self.waits_since.is_none() {
            self.end(None);
        }
        let waited = self.waits_since.map(|since| self.flight.now().saturating_since(since));
        self.flight.cancel(waited);
    }
}
