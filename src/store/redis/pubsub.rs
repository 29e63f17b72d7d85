//! The watch of a Redis store. The watch subscribes to the channel on which instances publish hints about changed
//! records.
//!
//! The name of the channel contains the prefix and the database of the store, so that stores on one server do not
//! receive each other's hints. Other programs can publish on the channel too, so the watch ignores each message that is
//! not a hint.
//!
//! `PUBLISH` on one node of a cluster reaches the subscribers of all nodes. Therefore one connection to any node is
//! enough. After an error, the watch connects to the next node.
//!
//! The watch has its own connection, so that a slow watch delays no operation. The connection uses RESP3. The crate
//! `redis` then passes each message to a function, which puts the message into the bounded channel of the watch. With
//! RESP2, the crate would queue messages without a limit. RESP3 needs Redis 6. On an older server each subscription
//! fails. The watch then tries again after a pause of at most 1.5 s, and only the coordinator's poll finds the changes.
//!
//! Messages from before a subscription are lost. Therefore the watch reports a gap after each subscription, and the
//! coordinator loads every record. Without a subscription, the watch counts as interrupted, and the coordinator polls
//! instead. If the connection of the store's operations is replaced, the watch subscribes again, because the host name
//! may now lead to another server. Redis publishes no message when a flush or a TTL deletes a key, so only a poll finds
//! this deletion.

use std::sync::Arc;
use std::time::Duration;

use redis::{AsyncConnectionConfig, ProtocolVersion, PushInfo, PushKind, Value};
use tokio::sync::Notify;

use super::connection::{Connection, connected_within};
use super::error::NoAnswer;
use super::keys::Keys;
use super::opening;
use super::script::TRANSITION;
use super::servers::Servers;
use crate::pattern::LONGEST_NAME;
use crate::random;
use crate::store::watch::pause;
use crate::store::{Etag, Hint, StoreError, StoreErrorKind, Watch, WatchSender, time_limit};
use crate::telemetry;

/// Starts the task of a watch, and returns the watch. The task ends when the watch is dropped.
pub(super) fn watch(servers: &Arc<Servers>, keys: &Keys) -> Result<Watch, StoreError> {
    Connection::check_runtime()?;
    let (servers, keys, limits) = (Arc::clone(servers), keys.clone(), Limits::now());
    let (sender, watch) = Watch::channel();
    sender.interrupt();
    #[expect(clippy::disallowed_methods, reason = "the task ends with its watch")]
    tokio::spawn(async move {
        tokio::select! {
            biased;
            () = sender.closed() => {}
            () = subscribe(&servers, &keys, limits, &sender) => {}
        }
    });
    Ok(watch)
}

/// The time limits of a watch, for opening a connection and for each answer. They depend on the time limit of the
/// operation that began the watch.
#[derive(Clone, Copy)]
struct Limits {
    connection: Duration,
    answer: Duration,
}

impl Limits {
    fn now() -> Self {
        Self { connection: connected_within(), answer: time_limit::limit() }
    }
}

/// Subscribes to the channel, for ever. When a subscription ends, waits and then subscribes on a new connection.
///
/// # Cancel safety
///
/// If the future is dropped, its connection is closed.
async fn subscribe(servers: &Servers, keys: &Keys, limits: Limits, sender: &WatchSender) {
    let mut failures = 0;
    let mut warned = false;
    // In a cluster, the number of an attempt selects the node. The number of the first attempt is random, so that the
    // watches of many instances begin at different nodes.
    let first = usize::from(random::bits().to_le_bytes()[0]);
    for attempt in first.. {
        let operations = &servers.watched(attempt);
        let source = operations.source();
        let mut steady = false;
        let error = follow(operations, servers.source().nodes().is_some(), keys, limits, sender, &mut steady).await;
        sender.interrupt();
        failures = if steady { 0 } else { failures + 1 };
        // A lost connection is not logged here, because the operations fail too and log the loss. A refused
        // subscription is logged, because the operations can still succeed and then log nothing.
        if let Err(error) = error
            && error.kind() == StoreErrorKind::Refused
            && !warned
        {
            warned = true;
            let (address, error) = (source.described(), error.chain());
            telemetry::lines::warn(format_args!(
                "redis at {address} does not push changes, they are polled for: {error}"
            ));
        }
        tokio::time::sleep(pause(failures, LONGEST_PAUSE)).await;
    }
}

/// Subscribes and reports changes until the connection is lost, or until the connection of the operations is replaced.
/// Sets `steady` to true once the server has answered a heartbeat. If `steady` stays false, the caller makes the next
/// pause longer.
///
/// # Cancel safety
///
/// If the future is dropped, its connection is closed.
async fn follow(
    operations: &Connection,
    in_cluster: bool,
    keys: &Keys,
    limits: Limits,
    sender: &WatchSender,
    steady: &mut bool,
) -> Result<(), StoreError> {
    let source = operations.source();
    let described = source.described();
    let mut replaced = operations.replaced();
    let lost = Arc::new(Notify::new());
    let settings = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(limits.connection))
        .set_response_timeout(Some(limits.answer))
        .set_push_sender(pusher(sender.clone(), Arc::clone(&lost)));
    let failed = |error| StoreError::from(NoAnswer::connecting(&described, source.ca(), error));
    let mut connection =
        opening::open(source, &described, limits.connection, &settings, Some(ProtocolVersion::RESP3)).await?;
    connection.subscribe(keys.channel()).await.map_err(failed)?;
    sender.gap();
    let mut heartbeat = redis::cmd(if in_cluster { "EXISTS" } else { "PING" });
    if in_cluster {
        // A command with a key shows if the cluster is down. If another node serves the key, the answer is a
        // redirection, which also shows that the connection is alive.
        heartbeat.arg(keys.audit());
    }
    loop {
        tokio::select! {
            () = lost.notified() => return Ok(()),
            // The operations have a new connection, perhaps to another server. This watch does not get the changes of
            // that server.
            _ = replaced.changed() => return Ok(()),
            () = tokio::time::sleep(HEARTBEAT) => {}
        }
        // The heartbeat detects a connection that died without an error.
        let answer = connection.send_packed_command(&heartbeat).await.map_err(failed)?;
        // A node that was cut off from its cluster answers with `CLUSTERDOWN`, and receives no messages.
        if let Value::ServerError(error) = answer
            && error.code() == "CLUSTERDOWN"
        {
            return Err(failed(error.into()));
        }
        *steady = true;
    }
}

