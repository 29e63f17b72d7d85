//! The probe of the CPU, on files that a test writes.

use std::fs;
use std::path::{Path, PathBuf};

use tower_circuit_breaker::shed::CpuProbe;

use super::*;

/// A root folder with files of a machine's own, gone with the test.
struct Machine {
    root: PathBuf,
    clock: MockClock,
    probe: CpuProbe,
}

impl Drop for Machine {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.root).ok();
    }
}

impl Machine {
    fn new(name: &str) -> Self {
        let root = std::env::temp_dir().join(format!("shed-{name}-{}", std::process::id()));
        fs::remove_dir_all(&root).ok();
        let clock = MockClock::new();
        let probe = CpuProbe::under(&root).clock(clock.clone());
        Self { root, clock, probe }
    }

    /// A process in the cgroup `/app.slice/web`, mounted where it usually is.
    fn in_cgroup(name: &str) -> Self {
        let machine = Self::new(name);
        machine.write("proc/self/cgroup", "1:name=systemd:/\n0::/app.slice/web\n");
        machine.write("proc/self/mountinfo", &mountinfo("/"));
        machine
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.root.join(path);
        fs::create_dir_all(path.parent().unwrap_or(Path::new("/"))).unwrap();
        fs::write(path, text).unwrap();
    }

    fn cgroup(&self, folder: &str, max: &str, used: u64) {
        self.write(&format!("sys/fs/cgroup{folder}/cpu.max"), max);
        let stat = format!("usage_usec {used}\nuser_usec {used}\nsystem_usec 0\nnr_throttled 3\n");
        self.write(&format!("sys/fs/cgroup{folder}/cpu.stat"), &stat);
    }

    /// Ticks of `user nice system idle iowait irq softirq steal guest guest_nice`.
    fn stat(&self, ticks: [u64; 10]) {
        let words: Vec<_> = ticks.iter().map(u64::to_string).collect();
        self.write("proc/stat", &format!("cpu  {}\ncpu0 1 2 3\nintr 0\n", words.join(" ")));
    }

    fn load_after(&self, time: Duration) -> Option<f64> {
        self.clock.advance(time);
        self.probe.load()
    }
}

fn mountinfo(top: &str) -> String {
    format!(
        "22 27 0:21 / /proc rw,relatime - proc proc rw\n\
         41 31 0:38 {top} /sys/fs/cgroup rw,nosuid shared:9 master:4 - cgroup2 cgroup2 rw,nsdelegate\n"
    )
}

#[track_caller]
fn assert_load(load: Option<f64>, expected: f64) {
    let load = load.expect("the load is known");
    assert!((load - expected).abs() < 1e-9, "it is {load}, expected is {expected}");
}

const QUARTER: Duration = Duration::from_millis(250);
const QUOTA_OF_2: &str = "200000 100000\n";

#[test]
fn the_load_is_measured_against_the_quota() {
    let machine = Machine::in_cgroup("quota");
    // The machine itself is idle.
    machine.stat([0, 0, 0, 1_000_000, 0, 0, 0, 0, 0, 0]);
    machine.cgroup("/app.slice/web", QUOTA_OF_2, 7_000_000);
    assert_eq!(machine.probe.load(), None, "one look has nothing to compare with");
    machine.cgroup("/app.slice/web", QUOTA_OF_2, 7_450_000);
    assert_load(machine.load_after(QUARTER), 0.9);
}

#[test]
fn a_quota_below_one_cpu_counts_too() {
    let machine = Machine::in_cgroup("half");
    machine.cgroup("/app.slice/web", "50000 100000", 0);
    machine.probe.load();
    machine.cgroup("/app.slice/web", "50000 100000", 100_000);
    assert_load(machine.load_after(QUARTER), 0.8);
}

#[test]
fn a_quota_that_changes_counts_from_then_on() {
    let machine = Machine::in_cgroup("changes");
    machine.cgroup("/app.slice/web", QUOTA_OF_2, 0);
    machine.probe.load();
    machine.cgroup("/app.slice/web", "400000 100000", 500_000);
    assert_load(machine.load_after(QUARTER), 0.5);
}

