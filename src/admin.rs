//! What people and programs see of the circuits of a process, and do to them, over HTTP: JSON, events and one page.
//!
//! [`router`] gives a router of axum's that nests in an application of any state. **It refuses everything until it is told who
//! may ask**: [`authorize`](AdminRouter::authorize) takes the application's own judgement, [`bearer`] a list of tokens, and
//! [`read_only_without_auth`](AdminRouter::read_only_without_auth) says out loud that everybody may look and nobody act.
//!
//! ```
//! use tower_circuit_breaker::{Registry, admin};
//!
//! # fn token() -> String { "a long secret of the environment".to_owned() }
//! let registry = Registry::new();
//! let allowed = admin::bearer(&[(&token(), admin::User::new("on-call")?)]);
//! let app: axum::Router = axum::Router::new().nest("/circuits", admin::router(&registry).authorize(allowed).build());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Routes
//!
//! | | |
//! |---|---|
//! | `GET /` | the page: nothing but markup, style and script; it asks the others as everybody does |
//! | `GET /api/circuits` | every circuit: state, rates and thresholds, the last transition |
//! | `GET /api/status?circuit=NAME` | one, with its settings in sentences |
//! | `GET /api/transitions?circuit=NAME` | its last transitions, newest first, with the numbers that decided |
//! | `GET /api/audit?service=&user=&since=&limit=` | who did what and why, newest first; `since` in milliseconds of the epoch, `limit` 1 to 1000 |
//! | `GET /api/events` | server-sent events: `transition`, `rejections`, `introduced`, `missed`, `beat` |
//! | `POST /api/trip?circuit=NAME` | `{"reason": "…", "hold_ms": 600000}`; without `hold_ms` until a reset |
//! | `POST /api/reset?circuit=NAME` | `{"reason": "…", "to": "half_open" or "closed", "force": false}` |
//! | `POST /api/disable?circuit=NAME` | `{"reason": "…", "hold_ms": 600000}`, or `"indefinitely": true` instead |
//! | `POST /api/resume?circuit=NAME` | `{"reason": "…"}` |
//!
//! Every order also takes `seen`, the `latest` of what was looked at, and `id`, a name for it under which it is done once
//! ([`Order`](crate::operation::Order)). The user is always who the authoriser says. Names are in the query, not in the path,
//! which proxies and browsers rewrite: a circuit may be called `../a`. Durations and times end in `_ms`.
//!
//! An order that is in the store, or has none to be in, is answered with 200; one that binds here and waits for the store with 202.
//! One whose client is gone before the answer is done all the same, unless its body was cut short.
//! Errors are problem details (RFC 9457): `detail` is one sentence, `kind` a word for programs.
//!
//! # What protects it
//!
//! Orders are `POST` with JSON, which a form of another site cannot send; requests that a browser says come from another site are
//! refused (`Sec-Fetch-Site`, else `Origin` against `Host`). The page may run only its own script and style, talks only to its own
//! server and cannot be framed; what users write is shown as text. Bodies end at 16 KiB, clients of events at
//! [`event_clients`](AdminRouter::event_clients). Rate limits and TLS are the application's.

mod auth;
mod body;
mod events;
mod json;
mod page;
mod problem;
mod read;
mod write;

use std::fmt;
use std::sync::Arc;

use axum::Router;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::{get, post};
use http::request::Parts;
use tokio::sync::Semaphore;

use self::auth::Access;
pub use self::auth::{Denied, User, bearer};
use crate::registry::Registry;

/// Starts a router for the circuits of that registry. It refuses everything until it is told who may ask.
pub fn router(registry: &Registry) -> AdminRouter {
    AdminRouter { registry: registry.clone(), access: Access::Nobody, event_clients: 16 }
}

/// The settings of a router: see [the module](self).
#[must_use = "it is a router once `build` is called"]
pub struct AdminRouter {
    registry: Registry,
    access: Access,
    event_clients: usize,
}

impl AdminRouter {
    /// Lets in whom the closure lets in, to read and to write, as the user that it names. It is asked for every request but for the page.
    ///
    /// It sees method, address, headers and extensions: a cookie, a certificate's name, or what an asynchronous middleware of the
    /// application has found out and put into the extensions. Who may only read is [`forbidden`](Denied::forbidden) to `POST`. It
    /// must not block.
    ///
    /// The page itself is then served to everybody, as browsers send no token with an address: it holds nothing about the circuits.
    pub fn authorize<F>(mut self, authoriser: F) -> Self
    where
        F: Fn(&Parts) -> Result<User, Denied> + Send + Sync + 'static,
    {
        self.access = Access::Asked(Box::new(authoriser));
        self
    }

    /// Lets everybody read who can reach it, and nobody write. Reasons, names of users and of services are then public.
    ///
    /// A page of any site can read it too from a browser that can reach it, if it makes its own name point here (DNS rebinding):
    /// with a token or a cookie it cannot.
    pub fn read_only_without_auth(mut self) -> Self {
        self.access = Access::Readers;
        self
    }

    /// Sets how many clients may follow the events at a time; the next is refused with 503. Default: 16.
    pub fn event_clients(mut self, clients: usize) -> Self {
        self.event_clients = clients;
        self
    }

    /// Returns the router. [`Router::nest`] puts it below a path, where the page is at that path without a slash at its end;
    /// [`Router::nest_service`] likewise, with and without.
    ///
    /// A stream of events ends after five minutes and is asked for anew: so a token that was taken back sees no more, and a
    /// graceful shutdown of the server, which waits for streams, should have a deadline.
    pub fn build<S>(self) -> Router<S>
    where
        S: Clone + Send + Sync + 'static,
    {
        let Self { registry, access, event_clients } = self;
        let seats = Arc::new(Semaphore::new(event_clients.min(Semaphore::MAX_PERMITS)));
        let panel = Arc::new(Panel { registry, access, event_clients, seats });
        let reads = Router::new()
            .route("/api/circuits", get(read::circuits))
            .route("/api/status", get(read::status))
            .route("/api/transitions", get(read::transitions))
            .route("/api/audit", get(read::audit))
            .route("/api/events", get(events::events))
            .route_layer(from_fn_with_state(Arc::clone(&panel), auth::reads));
        let writes = Router::new()
            .route("/api/trip", post(write::trip))
            .route("/api/reset", post(write::reset))
            .route("/api/disable", post(write::disable))
            .route("/api/resume", post(write::resume))
            .route_layer(from_fn_with_state(Arc::clone(&panel), auth::writes));
        let page =
            Router::new().route("/", get(page::page)).route_layer(from_fn_with_state(Arc::clone(&panel), auth::page));
        page.merge(reads).merge(writes).route_layer(from_fn(page::headers)).with_state(panel)
    }
}

impl fmt::Debug for AdminRouter {
    // Only how many circuits there are: authorisers know secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { registry, access, event_clients } = self;
        f.debug_struct("AdminRouter")
            .field("circuits", &registry.circuits().len())
            .field("access", access)
            .field("event_clients", event_clients)
            .finish()
    }
}

/// What every request needs.
struct Panel {
    registry: Registry,
    access: Access,
    event_clients: usize,
    seats: Arc<Semaphore>,
}
