//! Texts of callers and operators: one list of characters that forge, and no error as long as its input.

use tower_circuit_breaker::{By, Config, Registry};

/// Characters that end a line, change the direction of a text, or cannot be seen, of each kind that Unicode has.
const FORGING: &str = "\u{0}\n\r\t\u{1b}\u{7f}\u{85}\u{9b}\u{ad}\u{34f}\u{600}\u{61c}\u{6dd}\u{70f}\u{115f}\u{1160}\u{17b4}\u{180b}\u{180e}\
    \u{200b}\u{200c}\u{200d}\u{200e}\u{200f}\u{2028}\u{2029}\u{202a}\u{202e}\u{2060}\u{2064}\u{2066}\u{2069}\u{206f}\u{2800}\u{3164}\u{fe00}\u{fe0f}\
    \u{feff}\u{ffa0}\u{fff9}\u{110bd}\u{13430}\u{16fe4}\u{1bca0}\u{1d159}\u{1d173}\u{e0001}\u{e0041}\u{e0100}";

#[test]
fn names_users_and_reasons_refuse_the_same_characters() {
    for c in FORGING.chars() {
        let text = format!("pay{c}ments");
        assert!(Config::new(&text).is_err(), "a name with {c:?}");
        assert!(By::new(&text, "maintenance").is_err(), "a user with {c:?}");
        assert!(By::new("alice", &text).is_err(), "a reason with {c:?}");
        #[cfg(feature = "keyed")]
        {
            let keyed = tower_circuit_breaker::keyed::Keyed::builder(&Registry::new(), Config::builder);
            let by_text: fn(&String) -> Option<std::borrow::Cow<'_, str>> = |text| Some(text.as_str().into());
            assert!(keyed.prefix(&text).by(by_text).is_err(), "a prefix with {c:?}");
        }
        #[cfg(feature = "store")]
        {
            let store = tower_circuit_breaker::store::MemoryStore::new();
            assert!(Registry::builder().store(store).instance(&text).build().is_err(), "an instance with {c:?}");
        }
        #[cfg(feature = "admin")]
        assert!(tower_circuit_breaker::admin::User::new(&text).is_err(), "a user of the page with {c:?}");
    }
    let user = By::new("ali\u{2800}ce", "maintenance").unwrap_err().to_string();
    assert!(user.contains("U+2800") && user.contains("1 to 200"), "the error names the character: {user}");
    for text in ["zahlungen-ä", "支払い", "pay🦀", "e\u{301}"] {
        assert!(Config::new(text).is_ok() && By::new(text, text).is_ok(), "{text}");
    }
    assert!(By::new("Ana María", "a\u{3000}reason with spaces").is_ok());
}

#[tokio::test]
async fn an_error_repeats_a_bounded_part_of_an_endless_name() {
    let registry = Registry::new();
    registry.circuit(Config::new("payments").unwrap()).unwrap();
    let by = By::new("alice", "maintenance").unwrap();
    for name in ["x".repeat(10 << 20), "\u{e0001}".repeat(1 << 20), format!("redis://:{}@h", "s3cret".repeat(10_000))] {
        let unknown = registry.status(&name).unwrap_err();
        let refused = registry.trip(&name, &by, None).await.unwrap_err();
        let invalid = Config::new(&name).unwrap_err();
        for text in [unknown.to_string(), format!("{unknown:?}"), refused.to_string(), invalid.to_string()] {
            assert!(text.len() < 3_000, "{} bytes", text.len());
        }
        assert!(!unknown.to_string().contains("s3cret") && !invalid.to_string().contains("s3cret"), "{unknown}");
    }
    let longest = "n".repeat(200);
    assert!(registry.status(&longest).unwrap_err().to_string().contains(&longest), "a valid name is shown whole");
}
