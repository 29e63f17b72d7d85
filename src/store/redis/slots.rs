//! The slots of a cluster, and the nodes that serve them.

use std::collections::BTreeMap;

use redis::{FromRedisValue, Value, from_redis_value_ref};

use super::address::is_host;

/// The host and the port of a node.
pub(super) type Place = (String, u16);

/// Returns the slot of a key. If the first braces in the key enclose a text, only this text determines the slot.
pub(super) fn slot(key: &str) -> u16 {
    let tag = key.split_once('{').and_then(|(_, rest)| rest.split_once('}')).map(|(tag, _)| tag);
    let hashed = tag.filter(|tag| !tag.is_empty()).unwrap_or(key);
    hashed.bytes().fold(0_u16, |crc, byte| {
        (0..8)
            .fold(crc ^ (u16::from(byte) << 8), |crc, _| if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 })
    }) % SLOTS
}

/// A map from ranges of slots to the masters of a cluster that serve these slots.
#[derive(Debug)]
pub(super) struct Slots<T> {
    /// The key is the last slot of a range. The value is the first slot of the range, and the node that serves the
    /// range.
    ranges: BTreeMap<u16, (u16, T)>,
}

impl<T> Default for Slots<T> {
    fn default() -> Self {
        Self { ranges: BTreeMap::new() }
    }
}

impl<T: Clone> Slots<T> {
    pub(super) fn insert(&mut self, first: u16, last: u16, node: T) {
        self.ranges.insert(last, (first, node));
    }

    /// Returns the node of a slot, or `None` if no node serves the slot.
    pub(super) fn node(&self, slot: u16) -> Option<&T> {
        self.ranges.range(slot..).next().filter(|(_, (first, _))| *first <= slot).map(|(_, (_, node))| node)
    }

    /// Returns the node of each range. A node with several ranges is returned several times.
    pub(super) fn nodes(&self) -> impl Iterator<Item = &T> {
        self.ranges.values().map(|(_, node)| node)
    }
}

/// Returns the ranges of slots in the answer to `CLUSTER SLOTS`. Each range has its first slot, its last slot and the
/// place (host and port) of its master. A node that does not know its own host leaves the host out. The host of
/// `asked`, the node that answered, is used in this case. Returns `None` if the answer has another form.
pub(super) fn read(answer: &Value, asked: &Place) -> Option<Vec<(u16, u16, Place)>> {
    let ranges = answer.as_sequence()?.iter().take(usize::from(SLOTS));
    ranges
        .map(|range| {
            let [first, last, master, ..] = range.as_sequence()? else { return None };
            let [host, port, ..] = master.as_sequence()? else { return None };
            let host = of::<Option<String>>(host)?.filter(|host| !matches!(host.as_str(), "" | "?"));
            let host = host.unwrap_or_else(|| asked.0.clone());
            is_host(&host).then_some((number(first)?, number(last)?, (host, number(port)?)))
        })
        .collect()
}

/// Returns the number in an answer, or `None` if the number is too large for a `u16`. The crate `redis` would truncate
/// a larger number.
fn number(value: &Value) -> Option<u16> {
    u16::try_from(of::<i64>(value)?).ok()
}

fn of<T: FromRedisValue>(value: &Value) -> Option<T> {
    from_redis_value_ref(value).ok()
}

/// The redirection from a node that does not serve a key. `place` is the host and the port of the node that serves the
/// key.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Redirection {
    pub(super) place: Place,
    /// True if only the present command must go to the other node, because the slot is still being moved to that node.
    pub(super) asks: bool,
}

impl Redirection {
    /// Returns the redirection in the answer of the node at `asked`, or `None` if the answer is no redirection.
    pub(super) fn of(answer: &Value, asked: &Place) -> Option<Self> {
        let Value::ServerError(error) = answer else { return None };
        let asks = match error.code() {
            "MOVED" => false,
            "ASK" => true,
            _ => return None,
        };
        let (host, port) = error.details()?.split_whitespace().nth(1)?.rsplit_once(':')?;
        let host = if matches!(host, "" | "?") { &asked.0 } else { host };
        is_host(host).then_some(Self { place: (host.to_owned(), port.parse().ok()?), asks })
    }
}

const SLOTS: u16 = 16_384;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_follows_the_specification_of_redis_cluster() {
        assert_eq!(slot("123456789"), 0x31C3);
        assert_eq!(slot("circuit_breaker:audit"), 2957);
        assert_eq!(slot("{circuit_breaker:audit}:ids"), 2957);
        assert_eq!(slot("foo{bar}{zap}"), slot("bar"));
        assert_eq!(slot("foo{{bar}}zap"), slot("{bar"));
        assert_ne!(slot("foo{}{bar}"), slot("bar"));
    }

    #[test]
    fn a_slot_leads_to_the_node_of_its_range() {
        let mut slots = Slots::default();
        slots.insert(0, 99, "a");
        slots.insert(200, 200, "b");
        let found: Vec<_> = [0, 99, 100, 199, 200, 201].map(|slot| slots.node(slot).copied()).into();
        assert_eq!(found, [Some("a"), Some("a"), None, None, Some("b"), None]);
    }

    #[test]
    fn an_answer_without_a_host_means_the_node_that_was_asked() {
        let text = |text: &str| Value::BulkString(text.as_bytes().to_vec());
        let range = |first, last, host, port| {
            let master = Value::Array(vec![host, Value::Int(port), text("id"), Value::Array(vec![])]);
            Value::Array(vec![Value::Int(first), Value::Int(last), master])
        };
        let asked = ("10.0.0.1".to_owned(), 1);
        let whole =
            Value::Array(vec![range(0, 5, text("a"), 7), range(6, 9, Value::Nil, 8), range(10, 10, text(""), 9)]);
        let place = |host: &str, port| (host.to_owned(), port);
        let found = vec![(0, 5, place("a", 7)), (6, 9, place("10.0.0.1", 8)), (10, 10, place("10.0.0.1", 9))];
        assert_eq!(read(&whole, &asked), Some(found));
        for damaged in [
            Value::Int(1),
            Value::Array(vec![Value::Nil]),
            Value::Array(vec![range(0, 5, text("a"), 70_000)]),
            Value::Array(vec![range(0, 5, text("a\nb"), 7)]),
        ] {
            assert_eq!(read(&damaged, &asked), None, "{damaged:?}");
        }
    }

    #[test]
    fn a_redirection_leads_to_a_host_and_a_port_only() {
        let asked = ("10.0.0.1".to_owned(), 1);
        let of = |error: &str| Redirection::of(&redis::parse_redis_value(error.as_bytes()).expect("an error"), &asked);
        let to = |host: &str, port, asks| Some(Redirection { place: (host.to_owned(), port), asks });
        assert_eq!(of("-MOVED 3999 db.internal:6381\r\n"), to("db.internal", 6381, false));
        assert_eq!(of("-ASK 3999 ::1:6381\r\n"), to("::1", 6381, true));
        assert_eq!(of("-MOVED 3999 :6381\r\n"), to("10.0.0.1", 6381, false));
        for wrong in
            ["-MOVED 3999 db:70000\r\n", "-MOVED 3999\r\n", "-ASK\r\n", "-ERR 3999 db:1\r\n", "-MOVED 1 d\x1bb:1\r\n"]
        {
            assert_eq!(of(wrong), None, "{wrong:?}");
        }
    }
}
