//! The watch of Redis, for which the server pushes every change together with the record.
//!
//! The watch has its own connection, so that a slow watch delays no operation. With RESP3 the crate `redis` passes each
//! message to a function, which puts the message directly into the bounded channel of the watch. With RESP2 the crate
//! would queue messages without bound if they come faster than they are read. RESP3 needs Redis 6. With an older server
//! the watch fails and is tried again after a pause of at most five seconds, and the coordinator's poll finds the
//! changes.
//!
//! A gap is reported after each subscription, because messages before the subscription are lost. Redis publishes no
//! message when a flush or a TTL deletes a key, so only the poll finds such a loss.

use std::sync::Arc;
use std::time::Duration;

use redis::{AsyncConnectionConfig, Client, ProtocolVersion, PushInfo, PushKind, Value};
use tokio::sync::Notify;

use super::address::Source;
use super::connection::{Connection, connected_within};
use super::no_answer::NoAnswer;
use super::script::{CHANNEL, LONGEST_NAME};
use crate::record::{CircuitRecord, Timestamp};
use crate::store::watch::pause;
use crate::store::{Etag, StoreError, StoreErrorKind, Versioned, Watch, WatchSender, limit};
use crate::telemetry;

/// Starts the task of the watch, which ends when the watch is dropped.
pub(super) fn watch(source: &Source) -> Result<Watch, StoreError> {
    Connection::check_runtime()?;
    let (source, limits) = (source.clone(), Limits::now());
    let (sender, watch) = Watch::channel();
    #[expect(clippy::disallowed_methods, reason = "the task ends with its watch")]
    tokio::spawn(async move {
        tokio::select! {
            biased;
            () = sender.closed() => {}
            () = subscribe(&source, limits, &sender) => {}
        }
    });
    Ok(watch)
}

/// The time limits of a watch, which follow the limit of the operation that began the watch.
#[derive(Clone, Copy)]
struct Limits {
    connection: Duration,
    answer: Duration,
}

impl Limits {
    fn now() -> Self {
        Self { connection: connected_within(), answer: limit::limit() }
    }
}

/// Subscribes on one connection after the other, for ever.
///
/// # Cancel safety
///
/// If the future is dropped, its connection is closed.
async fn subscribe(source: &Source, limits: Limits, sender: &WatchSender) {
    let mut failures = 0;
    let mut warned = false;
    loop {
        let mut steady = false;
        let error = follow(source, limits, sender, &mut steady).await;
        failures = if steady { 0 } else { failures + 1 };
        // A lost connection is not logged by the watch, because the operations fail and log it too. A refused
        // subscription is logged, because the operations may still work.
        if let Err(error) = error
            && error.kind() == StoreErrorKind::Refused
            && !warned
        {
            warned = true;
            let (address, error) = (source.info().addr(), error.chain());
            telemetry::store::warn(format_args!(
                "redis at {address} does not push changes, they are polled for: {error}"
            ));
        }
        tokio::time::sleep(pause(failures, LONGEST_PAUSE)).await;
    }
}

/// Subscribes and reports changes until the connection is lost. Sets `steady` if the connection lived to its first
/// heartbeat. If it did not, the caller makes the next pause longer.
///
/// # Cancel safety
///
/// If the future is dropped, its connection is closed.
async fn follow(source: &Source, limits: Limits, sender: &WatchSender, steady: &mut bool) -> Result<(), StoreError> {
    let lost = Arc::new(Notify::new());
    let settings = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(limits.connection))
        .set_response_timeout(Some(limits.answer))
        .set_push_sender(pusher(sender.clone(), Arc::clone(&lost)));
    let failed = |error| StoreError::from(NoAnswer::connecting(&source.info().addr().to_string(), source.ca(), error));
    let info = source.info().redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
    let client = source.client().await?;
    let client = Client::open(client.get_connection_info().clone().set_redis_settings(info)).map_err(failed)?;
    let mut connection = client.get_multiplexed_async_connection_with_config(&settings).await.map_err(failed)?;
    connection.subscribe(CHANNEL).await.map_err(failed)?;
    sender.gap();
    loop {
        tokio::select! {
            () = lost.notified() => return Ok(()),
            () = tokio::time::sleep(HEARTBEAT) => {}
        }
        // The `PING` detects a connection that has died silently, on which no message would ever arrive.
        connection.send_packed_command(&redis::cmd("PING")).await.map_err(failed)?;
        *steady = true;
    }
}

