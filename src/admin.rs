//! The admin interface of a process over HTTP, for people and programs. The interface shows the circuits as JSON, as
//! server-sent events and on one page. Operators can send orders to trip, reset, disable or resume a circuit.
//!
//! [`router`] creates an axum router. An application with any state type can nest the router. **The router refuses
//! every request until a rule of access is set.** [`authorize`](AdminRouter::authorize) takes the application's own
//! check, or the check that [`bearer`] creates from a list of tokens.
//! [`read_only_without_auth`](AdminRouter::read_only_without_auth) permits every client to read, and no client to act.
//!
//! ```
//! use tower_circuit_breaker::{Registry, admin};
//!
//! # fn token() -> String { "a-long-secret-of-the-environment".to_owned() }
//! let registry = Registry::new();
//! let allowed = admin::bearer(&[(&token(), admin::User::new("on-call")?)])?;
//! let app: axum::Router = axum::Router::new().nest("/circuits", admin::router(&registry).authorize(allowed).build());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Routes
//!
//! | | |
//! |---|---|
//! | `GET /` | the HTML page with its style and script, which loads its data from the other routes |
//! | `GET /api/circuits` | every circuit with its state, its rates and limits, and its last transition |
//! | `GET /api/status?circuit=NAME` | one circuit, with its settings in sentences |
//! | `GET /api/transitions?circuit=NAME` | the last transitions of a circuit with the numbers that decided them, newest first |
//! | `GET /api/audit?service=&user=&since=&limit=` | the rows of the audit, newest first, where `since` is in milliseconds since 1970 and `limit` is 1 to 1000 |
//! | `GET /api/fleet?circuit=NAME` | the decision of the fleet, read from the store, with the votes, the leases and the instances |
//! | `GET /api/events` | server-sent events, which are `transition`, `rejections`, `introduced`, `suppressed`, `fleet`, `missed` and `beat` |
//! | `POST /api/trip?circuit=NAME` | `{"reason": "…", "hold_ms": 600000}`. Without `hold_ms` the circuit stays open until a reset or a resume |
//! | `POST /api/reset?circuit=NAME` | `{"reason": "…", "to": "half_open" or "closed", "force": false}` |
//! | `POST /api/disable?circuit=NAME` | `{"reason": "…", "hold_ms": 600000}`, or `"indefinitely": true` in place of `hold_ms` |
//! | `POST /api/resume?circuit=NAME` | `{"reason": "…"}` |
//!
//! If the registry uses `Sharing::Quorum` or `Sharing::Follow`, the JSON of a circuit has the decision of the fleet in
//! the field `fleet`, with `state`, `votes`, `needed`, `live`, `leases` and `passed`
//! ([`FleetBrief`](crate::state::FleetBrief)). For a circuit of any other registry the field is `null`.
//!
//! Every order also accepts `seen` and `id` ([`Order`](crate::operation::Order)). `seen` is the value of `latest` in
//! the status that the operator saw. An order with `seen` is refused if the circuit has changed since that status. An
//! order with an `id` takes effect once, even if the client sends the order again. The answer to the repeated order has
//! `"repeated": true`. A different order with an `id` that was already used on the circuit is refused with 409 and the
//! kind `id_used`. The access check alone sets the user of an order. The name of a circuit is in the query, because
//! proxies and browsers rewrite paths, and a circuit may have the name `../a`. Fields for times and durations are in
//! milliseconds, and their names end in `_ms`.
//!
//! The answer is 200 if the order is stored, or if there is no store. The answer is 202 if this process applies the
//! order, but the order is still missing in the store, in the durable tier of the store or in the audit. If the client
//! disconnects after the body of the request is complete, the order is still carried out. Errors are problem details
//! (RFC 9457), where `detail` is a sentence for people and `kind` is a word for programs.
//!
//! # Protection
//!
//! Orders are `POST` requests with JSON, which a form of another site cannot send. The router refuses a request if the
//! browser reports that the request comes from another site. The browser reports the site in `Sec-Fetch-Site`, but only
//! over https, or to localhost. Without that header, the router compares the host and the port in `Origin` with the
//! host and the port in `Host`. A missing port counts as the default port of the scheme in `Origin`.
//! [`trusted_origin`](AdminRouter::trusted_origin) accepts the origin of a page behind a proxy that changes the `Host`.
//! If a request has a token of [`bearer`], `Origin` and `Host` are not compared, because no other site can send the
//! token. `Forwarded` and `X-Forwarded-*` are never trusted, because any client can send them.
//!
//! [`hosts`](AdminRouter::hosts) refuses requests to other hosts, which protects against DNS rebinding. The page may
//! run only its own script and style, connects only to its own server, cannot be framed, and shows the text of users as
//! plain text. A body has at most 16 KiB, and at most [`event_clients`](AdminRouter::event_clients) clients follow the
//! events. Requests that are refused because of their user, origin or host are logged with the compared values, at most
//! one line a minute for each kind of refusal. The application has to add rate limits and TLS.

