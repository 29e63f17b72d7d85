//! The notice, an audit row about rows that the store refuses.
//!
//! The store must be able to take the notice, because a refused notice shows nothing about the other rows. A column may
//! be short, and the character set of a database may be small. Therefore the notice is short and has only ASCII. Its
//! action is `missing`, which is already allowed in a table that restricts the actions. The error of the store is left
//! out. The error can name an address or a role, and all readers of the audit can read the notice.

use crate::record::Timestamp;
use crate::store::AuditRow;
use crate::telemetry::audit::MISSING;

/// Returns the notice about these rows. `None` if there are no rows.
pub(super) fn notice<'a>(id: String, refused: impl Iterator<Item = &'a AuditRow>) -> Option<AuditRow> {
    let (mut count, mut named) = (0_usize, None::<&AuditRow>);
    for row in refused {
        count += 1;
        // The notice names an act of an operator if there is one, because an act matters more to a reader than a
        // transition.
        if named.is_none_or(|named| named.user.is_none()) {
            named = Some(row);
        }
    }
    let AuditRow { service, action, user, instance, .. } = named?;
    let (noun, among) = if count == 1 { ("row was", "") } else { ("rows were", "among them ") };
    let by = user.as_ref().map_or_else(String::new, |user| format!(" by {}", plain(user, 16)));
    let what = format!("{among}{} of {}{by}", plain(action, 11), plain(service, 26));
    Some(AuditRow {
        id,
        service: String::new(),
        action: MISSING.to_owned(),
        reason: format!("{count} {noun} refused: {what}"),
        user: None,
        timestamp: Timestamp::default(),
        generation: 0,
        instance: plain(instance, 100),
    })
}

/// Returns the first characters of a text, with `?` for each character that a table may be unable to hold.
fn plain(text: &str, limit: usize) -> String {
    let plain = |c: char| if c.is_ascii_graphic() || c == ' ' { c } else { '?' };
    let mut shown: String = text.chars().take(limit).map(plain).collect();
    if text.chars().nth(limit).is_some() {
        shown.push_str("..");
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(service: &str, action: &str, user: Option<&str>) -> AuditRow {
        AuditRow {
            id: "row-1".to_owned(),
            service: service.to_owned(),
            action: action.to_owned(),
            reason: "a reason\u{1f980}".repeat(100),
            user: user.map(ToOwned::to_owned),
            timestamp: Timestamp::default(),
            generation: 7,
            instance: "höst-1".to_owned(),
        }
    }

    #[test]
    fn a_notice_names_an_act_of_an_operator_before_a_transition() {
        let rows = [row("search", "opened", None), row("payments", "trip", Some("ana")), row("stock", "closed", None)];
        let made = notice("id".to_owned(), rows.iter()).expect("there are rows");
        assert_eq!(made.reason, "3 rows were refused: among them trip of payments by ana");
        let made = notice("id".to_owned(), rows[..1].iter()).expect("there is a row");
        assert_eq!((made.reason.as_str(), made.action.as_str()), ("1 row was refused: opened of search", "missing"));
        assert_eq!(made.instance, "h?st-1");
        assert_eq!(notice("id".to_owned(), [].iter()), None);
    }

    #[test]
    fn a_notice_about_the_longest_texts_has_a_hundred_ascii_characters_at_most() {
        let long = row(&"\u{1f980}".repeat(50), &"a".repeat(40), Some(&"ü".repeat(200)));
        let made = notice("id".to_owned(), std::iter::repeat_n(&long, 64)).expect("there are rows");
        assert!(made.reason.is_ascii() && made.reason.len() <= 100, "{}", made.reason);
    }
}
