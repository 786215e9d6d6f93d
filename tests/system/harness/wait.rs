//! Waiting for a condition, and looking at processes.

use std::time::{Duration, Instant};

/// How long anything may take that is not measured: far above what a busy machine needs.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A time that is promised, on a machine that has nothing else to do; on one where more wants to run than it has processors for,
/// as much longer.
pub fn promised(limit: Duration) -> Duration {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load: f64 = load.split(' ').next().and_then(|n| n.parse().ok()).unwrap_or(1.0);
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    // our own programs are two to a processor at times
    let crowd = load / (2.0 * u32::try_from(processors).map_or(1.0, f64::from));
    limit.mul_f64(crowd.max(1.0))
}

/// Waits until the condition gives a value; `what` says in the failure what was waited for.
pub fn until<T>(what: &str, limit: Duration, mut condition: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(start.elapsed() < limit, "waited {limit:?} in vain: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Whether a process is there (a zombie is not).
pub fn is_alive(pid: i32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !stat.rsplit(')').next().unwrap_or_default().trim_start().starts_with('Z'))
}

/// The processes whose command line or environment names the folder.
pub fn processes_of(folder: &std::path::Path) -> Vec<i32> {
    let needle = folder.to_str().unwrap().as_bytes();
    let own = i32::try_from(std::process::id()).unwrap();
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|e| e.file_name().to_str()?.parse::<i32>().ok());
    let names = |pid: i32, file: &str| {
        std::fs::read(format!("/proc/{pid}/{file}"))
            .is_ok_and(|b| b.windows(needle.len()).any(|w| w == needle))
    };
    pids.filter(|pid| *pid != own && is_alive(*pid) && (names(*pid, "cmdline") || names(*pid, "environ")))
        .collect()
}
