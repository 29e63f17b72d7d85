//! What happens, as server-sent events: told as it happens, to as many clients as there are seats.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};
use http_body::Frame;
use serde_json::{Value, json};
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::mpsc::{self, Receiver, Sender};

use super::Panel;
use super::json::{CircuitJson, Edge, millis};
use super::problem::Problem;
use crate::operation::{News, Subscription, What};

pub(super) async fn events(State(panel): State<Arc<Panel>>) -> Result<Response, Problem> {
    let Ok(seat) = Arc::clone(&panel.seats).try_acquire_owned() else {
        let detail = format!("{} clients follow the events already, and more are not served", panel.event_clients);
        let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE, "too_many_clients", detail);
        return Err(problem.retry_after(Duration::from_secs(5)));
    };
    let subscription = panel.registry.subscribe();
    let (sender, told) = mpsc::channel(1);
    #[expect(clippy::disallowed_methods, reason = "somebody has to take the seat back, and it ends with the stream")]
    tokio::spawn(Teller { panel, subscription, _seat: seat }.tell(sender));
    let mut response = Response::new(Body::new(Events { told }));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    // nginx would keep events back until it has a page of them.
    response.headers_mut().insert("x-accel-buffering", HeaderValue::from_static("no"));
    Ok(response)
}

/// The source of one client's events.
struct Teller {
    panel: Arc<Panel>,
    subscription: Subscription,
    _seat: OwnedSemaphorePermit,
}

impl Teller {
    /// Tells until the client is gone, or has had its time. It is a task of its own, as nobody asks for more of a body whose client
    /// does not read: such a one would keep its seat for ever.
    async fn tell(mut self, client: Sender<Bytes>) {
        tokio::select! {
            () = tokio::time::sleep(LONGEST) => {}
            () = client.closed() => {}
            () = self.tell_all(&client) => {}
        }
        // The seat is free before the client learns that it has to ask anew.
        drop(self);
    }

    /// It waits in the subscription, not here, if the client is slow: then it misses some and is told.
    async fn tell_all(&mut self, client: &Sender<Bytes>) {
        // At once, so that the client knows that it misses nothing from here on.
        let mut text = beat();
        while client.send(text).await.is_ok() {
            // The one before is on its way.
            if client.reserve().await.is_err() {
                return;
            }
            text = match tokio::time::timeout(BEAT, self.subscription.next()).await {
                Ok(Some(news)) => self.told(&news),
                Ok(None) => return,
                Err(_) => beat(),
            };
        }
    }

    fn told(&self, News { circuit, what }: &News) -> Bytes {
        let (name, mut told) = match what {
            What::Transition(edge) => ("transition", json!({ "transition": Edge::from(&**edge) })),
            What::Rejections { rejected, over, retry_after } => (
                "rejections",
                json!({ "rejected": rejected, "over_ms": millis(*over), "retry_after_ms": retry_after.map(millis) }),
            ),
            What::Introduced => ("introduced", json!({})),
            What::Missed { events } => return event("missed", &json!({ "events": events })),
        };
        told["circuit"] = circuit.as_str().into();
        // As it is now, which may be later than what is told.
        told["status"] = json!(self.panel.registry.get(circuit).as_ref().map(CircuitJson::of));
        event(name, &told)
    }
}

fn beat() -> Bytes {
    event("beat", &json!({ "next_ms": millis(BEAT) }))
}

/// An event on the wire. JSON has no line ends of its own, so nothing that users write can begin another.
fn event(name: &str, data: &Value) -> Bytes {
    format!("event: {name}\ndata: {data}\n\n").into()
}

/// The body: the next event is waited for when the one before is on its way.
struct Events {
    told: Receiver<Bytes>,
}

impl http_body::Body for Events {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        self.told.poll_recv(context).map(|text| text.map(|text| Ok(Frame::data(text))))
    }
}

/// How often something is said, so that a client notices that the server is gone.
const BEAT: Duration = Duration::from_secs(5);

/// How long a client is served before it has to ask again, and to show that it still may.
const LONGEST: Duration = Duration::from_secs(300);
