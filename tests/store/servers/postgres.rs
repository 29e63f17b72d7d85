//! A PostgreSQL server of one test: on a free port, in a temporary folder, gone with the test however it ends.
//!
//! The server runs in the foreground as a child of the thread that started it, and is told to stop when that thread dies
//! (`setpriv --pdeathsig`), so that not even a killed test run leaves one behind. `initdb` takes more than a second: one
//! initialised folder is kept in `target/tmp` and copied.

use std::fs::{self, File};
use std::net::TcpListener;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{self, Child, Command, Stdio};
use std::time::Duration;

use sqlx::postgres::PgConnection;
use sqlx::{Connection, Row};

use super::folder::Folder;

#[derive(Debug)]
pub(crate) struct Postgres {
    folder: Folder,
    port: u16,
    server: Option<Child>,
}

impl Postgres {
    /// Starts a server. `postgres` needs no password; any other role does, and has to be made first.
    pub(crate) async fn start() -> Self {
        let folder = Folder::new();
        run(Command::new("cp").arg("-R").arg(template()).arg(folder.path().join("data")));
        run(Command::new("chmod").args(["-R", "go="]).arg(folder.path().join("data")));
        if let Some(user) = unprivileged() {
            run(Command::new("chown").args(["-R", user]).arg(folder.path()));
        }
        let port = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a free port").port();
        let mut server = Self { folder, port, server: None };
        server.start_again().await;
        server
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn url(&self) -> String {
        self.url_of("postgres")
    }

    /// Returns the address for `user` or `user:password`.
    pub(crate) fn url_of(&self, user: &str) -> String {
        format!("postgres://{user}@127.0.0.1:{}/postgres", self.port)
    }

    /// Restarts the server with the certificates of a folder. The role `ana` needs a client certificate then.
    pub(crate) async fn enable_tls(&mut self, files: &Path) {
        let data = self.folder.path().join("data");
        for name in ["server.crt", "server.key", "ca.crt"] {
            fs::copy(files.join(name), data.join(name)).expect("the data folder can be written");
        }
        run(Command::new("chmod").arg("600").arg(data.join("server.key")));
        if let Some(user) = unprivileged() {
            run(Command::new("chown").args(["-R", user]).arg(&data));
        }
        let append = |name: &str, before: &str, after: &str| {
            let present = fs::read_to_string(data.join(name)).expect("the file is there");
            fs::write(data.join(name), format!("{before}{present}{after}")).expect("the file can be written");
        };
        append("postgresql.conf", "", "\nssl = on\nssl_ca_file = 'ca.crt'\n");
        append("pg_hba.conf", "hostssl all ana 127.0.0.1/32 cert\n", "");
        self.restart_immediately().await;
    }

    /// Runs statements as the superuser.
    pub(crate) async fn execute(&self, sql: &'static str) {
        let mut connection = PgConnection::connect(&self.url()).await.expect("the server lets the superuser in");
        sqlx::raw_sql(sql).execute(&mut connection).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    }

    /// Returns the first column of the only row, as `psql` would print it.
    pub(crate) async fn value(&self, sql: &'static str) -> Option<String> {
        let mut connection = PgConnection::connect(&self.url()).await.expect("the server lets the superuser in");
        let row = sqlx::raw_sql(sql).fetch_one(&mut connection).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
        row.try_get_unchecked(0).expect("the column is text")
    }

    /// Kills it with all its processes, as a crash of the machine would. Those that serve connections outlive the first one
    /// otherwise, and go on serving them for a while.
    pub(crate) fn kill9(&mut self) {
        let mut server = self.server.take().expect("it runs");
        let children = children(&server);
        server.kill().expect("it can be killed");
        signal("-KILL", &children);
        server.wait().expect("it can be waited for");
    }

    /// What `pg_ctl restart -m immediate` does: connections are cut, nothing is written first, recovery follows.
    pub(crate) async fn restart_immediately(&mut self) {
        self.stop();
        self.start_again().await;
    }

    /// What `pg_ctl stop -m immediate` does.
    pub(crate) fn stop(&mut self) {
        let Some(mut server) = self.server.take() else { return };
        // A test may have halted some.
        signal("-CONT", &children(&server));
        signal("-QUIT", &[server.id().to_string()]);
        for _ in 0..200 {
            if let Ok(Some(_)) = server.try_wait() {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        server.kill().ok();
        server.wait().ok();
    }

    /// Starts it on the same port with the same data, and waits until it lets somebody in.
    pub(crate) async fn start_again(&mut self) {
        // After a kill it refuses to start until the last of its old processes has gone.
        for _ in 0..100 {
            self.server = Some(self.spawn());
            if self.accepts().await {
                return;
            }
        }
        panic!("PostgreSQL does not start:\n{}", fs::read_to_string(self.log()).unwrap_or_default());
    }

    async fn accepts(&mut self) -> bool {
        for _ in 0..500 {
            if PgConnection::connect(&self.url()).await.is_ok() {
                return true;
            }
            if !matches!(self.server.as_mut().map(Child::try_wait), Some(Ok(None))) {
                return false;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        false
    }

    fn spawn(&self) -> Child {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "QUIT"]);
        if let Some(user) = unprivileged() {
            command.args(["--reuid", user, "--regid", group_of(user).as_str(), "--clear-groups"]);
        }
        let log = File::options().create(true).append(true).open(self.log()).expect("a log can be written");
        command.arg(binary("postgres")).arg("-D").arg(self.folder.path().join("data"));
        command.args(["-p", &self.port.to_string(), "-h", "127.0.0.1", "-k", ""]);
        command.args(["-c", "fsync=off", "-c", "max_connections=100", "-c", "shared_buffers=4MB"]);
        command.current_dir("/").stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        command.spawn().expect("`setpriv` of util-linux starts")
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("log")
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Returns the initialised folder, made once for all test runs of this target folder.
fn template() -> PathBuf {
    let kept = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let version = run(Command::new(binary("postgres")).arg("--version"));
    let template = kept.join(format!("postgres-{}", version.trim().replace(|c: char| !c.is_ascii_alphanumeric(), "-")));
    if !template.exists() {
        let folder = Folder::new();
        let mut command = Command::new(binary("initdb"));
        if let Some(user) = unprivileged() {
            run(Command::new("chown").arg(user).arg(folder.path()));
            command = Command::new("setpriv");
            command.args(["--reuid", user, "--regid", group_of(user).as_str(), "--clear-groups"]).arg(binary("initdb"));
        }
        let data = folder.path().join("data");
        command.args(["-U", "postgres", "-E", "UTF8", "--locale=C", "--auth=trust", "--no-sync", "--no-instructions"]);
        run(command.arg("-D").arg(&data).current_dir("/"));
        let access = "host all postgres 127.0.0.1/32 trust\nhost all all 127.0.0.1/32 scram-sha-256\n";
        fs::write(data.join("pg_hba.conf"), access).expect("the access rules can be written");
        fs::create_dir_all(kept).expect("the target folder can be written");
        // Renamed when it is complete: another test may be doing the same.
        let unfinished = kept.join(format!("postgres-unfinished-{}-{:?}", process::id(), std::thread::current().id()));
        run(Command::new("cp").arg("-R").arg(&data).arg(&unfinished));
        if fs::rename(&unfinished, &template).is_err() {
            fs::remove_dir_all(&unfinished).ok();
        }
    }
    template
}

/// Returns whom to be, if we are root: as root it refuses to run.
fn unprivileged() -> Option<&'static str> {
    let root = fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0);
    let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
    root.then(|| if users.contains("\npostgres:") { "postgres" } else { "nobody" })
}

fn group_of(user: &str) -> String {
    run(Command::new("id").args(["-g", user])).trim().to_owned()
}

fn binary(name: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let installed = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten().map(|v| v.path().join("bin"));
    let mut places = std::env::split_paths(&path).chain(installed).map(|place| place.join(name));
    places.find(|file| file.is_file()).unwrap_or_else(|| {
        panic!("`{name}` of PostgreSQL is not installed; `scripts/test` installs what the tests need")
    })
}

/// Sends a signal to processes by their pids.
pub(crate) fn signal(signal: &str, pids: &[String]) {
    if !pids.is_empty() {
        Command::new("kill").arg(signal).args(pids).stderr(Stdio::null()).status().ok();
    }
}

fn children(server: &Child) -> Vec<String> {
    let listed = fs::read_to_string(format!("/proc/{0}/task/{0}/children", server.id())).unwrap_or_default();
    listed.split_whitespace().map(str::to_owned).collect()
}

fn run(command: &mut Command) -> String {
    let done = command.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(done.status.success(), "{command:?}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8_lossy(&done.stdout).into_owned()
}
