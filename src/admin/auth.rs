//! The middleware that checks each request to the API: the rule of access, and a protection against requests of other
//! sites.
//!
//! The checks run before the handlers, so that no handler can forget a check. The page itself has no data, and is
//! served without a check of the user. The authoriser (a closure of the application) returns the user who sent a
//! request, or refuses the request. The module `site` has the origins and hosts that belong to the page.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::request::Parts;
use http::{HeaderName, HeaderValue, Method, StatusCode, Uri, header};

use super::Panel;
use super::problem::Problem;
use crate::state::{By, InvalidBy};

/// The user of a request, with the name that the audit shows. Two users with the same name are equal.
#[derive(Debug, Clone)]
pub struct User {
    name: Box<str>,
    /// True if the request of the user carried a token. Another site cannot make a browser send a token, so `Origin`
    /// and `Host` are not compared.
    by_token: bool,
}

impl User {
    /// Creates a user with this name.
    ///
    /// # Errors
    ///
    /// [`InvalidBy`] if [`By`] would refuse the name. A name has 1 to 200 characters, and no control character or
    /// invisible character.
    pub fn new(name: &str) -> Result<Self, InvalidBy> {
        By::new(name, "to check the name").map(|by| Self { name: by.user().into(), by_token: false })
    }

    /// Records that the request of this user carried a token.
    pub(super) fn by_token(self) -> Self {
        Self { by_token: true, ..self }
    }

    /// Returns the name of the user.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl PartialEq for User {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for User {}

impl Hash for User {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

/// The refusal of a request by an authoriser.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denied {
    status: StatusCode,
    reason: String,
    challenge: Option<HeaderValue>,
}

impl Denied {
    /// Refuses the request with 401, because the user is unknown. After a 401, the page asks the person for a token.
    #[must_use]
    pub fn unknown(reason: &str) -> Self {
        let challenge = Some(HeaderValue::from_static("Bearer"));
        Self { status: StatusCode::UNAUTHORIZED, reason: reason.to_owned(), challenge }
    }

    /// Refuses the request with 403, because the user is known but has no permission.
    #[must_use]
    pub fn forbidden(reason: &str) -> Self {
        Self { status: StatusCode::FORBIDDEN, reason: reason.to_owned(), challenge: None }
    }

    /// Sets `WWW-Authenticate` (RFC 9110, 11.6.1). Default: `Bearer` for [`unknown`](Self::unknown), none for
    /// [`forbidden`](Self::forbidden). With `Basic` a browser shows its own form for name and password.
    #[must_use]
    pub fn challenge(mut self, challenge: HeaderValue) -> Self {
        self.challenge = Some(challenge);
        self
    }
}

type Authoriser = dyn Fn(&Parts) -> Result<User, Denied> + Send + Sync;

/// The rule of access, which decides for each request if the client may read or act.
pub(super) enum Access {
    /// Refuses every request, because no rule was set.
    Closed,
    /// Permits every client to read, and no client to act.
    ReadOnly,
    /// Permits the requests that the authoriser accepts.
    Authorised(Box<Authoriser>),
}

impl Access {
    /// Returns true if the client that sent a read request may also act. To find out, this method calls the authoriser
    /// with a copy of the request, but with the method and the path of an order to trip.
    pub(super) fn may_act(&self, parts: &Parts) -> bool {
        let Self::Authorised(authoriser) = self else { return false };
        let mut act = parts.clone();
        (act.method, act.uri) = (Method::POST, Uri::from_static("/api/trip"));
        authoriser(&act).is_ok()
    }

    /// Returns the user of a request if this rule of access permits the request. The user is `None` if the rule permits
    /// every client to read. Returns the problem if the rule refuses the request.
    fn admit(&self, parts: &Parts) -> Result<Option<User>, Problem> {
        match self {
            Self::Closed => Err(closed()),
            Self::ReadOnly => Ok(None),
            Self::Authorised(authoriser) => authoriser(parts).map(Some).map_err(|denied| {
                let kind = if denied.status == StatusCode::FORBIDDEN { "forbidden" } else { "unauthorized" };
                Problem::new(denied.status, kind, denied.reason).challenge(denied.challenge)
            }),
        }
    }
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Closed => "Closed",
            Self::ReadOnly => "ReadOnly",
            Self::Authorised(_) => "Authorised(..)",
        })
    }
}

fn closed() -> Problem {
    let detail = "this router has no rule of access: call `authorize` or `read_only_without_auth`";
    let challenge = Some(HeaderValue::from_static("Bearer"));
    Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", detail).challenge(challenge)
}

