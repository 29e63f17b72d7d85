//! The users of processes. A test proves the same, whichever user runs the tests.

use std::future::Future;
use std::os::unix::fs::MetadataExt;
use std::process::{Command, Stdio};

/// A user and a group that own nothing else.
pub(crate) const STRANGER: u32 = 65_534;

/// Runs the test of this name as root. Another user runs the test again in a new process, as the root of a user namespace
/// with the users of `/etc/subuid`.
pub(crate) fn by_root(test: &str, run: impl Future<Output = ()>) {
    if is_root() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        return runtime.expect("a runtime is built").block_on(run);
    }
    let mut again = Command::new("unshare");
    again.args(["--map-root-user", "--map-auto"]).arg(std::env::current_exe().expect("a test has a binary"));
    again.args(["--exact", test, "--nocapture", "--test-threads=1"]).stdin(Stdio::null());
    let ended = again.output().expect("unshare of util-linux starts: run scripts/test, which installs util-linux");
    let [out, err] = [ended.stdout, ended.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    // A test binary that finds no such test succeeds, too.
    assert!(
        ended.status.success() && out.contains("1 passed"),
        "as root of a namespace, which needs uidmap and a range of this user in /etc/subuid and /etc/subgid: {out}{err}"
    );
}

/// Returns a command that starts a command in a process that permissions bind. Permissions do not bind root, but they bind
/// a root without capabilities.
pub(crate) fn bound_by_permissions() -> Command {
    if !is_root() {
        return Command::new("env");
    }
    let mut command = Command::new("setpriv");
    command.args(["--inh-caps=-all", "--bounding-set=-all"]);
    command
}

/// Returns a command that starts a command as the stranger.
pub(crate) fn as_stranger() -> Command {
    let mut command = Command::new("setpriv");
    command.args([&format!("--reuid={STRANGER}"), &format!("--regid={STRANGER}"), "--clear-groups"]);
    command
}

fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0)
}
