//! Facts about a Linux machine, from proc(5).

use super::super::rate::NS_PER_SEC;
use super::limits::{SystemLimits, Usage};
use super::proc_file::{field_bytes, read};
use super::proc_sockets::tcp_pages;

/// Interval at which the server's memory is read: a file of /proc costs microseconds.
pub(in super::super) const MEMORY_INTERVAL_NS: u64 = NS_PER_SEC / 10;

/// The limits that the kernel knows; [`SystemLimits::read`] adds the others.
pub(super) fn limits() -> SystemLimits {
    let sys = |name: &str| read(&format!("/proc/sys/{name}"));
    let number = |name: &str| sys(name)?.trim().parse().ok();
    let usage = |used, max| Some(Usage { used: used?, max: max? });
    let range = sys("net/ipv4/ip_local_port_range");
    let reserved = sys("net/ipv4/ip_local_reserved_ports").unwrap_or_default();
    SystemLimits {
        files_ceiling: number("fs/nr_open"),
        ports: range.as_deref().and_then(|range| port_count(range, &reserved)),
        port_range: range.as_deref().filter(|_| reserved.trim().is_empty()).and_then(pair),
        conntrack: usage(
            number("net/netfilter/nf_conntrack_count"),
            number("net/netfilter/nf_conntrack_max"),
        ),
        tcp_pages: usage(
            read("/proc/net/sockstat").and_then(|text| tcp_pages(&text)),
            sys("net/ipv4/tcp_mem").and_then(|text| last_number(&text)),
        ),
        ..SystemLimits::default()
    }
}

pub(super) fn host_name() -> Option<String> {
    line("/proc/sys/kernel/hostname")
}

pub(super) fn kernel() -> Option<String> {
    line("/proc/sys/kernel/osrelease").map(|release| format!("Linux {release}"))
}

pub(super) fn memory_bytes() -> Option<u64> {
    field_bytes(&read("/proc/meminfo")?, "MemTotal")
}

pub(super) fn processor_model() -> Option<String> {
    let text = read("/proc/cpuinfo")?;
    let is_model = |line: &&str| line.starts_with("model name") || line.starts_with("Model");
    let model = text.lines().find(is_model)?.split_once(':')?.1.trim();
    (!model.is_empty()).then(|| model.to_owned())
}

/// Anonymous memory of process `pid` (proc(5): `RssAnon`), in bytes; `None` if there is no such
/// process. Pages of its program file, which VmRSS has too, come with the code that runs, not with
/// connections.
pub(in super::super) fn anonymous_bytes(pid: u32) -> Option<u64> {
    field_bytes(&read(&format!("/proc/{pid}/status"))?, "RssAnon")
}

/// As [`anonymous_bytes`], counted page by page where that is allowed: Linux 6.2 to 6.15 sum up
/// `RssAnon` from a counter a processor, and are off by up to 32 pages for each.
pub(in super::super) fn anonymous_bytes_exact(pid: u32) -> Option<u64> {
    let rollup = read(&format!("/proc/{pid}/smaps_rollup"));
    rollup.and_then(|text| field_bytes(&text, "Anonymous")).or_else(|| anonymous_bytes(pid))
}

/// Whether this process was started with SIGHUP ignored, as under nohup(1); `None` is unknown.
pub(in super::super) fn is_hangup_ignored() -> Option<bool> {
    let status = read("/proc/self/status")?;
    let bits = status.lines().find_map(|line| line.strip_prefix("SigIgn:"))?;
    let bits = u64::from_str_radix(bits.trim(), 16).ok()?;
    Some(bits >> (libc::SIGHUP - 1) & 1 == 1)
}

fn line(path: &str) -> Option<String> {
    read(path).map(|text| text.trim().to_owned())
}

/// Number of ports in `range`, such as `32768 60999`, that are not in `reserved`, such as
/// `8080,9148-9150`.
fn port_count(range: &str, reserved: &str) -> Option<u64> {
    let (low, high): (u64, u64) = pair(range)?;
    let mut count = (high + 1).checked_sub(low)?;
    for part in reserved.trim().split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        if let (Ok(first), Ok(last)) = (first.parse::<u64>(), last.parse::<u64>()) {
            count -= (last.min(high) + 1).saturating_sub(first.max(low));
        }
    }
    Some(count)
}

/// Two numbers separated by blanks.
fn pair<N: std::str::FromStr>(text: &str) -> Option<(N, N)> {
    let mut numbers = text.split_whitespace().map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

fn last_number(text: &str) -> Option<u64> {
    text.split_whitespace().last()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reserved_ports_are_not_counted() {
        assert_eq!(port_count("32768\t60999\n", "\n"), Some(28_232));
        let reserved = "8080,40000,60990-61010,32760-32768\n";
        assert_eq!(port_count("32768 60999", reserved), Some(28_220));
        assert_eq!(port_count("1 0", ""), Some(0));
        assert_eq!(port_count("x", ""), None);
    }

    #[test]
    fn numbers_are_found_in_their_lines() {
        assert_eq!(last_number("287901\t383870\t575802\n"), Some(575_802));
        assert_eq!(field_bytes("VmPeak:\t 9 kB\nVmRSS:\t 2748 kB\n", "VmRSS"), Some(2_813_952));
        assert_eq!(field_bytes("", "VmRSS"), None);
    }

    #[test]
    fn anonymous_memory_leaves_the_program_file_out() {
        let pid = std::process::id();
        let resident = field_bytes(&read("/proc/self/status").unwrap(), "VmRSS").unwrap();
        for bytes in [anonymous_bytes(pid), anonymous_bytes_exact(pid)] {
            assert!(bytes.is_some_and(|bytes| bytes > 4096 && bytes < resident), "{bytes:?}");
        }
    }
}
