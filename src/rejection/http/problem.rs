//! The rejection as problem details in JSON (RFC 9457).

use std::fmt::Write;
use std::time::Duration;

use super::super::sentence::{Detail, sentence};
use crate::error::Rejected;

/// Returns the rejection as problem details. The JSON is written without a library, because nothing else in
/// the feature `http` needs JSON.
pub(super) fn problem(rejected: &Rejected, detail: Detail) -> String {
    // The type `about:blank` means that the problem has no meaning beyond its status (RFC 9457, 4.2.1).
    let mut json = String::from(r#"{"type":"about:blank","title":"Service Unavailable","status":503,"detail":"#);
    push_string(&mut json, &sentence(rejected, detail));
    if !matches!(detail, Detail::Nothing) {
        json.push_str(r#","circuit":"#);
        push_string(&mut json, rejected.circuit());
        json.push_str(r#","reason":"#);
        push_string(&mut json, rejected.reason().as_str());
    }
    if let Some(wait) = rejected.retry_after() {
        push(&mut json, format_args!(r#","retry_after_ms":{}"#, millis(wait)));
    }
    json.push('}');
    json
}

/// Converts a wait to milliseconds. The wait is rounded up, like the `Retry-After` header.
const fn millis(wait: Duration) -> u128 {
    wait.as_nanos().div_ceil(1_000_000)
}

/// Appends a JSON string (RFC 8259, 7). Quotes, backslashes and control characters are escaped.
fn push_string(json: &mut String, text: &str) {
    json.push('"');
    for c in text.chars() {
        match c {
            '"' => json.push_str("\\\""),
            '\\' => json.push_str("\\\\"),
            c if c.is_control() => push(json, format_args!("\\u{:04x}", u32::from(c))),
            c => json.push(c),
        }
    }
    json.push('"');
}

fn push(text: &mut String, words: std::fmt::Arguments<'_>) {
    text.write_fmt(words).expect("a string takes every word");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_json_string_is_escaped() {
        for (text, expected) in [
            ("orders", r#""orders""#),
            (r#"say "no""#, r#""say \"no\"""#),
            (r"C:\", r#""C:\\""#),
            ("a\nb\t\u{0}\u{7f}", r#""a\u000ab\u0009\u0000\u007f""#),
            ("größe `{id}` 🦀 </script>", "\"größe `{id}` 🦀 </script>\""),
        ] {
            let mut json = String::new();
            push_string(&mut json, text);
            assert_eq!(json, expected);
        }
    }

    #[test]
    fn milliseconds_are_rounded_up() {
        assert_eq!([0, 1, 1_000_000, 1_000_001].map(|nanos| millis(Duration::from_nanos(nanos))), [0, 1, 1, 2]);
    }
}
