//! The CPU quotas of the process's own cgroup and of the ancestors of this cgroup, for cgroups of version 2
//! (`Documentation/admin-guide/cgroup-v2.rst`).

use std::io::{self, ErrorKind};
use std::path::{Component, Path, PathBuf};

use super::read;

/// A quota for all processes of a cgroup together, in microseconds of CPU time for each period.
#[derive(Debug)]
pub(super) struct Limit {
    pub(super) folder: PathBuf,
    pub(super) quota: u64,
    pub(super) period: u64,
}

/// Returns the quotas that limit this process. Without cgroups of version 2 the list is empty. Returns `None` if a file
/// cannot be read or parsed.
pub(super) fn limits(root: &Path) -> Option<Vec<Limit>> {
    let mut limits = Vec::new();
    let Some((mount, own)) = place(root).ok()? else { return Some(limits) };
    for folder in own.ancestors() {
        let folder = mount.join(folder);
        let text = match read(&folder.join("cpu.max"), 256) {
            Ok(text) => text,
            // The root of all cgroups has no `cpu.max`, and neither has a cgroup whose parent does not control the CPU.
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(_) => return None,
        };
        let mut words = text.split_ascii_whitespace();
        let quota = words.next()?;
        let period = words.next()?.parse().ok().filter(|period| *period > 0)?;
        if quota != "max" {
            let quota = quota.parse().ok().filter(|quota| *quota > 0)?;
            limits.push(Limit { folder, quota, period });
        }
    }
    Some(limits)
}

/// Returns the CPU time that a cgroup has used, in microseconds. Returns `None` if `cpu.stat` cannot be read or parsed.
pub(super) fn usage(folder: &Path) -> Option<u64> {
    let text = read(&folder.join("cpu.stat"), 4096).ok()?;
    text.lines().find_map(|line| line.strip_prefix("usage_usec "))?.trim().parse().ok()
}

/// Returns the folder where the cgroups are mounted, and the process's own cgroup below it. Returns `None` without
/// cgroups of version 2, and an error if a file cannot be read.
fn place(root: &Path) -> io::Result<Option<(PathBuf, PathBuf)>> {
    let own = match read(&root.join("proc/self/cgroup"), 64 << 10) {
        Ok(own) => own,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let Some(own) = own.lines().find_map(|line| line.strip_prefix("0::")) else { return Ok(None) };
    let mounts = read(&root.join("proc/self/mountinfo"), 1 << 20)?;
    let Some((top, mount)) = mounts.lines().find_map(cgroup2) else { return Ok(None) };
    // In a container the mount may show only the part of the tree below `top`. If the process's own cgroup is outside
    // that part, its files cannot be read, and the root of the mount is used.
    let below = Path::new(own).strip_prefix(top).unwrap_or(Path::new(""));
    let seen = below.components().all(|part| matches!(part, Component::Normal(_)));
    let below = if seen { below } else { Path::new("") };
    Ok(Some((root.join(mount.trim_start_matches('/')), below.to_owned())))
}

/// Parses a line of `mountinfo`. Returns the mounted folder of the cgroup tree, and its mount point. Returns `None` if
/// the line does not mount this tree.
fn cgroup2(line: &str) -> Option<(&str, &str)> {
    let (mount, kind) = line.split_once(" - ")?;
    if kind.split(' ').next() != Some("cgroup2") {
        return None;
    }
    let mut fields = mount.split(' ').skip(3);
    Some((fields.next()?, fields.next()?))
}
