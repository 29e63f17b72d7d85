//! Temporary folders that are gone with their test.

#![expect(clippy::disallowed_types, reason = "a number for each, in a test")]

use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};

/// An empty folder, removed when dropped. Those of test runs that were killed are removed by the next run.
#[derive(Debug)]
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        if number == 0 {
            remove_orphans();
        }
        let path = std::env::temp_dir().join(format!("{PREFIX}{}-{number}", process::id()));
        std::fs::create_dir(&path).expect("a temporary folder can be made");
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).ok();
    }
}

fn remove_orphans() {
    for entry in std::fs::read_dir(std::env::temp_dir()).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let pid = name.to_str().and_then(|name| name.strip_prefix(PREFIX)).and_then(|rest| rest.split('-').next());
        if pid.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) && Path::new("/proc/self").exists() {
            std::fs::remove_dir_all(entry.path()).ok();
        }
    }
}

const PREFIX: &str = "tower-circuit-breaker-test-";
