//! How busy the CPU is: of the cgroup where that has a quota, else of the machine. Files of Linux, read with std.
//!
//! In a container with a quota, `/proc/stat` is the wrong measure: the machine may be idle while the container is throttled.
//! So the quotas of the process's own cgroup and of all above it are looked at first, and the one that is used most counts.

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

/// The share of the CPU that was in use over the last second.
///
/// * In a cgroup of version 2 with a quota: what was used (`usage_usec` in `cpu.stat`) of what `cpu.max` allows. Of several
///   quotas, from the process's own cgroup up to the root of the mount, the one that is used most.
/// * Without a quota: the machine's busy time of all its time (`/proc/stat`). Waiting for disks is idle, stolen time is busy.
/// * A file that cannot be read or makes no sense, and systems without these files: unknown, so that nothing is shed.
///
/// It needs two looks: the first one knows nothing, and neither does one that comes 10 s or more after the last. Quotas of
/// cgroup version 1 are not looked at.
///
/// Several layers may share one, in an [`Arc`].
#[doc(alias = "cgroup")]
pub struct CpuProbe {
    root: PathBuf,
    clock: Arc<dyn Clock>,
    meters: Mutex<Vec<(PathBuf, Meter)>>,
}

impl CpuProbe {
    /// Returns a probe of the system that this process runs on. Nothing is read yet.
    #[must_use]
    pub fn new() -> Self {
        Self::under("/")
    }

    /// Returns a probe that looks for `/proc` and the cgroups' files below that folder.
    #[must_use]
    pub fn under(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into(), clock: Arc::new(MonotonicClock::new()), meters: Mutex::new(Vec::new()) }
    }

    /// Measures time by that clock. Default: [`MonotonicClock`].
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
            // One that is not known yet does not hide one that is.
            most = load.into_iter().chain(most).reduce(f64::max);
        }
        most
    }

    fn of_machine(&self) -> Option<f64> {
        let (busy, all) = proc::cpu_time(&self.root)?;
        let mut meters = self.meters.lock();
        // The machine has no folder.
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

/// Returns the start of a file, as far as it is of use here.
fn read(path: &Path, most: u64) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(most).read_to_string(&mut text)?;
    Ok(text)
}