mod auth;
mod body;
mod events;
mod fleet;
mod json;
mod page;
mod problem;
mod read;
mod refusals;
mod site;
mod tokens;
mod write;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use axum::Router;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::{get, post};
use http::request::Parts;
use tokio::sync::Semaphore;

use self::auth::Access;
pub use self::auth::{Denied, User};
use self::refusals::Refusals;
pub use self::site::InvalidSite;
use self::site::Site;
pub use self::tokens::{InvalidToken, bearer};
use crate::registry::Registry;

/// Starts building a router that serves the circuits of a registry. The router refuses every request until a rule of
/// access is set.
pub fn router(registry: &Registry) -> AdminRouter {
    let (access, site) = (Access::Closed, Site::default());
    AdminRouter { registry: registry.clone(), access, site, event_clients: 16, shutdown: None }
}

/// The settings of a router, as [the module](self) describes them.
#[must_use = "the router is created by `build`"]
pub struct AdminRouter {
    registry: Registry,
    access: Access,
    site: Site,
    event_clients: usize,
    shutdown: Option<Shutdown>,
}

/// A closure that the router calls once for each event stream. The future that the closure returns is ready when the
/// server shuts down.
type Shutdown = Box<dyn Fn() -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync>;

impl AdminRouter {
    /// Sets the closure that checks every request to the API. The closure refuses the request with [`Denied`], or
    /// returns the user of the request. This user may then read and act.
    ///
    /// The closure receives the method, the URI, the headers and the extensions of the request. The closure may check a
    /// cookie, the name of a certificate, or a result that an asynchronous middleware of the application has put into
    /// the extensions. For a user who may only read, the closure returns [`forbidden`](Denied::forbidden) for `POST`
    /// requests. The closure must not block.
    ///
    /// Only users who may act see the buttons for orders and the full text of store errors, which can contain an
    /// address or a database role. To find out if a user may act, the router calls the closure a second time, with the
    /// method `POST` and the path `/api/trip`. The router makes this second call for each request for the list of
    /// circuits, because the list reports if the user may act. The router also makes the second call when the audit or
    /// a fleet cannot be read, because the response may contain the text of the store error. If the second call refuses
    /// the user, the list has `"writes": false`, and the response has only the kind of the store error.
    ///
    /// The router does not call the closure for the page itself, because browsers send no token when a person opens an
    /// address. The page contains no data of the circuits.
    ///
    /// # DNS rebinding
    ///
    /// Any other site can point its own host name to this server. To the browser, a page of that site and this router
    /// are then one origin, so that the page can **read and act** with the browser of an operator. Either of two
    /// measures prevents that:
    ///
    /// * The closure requires a secret that the browser sends to the host of this router only: a token or a cookie. The
    ///   requests of the foreign page do not contain the secret. The address of the client, the network, or a header
    ///   that a proxy or a sidecar adds to each request does not help, because the requests of the foreign page have
    ///   the same values.
    /// * [`hosts`](Self::hosts) names the hosts of this router, so that a request to the foreign name is refused.
    pub fn authorize<F>(mut self, authoriser: F) -> Self
    where
        F: Fn(&Parts) -> Result<User, Denied> + Send + Sync + 'static,
    {
        self.access = Access::Authorised(Box::new(authoriser));
        self
    }

