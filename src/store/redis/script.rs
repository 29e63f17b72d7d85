//! The Lua scripts, and the commands that run them. Each script has one key, or two keys in the same slot.
//!
//! The scripts are sent with `EVAL`, so that a flushed script cache or a restarted server needs no second round trip.
//! The server compiles each script once. A script calls a command that can fail with `pcall` and returns its error as a
//! value, because before Redis 7 a raised error loses its code.
//!
//! Etags are digests of the bytes, which the server computes. Therefore a value that was edited by hand has an etag
//! too, and nothing depends on the way in which Lua reads JSON.

use std::time::Duration;

use redis::Cmd;

use crate::store::{Etag, Write};

/// The channel on which every change is published. A channel is not a key, so a script with one key may publish to it.
pub(super) const CHANNEL: &str = "circuit_breaker:changes";

const LOAD: &str = "
local current = redis.pcall('GET', KEYS[1])
if not current or type(current) == 'table' then return current end
return {redis.sha1hex(current), current}";

// `PUBLISH` is called by `pcall`, so that a refused publication does not fail a write that was made. The coordinator
// also polls and finds the change.
const COMPARE_AND_SET: &str = "
local current = redis.pcall('GET', KEYS[1])
if type(current) == 'table' then return current end
local etag = current and redis.sha1hex(current) or ''
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if etag ~= ARGV[1] then return {0, now, etag, current} end
local done
if ARGV[3] == '' then
  done = redis.pcall('SET', KEYS[1], ARGV[2])
else
  done = redis.pcall('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
end
if done.err then return done end
etag = redis.sha1hex(ARGV[2])
redis.pcall('PUBLISH', ARGV[4], string.format('1 %d %s %.0f\\n', #ARGV[5], etag, now) .. ARGV[5] .. ARGV[2])
return {1, now, etag, false}";

const DELETE: &str = "
local current = redis.pcall('GET', KEYS[1])
if type(current) == 'table' then return current end
if not current or redis.sha1hex(current) ~= ARGV[1] then return 0 end
local done = redis.pcall('DEL', KEYS[1])
if type(done) == 'table' then return done end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.pcall('PUBLISH', ARGV[2], string.format('1 %d - %.0f\\n', #ARGV[3], now) .. ARGV[3])
return 1";

// The id is checked before the row is added, and stored afterwards. If the script fails between the two steps, the row
// may be appended twice but is never lost.
const APPEND_AUDIT: &str = "
local time = redis.call('TIME')
local at = 3
while ARGV[at] do
  local id, values = ARGV[at], tonumber(ARGV[at + 1])
  local known = redis.pcall('ZSCORE', KEYS[2], id)
  if type(known) == 'table' then return known end
  if not known then
    local added = redis.pcall('XADD', KEYS[1], 'MAXLEN', '~', ARGV[1], '*', 'id', id, unpack(ARGV, at + 2, at + 1 + values))
    if type(added) == 'table' then return added end
    local noted = redis.pcall('ZADD', KEYS[2], time[1], id)
    if type(noted) == 'table' then return noted end
  end
  at = at + 2 + values
end
redis.call('ZREMRANGEBYRANK', KEYS[2], 0, -1 - ARGV[2])
return 1";

/// Returns the key of a circuit's record. The form of the key must not change, because people and dashboards use it.
pub(super) fn key(name: &str) -> String {
    format!("{PREFIX}{name}{SUFFIX}")
}

/// Returns the name of the circuit that a key belongs to. Returns `None` if no circuit can have this key.
pub(super) fn name(key: &[u8]) -> Option<String> {
    let name = str::from_utf8(key).ok()?.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?;
    (1..=LONGEST_NAME).contains(&name.len()).then(|| name.to_owned())
}

pub(super) fn load(name: &str) -> Cmd {
    eval(LOAD, &[&key(name)])
}

pub(super) fn compare_and_set(write: &Write) -> Cmd {
    let mut command = eval(COMPARE_AND_SET, &[&key(&write.name)]);
    command.arg(write.expected.as_ref().map_or("", Etag::as_str)).arg(&write.bytes);
    match write.ttl.and_then(millis) {
        Some(ttl) => command.arg(ttl),
        None => command.arg(""),
    };
    command.arg(CHANNEL).arg(&write.name);
    command
}

pub(super) fn delete(name: &str, etag: &Etag) -> Cmd {
    let mut command = eval(DELETE, &[&key(name)]);
    command.arg(etag.as_str()).arg(CHANNEL).arg(name);
    command
}

pub(super) fn append_audit(stream: &str, ids: &str) -> Cmd {
    eval(APPEND_AUDIT, &[stream, ids])
}

/// Returns the command for the next page of keys. The pattern has a wildcard in place of the name and contains no name
/// of a circuit, so a name is never interpreted as a pattern.
pub(super) fn scan(cursor: &str) -> Cmd {
    let mut command = redis::cmd("SCAN");
    command.arg(cursor).arg("MATCH").arg(key("*")).arg("COUNT").arg(1000);
    command
}

fn eval(script: &str, keys: &[&str]) -> Cmd {
    let mut command = redis::cmd("EVAL");
    command.arg(script).arg(keys.len()).arg(keys);
    command
}

/// Returns the TTL in milliseconds, rounded up so that no record expires early. Returns `None`, which means no expiry,
/// if the TTL is a century or more.
fn millis(ttl: Duration) -> Option<u64> {
    let millis = ttl.as_nanos().div_ceil(1_000_000).max(1);
    u64::try_from(millis).ok().filter(|millis| *millis < A_CENTURY)
}

pub(super) const LONGEST_NAME: usize = 200;
const PREFIX: &str = "circuit_breaker:";
const SUFFIX: &str = ":state";
const A_CENTURY: u64 = 100 * 365 * 24 * 60 * 60 * 1000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_gives_back_its_name() {
        for circuit in ["a", ":", ":state", "circuit_breaker:a:state", "{x}", "ä*?[a]"] {
            assert_eq!(name(key(circuit).as_bytes()).as_deref(), Some(circuit));
        }
        for key in ["circuit_breaker::state", "circuit_breaker:audit", "circuit_breaker:state", "x:state"] {
            assert_eq!(name(key.as_bytes()), None, "{key}");
        }
        assert_eq!(name(b"circuit_breaker:\xff:state"), None);
        assert_eq!(name(key(&"x".repeat(201)).as_bytes()), None);
    }

    #[test]
    fn a_ttl_is_never_shorter_than_asked() {
        assert_eq!(millis(Duration::ZERO), Some(1));
        assert_eq!(millis(Duration::from_nanos(1_000_001)), Some(2));
        assert_eq!(millis(Duration::from_secs(86_400)), Some(86_400_000));
        assert_eq!(millis(Duration::MAX), None);
    }
}
