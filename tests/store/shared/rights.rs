//! The least rights that docs/stores.md names. Everything works with exactly these, and nothing works without one of
//! them. The rights are read from the page, so that the page and the store cannot differ.

use std::process::{Command, Stdio};

use tower_circuit_breaker::operation::Operator;
use tower_circuit_breaker::record::Timestamp;
use tower_circuit_breaker::state::Mode;
use tower_circuit_breaker::store::{AnyStore, AuditFilter, PostgresStore, RedisStore, Store, Watch, WatchEvent};

use super::{instance, mode, reaches};
use crate::rig::{alice, secs};
use crate::servers::cluster::Cluster;
use crate::servers::postgres::Postgres;
use crate::servers::redis::Redis;
use crate::servers::trio::{MASTER, watcher};
use crate::sqlite::{row, write};

const PAGE: &str = include_str!("../../../docs/stores.md");

/// The text of the page between two marks.
fn between(start: &str, end: &str) -> &'static str {
    let (_, rest) = PAGE.split_once(start).unwrap_or_else(|| panic!("the page has `{start}`"));
    rest.split_once(end).unwrap_or_else(|| panic!("the page has `{end}` after `{start}`")).0
}

/// The rights of a Redis user, which are those of keys and channel, and those of commands.
fn documented() -> (Vec<&'static str>, Vec<&'static str>) {
    between("ACL SETUSER breaker on >secret ", "```").split_whitespace().partition(|right| !right.starts_with('+'))
}

async fn grant(server: &Redis, user: &str, rights: &[&str]) {
    let start = ["ACL", "SETUSER", user, "reset", "on", ">secret", "resetchannels"];
    server.cli::<()>(&start.into_iter().chain(rights.iter().copied()).collect::<Vec<_>>()).await;
}

fn circuitctl(address: &str, arguments: &[&str]) -> Result<String, String> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_circuitctl"));
    command.env_clear().env("CIRCUIT_BREAKER_STORE", address).env("USER", "ana").args(arguments);
    let output = command.stdin(Stdio::null()).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}

/// Two instances, pushes, orders, the audit, the list, forget and `circuitctl` work.
async fn everything_works(address: &str) {
    let open = || AnyStore::open(address).unwrap();
    let (one, two) = (instance(open(), "one").await, instance(open(), "two").await);
    reaches(&two, &one, "first").await;
    one.resume("first", &alice()).await.unwrap();
    let told =
        |arguments: &[&str]| circuitctl(address, arguments).unwrap_or_else(|error| panic!("{arguments:?}: {error}"));
    told(&["trip", "second", "--create", "--reason", "maintenance"]);
    let arrives = async || mode(&one, "second") == Mode::ForcedOpen;
    super::eventually("an act of circuitctl arrives", arrives).await;
    assert!(told(&["status"]).contains("second"));
    assert!(told(&["show", "second"]).contains("maintenance"));
    assert!(told(&["audit"]).contains("maintenance"));
    told(&["reset", "second", "--reason", "done", "--force"]);
    drop((one, two));
    told(&["forget", "second", "--reason", "gone"]);
    let operator = Operator::new(open());
    let names: Vec<_> = operator.list().await.unwrap().into_iter().map(|shown| shown.name).collect();
    assert!(names.contains(&"first".to_owned()) && !names.contains(&"second".to_owned()), "{names:?}");
    let rows = operator.audit(&AuditFilter::new().user("ana")).await.unwrap();
    assert_eq!(rows.len(), 3, "{rows:?}");
}