/// The user of a request to a route that reads. The middleware passes this user to the handler. `None` if every client
/// may read.
#[derive(Debug, Clone)]
pub(super) struct Reader(pub(super) Option<User>);

/// The middleware of all routes, which checks the host of a request before all other checks. After DNS rebinding, the
/// page of an attacker has the same origin as this router. Without the host check, an authoriser that recognises a user
/// by the address of the client would accept the requests of that page.
pub(super) async fn hosts(State(panel): State<Arc<Panel>>, request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    if let Err(foreign) = panel.site.check_host(&parts) {
        panel.refusals.note(&parts, FOREIGN_HOST, &foreign.logged());
        return Problem::new(StatusCode::FORBIDDEN, FOREIGN_HOST, foreign.sentence()).into_response();
    }
    next.run(Request::from_parts(parts, body)).await
}

const FOREIGN_HOST: &str = "foreign_host";

/// Serves the page without a check of the user. If no rule of access was set, refuses the request.
pub(super) async fn page(State(panel): State<Arc<Panel>>, request: Request, next: Next) -> Response {
    if matches!(panel.access, Access::Closed) { closed().into_response() } else { next.run(request).await }
}

/// The middleware of the routes that read, which checks the user and the origin of a request.
pub(super) async fn reads(State(panel): State<Arc<Panel>>, request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    let user = admit(&panel, &parts).and_then(|user| same_origin(&panel, &parts, user.as_ref()).map(|()| user));
    match user {
        Ok(user) => {
            parts.extensions.insert(Reader(user));
            next.run(Request::from_parts(parts, body)).await
        }
        Err(problem) => refuse(&panel, &parts, problem),
    }
}

/// The middleware of the routes that act, which checks the user, the origin and the content type of a request. These
/// routes refuse a request without a user, because the audit records the user of each act.
pub(super) async fn writes(State(panel): State<Arc<Panel>>, request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    let user = admit(&panel, &parts).and_then(|user| {
        let user = user.ok_or_else(|| {
            Problem::new(
                StatusCode::FORBIDDEN,
                "read_only",
                "this router only permits reading, because it has no authoriser",
            )
        })?;
        same_origin(&panel, &parts, Some(&user)).and_then(|()| json_only(&parts)).map(|()| user)
    });
    match user {
        Ok(user) => {
            parts.extensions.insert(user);
            next.run(Request::from_parts(parts, body)).await
        }
        Err(problem) => refuse(&panel, &parts, problem),
    }
}

/// Returns the user of a request. Refuses the request if a header that decides about access occurs more than once.
fn admit(panel: &Panel, parts: &Parts) -> Result<Option<User>, Problem> {
    // If a header occurs twice, a proxy may have checked one of the values, and this router might check the other
    // value.
    match DECIDING.iter().find(|name| parts.headers.get_all(*name).iter().nth(1).is_some()) {
        Some(name) => {
            let detail = format!("the header {name} occurs more than once, allowed is once");
            Err(Problem::new(StatusCode::BAD_REQUEST, "repeated_header", detail))
        }
        None => panel.access.admit(parts),
    }
}

/// The headers that decide about the access of a request.
const DECIDING: [HeaderName; 4] =
    [header::AUTHORIZATION, header::ORIGIN, header::CONTENT_TYPE, HeaderName::from_static("sec-fetch-site")];

fn refuse(panel: &Panel, parts: &Parts, problem: Problem) -> Response {
    panel.refusals.note(parts, problem.kind(), problem.detail());
    problem.into_response()
}

/// Refuses requests that a browser sends on behalf of another site.
fn same_origin(panel: &Panel, parts: &Parts, user: Option<&User>) -> Result<(), Problem> {
    panel.site.check_origin(parts, user.is_some_and(|user| user.by_token)).map_err(|compared| {
        let detail = format!("the request comes from another site: {compared}");
        Problem::new(StatusCode::FORBIDDEN, "cross_origin", detail)
    })
}

/// Refuses an order whose content type is not JSON. Without a CORS preflight, a form of another site can send only
/// three content types (Fetch, 2.2.2). JSON is none of the three.
fn json_only(parts: &Parts) -> Result<(), Problem> {
    // Only `POST` requests have a body to check. The router refuses every other method on these routes with 405.
    if parts.method != Method::POST {
        return Ok(());
    }
    let kind = parts.headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    if kind.eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    let detail = "an order is JSON: send it with content-type: application/json";
    Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "content_type", detail))
}