/// Returns the function that receives pushed messages. The function runs in the task of the connection, so it never
/// waits.
fn pusher(sender: WatchSender, lost: Arc<Notify>) -> impl Fn(PushInfo) -> Result<(), ()> + Send + Sync + 'static {
    move |push| {
        match (&push.kind, &*push.data) {
            (PushKind::Disconnection, _) => lost.notify_one(),
            (PushKind::Message, [_channel, Value::BulkString(payload)]) => match read(payload) {
                Some((name, current)) => sender.changed(name, current),
                // The message has a later format, or was sent by another program.
                None => sender.gap(),
            },
            _ => {}
        }
        Ok(())
    }
}

/// Reads `1 NAME_LENGTH ETAG NOW\nNAMERECORD`, where the etag `-` stands for a deletion. Every field is checked,
/// because every client with the right to publish can send anything.
fn read(payload: &[u8]) -> Option<(&str, Option<(Versioned, Timestamp)>)> {
    let end = payload.iter().take(LONGEST_HEADER).position(|byte| *byte == b'\n')?;
    let mut header = str::from_utf8(&payload[..end]).ok()?.split(' ');
    let (version, length, etag, now) = (header.next()?, header.next()?, header.next()?, header.next()?);
    let (name, bytes) = payload[end + 1..].split_at_checked(length.parse().ok()?)?;
    let name = str::from_utf8(name).ok()?;
    let now = Timestamp::from_millis(now.parse().ok()?);
    if version != "1" || header.next().is_some() || !(1..=LONGEST_NAME).contains(&name.len()) {
        return None;
    }
    if etag == "-" {
        return bytes.is_empty().then_some((name, None));
    }
    let digest = etag.len() == 40 && etag.bytes().all(|byte| byte.is_ascii_hexdigit());
    let current = Versioned { bytes: bytes.to_vec(), etag: Etag::new(etag) };
    (digest && bytes.len() <= CircuitRecord::MAX_BYTES).then_some((name, Some((current, now))))
}

const HEARTBEAT: Duration = Duration::from_secs(5);
/// An act reaches this instance within two seconds after the server answers again, because the new subscription ends the
/// backoff of the registry.
const LONGEST_PAUSE: Duration = Duration::from_millis(1500);
/// The longest header, which has two digits of version, three of length, forty of etag, twenty of time, and a reserve.
const LONGEST_HEADER: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::WatchEvent;

    const ETAG: &str = "da39a3ee5e6b4b0d3255bfef95601890afd80709";

    #[test]
    fn a_payload_gives_back_any_name_and_any_record() {
        let payload = format!("1 5 {ETAG} 1790000000123\na b\nc{{\"x\": 1}}\n");
        let (name, current) = read(payload.as_bytes()).expect("the payload is well-formed");
        let (value, now) = current.expect("a record is there");
        assert_eq!((name, &*value.bytes), ("a b\nc", &b"{\"x\": 1}\n"[..]));
        assert_eq!((value.etag.as_str(), now.as_millis()), (ETAG, 1_790_000_000_123));
        assert_eq!(read(b"1 3 - 17\nabc"), Some(("abc", None)));
    }

    #[test]
    fn malformed_payloads_are_not_read() {
        let long = format!("1 1 {ETAG} 17\na{}", "x".repeat(CircuitRecord::MAX_BYTES + 1));
        let name = format!("1 201 - 17\n{}", "x".repeat(201));
        let wrong = [
            "",
            "\n",
            "1",
            "1 1 - 17",
            "2 1 - 17\na",
            "1 1 - 17 x\na",
            "1 2 - 17\na",
            "1 0 - 17\n",
            "1 1 - 17\nab",
            "1 -1 - 17\na",
            "1 1 - x\na",
            "1 99999999999999999999 - 17\na",
            "1 1 short 17\na",
            &long,
            &name,
        ];
        for payload in wrong {
            assert_eq!(read(payload.as_bytes()), None, "{:?}", &payload[..payload.len().min(60)]);
        }
        assert_eq!(read(b"1 1 - 17\n\xff"), None);
    }

    #[tokio::test]
    async fn a_flood_is_bounded_and_begins_with_a_gap() {
        let (sender, mut watch) = Watch::channel();
        let push = pusher(sender, Arc::default());
        for _ in 0..20_000 {
            let data = vec![Value::BulkString(CHANNEL.into()), Value::BulkString(b"1 1 - 17\na".to_vec())];
            push(PushInfo { kind: PushKind::Message, data }).expect("the pusher accepts every message");
        }
        drop(push);
        assert_eq!(watch.next().await, Some(WatchEvent::Gap), "the queued events are older than the gap");
        let mut kept = 0;
        while watch.next().await.is_some() {
            kept += 1;
        }
        assert_eq!(kept, 256);
    }
}
