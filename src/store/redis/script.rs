//! The Lua scripts, and the commands that run them. A script has at most two keys, and two keys are in the same slot of
//! a cluster.
//!
//! Each command sends the whole script with `EVAL`. `EVALSHA` would need a second round trip after a restart of the
//! server or a flush of the script cache. The server compiles each script only once. A script uses `pcall` for the
//! commands that can fail, and returns the error as a value. Before Redis 7, a raised error would lose its code.
//!
//! A script that changes a record first compares the expected etag with the etag of the stored value. `value.rs`
//! describes the etags.
//!
//! A change is published as a hint, `LENGTH ETAG\nNAME`, where `LENGTH` is the length of the name in bytes. The word
//! `transition` follows the name if the write publishes a state of the writing instance and contains no act of an
//! operator. Readers ignore all other bytes after the name, so that a later version can append more. The hint does not
//! contain the record, because any client with the right to publish could send a false record. A write that changes
//! only counters is not published.

use std::time::Duration;

use redis::Cmd;

use super::keys::Keys;
use crate::store::{Etag, Hint, Write};

/// Adds the lines with which each script on a record begins. The lines set the variable `current` to the stored value
/// and the variable `etag` to the etag of this value. Both variables are empty if the key has no value. If a value is
/// too long for a record, only the beginning of the value is read.
macro_rules! on_record {
    ($script:literal) => {
        concat!(
            "
local current, etag = redis.pcall('GETRANGE', KEYS[1], 0, 65536), ''
if type(current) == 'table' then return current end
if current ~= '' then etag = redis.sha1hex(current) end",
            $script
        )
    };
}

