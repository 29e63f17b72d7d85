//! The checks of each request to the API, which are the rule of access and a protection against requests of other sites.
//!
//! The checks run as middleware before the handlers, so that no handler can forget them. The page itself has no data, and
//! is served without a check of the user. The authoriser of the application returns the user who sent a request, or refuses
//! the request. The origins and hosts that belong to the page are in `site`.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use sha2::{Digest, Sha256};

use super::Panel;
use super::problem::Problem;
use crate::state::{By, InvalidBy};

/// The user of a request, with the name that the audit shows. Two users with the same name are equal.
#[derive(Debug, Clone)]
pub struct User {
    name: Box<str>,
    /// True if the request carried a token. A browser adds no token to requests of other sites, unlike cookies.
    by_token: bool,
}

impl User {
    /// Creates a user with this name.
    ///
    /// # Errors
    ///
    /// [`InvalidBy`] if [`By`] would refuse the name. A name has 1 to 200 characters, none of which could forge a line
    /// of a log.
    pub fn new(name: &str) -> Result<Self, InvalidBy> {
        By::new(name, "to check the name").map(|by| Self { name: by.user().into(), by_token: false })
    }

    /// Returns the name.
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
    /// Answers 401, because the user is unknown. The page shows its form for a token after this answer.
    #[must_use]
    pub fn unknown(reason: &str) -> Self {
        let challenge = Some(HeaderValue::from_static("Bearer"));
        Self { status: StatusCode::UNAUTHORIZED, reason: reason.to_owned(), challenge }
    }

    /// Answers 403, because the user is known and has no permission.
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

/// Creates an authoriser for requests with one of these tokens in `Authorization: Bearer` (RFC 6750). The user of the
/// request is the user that belongs to the token.
///
/// The time of a comparison reveals nothing about a token. An empty token is ignored, so that no request can match it.
/// Choose tokens that cannot be guessed. Wrong tokens are logged, at most one line a minute and without the token.
///
/// The router does not compare `Origin` and `Host` of a request with such a token, because a browser adds no token to the
/// requests of another site. Therefore the page works behind a proxy that changes the `Host`. A proxy must not add the
/// token itself, unless the proxy refuses the requests of other sites.
pub fn bearer(tokens: &[(&str, User)]) -> impl Fn(&Parts) -> Result<User, Denied> + Send + Sync + use<> {
    let known = tokens.iter().filter(|(token, _)| !token.is_empty());
    // Hashes are compared, because the time until two hashes first differ says nothing about the hashed texts.
    let known: Vec<_> =
        known.map(|(token, user)| (Sha256::digest(token), User { by_token: true, ..user.clone() })).collect();
    move |parts| {
        let Some(token) = sent_token(&parts.headers) else { return Err(Denied::unknown("a token is needed")) };
        let sent = Sha256::digest(token);
        let user = known.iter().find(|(token, _)| *token == sent).map(|(_, user)| user.clone());
        user.ok_or_else(|| Denied::unknown("the token is not known"))
    }
}

fn sent_token(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

type Authoriser = dyn Fn(&Parts) -> Result<User, Denied> + Send + Sync;

/// The rule of access.
pub(super) enum Access {
    /// Refuses every request, because no rule was set.
    Closed,
    /// Permits every client to read, and none to act.
    ReadOnly,
    /// Permits the requests that the authoriser accepts.
    Authorised(Box<Authoriser>),
}

impl Access {
    /// Returns true if the rule can permit a client to act.
    pub(super) const fn writes(&self) -> bool {
        matches!(self, Self::Authorised(_))
    }

    /// Returns true if the client of a request that reads may act too. The authoriser decides about a trip with the same
    /// headers and extensions.
    pub(super) fn may_act(&self, parts: &Parts) -> bool {
        let Self::Authorised(authoriser) = self else { return false };
        let mut act = parts.clone();
        (act.method, act.uri) = (Method::POST, Uri::from_static("/api/trip"));
        authoriser(&act).is_ok()
    }

    /// Returns the user of a request. `None` if the rule needs no user.
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

/// The user of a request that reads, which the middleware passes to the handlers. `None` if the rule needs no user.
#[derive(Debug, Clone)]
pub(super) struct Reader(pub(super) Option<User>);

/// The middleware of all routes, which checks the host of a request. The check comes first, because a page of an attacker
/// can have the same origin as this router after DNS rebinding, and the user of the browser may be known by an address.
pub(super) async fn hosts(State(panel): State<Arc<Panel>>, request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    if let Err(foreign) = panel.site.check_host(&parts) {
        panel.refusals.note(&parts, FOREIGN_HOST, &foreign.logged());
        return Problem::new(StatusCode::FORBIDDEN, FOREIGN_HOST, foreign.sentence()).into_response();
    }
    next.run(Request::from_parts(parts, body)).await
}

const FOREIGN_HOST: &str = "foreign_host";

/// Serves the page without a check of the user, unless no rule of access was set.
pub(super) async fn page(State(panel): State<Arc<Panel>>, request: Request, next: Next) -> Response {
    if matches!(panel.access, Access::Closed) { closed().into_response() } else { next.run(request).await }
}

/// The middleware of the routes that read, which checks the user and the origin of a request.
pub(super) async fn reads(State(panel): State<Arc<Panel>>, request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    let user = panel.access.admit(&parts).and_then(|user| same_origin(&panel, &parts, user.as_ref()).map(|()| user));
    match user {
        Ok(user) => {
            parts.extensions.insert(Reader(user));
            next.run(Request::from_parts(parts, body)).await
        }
        Err(problem) => refuse(&panel, &parts, problem),
    }
}

/// The middleware of the routes that act, which checks the user, the origin and the content type of a request. A user
/// is needed, because the audit records the user of each act.
pub(super) async fn writes(State(panel): State<Arc<Panel>>, request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    let user = panel.access.admit(&parts).and_then(|user| {
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

/// Refuses a body that is not declared as JSON. A form of another site can send three content types without a preflight
/// (Fetch, 2.2.2), and JSON is none of them.
fn json_only(parts: &Parts) -> Result<(), Problem> {
    // Only orders have a body to check. The router answers every other method with 405.
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
