//! The CPU time of the machine, from `/proc/stat` (proc(5)).

use std::path::Path;

use super::read;

/// Returns the busy time and the total time of all CPUs, in ticks since the start of the machine. Returns `None` if the
/// file cannot be read or parsed.
pub(super) fn cpu_time(root: &Path) -> Option<(u64, u64)> {
    // The first line is the sum of all CPUs. The rest of the file may be long, so only the beginning is read.
    let text = read(&root.join("proc/stat"), 1024).ok()?;
    let (line, _) = text.split_once('\n')?;
    let mut words = line.split_ascii_whitespace();
    if words.next() != Some("cpu") {
        return None;
    }
    // The columns are user, nice, system, idle, iowait, irq, softirq and steal. user and nice include guest time. Old
    // kernels have fewer columns.
    let times: Vec<u64> = words.take(8).map(str::parse).collect::<Result<_, _>>().ok()?;
    let idle = times.get(3)?.checked_add(*times.get(4).unwrap_or(&0))?;
    let all = times.iter().try_fold(0_u64, |sum, time| sum.checked_add(*time))?;
    Some((all - idle, all))
}
