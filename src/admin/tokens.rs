//! The authoriser that finds the user of a request by a bearer token.

use std::error::Error;
use std::fmt;

use http::HeaderMap;
use http::header;
use http::request::Parts;
use sha2::{Digest, Sha256};

use super::auth::{Denied, User};

/// The error for a list of tokens that cannot be used. The error contains no part of a token.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct InvalidToken {
    /// The name of the user whose token is invalid. Empty if the list has no tokens.
    pub user: String,
    problem: &'static str,
}

impl fmt::Display for InvalidToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { user, problem } = self;
        if user.is_empty() {
            return write!(f, "tokens {problem}, allowed is one or more");
        }
        write!(
            f,
            "the token of `{user}` {problem}, allowed is 1 or more printable ASCII characters without spaces, and one user for each token"
        )
    }
}

impl Error for InvalidToken {}

/// Creates an authoriser that accepts requests with one of these tokens in `Authorization: Bearer` (RFC 6750). Each
/// token belongs to the user beside the token in `tokens`. A user can have several tokens.
///
/// The time of a comparison reveals nothing about a token. Choose tokens that cannot be guessed. Wrong tokens are
/// logged, at most one line a minute and without the token.
///
/// If a request has a valid token, the router does not compare `Origin` with `Host`, because another site cannot make a
/// browser send the token. Therefore the page works behind a proxy that changes the `Host`. If a proxy adds the token
/// to requests, the proxy must refuse the requests of other sites.
///
/// # Errors
///
/// [`InvalidToken`] if `tokens` is empty, if a token occurs twice, or if a token is empty or has a character that is
/// not printable ASCII. Spaces and line ends are refused too. A token from a file often ends with a line end, which
/// [`trim_end`](str::trim_end) removes.
pub fn bearer(
    tokens: &[(&str, User)],
) -> Result<impl Fn(&Parts) -> Result<User, Denied> + Send + Sync + use<>, InvalidToken> {
    // The hashes of the tokens are compared, and not the tokens. Otherwise the time of a comparison could show a client
    // how many characters of a guessed token are right.
    let mut known: Vec<(_, User)> = Vec::with_capacity(tokens.len());
    for (token, user) in tokens {
        let invalid = |problem| InvalidToken { user: user.name().to_owned(), problem };
        let hash = Sha256::digest(token);
        if let Some(problem) = problem(token) {
            return Err(invalid(problem));
        }
        if known.iter().any(|(other, _)| *other == hash) {
            return Err(invalid("occurs twice"));
        }
        known.push((hash, user.clone().by_token()));
    }
    if known.is_empty() {
        return Err(InvalidToken { user: String::new(), problem: "are missing" });
    }
    Ok(move |parts: &Parts| {
        let Some(token) = sent_token(&parts.headers) else { return Err(Denied::unknown("a token is needed")) };
        let sent = Sha256::digest(token);
        let user = known.iter().find(|(token, _)| *token == sent).map(|(_, user)| user.clone());
        user.ok_or_else(|| Denied::unknown("the token is not known"))
    })
}

/// Returns the reason why a token is invalid, or `None` for a valid token.
fn problem(token: &str) -> Option<&'static str> {
    if token.is_empty() {
        Some("is empty")
    } else if token.ends_with(['\n', '\r']) {
        Some("ends with a line end")
    } else if token.contains(char::is_whitespace) {
        Some("has a space")
    } else if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        Some("has a character that is not printable ASCII")
    } else {
        None
    }
}

fn sent_token(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}
