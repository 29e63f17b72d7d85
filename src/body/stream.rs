//! The body: its frames pass through, and its end is the end of the call.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Buf;
use http::header::{CONTENT_LENGTH, TRAILER, TRANSFER_ENCODING};
use http::{HeaderMap, Response, Version};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use crate::call::Flight;
use crate::classify::{BodyClassifier, is_grpc_message, is_grpc_web};
use crate::clock::Tick;

pin_project! {
    /// The body of a response through [`TrackedBodies`](super::TrackedBodies), with the permit of its call until that is judged.
    ///
    /// The call is judged once: with the trailers, or by the end of the stream (as soon as the body says that nothing follows,
    /// since then it may not be polled again), or by the first error, or as panicked. Afterwards, and where there never was a
    /// permit (a rejection's body, a call that no circuit guards, a call judged by its head), it only passes frames on.
    ///
    /// # Cancel safety
    ///
    /// A frame that is not waited for is not lost: the next poll gives it.
    ///
    /// Dropped before the end, the inner body is dropped, the permit is returned, and the outcome is cancelled, unless the
    /// classifier says otherwise: a failure of weight 0.5 if the next frame had by then been waited for
    /// `cancelled_counts_after`, else neutral. The wait begins anew with each frame, and only runs while somebody waits: who
    /// reads slowly, or goes away in the middle of a stream that flows, says nothing about the service. A body that has given as
    /// many bytes as its `Content-Length` or its size says has ended, though nobody polled it for that. A probe's slot is free
    /// again.
    #[must_use = "a body that is dropped before its end counts as a cancelled call"]
    pub struct TrackedBody<B, C, Req, Err>
    where
        B: Body,
        C: BodyClassifier<Req, B, Err>,
    {
        // The inner body is dropped first: what it does while it is dropped still belongs to the call.
        #[pin]
        inner: B,
        tail: Option<Tail<B, C, Req, Err>>,
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

    /// Takes the inner body out. If the call is not judged yet, it counts as one that was dropped now.
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
            // Who knows that nothing follows does not poll again.
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

/// An untracked body: no call waits for its end.
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

/// What is left of a call while its body streams.
pub(super) struct Tail<B, C, Req, Err>
where
    B: Body,
    C: BodyClassifier<Req, B, Err>,
{
    flight: Flight<C, Req, Response<B>, Err>,
    /// Since when the next frame is waited for.
    waits_since: Option<Tick>,
    /// How many bytes are still to come, if the head or the body said so. A reader that counts them, as hyper's HTTP/1 does
    /// whatever version the service speaks, does not poll for the end.
    left: Option<u64>,
    /// Whether trailers may come after the body has said that nothing follows: tonic-web's client says it of the stream below,
    /// whose last bytes are a message and the trailers.
    ends_early: bool,
}

impl<B, C, Req, Err> Tail<B, C, Req, Err>
where
    B: Body,
    C: BodyClassifier<Req, B, Err>,
{
    pub(super) fn new(mut flight: Flight<C, Req, Response<B>, Err>, response: &Response<B>) -> Self {
        let headers = response.headers();
        // Trailers are still to come, where they were announced (up to HTTP/1.1 there are none beside a length) and in gRPC.
        let announced = response.version() > Version::HTTP_11 && headers.contains_key(TRAILER);
        let left =
            if announced || is_grpc_message(headers) || is_grpc_web(headers) || headers.contains_key(TRANSFER_ENCODING)
            {
                // A coding overrides the length (RFC 9112, section 6.3).
                None
            } else if let Some(length) = headers.get(CONTENT_LENGTH) {
                length.to_str().ok().and_then(|length| length.parse().ok())
            } else {
                // From this hyper's server makes the header.
                flight.run(|| response.body().size_hint().exact())
            };
        let ends_early = is_grpc_web(headers);
        Self { flight, waits_since: None, left, ends_early }
    }

    fn wait(&mut self) -> bool {
        if self.waits_since.is_none() {
            self.waits_since = Some(self.flight.now());
        }
        false
    }

    /// Looks at a frame that came, and returns whether it was the last.
    fn take(&mut self, frame: &Frame<B::Data>, is_last: bool) -> bool {
        self.waits_since = None;
        if let Some(trailers) = frame.trailers_ref() {
            return self.end(Some(trailers));
        }
        if let (Some(left), Some(data)) = (&mut self.left, frame.data_ref()) {
            *left = left.saturating_sub(data.remaining() as u64);
        }
        if is_last && self.ends_early {
            // Unless somebody asks for more.
            self.left = Some(0);
            return false;
        }
        is_last && self.end(None)
    }

    fn fail(&mut self, error: &B::Error) -> bool {
        self.flight.judge(|classifier, call, elapsed| classifier.body_error(call, error, elapsed));
        true
    }

    fn end(&mut self, trailers: Option<&HeaderMap>) -> bool {
        self.flight.judge(|classifier, call, elapsed| classifier.end(call, trailers, elapsed));
        true
    }
}

impl<B, C, Req, Err> Drop for Tail<B, C, Req, Err>
where
    B: Body,
    C: BodyClassifier<Req, B, Err>,
{
    fn drop(&mut self) {
        if self.flight.is_polling() {
            // The flight's own drop says that it panicked.
            return;
        }
        // Who still waits for something after the last byte, waits for trailers.
        if self.left == Some(0) && self.waits_since.is_none() {
            self.end(None);
        }
        let waited = self.waits_since.map(|since| self.flight.now().saturating_since(since));
        self.flight.cancel(waited);
    }
}
