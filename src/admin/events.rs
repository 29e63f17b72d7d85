//! The events of all circuits as a stream of server-sent events, for a limited number of clients.
//!
//! Each client holds a semaphore permit (its seat). A separate task for each client ends the stream and frees the seat.
//! Without the task, a client that does not read would keep its seat for ever. A client that reads too slowly misses
//! events, and receives the number of missed events. The module `json` has the content of the events.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode, header};
use http_body::Frame;
use serde_json::{Value, json};
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::mpsc::{self, Receiver, Sender};

use super::Panel;
use super::json::{CircuitJson, Edge, millis};
use super::problem::Problem;
use crate::operation::{News, Subscription, What};

pub(super) async fn events(State(panel): State<Arc<Panel>>) -> Result<Response, Problem> {
    // After the shutdown has begun, a new stream would end at once without events. The request is refused instead, so
    // that the page can show the shutdown as the reason.
    if panel.registry.has_ended_subscriptions() {
        let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE, "shutting_down", "this process is shutting down");
        return Err(problem.retry_after(Duration::from_secs(5)));
    }
    let Ok(seat) = Arc::clone(&panel.seats).try_acquire_owned() else {
        let detail = format!("{} clients follow the events already, and more are not served", panel.event_clients);
        let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE, "too_many_clients", detail);
        return Err(problem.retry_after(Duration::from_secs(5)));
    };
    let subscription = panel.registry.subscribe();
    let (sender, texts) = mpsc::channel(1);
    #[expect(clippy::disallowed_methods, reason = "the task frees the seat, and ends with the stream")]
    tokio::spawn(Feed { panel, subscription, _seat: seat }.run(sender));
    let mut response = Response::new(Body::new(Events { texts }));
    for (name, value) in [
        (header::CONTENT_TYPE, "text/event-stream"),
        // `no-transform` forbids compression by a proxy (RFC 9111, 5.2.2.6). A proxy that compressed the stream would
        // delay events.
        (header::CACHE_CONTROL, "no-store, no-transform"),
        // Without this header nginx would collect events in a buffer before it forwards them.
        (HeaderName::from_static("x-accel-buffering"), "no"),
    ] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    Ok(response)
}

/// The events for one client. The client counts towards the limit of clients as long as `_seat` exists.
struct Feed {
    panel: Arc<Panel>,
    subscription: Subscription,
    _seat: OwnedSemaphorePermit,
}

impl Feed {
    /// Sends events until the client disconnects, the stream has lasted for the longest permitted time (`LONGEST`), or
    /// the server shuts down. This method runs in a separate task. A server does not poll the response body of a client
    /// that does not read, so the body could not free the client's seat (its place among the limited number of
    /// clients).
    async fn run(mut self, client: Sender<Bytes>) {
        let shutdown = self.panel.shutdown();
        tokio::select! {
            () = shutdown => {}
            () = tokio::time::sleep(LONGEST) => {}
            () = client.closed() => {}
            () = self.forward(&client) => {}
        }
        // The seat (the client's place in the limit) must be free before the client notices the end of the stream,
        // because the client connects again at once.
        drop(self);
    }

    /// Forwards events to the client. If the client reads slowly, events wait in the subscription. A full subscription
    /// drops the oldest events, and reports the number of dropped events.
    async fn forward(&mut self, client: &Sender<Bytes>) {
        // The first beat is sent at once, so that the client knows from which moment on the stream carries every event.
        let mut text = beat();
        while client.send(text).await.is_ok() {
            // Waits until the previous event has left the channel. The status in the next event is then as new as
            // possible.
            if client.reserve().await.is_err() {
                return;
            }
            text = match tokio::time::timeout(BEAT, self.subscription.next()).await {
                Ok(Some(news)) => self.text(&news),
                Ok(None) => return,
                Err(_) => beat(),
            };
        }
    }

    fn text(&self, News { circuit, what }: &News) -> Bytes {
        let (name, mut data) = match what {
            What::Transition(edge) => ("transition", json!({ "transition": Edge::from(&**edge) })),
            What::Rejections { rejected, over, retry_after } => (
                "rejections",
                json!({ "rejected": rejected, "over_ms": millis(*over), "retry_after_ms": retry_after.map(millis) }),
            ),
            What::Introduced => ("introduced", json!({})),
            What::Suppressed { reason, number, .. } => (
                "suppressed",
                json!({ "suppressed": number, "reason": reason.as_str(), "because": reason.to_string() }),
            ),
            What::Fleet(brief) => ("fleet", json!({ "fleet": brief })),
            What::Missed { events } => return event("missed", &json!({ "events": events })),
        };
        data["circuit"] = circuit.as_str().into();
        // The circuit is read now, so the status may be newer than the event.
        data["status"] = json!(self.panel.registry.get(circuit).as_ref().map(CircuitJson::of));
        event(name, &data)
    }
}

fn beat() -> Bytes {
    event("beat", &json!({ "next_ms": millis(BEAT) }))
}

/// Returns the text of one server-sent event. The JSON contains no line break. Therefore no text of a user can begin a
/// second event.
fn event(name: &str, data: &Value) -> Bytes {
    format!("event: {name}\ndata: {data}\n\n").into()
}

/// The body of the response. Each frame is the text of one event.
struct Events {
    texts: Receiver<Bytes>,
}

impl http_body::Body for Events {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        self.texts.poll_recv(context).map(|text| text.map(|text| Ok(Frame::data(text))))
    }
}

/// The longest time without an event before a beat is sent. A client that misses beats knows that the server is gone.
/// Proxies often close an idle stream after 60 s, and the beats prevent that.
const BEAT: Duration = Duration::from_secs(5);

/// The longest time of a stream. After this time the client must request a new stream. The new request is checked, so
/// that a revoked token loses its effect.
const LONGEST: Duration = Duration::from_secs(300);