/// Every operation once, on a circuit that does not exist. The error is that of the first operation that fails.
async fn each_operation(store: &impl Store, watch: &mut Watch, name: &str) -> Result<(), String> {
    let failed = |error: tower_circuit_breaker::store::StoreError| error.chain();
    let ttl = Some(secs(3600));
    let new = tower_circuit_breaker::store::Write { ttl, ..write(name, None, b"1") };
    let names = [name.to_owned()];
    store.compare_and_set(&new).await.map_err(failed)?;
    let pushed = async {
        while let Some(event) = watch.next().await {
            if matches!(&event, WatchEvent::Changed { name: changed, .. } if changed == name) {
                return;
            }
        }
    };
    tokio::time::timeout(secs(2), pushed).await.map_err(|_| "nothing was pushed")?;
    let found = store.load_many(&names).await.map_err(failed)?.entries.remove(0);
    let etag = found.ok_or("the record is not there")?.etag;
    let again = write(name, Some(etag.clone()), b"2");
    store.compare_and_set(&again).await.map_err(failed)?;
    store.list().await.map_err(failed)?;
    let found = store.load_many(&names).await.map_err(failed)?.entries.remove(0);
    store.delete(name, &found.ok_or("the record is gone")?.etag).await.map_err(failed)?;
    store.append_audit(&[row(name, 1)]).await.map_err(failed)?;
    store.audit(&AuditFilter::new()).await.map_err(failed)?;
    store.trim_audit(Timestamp::from_millis(2)).await.map_err(failed)?;
    Ok(())
}

