//! The choice between problem details and plain text as the body of a rejection, by the `Accept` of the request (RFC
//! 9110, 12.5.1).

use http::HeaderValue;

/// The form of a rejection's body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Problem,
    Text,
}

impl Form {
    pub(super) const fn media_type(self) -> &'static str {
        match self {
            Self::Problem => "application/problem+json",
            Self::Text => "text/plain; charset=utf-8",
        }
    }

    /// Returns the specificity of the media range `range` if the range includes the form `self`, and otherwise `None`.
    /// A larger number is more specific.
    fn covered_by(self, range: &str) -> Option<u8> {
        // The ranges are ordered from the general to the specific. `application/json` is included, because a
        // client that reads JSON can read a problem.
        let ranges: &[&str] = match self {
            Self::Problem => &["*/*", "application/*", "application/json", "application/problem+json"],
            Self::Text => &["*/*", "text/*", "text/plain"],
        };
        let position = ranges.iter().position(|known| known.eq_ignore_ascii_case(range))?;
        u8::try_from(position).ok()
    }
}

/// Returns the form that the client prefers, which is the form with the larger quality. If both qualities are equal,
/// returns the problem, even if the client accepts neither form.
pub(super) fn preferred<'a>(values: impl IntoIterator<Item = &'a HeaderValue>) -> Form {
    let (mut problem, mut text) = (Preference::default(), Preference::default());
    for value in values {
        // A comma in `Accept` separates two ranges. Quoted parameters could contain commas too, but no client
        // sends such parameters.
        for range in value.to_str().unwrap_or_default().split(',') {
            let mut parts = range.split(';').map(str::trim);
            let range = parts.next().unwrap_or_default();
            let Some(quality) = quality(parts) else { continue };
            problem.add(Form::Problem.covered_by(range), quality);
            text.add(Form::Text.covered_by(range), quality);
        }
    }
    if text.quality > problem.quality { Form::Text } else { Form::Problem }
}

/// The preference of the client for one form, set by the most specific range that includes the form.
#[derive(Default)]
struct Preference {
    specificity: Option<u8>,
    quality: u16,
}

impl Preference {
    fn add(&mut self, specificity: Option<u8>, quality: u16) {
        if specificity > self.specificity {
            *self = Self { specificity, quality };
        }
    }
}

/// Returns the quality among the parameters of a range, in thousandths. Returns 1000 if the parameters contain no
/// quality, and `None` if the quality is malformed.
fn quality<'a>(parameters: impl Iterator<Item = &'a str>) -> Option<u16> {
    for parameter in parameters {
        if let Some(("q" | "Q", value)) = parameter.split_once('=') {
            return thousandths(value);
        }
    }
    Some(1_000)
}

/// Parses a quality such as `0`, `0.25` or `1.000`, with at most three decimals and at most 1. Returns `None` for any
/// other text.
fn thousandths(value: &str) -> Option<u16> {
    let (whole, decimals) = value.split_once('.').unwrap_or((value, ""));
    if decimals.len() > 3 || !decimals.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let decimals: u16 = format!("{decimals:0<3}").parse().ok()?;
    match (whole, decimals) {
        ("0", decimals) => Some(decimals),
        ("1", 0) => Some(1_000),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::Form::{Problem, Text};
    use super::*;

    #[test]
    fn the_form_with_the_larger_quality_is_sent() {
        for (accept, expected) in [
            ("*/*", Problem),
            ("text/plain", Text),
            ("text/*", Text),
            ("TEXT/Plain", Text),
            ("application/json", Problem),
            ("application/json, text/plain, */*", Problem),
            ("text/plain, application/json;q=0.9", Text),
            ("text/plain;q=0.5, application/problem+json;q=0.8", Problem),
            ("text/plain;q=0.801, application/problem+json;q=0.8", Text),
            // The most specific range decides, at any position in the header.
            ("application/problem+json;q=0.1, */*;q=0.5", Text),
            ("*/*, application/problem+json;q=0", Text),
            ("application/json;q=0.9, application/problem+json;q=0.1, text/plain;q=0.5", Text),
            ("text/plain; charset=utf-8; q=0.3, */*;q=0.2", Text),
            ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", Problem),
            ("text/html", Problem),
            ("text/plain;q=0", Problem),
            // A malformed range is ignored.
            ("text/plain;q=2", Problem),
            ("text/plain;q=1.001", Problem),
            ("text/plain;q=0.1234", Problem),
            ("text/plain;q=nan", Problem),
            ("", Problem),
            (",;,=;q", Problem),
        ] {
            let value = HeaderValue::from_static(accept);
            assert_eq!(preferred([&value]), expected, "{accept:?}");
        }
    }

    #[test]
    fn several_headers_are_one_list() {
        let [json, text] = ["application/json;q=0.2", "text/plain;q=0.3"].map(HeaderValue::from_static);
        assert_eq!(preferred([&json, &text]), Text);
        assert_eq!(preferred([&json]), Problem);
        assert_eq!(preferred([]), Problem, "nothing was asked for");
        assert_eq!(preferred([&HeaderValue::from_bytes(b"text/plain, \xff").unwrap()]), Problem, "it cannot be read");
    }
}