#[test]
fn of_nested_quotas_the_most_used_quota_counts() {
    let machine = Machine::in_cgroup("nested");
    machine.cgroup("/app.slice/web", QUOTA_OF_2, 0);
    machine.cgroup("/app.slice", "400000 100000", 0);
    machine.probe.load();
    // The neighbours in the slice use what is there; this process does little.
    machine.cgroup("/app.slice/web", QUOTA_OF_2, 50_000);
    machine.cgroup("/app.slice", "400000 100000", 950_000);
    assert_load(machine.load_after(QUARTER), 0.95);
}

#[test]
fn max_is_no_quota_and_the_machine_counts() {
    let machine = Machine::in_cgroup("max");
    machine.cgroup("/app.slice/web", "max 100000\n", 0);
    machine.stat([100, 0, 0, 100, 0, 0, 0, 0, 0, 0]);
    assert_eq!(machine.probe.load(), None);
    machine.stat([130, 0, 10, 110, 0, 0, 0, 0, 0, 0]);
    assert_load(machine.load_after(QUARTER), 0.8);
}

#[test]
fn the_part_of_the_tree_that_a_container_sees_is_enough() {
    let machine = Machine::new("container");
    machine.write("proc/self/cgroup", "0::/docker/abc/worker\n");
    machine.write("proc/self/mountinfo", &mountinfo("/docker/abc"));
    machine.cgroup("/worker", QUOTA_OF_2, 0);
    machine.probe.load();
    machine.cgroup("/worker", QUOTA_OF_2, 250_000);
    assert_load(machine.load_after(QUARTER), 0.5);
}

#[test]
fn a_cgroup_outside_of_the_mount_is_looked_for_at_its_root() {
    let machine = Machine::new("outside");
    machine.write("proc/self/cgroup", "0::/../../elsewhere\n");
    machine.write("proc/self/mountinfo", &mountinfo("/"));
    machine.cgroup("", QUOTA_OF_2, 0);
    machine.probe.load();
    machine.cgroup("", QUOTA_OF_2, 250_000);
    assert_load(machine.load_after(QUARTER), 0.5);
}

#[test]
fn the_machine_s_waiting_is_idle_and_stolen_time_is_busy() {
    let machine = Machine::new("machine");
    machine.stat([100, 10, 50, 1_000, 20, 3, 4, 5, 90, 9]);
    assert_eq!(machine.probe.load(), None);
    // 4 user, 1 nice, 2 system, 10 idle, 20 waiting, 1 irq, 1 softirq, 1 stolen; guests are in user already.
    machine.stat([104, 11, 52, 1_010, 40, 4, 5, 6, 94, 9]);
    assert_load(machine.load_after(QUARTER), 0.25);
}

#[test]
fn counters_that_fall_begin_anew() {
    let machine = Machine::new("falls");
    machine.stat([u64::MAX / 4, 0, 0, 100, 0, 0, 0, 0, 0, 0]);
    machine.probe.load();
    machine.stat([10, 0, 0, 90, 0, 0, 0, 0, 0, 0]);
    assert_eq!(machine.load_after(QUARTER), None, "wrapped");
    machine.stat([20, 0, 0, 100, 0, 0, 0, 0, 0, 0]);
    assert_load(machine.load_after(QUARTER), 0.5);
    machine.stat([u64::MAX, 9, 0, 100, 0, 0, 0, 0, 0, 0]);
    assert_eq!(machine.load_after(QUARTER), None, "a sum that does not fit is none");

    let machine = Machine::in_cgroup("falls-cgroup");
    machine.cgroup("/app.slice/web", QUOTA_OF_2, 7_000_000);
    machine.probe.load();
    machine.cgroup("/app.slice/web", QUOTA_OF_2, 10);
    assert_eq!(machine.load_after(QUARTER), None, "another cgroup of that name");
    machine.cgroup("/app.slice/web", QUOTA_OF_2, 250_010);
    assert_load(machine.load_after(QUARTER), 0.5);
}

#[test]
fn the_load_covers_the_last_second() {
    let machine = Machine::new("second");
    let mut busy = 0;
    for step in 0..5 {
        machine.stat([busy, 0, 0, step * 25 - busy, 0, 0, 0, 0, 0, 0]);
        machine.load_after(QUARTER);
    }
    for expected in [0.25, 0.5, 0.75, 1.0, 1.0] {
        busy += 25;
        let all = 100 + busy;
        machine.stat([busy, 0, 0, all - busy, 0, 0, 0, 0, 0, 0]);
        assert_load(machine.load_after(QUARTER), expected);
    }
}

