//! The HTML page of the admin interface, and the security headers of every response.
//!
//! The page is one file without references to other files. Therefore the router needs no routes for assets.

use std::sync::LazyLock;

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{Html, Response};
use http::{HeaderName, HeaderValue, header};
use sha2::{Digest, Sha256};

const PAGE: &str = include_str!("page.html");

pub(super) async fn page() -> Html<&'static str> {
    Html(PAGE)
}

pub(super) async fn headers(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, POLICY.clone());
    // The response of the event stream already has a `Cache-Control`, and keeps its own value.
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    for (name, value) in HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

/// The Content-Security-Policy of the page. The policy has the hashes of the page's script and style (CSP Level 3,
/// 2.3.1). Therefore a browser runs no injected script.
static POLICY: LazyLock<HeaderValue> = LazyLock::new(|| {
    let [script, style] = ["script", "style"].map(|element| base64(&Sha256::digest(inside(element))));
    let policy = format!(
        "default-src 'none'; script-src 'sha256-{script}'; style-src 'sha256-{style}'; connect-src 'self'; img-src data:; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
    );
    HeaderValue::from_str(&policy).expect("the policy is printable ASCII")
});

const HEADERS: [(HeaderName, &str); 4] = [
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];

/// Returns the text between the tags of the element with this name, of which the page has exactly one.
fn inside(element: &str) -> &'static str {
    let (open, close) = (format!("<{element}>"), format!("</{element}>"));
    let (_, behind) = PAGE.split_once(&open).expect("the page has this element");
    behind.split_once(&close).expect("the element is closed").0
}

/// Encodes the bytes as Base64 (RFC 4648, section 4), as a Content-Security-Policy requires for hashes.
fn base64(bytes: &[u8]) -> String {
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let [a, b, c] = [0, 1, 2].map(|at| u32::from(three.get(at).copied().unwrap_or(0)));
        let bits = a << 16 | b << 8 | c;
        for at in 0..4 {
            let six = usize::try_from(bits >> (18 - 6 * at) & 63).expect("six bits");
            text.push(if at <= three.len() { char::from(LETTERS[six]) } else { '=' });
        }
    }
    text
}

const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

#[cfg(test)]
mod tests {
    use super::base64;

    #[test]
    fn base64_follows_the_rfc() {
        for (text, expected) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")] {
            assert_eq!(base64(text.as_bytes()), expected);
        }
    }
}
