//! What this machine allows, holds and is called, as proc(5) and sysctl(8) tell it. Reads, and
//! judges nothing.

use std::fs;

use nix::unistd::{SysconfVar, sysconf};
use serde::Serialize;

/// The limits that decide how many connections can be opened. What cannot be read is `None`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct SystemLimits {
    /// Files this process may open, the soft limit raised to the hard one.
    pub(super) files: u64,
    /// `fs.nr_open`: what the hard limit can be raised to.
    pub(super) files_ceiling: Option<u64>,
    /// How many ports the kernel gives out, the reserved ones not among them.
    pub(super) ports: Option<u64>,
    /// The first and the last of them, where none between is reserved.
    pub(super) port_range: Option<(u16, u16)>,
    /// Connections the firewall keeps track of, and the most it can.
    pub(super) conntrack: Option<Usage>,
    /// Memory of all TCP buffers, in pages, and the most there may be (tcp(7): `tcp_mem`).
    pub(super) tcp_pages: Option<Usage>,
    /// Bytes of such a page.
    pub(super) page_bytes: u64,
}

/// How much of something is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Usage {
    pub(super) used: u64,
    pub(super) max: u64,
}

impl SystemLimits {
    /// Looks around; `files` is the file limit.
    pub(super) fn read(files: usize) -> Self {
        let sys = |name: &str| read(&format!("/proc/sys/{name}"));
        let number = |name: &str| sys(name)?.trim().parse().ok();
        let usage = |used, max| Some(Usage { used: used?, max: max? });
        let range = sys("net/ipv4/ip_local_port_range");
        let reserved = sys("net/ipv4/ip_local_reserved_ports").unwrap_or_default();
        SystemLimits {
            files: files as u64,
            files_ceiling: number("fs/nr_open"),
            ports: range.as_deref().and_then(|range| ports(range, &reserved)),
            port_range: range.as_deref().filter(|_| reserved.trim().is_empty()).and_then(pair),
            conntrack: usage(
                number("net/netfilter/nf_conntrack_count"),
                number("net/netfilter/nf_conntrack_max"),
            ),
            tcp_pages: usage(
                read("/proc/net/sockstat").and_then(|text| tcp_pages(&text)),
                sys("net/ipv4/tcp_mem").and_then(|text| last_number(&text)),
            ),
            page_bytes: page_bytes(),
        }
    }
}

/// What a file of figures should say about where they were measured.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Host {
    pub(super) name: Option<String>,
    pub(super) kernel: Option<String>,
    pub(super) arch: &'static str,
    pub(super) processors: usize,
    pub(super) memory_bytes: Option<u64>,
    /// Files the load tester may open.
    pub(super) file_limit: u64,
    /// Of the load tester.
    pub(super) version: &'static str,
    /// When the run began, RFC 3339 in UTC.
    pub(super) started_at: String,
}

impl Host {
    pub(super) fn read(files: usize) -> Self {
        let line = |path: &str| read(path).map(|text| text.trim().to_owned());
        Host {
            name: line("/proc/sys/kernel/hostname"),
            kernel: line("/proc/sys/kernel/osrelease").map(|release| format!("Linux {release}")),
            arch: std::env::consts::ARCH,
            processors: std::thread::available_parallelism().map_or(1, usize::from),
            memory_bytes: read("/proc/meminfo").and_then(|text| field_bytes(&text, "MemTotal")),
            file_limit: files as u64,
            version: env!("CARGO_PKG_VERSION"),
            started_at: chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Secs, true),
        }
    }
}

/// Resident memory of process `pid`, in bytes; `None` when there is no such process.
pub(super) fn resident_bytes(pid: u32) -> Option<u64> {
    field_bytes(&read(&format!("/proc/{pid}/status"))?, "VmRSS")
}

/// Whether this process was told to ignore signal number `signal`, as nohup(1) tells it of SIGHUP.
pub(super) fn is_ignored(signal: i32) -> bool {
    let status = read("/proc/self/status").unwrap_or_default();
    let bits = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let bits = bits.and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok()).unwrap_or(0);
    u32::try_from(signal - 1).is_ok_and(|bit| bits.checked_shr(bit).unwrap_or(0) & 1 == 1)
}

fn page_bytes() -> u64 {
    let known = sysconf(SysconfVar::PAGE_SIZE).ok().flatten();
    known.and_then(|bytes| u64::try_from(bytes).ok()).filter(|bytes| *bytes > 0).unwrap_or(4096)
}

fn read(path: &str) -> Option<String> {
    fs::read_to_string(path).ok()
}

/// Ports of `range`, `32768 60999`, that are not in `reserved`, `8080,9148-9150`.
fn ports(range: &str, reserved: &str) -> Option<u64> {
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

/// Two numbers with a blank between.
fn pair<N: std::str::FromStr>(text: &str) -> Option<(N, N)> {
    let mut numbers = text.split_whitespace().map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

/// The pages in the line `TCP: inuse 5 orphan 0 tw 3 alloc 9 mem 231`.
fn tcp_pages(sockstat: &str) -> Option<u64> {
    last_number(sockstat.lines().find(|line| line.starts_with("TCP:"))?)
}

fn last_number(text: &str) -> Option<u64> {
    text.split_whitespace().last()?.parse().ok()
}

/// A line like `VmRSS:     2748 kB`, in bytes.
fn field_bytes(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find(|line| line.split(':').next() == Some(name))?;
    line.split_whitespace().nth(1)?.parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_those_of_the_range_less_the_reserved_ones() {
        assert_eq!(ports("32768\t60999\n", "\n"), Some(28_232));
        assert_eq!(ports("32768 60999", "8080,40000,60990-61010,32760-32768\n"), Some(28_220));
        assert_eq!(ports("1 0", ""), Some(0));
        assert_eq!(ports("x", ""), None);
    }

    #[test]
    fn figures_are_found_in_their_lines() {
        let sockstat = "sockets: used 17\nTCP: inuse 1 orphan 0 tw 194 alloc 1 mem 231\nUDP: mem 9";
        assert_eq!(tcp_pages(sockstat), Some(231));
        assert_eq!(last_number("287901\t383870\t575802\n"), Some(575_802));
        assert_eq!(field_bytes("VmPeak:\t 9 kB\nVmRSS:\t 2748 kB\n", "VmRSS"), Some(2_813_952));
        assert_eq!(field_bytes("", "VmRSS"), None);
    }

    #[test]
    fn this_machine_can_be_read() {
        let limits = SystemLimits::read(1024);
        assert!(limits.ports.is_some_and(|ports| ports > 0) && limits.files_ceiling.is_some());
        assert!(limits.page_bytes.is_power_of_two());
        assert!(resident_bytes(std::process::id()).is_some_and(|bytes| bytes > 4096));
        assert!(Host::read(1).kernel.is_some());
    }
}
