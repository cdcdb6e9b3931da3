//! What the operating system says of this process (Linux, proc(5)). What cannot be read is left out.

use std::fs;

/// Ticks of the clock of `/proc` in a second: 100 on every Linux that the gateway runs on (`USER_HZ`).
const TICKS: f64 = 100.0;

#[derive(Debug, Default, Clone, PartialEq)]
pub(super) struct Process {
    pub(super) cpu_seconds: Option<f64>,
    pub(super) resident_bytes: Option<u64>,
    pub(super) threads: Option<u64>,
    pub(super) open_files: Option<u64>,
}

pub(super) fn process() -> Process {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    Process {
        cpu_seconds: cpu_seconds(&stat),
        resident_bytes: field(&status, "VmRSS:").map(|kibibytes| kibibytes * 1024),
        threads: field(&status, "Threads:"),
        open_files: fs::read_dir("/proc/self/fd").ok().map(|files| files.count() as u64),
    }
}

/// Time in user and in kernel mode. The name, in parentheses, may hold anything.
fn cpu_seconds(stat: &str) -> Option<f64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace().skip(11);
    let user: f64 = fields.next()?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    Some((user + system) / TICKS)
}

fn field(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_found_behind_any_name() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194304 100 0 0 0 150 50 0 0 20 0 4 0 1 1 1";
        assert_eq!(cpu_seconds(stat), Some(2.0));
        assert_eq!(field("Threads:\t4\nVmRSS:\t  12 kB\n", "VmRSS:"), Some(12));
    }
}