// `pcall` runs `PUBLISH`, so that a refused `PUBLISH` does not turn a successful write into an error. The coordinator's
// poll finds the change then. A channel is not a key, so a script with one key may publish to a channel.
const COMPARE_AND_SET: &str = on_record!(
    "
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if etag ~= ARGV[1] then return {0, now, current} end
local done
if ARGV[3] == '' then
  done = redis.pcall('SET', KEYS[1], ARGV[2])
else
  done = redis.pcall('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
end
if done.err then return done end
if ARGV[4] ~= '' then redis.pcall('PUBLISH', ARGV[4], ARGV[5]) end
return {1, now, ''}"
);

const DELETE: &str = on_record!(
    "
if etag == '' or etag ~= ARGV[1] then return 0 end
local done = redis.pcall('DEL', KEYS[1])
if type(done) == 'table' then return done end
redis.pcall('PUBLISH', ARGV[2], #ARGV[3] .. ' -\\n' .. ARGV[3])
return 1"
);

// In its answer, the script replaces each value above 64 KiB by `(too long)`. Otherwise a row from another program
// could make the answer very long.
const AUDIT_PAGE: &str = "
local rows = redis.pcall(ARGV[1], KEYS[1], ARGV[2], ARGV[3], 'COUNT', ARGV[4])
if rows.err then return rows end
for _, row in ipairs(rows) do
  if #row[2] > 64 then row[2] = {} end
  for at, value in ipairs(row[2]) do
    if #value > 65536 then row[2][at] = '(too long)' end
  end
end
return rows";

// The script leaves out each key that is longer than any key of a record. Otherwise a key from another program could
// make the answer very long.
const SCAN: &str = "
local page = redis.pcall('SCAN', ARGV[1], 'MATCH', ARGV[2], 'COUNT', 1000)
if page.err then return page end
local keys = {}
for _, key in ipairs(page[2]) do
  if #key <= tonumber(ARGV[3]) then keys[#keys + 1] = key end
end
return {page[1], keys}";

// For each row, the script checks if the id is known, appends the row, and then stores the id. If the script fails
// before the id is stored, a retry may append the row a second time, but the row is never lost.
//
// The first row in the arguments is a notice that earlier rows are missing. The script appends this notice only if the
// stream does not exist although rows were appended before, as `ARGV[3]` or the set of ids shows. The deletion of old
// rows never deletes the stream itself, so a missing stream means that rows were lost.
const APPEND_AUDIT: &str = "
local time = redis.call('TIME')
local at = 4
local there = redis.pcall('EXISTS', KEYS[1])
if type(there) == 'table' then return there end
local is_gone = there == 0 and (ARGV[3] == '1' or redis.call('EXISTS', KEYS[2]) == 1)
if not is_gone then at = 6 + ARGV[5] end
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

/// Returns the command that writes a record. `etag` is the etag of the new value, and becomes part of the hint.
pub(super) fn compare_and_set(keys: &Keys, write: &Write, etag: &Etag) -> Cmd {
    let mut command = eval(COMPARE_AND_SET, &[&keys.record(&write.name)]);
    command.arg(write.expected.as_ref().map_or("", Etag::as_str)).arg(&write.bytes);
    match write.ttl.and_then(millis) {
        Some(ttl) => command.arg(ttl),
        None => command.arg(""),
    };
    match payload(write, etag) {
        Some(payload) => command.arg(keys.channel()).arg(payload),
        None => command.arg("").arg(""),
    };
    command
}

/// Returns the message that publishes a write as a hint, or `None` if the write is not published.
fn payload(write: &Write, etag: &Etag) -> Option<String> {
    let behind = match write.hint {
        Hint::None => return None,
        Hint::Transition => TRANSITION,
        Hint::Any => "",
    };
    Some(format!("{} {}\n{}{behind}", write.name.len(), etag.as_str(), write.name))
}

pub(super) fn delete(keys: &Keys, name: &str, etag: &Etag) -> Cmd {
    let mut command = eval(DELETE, &[&keys.record(name)]);
    command.arg(etag.as_str()).arg(keys.channel()).arg(name);
    command
}

pub(super) fn append_audit(keys: &Keys) -> Cmd {
    eval(APPEND_AUDIT, &[&keys.audit(), &keys.audit_ids()])
}

/// Returns the command that reads a page of audit rows. `range` is `XRANGE` or `XREVRANGE`.
pub(super) fn audit_page(keys: &Keys, range: &str, from: &str, to: &str, count: usize) -> Cmd {
    let mut command = eval(AUDIT_PAGE, &[&keys.audit()]);
    command.arg(range).arg(from).arg(to).arg(count);
    command
}

/// Returns the command that reads the next page of the keys of records.
pub(super) fn scan(keys: &Keys, cursor: &str) -> Cmd {
    let mut command = eval(SCAN, &[]);
    command.arg(cursor).arg(keys.pattern()).arg(keys.longest());
    command
}

fn eval(script: &str, keys: &[&str]) -> Cmd {
    let mut command = redis::cmd("EVAL");
    command.arg(script).arg(keys.len()).arg(keys);
    command
}

/// Returns the TTL in milliseconds, rounded up so that no record expires early. Returns `None` for a TTL of a century
/// or more, and the record then never expires.
fn millis(ttl: Duration) -> Option<u64> {
    let millis = ttl.as_nanos().div_ceil(1_000_000).max(1);
    u64::try_from(millis).ok().filter(|millis| *millis < A_CENTURY)
}

/// The text after the name in a hint, if the write publishes a transition.
pub(super) const TRANSITION: &str = " transition";
const A_CENTURY: u64 = 100 * 365 * 24 * 60 * 60 * 1000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_begins_as_older_readers_expect() {
        let write = |hint| Write { name: "a b".to_owned(), expected: None, bytes: vec![1], ttl: None, hint };
        for (hint, expected) in
            [(Hint::None, None), (Hint::Transition, Some("3 x\na b transition")), (Hint::Any, Some("3 x\na b"))]
        {
            assert_eq!(payload(&write(hint), &Etag::new("x")).as_deref(), expected);
        }
    }

    #[test]
    fn a_ttl_is_never_shorter_than_asked() {
        assert_eq!(millis(Duration::ZERO), Some(1));
        assert_eq!(millis(Duration::from_nanos(1_000_001)), Some(2));
        assert_eq!(millis(Duration::from_secs(86_400)), Some(86_400_000));
        assert_eq!(millis(Duration::MAX), None);
    }
}