async fn watched(store: &impl Store) -> Option<Watch> {
    let mut watch = store.watch().await.ok()??;
    let gap = tokio::time::timeout(secs(2), watch.next()).await.ok()??;
    (gap == WatchEvent::Gap).then_some(watch)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_works_with_exactly_the_documented_rights_of_redis() {
    let server = Redis::start().await;
    let (places, commands) = documented();
    assert!(commands.iter().all(|right| !right.contains('@')), "a group is more than the store needs: {commands:?}");
    grant(&server, "breaker", &[&places[..], &commands[..]].concat()).await;
    everything_works(&server.url().replace("//", "//breaker:secret@")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_works_with_the_documented_rights_for_a_database_and_a_prefix() {
    let server = Redis::start().await;
    let (_, commands) = documented();
    let sentence = between("For database 3 with the prefix `orders`, the first line ends with\n`", "`");
    let places: Vec<&str> = sentence.split_whitespace().collect();
    grant(&server, "breaker", &[&places[..], &commands[..]].concat()).await;
    everything_works(&format!("{}/3?prefix=orders", server.url().replace("//", "//breaker:secret@"))).await;
    let keys: Vec<String> = server.cli(&["EVAL", "redis.call('SELECT', 3) return redis.call('KEYS', '*')", "0"]).await;
    assert!(!keys.is_empty() && keys.iter().all(|key| key.contains("orders:circuit_breaker")), "{keys:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_works_with_the_documented_rights_behind_a_sentinel() {
    let server = Redis::start().await;
    let (places, commands) = documented();
    let role = between("Behind sentinels, `", "`");
    grant(&server, "breaker", &[&places[..], &commands[..], &[role]].concat()).await;
    let sentinel = watcher(server.port(), 1, &["--requirepass", "secret"]).await;
    let rights = between("A user of the sentinels themselves needs `", "`").split_whitespace();
    let user = ["ACL", "SETUSER", "ana", "reset", "on", ">s3cret"].into_iter().chain(rights);
    sentinel.cli::<()>(&user.collect::<Vec<_>>()).await;
    let (port, own) = (sentinel.port(), "sentinel_user=ana&sentinel_pass=s3cret");
    everything_works(&format!("redis-sentinel://breaker:secret@127.0.0.1:{port}/{MASTER}?{own}")).await;
    let without = format!("redis-sentinel://breaker:secret@127.0.0.1:{port}/{MASTER}?sentinel_pass=wr0ng");
    let error = circuitctl(&without, &["status"]).unwrap_err();
    assert!(error.contains("does not accept this user or password") && !error.contains("wr0ng"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_works_with_the_documented_rights_in_a_cluster() {
    let cluster = Cluster::start().await;
    let (places, commands) = documented();
    let more: Vec<&str> = between("In a cluster, `", "`").split_whitespace().collect();
    for node in &cluster.masters {
        grant(node, "breaker", &[&places[..], &commands, &more].concat()).await;
    }
    let address = cluster.url().replace("//", "//breaker:secret@");
    everything_works(&address).await;
    // A command of a slot that is moved to a node without the key is sent there behind `ASKING`.
    let store = RedisStore::new(&address).unwrap();
    let (slot, from) = cluster.home("moved").await;
    cluster.begin_move(&slot, from, (from + 1) % 3).await;
    store.compare_and_set(&write("moved", None, b"1")).await.unwrap();
    for node in &cluster.masters {
        grant(node, "breaker", &[&places[..], &commands].concat()).await;
    }
    let error = store.load_many(&["moved".to_owned()]).await.unwrap_err().to_string();
    assert!(error.contains("does not permit this user"), "without `+asking`: {error}");
    let error = RedisStore::new(&address).unwrap().load_many(&[]).await.unwrap_err().to_string();
    assert!(error.contains("does not permit this user"), "without `+cluster|slots`: {error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_documented_right_of_redis_is_needed() {
    let server = Redis::start().await;
    let (places, mut commands) = documented();
    commands.extend(["+xrange", "+xdel"]);
    let all = [&places[..], &commands[..]].concat();
    // Redis checks neither `AUTH` nor `HELLO`, other servers do. A missing `PING` ends the watch only after 5 s.
    let unchecked = ["+auth", "+hello", "+ping"];
    for (number, missing) in all.iter().enumerate() {
        let user = format!("user-{number}");
        let rights: Vec<&str> = all.iter().copied().filter(|right| right != missing).collect();
        // A database that is not 0, because only this one needs `SELECT`.
        let database = u8::from(*missing == "+select");
        let of_database = rights.iter().map(|right| right.replace("changes:0", &format!("changes:{database}")));
        let rights: Vec<String> = of_database.collect();
        grant(&server, &user, &rights.iter().map(String::as_str).collect::<Vec<_>>()).await;
        let address = format!("{}/{database}", server.url().replace("//", &format!("//{user}:secret@")));
        let store = RedisStore::new(&address).unwrap();
        let works = match watched(&store).await {
            Some(mut watch) => each_operation(&store, &mut watch, missing).await,
            None => Err("no watch".to_owned()),
        };
        assert_eq!(works.is_ok(), unchecked.contains(missing), "without {missing}: {works:?}");
        let problem = works.err().unwrap_or_default();
        let is_explained = ["", "no watch", "nothing was pushed"].contains(&&*problem);
        assert!(is_explained || problem.contains("does not permit this user"), "without {missing}: {problem}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_works_with_exactly_the_documented_grants_of_postgres() {
    let server = Postgres::start().await;
    PostgresStore::new(&server.url()).unwrap().ensure_schema().await.unwrap();
    server.execute("CREATE ROLE breaker LOGIN PASSWORD 'secret'").await;
    server.execute(between("PostgreSQL, if another role owns the tables:\n\n```sql\n", "```")).await;
    let address = server.url_of("breaker:secret");
    everything_works(&address).await;
    let store = PostgresStore::new(&address).unwrap();
    assert!(store.trim_audit(Timestamp::from_millis(1)).await.is_err(), "only a retention of the audit needs DELETE");
    server.execute("GRANT DELETE ON circuit_breaker_audit TO breaker").await;
    let mut watch = watched(&store).await.unwrap();
    each_operation(&store, &mut watch, "before").await.unwrap();
    for (revoke, grant) in [
        ("REVOKE SELECT ON circuit_breaker_states FROM breaker", "GRANT SELECT ON circuit_breaker_states TO breaker"),
        ("REVOKE INSERT ON circuit_breaker_states FROM breaker", "GRANT INSERT ON circuit_breaker_states TO breaker"),
        ("REVOKE UPDATE ON circuit_breaker_states FROM breaker", "GRANT UPDATE ON circuit_breaker_states TO breaker"),
        ("REVOKE DELETE ON circuit_breaker_states FROM breaker", "GRANT DELETE ON circuit_breaker_states TO breaker"),
        ("REVOKE SELECT ON circuit_breaker_audit FROM breaker", "GRANT SELECT ON circuit_breaker_audit TO breaker"),
        ("REVOKE INSERT ON circuit_breaker_audit FROM breaker", "GRANT INSERT ON circuit_breaker_audit TO breaker"),
    ] {
        server.execute(revoke).await;
        assert!(each_operation(&store, &mut watch, revoke).await.is_err(), "{revoke}");
        server.execute(grant).await;
    }
    each_operation(&store, &mut watch, "after").await.unwrap();
}
