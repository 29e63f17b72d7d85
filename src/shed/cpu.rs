//! The load of the CPU. If the cgroup of the process has a quota, this is the load of the cgroup. Otherwise this is the
//! load of the machine. The module needs only the files of Linux and `std`.
//!
//! In a container with a quota `/proc/stat` misleads, because the machine may be idle while the container is throttled.
//! Therefore the load is the used share of the quota, if the process's own cgroup or one of its ancestors has a quota.
//! If there are several quotas, the load is the largest used share.

mod cgroup;
mod meter;
mod proc;

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::LoadProbe;
use crate::clock::{Clock, MonotonicClock};
use crate::sync::Mutex;
use cgroup::Limit;
use meter::Meter;

/// The share of the CPU that was used during the last second.
///
/// * In a cgroup of version 2 with a quota, the load is the used share of the quota. The used time is `usage_usec` in
///   `cpu.stat`, and the quota is in `cpu.max`. If the process's own cgroup and its ancestors have several quotas, the
///   load is the largest used share.
/// * Without a quota, the load is the busy time of the machine as a share of all its time (`/proc/stat`). Waiting for
///   disks counts as idle, and stolen time counts as busy.
/// * If a file cannot be read or parsed, and on systems without these files, the load is unknown, and nothing is shed.
///
/// The load is computed from two readings of a counter. Therefore the first reading returns no load. A reading 10 s or
/// more after the previous reading also returns no load, because the previous reading is then too old for a comparison.
/// Quotas of cgroup version 1 are ignored.
///
/// Several layers can share one probe in an [`Arc`].
#[doc(alias = "cgroup")]
pub struct CpuProbe {
    root: PathBuf,
    clock: Arc<dyn Clock>,
    meters: Mutex<Vec<(PathBuf, Meter)>>,
}

impl CpuProbe {
    /// Returns a probe of the system that this process runs on. Reads no file yet.
    #[must_use]
    pub fn new() -> Self {
        Self::under("/")
    }

    /// Returns a probe that reads `/proc` and the files of the cgroups below the folder `root`.
    #[must_use]
    pub fn under(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into(), clock: Arc::new(MonotonicClock::new()), meters: Mutex::new(Vec::new()) }
    }

    /// Sets the clock that measures time. Default: [`MonotonicClock`].
    #[must_use]
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    fn of_limits(&self, limits: Vec<Limit>) -> Option<f64> {
        let mut meters = self.meters.lock();
        let mut before = std::mem::take(&mut *meters);
        let mut most = None;
        for limit in limits {
            let used = cgroup::usage(&limit.folder)?;
            let known = before.iter().position(|(folder, _)| *folder == limit.folder);
            let mut meter = known.map(|known| before.swap_remove(known).1).unwrap_or_default();
            let load = meter.of_quota(self.clock.precise(), used, limit.quota, limit.period);
            meters.push((limit.folder, meter));
            // A quota whose load is still unknown is skipped, so that the load of another quota is returned.
            most = load.into_iter().chain(most).reduce(f64::max);
        }
        most
    }

    fn of_machine(&self) -> Option<f64> {
        let (busy, all) = proc::cpu_time(&self.root)?;
        let mut meters = self.meters.lock();
        // The meter of the machine is stored under the empty path. The meters of cgroups are dropped, because no cgroup
        // has a quota any more.
        meters.retain(|(folder, _)| folder.as_os_str().is_empty());
        if meters.is_empty() {
            meters.push((PathBuf::new(), Meter::default()));
        }
        meters.iter_mut().find_map(|(_, meter)| meter.of_counters(self.clock.precise(), busy, all))
    }
}

impl LoadProbe for CpuProbe {
    fn load(&self) -> Option<f64> {
        let limits = cgroup::limits(&self.root)?;
        if limits.is_empty() { self.of_machine() } else { self.of_limits(limits) }
    }
}

impl Default for CpuProbe {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for CpuProbe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CpuProbe").field("root", &self.root).field("clock", &self.clock).finish_non_exhaustive()
    }
}

/// Reads at most the first `most` bytes of a file.
fn read(path: &Path, most: u64) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(most).read_to_string(&mut text)?;
    Ok(text)
}
