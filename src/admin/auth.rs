//! Who may ask, and from where.

use std::fmt;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::request::Parts;
use http::uri::Authority;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use sha2::{Digest, Sha256};

use super::Panel;
use super::problem::Problem;
use crate::state::{By, InvalidBy};

/// Who asks: the name that the audit has.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct User(Box<str>);

impl User {
    /// Names the user.
    ///
    /// # Errors
    ///
    /// [`InvalidBy`] as for [`By`]: it is 1 to 200 characters, none of which could forge a line of a log.
    pub fn new(name: &str) -> Result<Self, InvalidBy> {
        By::new(name, "to check the name").map(|by| Self(by.user().into()))
    }

    /// Returns the name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0
    }
}

/// A request that an authoriser does not let in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denied {
    status: StatusCode,
    why: String,
    challenge: Option<HeaderValue>,
}

impl Denied {
    /// Answers 401: nobody knows who asks. The page then asks for a token.
    #[must_use]
    pub fn unknown(why: &str) -> Self {
        let challenge = Some(HeaderValue::from_static("Bearer"));
        Self { status: StatusCode::UNAUTHORIZED, why: why.to_owned(), challenge }
    }

    /// Answers 403: it is known who asks, and not allowed.
    #[must_use]
    pub fn forbidden(why: &str) -> Self {
        Self { status: StatusCode::FORBIDDEN, why: why.to_owned(), challenge: None }
    }

    /// Sets `WWW-Authenticate` (RFC 9110, 11.6.1). Default: `Bearer` where it is unknown who asks. With `Basic` a browser asks for
    /// name and password by itself.
    #[must_use]
    pub fn challenge(mut self, challenge: HeaderValue) -> Self {
        self.challenge = Some(challenge);
        self
    }
}

/// Returns an authoriser that lets in who sends one of these tokens as `Authorization: Bearer` (RFC 6750), as the user beside it.
///
/// How long a comparison takes says nothing about a token. An empty token lets nobody in; one that is easily guessed anybody.
pub fn bearer(tokens: &[(&str, User)]) -> impl Fn(&Parts) -> Result<User, Denied> + Send + Sync + use<> {
    let known = tokens.iter().filter(|(token, _)| !token.is_empty());
    // Hashes: two that differ may be compared to their first difference, which says nothing about what was hashed.
    let known: Vec<_> = known.map(|(token, user)| (Sha256::digest(token), user.clone())).collect();
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

/// Who is let in.
pub(super) enum Access {
    Nobody,
    /// Everybody reads, nobody writes.
    Readers,
    Asked(Box<Authoriser>),
}

impl Access {
    /// Whether anybody can be let in to write.
    pub(super) const fn writes(&self) -> bool {
        matches!(self, Self::Asked(_))
    }

    /// Returns who asks. `None`: nobody knows, and that will do.
    fn admit(&self, parts: &Parts) -> Result<Option<User>, Problem> {
        match self {
            Self::Nobody => Err(closed()),
            Self::Readers => Ok(None),
            Self::Asked(authoriser) => authoriser(parts).map(Some).map_err(|denied| {
                let kind = if denied.status == StatusCode::FORBIDDEN { "forbidden" } else { "unauthorized" };
                Problem::new(denied.status, kind, denied.why).challenge(denied.challenge)
            }),
        }
    }
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nobody => "Nobody",
            Self::Readers => "Readers",
            Self::Asked(_) => "Asked(..)",
        })
    }
}

fn closed() -> Problem {
    let detail = "no authoriser is given: call `authorize`, or `read_only_without_auth`";
    let challenge = Some(HeaderValue::from_static("Bearer"));
    Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", detail).challenge(challenge)
}

/// Who asked, for handlers.
#[derive(Debug, Clone)]
pub(super) struct Asker(pub(super) Option<User>);

/// The page is for everybody, as soon as anybody is.
pub(super) async fn page(State(panel): State<Arc<Panel>>, request: Request, next: Next) -> Response {
    if matches!(panel.access, Access::Nobody) { closed().into_response() } else { next.run(request).await }
}

pub(super) async fn reads(State(panel): State<Arc<Panel>>, request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    match panel.access.admit(&parts).and_then(|user| same_origin(&parts).map(|()| user)) {
        Ok(user) => {
            parts.extensions.insert(Asker(user));
            next.run(Request::from_parts(parts, body)).await
        }
        Err(problem) => problem.into_response(),
    }
}

pub(super) async fn writes(State(panel): State<Arc<Panel>>, request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    let user = panel.access.admit(&parts).and_then(|user| {
        let user = user.ok_or_else(|| {
            Problem::new(StatusCode::FORBIDDEN, "read_only", "nobody may write: no authoriser is given")
        })?;
        same_origin(&parts).and_then(|()| json_only(&parts)).map(|()| user)
    });
    match user {
        Ok(user) => {
            parts.extensions.insert(user);
            next.run(Request::from_parts(parts, body)).await
        }
        Err(problem) => problem.into_response(),
    }
}

/// Refuses what a browser sends on behalf of another site, with its user's cookies. Who is no browser says neither and needs none.
fn same_origin(parts: &Parts) -> Result<(), Problem> {
    let said = |name: &str| parts.headers.get(name).map(HeaderValue::as_bytes);
    let same = match (said("sec-fetch-site"), said("origin")) {
        // No script can set it (Fetch Metadata), and it is right behind proxies that change the host. `none`: the user's own doing.
        (Some(site), _) => site == b"same-origin" || site == b"none",
        (None, Some(origin)) => {
            let host = said("host").or_else(|| parts.uri.authority().map(|host| host.as_str().as_bytes()));
            // `null`, of sandboxed frames, is nobody's.
            let behind_scheme = origin.windows(3).position(|three| three == b"://").map(|at| &origin[at + 3..]);
            behind_scheme.is_some() && behind_scheme.and_then(authority) == host.and_then(authority)
        }
        (None, None) => true,
    };
    let detail = "the request comes from another site";
    if same { Ok(()) } else { Err(Problem::new(StatusCode::FORBIDDEN, "cross_origin", detail)) }
}

fn authority(bytes: &[u8]) -> Option<Authority> {
    Authority::try_from(bytes).ok()
}

/// A form of another site can send three content types (Fetch, 2.2.2); this is none of them.
fn json_only(parts: &Parts) -> Result<(), Problem> {
    // A wrong method is answered as such.
    if parts.method != http::Method::POST {
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
