//! The machine's time, as `/proc/stat` counts it (proc(5)).

use std::path::Path;

use super::read;

/// Returns how long the CPUs were busy, and how long they were at all, in ticks since the start of the machine.
pub(super) fn cpu_time(root: &Path) -> Option<(u64, u64)> {
    // The first line sums up all CPUs; the rest may be long.
    let text = read(&root.join("proc/stat"), 1024).ok()?;
    let (line, _) = text.split_once('\n')?;
    let mut words = line.split_ascii_whitespace();
    if words.next() != Some("cpu") {
        return None;
    }
    // user nice system idle iowait irq softirq steal; guest time is in user and nice already. Old kernels have fewer.
    let times: Vec<u64> = words.take(8).map(str::parse).collect::<Result<_, _>>().ok()?;
    let idle = times.get(3)?.checked_add(*times.get(4).unwrap_or(&0))?;
    let all = times.iter().try_fold(0_u64, |sum, time| sum.checked_add(*time))?;
    Some((all - idle, all))
}