#[test]
fn two_looks_at_once_count_as_one_and_old_looks_are_forgotten() {
    let machine = Machine::new("ages");
    machine.stat([0, 0, 0, 100, 0, 0, 0, 0, 0, 0]);
    machine.probe.load();
    machine.stat([50, 0, 0, 150, 0, 0, 0, 0, 0, 0]);
    assert_load(machine.load_after(QUARTER), 0.5);
    machine.stat([51, 0, 0, 150, 0, 0, 0, 0, 0, 0]);
    assert_load(machine.load_after(Duration::from_millis(5)), 0.5);
    machine.stat([900, 0, 0, 150, 0, 0, 0, 0, 0, 0]);
    assert_eq!(machine.load_after(Duration::from_secs(10)), None, "that is no load of now");
}

#[test]
fn a_missing_or_nonsensical_number_is_an_unknown_load() {
    let nothing = Machine::new("nothing");
    assert_eq!((nothing.probe.load(), nothing.load_after(QUARTER)), (None, None));

    for (number, stat) in
        ["", "cpu", "cpu  1 2 3", "cpu  1 2 3\n", "cpu  a b c d\n", "intr 1 2 3 4 5\n"].iter().enumerate()
    {
        let machine = Machine::new(&format!("stat-{number}"));
        machine.write("proc/stat", stat);
        assert_eq!((machine.probe.load(), machine.load_after(QUARTER)), (None, None), "{stat:?}");
    }
    // Unknown, although the machine's own numbers are there: they would be the wrong measure.
    for (number, max) in
        ["", "two hundred", "200000", "0 100000", "200000 0", "-1 100000", "200000 x"].iter().enumerate()
    {
        let machine = Machine::in_cgroup(&format!("max-{number}"));
        machine.stat([0, 0, 0, 100, 0, 0, 0, 0, 0, 0]);
        machine.cgroup("/app.slice/web", max, 0);
        machine.probe.load();
        machine.stat([100, 0, 0, 100, 0, 0, 0, 0, 0, 0]);
        assert_eq!(machine.load_after(QUARTER), None, "{max:?}");
    }
    for stat in ["", "usage_usec", "usage_usec x", "user_usec 5"] {
        let machine = Machine::in_cgroup("usage");
        machine.cgroup("/app.slice/web", QUOTA_OF_2, 0);
        machine.write("sys/fs/cgroup/app.slice/web/cpu.stat", stat);
        assert_eq!((machine.probe.load(), machine.load_after(QUARTER)), (None, None), "{stat:?}");
    }
    let machine = Machine::in_cgroup("mountinfo");
    machine.stat([0, 0, 0, 100, 0, 0, 0, 0, 0, 0]);
    fs::remove_file(machine.root.join("proc/self/mountinfo")).unwrap();
    assert_eq!((machine.probe.load(), machine.load_after(QUARTER)), (None, None));
}

#[test]
fn a_file_that_comes_back_is_read_again() {
    let machine = Machine::in_cgroup("back");
    machine.cgroup("/app.slice/web", QUOTA_OF_2, 0);
    machine.probe.load();
    fs::remove_file(machine.root.join("sys/fs/cgroup/app.slice/web/cpu.stat")).unwrap();
    assert_eq!(machine.load_after(QUARTER), None);
    machine.cgroup("/app.slice/web", QUOTA_OF_2, 0);
    assert_eq!(machine.load_after(QUARTER), None);
    machine.cgroup("/app.slice/web", QUOTA_OF_2, 250_000);
    assert_load(machine.load_after(QUARTER), 0.5);
}

#[test]
#[cfg(target_os = "linux")]
fn this_machine_s_load_is_a_share() {
    let clock = MockClock::new();
    let probe = CpuProbe::new().clock(clock.clone());
    assert_eq!(probe.load(), None);
    // Work until the machine has counted some of it, though not for ever.
    let load = (0..100_000).find_map(|_| {
        std::hint::black_box((0..10_000).sum::<u64>());
        clock.advance(Duration::from_millis(200));
        probe.load()
    });
    let load = load.expect("the machine counts its time");
    assert!((0.0..=1.0).contains(&load), "{load}");
}
