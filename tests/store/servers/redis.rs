//! A `redis-server` of a test's own.

use std::fs;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use redis::{FromRedisValue, Value};
use tower_circuit_breaker::store::RedisStore;

/// Runs until it is dropped, or until the thread that started it ends, however that comes.
#[derive(Debug)]
pub(crate) struct Redis {
    port: u16,
    folder: PathBuf,
    options: Vec<String>,
    server: Option<Child>,
}

impl Redis {
    /// Starts one that keeps nothing on disk.
    pub(crate) async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// Starts one with more options: `--appendonly yes`, `--requirepass x`, `--cluster-enabled yes`.
    pub(crate) async fn start_with(options: &[&str]) -> Self {
        let mut server = Self::stopped(options);
        // Somebody else may have taken the port since it was found free.
        for _ in 0..5 {
            if server.try_start().await {
                return server;
            }
            server.port = free_for(options);
        }
        panic!("redis-server does not start: try it by hand with the options {options:?}");
    }

    /// Starts a sentinel with the lines of its file, and with more options.
    pub(crate) async fn sentinel(lines: &str, options: &[&str]) -> Self {
        let mut sentinel = Self::stopped(options);
        fs::write(sentinel.folder.join(SENTINEL), lines).unwrap();
        sentinel.start_again().await;
        sentinel
    }

    /// Returns one that is not started yet.
    pub(crate) fn stopped(options: &[&str]) -> Self {
        let port = free_for(options);
        let folder = std::env::temp_dir().join(format!("breaker-redis-{}-{port}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let options = options.iter().map(ToString::to_string).collect();
        Self { port, folder, options, server: None }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub(crate) fn store(&self) -> RedisStore {
        RedisStore::new(&self.url()).unwrap()
    }

    /// Ends it without a word to anybody.
    pub(crate) fn kill9(&mut self) {
        if let Some(mut server) = self.server.take() {
            server.kill().ok();
            server.wait().ok();
        }
    }

    /// Lets the server hang. Connections stay open, and get no answers.
    pub(crate) fn hang(&self) {
        self.signal("STOP");
    }

    /// Lets a server that hangs go on.
    pub(crate) fn go_on(&self) {
        self.signal("CONT");
    }

    fn signal(&self, signal: &str) {
        let id = self.server.as_ref().expect("the server runs").id().to_string();
        let sent = Command::new("kill").args(["-s", signal, &id]).status();
        assert!(sent.is_ok_and(|status| status.success()), "kill -s {signal}");
    }

    /// Starts it at the same port, with what it had written to disk.
    pub(crate) async fn start_again(&mut self) {
        assert!(self.try_start().await, "redis-server does not start again");
    }

    /// Forgets what it has written to disk. Only while it does not run.
    pub(crate) fn lose_data(&self) {
        fs::remove_dir_all(&self.folder).unwrap();
        fs::create_dir_all(&self.folder).unwrap();
    }

    /// Sends one command over a connection of its own.
    pub(crate) async fn cli<T: FromRedisValue>(&self, words: &[&str]) -> T {
        let answer = self.try_cli(words).await.unwrap_or_else(|error| panic!("{words:?}: {error}"));
        redis::from_redis_value(answer).unwrap_or_else(|error| panic!("{words:?}: {error}"))
    }

    pub(crate) async fn try_cli(&self, words: &[&str]) -> redis::RedisResult<Value> {
        let password = self.options.iter().skip_while(|option| *option != "--requirepass").nth(1);
        let url = match password {
            Some(password) => format!("redis://:{password}@127.0.0.1:{}", self.port),
            None => self.url(),
        };
        let mut connection = redis::Client::open(url)?.get_multiplexed_async_connection().await?;
        let mut command = redis::cmd(words[0]);
        command.arg(&words[1..]);
        connection.send_packed_command(&command).await?.extract_error()
    }

    async fn try_start(&mut self) -> bool {
        let mut server = self.spawn();
        for _ in 0..500 {
            if server.try_wait().unwrap().is_some() {
                return false;
            }
            if self.try_cli(&["PING"]).await.is_ok() {
                self.server = Some(server);
                return true;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        server.kill().ok();
        server.wait().ok();
        false
    }

    fn spawn(&self) -> Child {
        // A test binary that is killed runs no `drop`: the kernel ends the server with the thread that started it.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "redis-server"]);
        let file = self.folder.join(SENTINEL);
        if file.exists() {
            command.arg(file).arg("--sentinel");
        } else {
            command.args(["--save", ""]);
        }
        command
            .args(["--bind", "127.0.0.1", "--port", &self.port.to_string()])
            .arg("--dir")
            .arg(&self.folder)
            .args(&self.options)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("setpriv (util-linux) starts redis-server: run scripts/test, which installs both")
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.kill9();
        fs::remove_dir_all(&self.folder).ok();
    }
}

/// Returns a free port. A node of a cluster has its bus at the port 10 000 above, which must be free too.
pub(crate) fn free_for(options: &[&str]) -> u16 {
    let is_free = |port: u16| TcpListener::bind(("127.0.0.1", port)).is_ok();
    let fits = |port: u16| !options.contains(&"--cluster-enabled") || port.checked_add(10_000).is_some_and(is_free);
    std::iter::repeat_with(free_port).take(1000).find(|port| fits(*port)).expect("a free port with a free bus")
}

/// The file of a sentinel, which the sentinel itself rewrites.
const SENTINEL: &str = "sentinel.conf";

/// Returns a port that was free a moment ago. Nothing but a server of ours will listen there soon.
pub(crate) fn free_port() -> u16 {
    let found = Command::new("redis-server").arg("--version").stdout(Stdio::null()).status();
    assert!(found.is_ok_and(|status| status.success()), "redis-server is missing: run scripts/test, which installs it");
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).unwrap().port()
}
