//! The memory that the process may use, as the system reports it.

use std::fs;
use std::path::Path;

use rlimit::Resource;

/// Assumed memory where the system reports none, in bytes.
const UNKNOWN_BYTES: u64 = 1 << 32;

/// Bytes that the process may use: the smallest of the machine's memory, its control group's limit
/// and its resource limits.
#[must_use]
pub fn available_memory() -> usize {
    let machine = fs::read_to_string("/proc/meminfo").ok().and_then(|text| machine_bytes(&text));
    let group = fs::read_to_string("/proc/self/cgroup").ok().and_then(|text| group_bytes(&text));
    let limits = [Resource::AS, Resource::DATA].map(|limit| limit.get().ok().map(|(soft, _)| soft));
    let known = [machine, group].into_iter().chain(limits).flatten();
    usize::try_from(known.min().unwrap_or(UNKNOWN_BYTES)).unwrap_or(usize::MAX)
}

/// `MemTotal` of /proc/meminfo (proc(5)).
fn machine_bytes(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib.saturating_mul(1024))
}

/// The smallest limit of the process's control group and those above it (cgroups(7)).
fn group_bytes(cgroup: &str) -> Option<u64> {
    let files = cgroup.lines().filter_map(|line| {
        // `0::/path` in version 2, `N:memory:/path` in version 1.
        let mut parts = line.splitn(3, ':');
        let (number, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
        if number == "0" && controllers.is_empty() {
            Some(("/sys/fs/cgroup", path, "memory.max"))
        } else if controllers.split(',').any(|controller| controller == "memory") {
            Some(("/sys/fs/cgroup/memory", path, "memory.limit_in_bytes"))
        } else {
            None
        }
    });
    let limits = files.flat_map(|(root, path, file)| {
        Path::new(path.trim_start_matches('/'))
            .ancestors()
            .filter_map(|group| fs::read_to_string(Path::new(root).join(group).join(file)).ok())
            .filter_map(|text| text.trim().parse::<u64>().ok())
            .collect::<Vec<u64>>()
    });
    limits.min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machine_memory_is_read_from_meminfo() {
        let text = "MemFree:        1 kB\nMemTotal:       24689100 kB\n";
        assert_eq!(machine_bytes(text), Some(24_689_100 * 1024));
        assert_eq!(machine_bytes("MemTotal: many kB\n"), None);
    }

    #[test]
    fn missing_control_groups_limit_nothing() {
        for text in ["", "0::/no/such/group\n", "3:memory,cpu:/none\n7:\n", "garbage"] {
            assert!(group_bytes(text).is_none_or(|bytes| bytes > 0), "{text}");
        }
    }

    #[test]
    fn memory_of_this_machine_is_known() {
        assert!(available_memory() > 1 << 20);
    }
}