    /// Permits every client to read, and lets no client act. The reasons of transitions and orders, and the names of
    /// users and services, are then public.
    ///
    /// Another site can point its own host name to this server (DNS rebinding). A page of that site can then read the
    /// data through any browser that can reach this server. [`hosts`](Self::hosts) prevents that.
    /// [`authorize`](Self::authorize) with a token or a cookie prevents that too.
    pub fn read_only_without_auth(mut self) -> Self {
        self.access = Access::ReadOnly;
        self
    }

    /// Accepts requests of pages from this origin, in addition to requests whose `Origin` matches the `Host`. Call this
    /// method once for each origin. Default: no additional origin.
    ///
    /// The page of this router needs this setting only if three conditions hold together. A proxy changes the `Host`
    /// (the default of nginx), the users have no tokens from [`bearer`], and the browser sends no `Sec-Fetch-Site`
    /// (over plain http). A page of another origin, such as a dashboard, also needs the headers of a CORS layer around
    /// this router. A trusted page can act with the cookies of its visitors.
    ///
    /// # Errors
    ///
    /// [`InvalidSite`] if the text is not `http://` or `https://` with a host and an optional port, for example
    /// `https://ops.example`. `null`, patterns and paths are refused.
    ///
    /// ```
    /// # use tower_circuit_breaker::{Registry, admin::{self, Denied, User}};
    /// # let registry = Registry::new();
    /// # let session = |_: &http::request::Parts| Err(Denied::unknown("log in first"));
    /// let router = admin::router(&registry)
    ///     .authorize(session)
    ///     .trusted_origin("http://ops.internal")?
    ///     .hosts(["ops.internal", "127.0.0.1"])?;
    /// # let _app: axum::Router = router.build();
    /// # Ok::<(), admin::InvalidSite>(())
    /// ```
    pub fn trusted_origin(mut self, origin: &str) -> Result<Self, InvalidSite> {
        self.site.trust(origin)?;
        Ok(self)
    }

    /// Refuses every request to a host that is not in this list, including requests that only read and requests for the
    /// page. Default: every host is accepted.
    ///
    /// The hosts are compared with the `Host` of the requests that reach this process. Behind a proxy that changes the
    /// `Host`, name the host that the proxy sends. A host without a port covers every port. The comparison ignores the
    /// case of names. IPv6 addresses are written in brackets. A request without a `Host` is refused. Routes of the
    /// application beside this router, such as a readiness probe, are not affected.
    ///
    /// # Errors
    ///
    /// [`InvalidSite`] if the list is empty, or if a text is not a name or an IP address with an optional port.
    pub fn hosts<I>(mut self, hosts: I) -> Result<Self, InvalidSite>
    where
        I: IntoIterator<Item: AsRef<str>>,
    {
        self.site.allow(hosts)?;
        Ok(self)
    }

    /// Sets the largest number of clients that can receive the stream of events at the same time. A further client is
    /// refused with 503 and the kind `too_many_clients`. The page then requests the circuits at intervals instead. The
    /// tabs of one browser share one stream. Default: 16.
    pub fn event_clients(mut self, clients: usize) -> Self {
        self.event_clients = clients;
        self
    }