/// Returns the function that receives pushed messages. The function must not wait, because it runs in the task of the
/// connection.
fn pusher(sender: WatchSender, lost: Arc<Notify>) -> impl Fn(PushInfo) -> Result<(), ()> + Send + Sync + 'static {
    move |push| {
        match (&push.kind, &*push.data) {
            (PushKind::Disconnection, _) => lost.notify_one(),
            (PushKind::Message, [_channel, Value::BulkString(payload)]) => {
                if let Some((name, etag, hint)) = read(payload) {
                    sender.changed_with(name, etag, hint);
                }
            }
            _ => {}
        }
        Ok(())
    }
}

/// Reads a hint of the form `LENGTH ETAG\nNAME`, with the etag `-` for a deletion. Returns `None` for a message of
/// another form. If the text ` transition` follows the name, the hint is [`Hint::Transition`]. With no text or any
/// other text, the hint is [`Hint::Any`], for which every instance loads the record. A later version may append text
/// that this version does not know.
fn read(payload: &[u8]) -> Option<(&str, Option<Etag>, Hint)> {
    let end = payload.iter().take(LONGEST_HEADER).position(|byte| *byte == b'\n')?;
    let (length, etag) = str::from_utf8(&payload[..end]).ok()?.split_once(' ')?;
    let (name, word) = payload[end + 1..].split_at_checked(length.parse().ok()?)?;
    let name = str::from_utf8(name).ok()?;
    let hint = if word == TRANSITION.as_bytes() { Hint::Transition } else { Hint::Any };
    let is_digest = etag.len() == 40 && etag.bytes().all(|byte| byte.is_ascii_hexdigit());
    let is_hint = is_digest || etag == "-";
    ((1..=LONGEST_NAME).contains(&name.len()) && is_hint).then(|| (name, is_digest.then(|| Etag::new(etag)), hint))
}

const HEARTBEAT: Duration = Duration::from_secs(5);
/// The longest pause between two attempts to subscribe. A new subscription ends the backoff of the registry (the pause
/// after a failure). Therefore an operator's act reaches this instance within two seconds after the server answers
/// again.
const LONGEST_PAUSE: Duration = Duration::from_millis(1500);
/// The limit for the header of a message, in bytes. A header has at most three digits of length, a blank and forty
/// digits of the etag. The other bytes are a reserve.
const LONGEST_HEADER: usize = 60;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::WatchEvent;

    const ETAG: &str = "da39a3ee5e6b4b0d3255bfef95601890afd80709";

    #[test]
    fn a_payload_gives_back_any_name_and_its_version() {
        let payload = format!("5 {ETAG}\na b\ncof a later version");
        assert_eq!(read(payload.as_bytes()), Some(("a b\nc", Some(Etag::new(ETAG)), Hint::Any)));
        assert_eq!(read(b"3 -\nabc"), Some(("abc", None, Hint::Any)));
    }

    #[test]
    fn only_the_word_of_a_transition_behind_the_name_is_a_transition() {
        for (behind, hint) in
            [("", Hint::Any), (" transition", Hint::Transition), (" transition ", Hint::Any), (" counts", Hint::Any)]
        {
            assert_eq!(read(format!("1 -\na{behind}").as_bytes()), Some(("a", None, hint)), "{behind:?}");
        }
    }

    #[test]
    fn malformed_payloads_are_not_read() {
        let name = format!("201 -\n{}", "x".repeat(201));
        let header = format!("{}1 -\na", "0".repeat(60));
        for payload in [
            "",
            "\n",
            "1",
            "1 -",
            "1\na",
            "2 -\na",
            "0 -\n",
            "-1 -\na",
            "99999999999999999999 -\na",
            "1 short\na",
            "1 - \na",
            "1 1 - 17\na",
            &name,
            &header,
        ] {
            assert_eq!(read(payload.as_bytes()), None, "{:?}", &payload[..payload.len().min(60)]);
        }
        assert_eq!(read(b"1 -\n\xff"), None);
    }

    #[tokio::test]
    async fn a_flood_is_bounded_and_begins_with_a_gap() {
        let (sender, mut watch) = Watch::channel();
        let push = pusher(sender, Arc::default());
        for _ in 0..20_000 {
            let data = vec![Value::BulkString(b"channel".to_vec()), Value::BulkString(b"1 -\na".to_vec())];
            push(PushInfo { kind: PushKind::Message, data }).expect("the pusher accepts every message");
        }
        drop(push);
        assert_eq!(watch.next().await, Some(WatchEvent::Gap), "the queued events are older than the gap");
        let mut kept = 0;
        while watch.next().await.is_some() {
            kept += 1;
        }
        assert_eq!(kept, 1024);
    }
}