    /// Ends each stream of events when the future that the closure returns is ready. Without this signal, an open
    /// stream can delay a graceful shutdown of the server. By default, streams end when [`Registry::shutdown`] begins.
    ///
    /// The router calls the closure once for each stream, perhaps after the signal. A future that is created after the
    /// signal must be ready at once. The futures of a `watch` channel and of a `CancellationToken` have this property.
    ///
    /// ```no_run
    /// use tokio::sync::watch;
    /// use tower_circuit_breaker::{BoxError, Registry, admin};
    ///
    /// # async fn serve(registry: Registry, listener: tokio::net::TcpListener) -> Result<(), BoxError> {
    /// let (stop, stopped) = watch::channel(false); // `stop.send(true)` when the process is asked to end
    /// let signal = move || {
    ///     let mut stopped = stopped.clone();
    ///     async move { drop(stopped.wait_for(|stopped| *stopped).await) }
    /// };
    /// let page = admin::router(&registry).read_only_without_auth().shutdown_signal(signal.clone()).build();
    /// let app = axum::Router::new().nest("/circuits", page);
    /// axum::serve(listener, app).with_graceful_shutdown(signal()).await?;
    /// # drop(stop); Ok(()) }
    /// ```
    pub fn shutdown_signal<F, Fut>(mut self, signal: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        self.shutdown = Some(Box::new(move || Box::pin(signal())));
        self
    }

    /// Creates the axum router. The router has a fallback, so nest the router and do not merge it. [`Router::nest`]
    /// serves the page only at the path without a slash at the end, and [`Router::nest_service`] also at the path with
    /// the slash.
    ///
    /// A stream of events ends after five minutes, and the client then requests a new stream. A client with a revoked
    /// token is then refused. A stream also ends when [`Registry::shutdown`] begins, or at the
    /// [`shutdown_signal`](Self::shutdown_signal). A graceful shutdown still needs a deadline, because a client that
    /// does not read can hold up any response.
    pub fn build<S>(self) -> Router<S>
    where
        S: Clone + Send + Sync + 'static,
    {
        let Self { registry, access, site, event_clients, shutdown } = self;
        let seats = Arc::new(Semaphore::new(event_clients.min(Semaphore::MAX_PERMITS)));
        let refusals = Refusals::default();
        let panel = Arc::new(Panel { registry, access, site, refusals, event_clients, shutdown, seats });
        let reads = Router::new()
            .route("/api/circuits", get(read::circuits))
            .route("/api/status", get(read::status))
            .route("/api/transitions", get(read::transitions))
            .route("/api/audit", get(read::audit))
            .route("/api/fleet", get(fleet::fleet))
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
        page.merge(reads)
            .merge(writes)
            .fallback(problem::no_such_path)
            .method_not_allowed_fallback(problem::method)
            // `layer` also runs for unknown paths, but `route_layer` does not. The responses for unknown paths need the
            // host check and the security headers too.
            .layer(from_fn_with_state(Arc::clone(&panel), auth::hosts))
            .layer(from_fn(page::headers))
            .with_state(panel)
    }
}

impl fmt::Debug for AdminRouter {
    // The output has only the number of circuits of the registry. The `Debug` of `Access` leaves out the closure that
    // checks requests, because the closure may contain secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { registry, access, site, event_clients, shutdown: _ } = self;
        f.debug_struct("AdminRouter")
            .field("circuits", &registry.circuits().len())
            .field("access", access)
            .field("site", site)
            .field("event_clients", event_clients)
            .finish_non_exhaustive()
    }
}

/// The state that the handlers of all routes share.
struct Panel {
    registry: Registry,
    access: Access,
    site: Site,
    refusals: Refusals,
    event_clients: usize,
    shutdown: Option<Shutdown>,
    seats: Arc<Semaphore>,
}

impl Panel {
    /// Returns a future that is ready when the server shuts down. Without a signal the future is never ready.
    fn shutdown(&self) -> impl Future<Output = ()> + Send + use<> {
        let signal = self.shutdown.as_ref().map(|signal| signal());
        async move {
            match signal {
                Some(signal) => signal.await,
                None => std::future::pending().await,
            }
        }
    }
}
