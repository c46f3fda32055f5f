//! Checks before the first connect that this machine's limits suffice. Reads no limits itself.

use std::fmt;
use std::net::IpAddr;

use super::remedies;
use super::sysinfo::{SystemLimits, Usage};

/// Descriptors besides those of connections: standard streams, poll, timer, signal pipe, the three
/// files of a run, and a few for the C library.
const FILES_OWN: u64 = 20;

/// Most bytes assumed in flight on one connection: about the largest TCP window (tcp(7): `tcp_rmem`,
/// `tcp_wmem`).
const SOCKET_BYTES_MAX: u64 = 4 << 20;

/// Requirements of a run.
#[derive(Debug, Clone, Copy)]
pub(super) struct Requirements {
    pub(super) connections: u64,
    /// Number of local ports: more than connections, where closed ones keep theirs.
    pub(super) ports: u64,
    /// Most connections of one process.
    pub(super) connections_each: u64,
    /// Number of local addresses.
    pub(super) sources: u64,
    /// Number of target addresses.
    pub(super) targets: u64,
    /// A target address; loopback and IPv6 have requirements of their own. `None` for a Unix socket,
    /// which needs descriptors alone.
    pub(super) address: Option<IpAddr>,
    /// Most bytes of requests or deliveries in flight on one connection.
    pub(super) bytes_each: u64,
}

/// A limit that does not suffice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Shortage {
    what: &'static str,
    wanted: u64,
    available: u64,
    /// Command that raises it.
    command: String,
}

impl fmt::Display for Shortage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Shortage { what, wanted, available, command } = self;
        let short = wanted - available;
        write!(f, "{what}: {wanted} wanted, {available} available, {short} short; try: {command}")
    }
}

/// Result of the checks. Unknown limits are not checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Preflight {
    /// Each check with its numbers: `files 1020 of 20000`.
    pub(super) checks: Vec<String>,
    pub(super) shortages: Vec<Shortage>,
}

impl Preflight {
    /// Checks `required` against `limits`.
    pub(super) fn new(required: &Requirements, limits: &SystemLimits) -> Self {
        let mut preflight = Preflight { checks: Vec::new(), shortages: Vec::new() };
        preflight.files(required, limits);
        let Some(address) = required.address else { return preflight };
        if let Some(ports) = limits.ports {
            preflight.ports(required, address, ports);
        }
        if let Some(usage) = limits.conntrack {
            preflight.conntrack(required, usage);
        }
        if let Some(usage) = limits.tcp_pages {
            preflight.tcp_memory(required, address, usage, limits.page_bytes);
        }
        preflight
    }

    fn check(
        &mut self,
        what: &'static str,
        wanted: u64,
        available: u64,
        command: impl FnOnce() -> String,
    ) {
        self.checks.push(format!("{what} {wanted} of {available}"));
        if wanted > available {
            self.shortages.push(Shortage { what, wanted, available, command: command() });
        }
    }

    fn files(&mut self, required: &Requirements, limits: &SystemLimits) {
        let wanted = required.connections_each.saturating_add(FILES_OWN);
        self.check("files", wanted, limits.files, || {
            remedies::raise_files(wanted, limits.files_ceiling)
        });
    }

    /// Checks ports. Each pair of source and target address has all of them, because both ends
    /// identify a connection.
    fn ports(&mut self, required: &Requirements, address: IpAddr, ports: u64) {
        const PORTS_MAX: u64 = 65_535 - 1_024 + 1;
        let pairs = required.sources.saturating_mul(required.targets).max(1);
        let available = ports.saturating_mul(pairs);
        self.check("local ports", required.ports, available, || {
            if PORTS_MAX.saturating_mul(pairs) >= required.ports {
                return remedies::widen_ports();
            }
            let each = ports.saturating_mul(required.targets.max(1)).max(1);
            let more = required.ports.div_ceil(each) - required.sources;
            let add = remedies::add_address("ADDRESS", address);
            format!("{add}, for {more} addresses more, and name all of them in --source-ip")
        });
    }

    fn conntrack(&mut self, required: &Requirements, usage: Usage) {
        // A firewall without entries has no rule that tracks.
        if usage.used == 0 {
            return;
        }
        let available = usage.max.saturating_sub(usage.used);
        self.check("conntrack entries", required.connections, available, || {
            remedies::raise_conntrack(usage.used.saturating_add(required.connections))
        });
    }

    /// Checks the memory of TCP buffers. Only data takes it, idle sockets do not.
    fn tcp_memory(
        &mut self,
        required: &Requirements,
        address: IpAddr,
        usage: Usage,
        page_bytes: u64,
    ) {
        let pages = required.bytes_each.min(SOCKET_BYTES_MAX).div_ceil(page_bytes.max(1));
        // On loopback both ends are on this machine.
        let ends = if address.is_loopback() { 2 } else { 1 };
        let wanted = required.connections.saturating_mul(pages).saturating_mul(ends);
        let available = usage.max.saturating_sub(usage.used);
        self.check("pages of TCP memory", wanted, available, || {
            remedies::raise_tcp_memory(usage.used.saturating_add(wanted))
        });
    }
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use super::*;

    const LIMITS: SystemLimits = SystemLimits {
        files: 20_000,
        files_ceiling: Some(1_048_576),
        ports: Some(28_232),
        port_range: Some((32_768, 60_999)),
        conntrack: Some(Usage { used: 100, max: 262_144 }),
        tcp_pages: Some(Usage { used: 802, max: 575_802 }),
        page_bytes: 4_096,
    };

    fn requirements(connections: u64) -> Requirements {
        let address = Some(IpAddr::from([127, 0, 0, 1]));
        let sources = connections.div_ceil(28_000);
        let (ports, connections_each) = (connections, connections);
        Requirements {
            connections,
            ports,
            connections_each,
            sources,
            targets: 1,
            address,
            bytes_each: 0,
        }
    }

    fn shortages(required: &Requirements, limits: &SystemLimits) -> Vec<String> {
        Preflight::new(required, limits).shortages.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn sufficient_limits_are_shown_with_numbers() {
        let preflight = Preflight::new(&requirements(19_000), &LIMITS);
        assert_eq!(preflight.shortages, []);
        let checks = [
            "files 19020 of 20000",
            "local ports 19000 of 28232",
            "conntrack entries 19000 of 262044",
            "pages of TCP memory 0 of 575000",
        ];
        assert_eq!(preflight.checks, checks);
        assert_eq!(shortages(&requirements(19_980), &LIMITS), [""; 0], "the last that fit");
    }

    #[test]
    fn files_shortage_names_the_limit_to_set() {
        let text = "files: 19001 wanted, 19000 available, 1 short; \
                    try: sudo prlimit --pid $$ --nofile=19001:19001";
        let limits = SystemLimits { files: 19_000, ..LIMITS };
        assert_eq!(shortages(&requirements(18_981), &limits), [text]);
    }

    #[test]
    fn files_beyond_the_ceiling_take_two_commands() {
        let limits = SystemLimits { files_ceiling: Some(30_000), ..LIMITS };
        let text = "files: 30020 wanted, 20000 available, 10020 short; try: \
                    sudo sysctl -w fs.nr_open=30020 && sudo prlimit --pid $$ --nofile=30020:30020";
        assert_eq!(shortages(&requirements(30_000), &limits), [text]);
        let limits = SystemLimits { files_ceiling: None, ..LIMITS };
        assert!(shortages(&requirements(30_000), &limits)[0].contains("try: sudo prlimit"));
    }

    #[test]
    fn ports_count_for_each_pair_of_addresses() {
        let limits = SystemLimits { files: 10_000_000, ..LIMITS };
        let elsewhere = |connections, sources, targets| {
            let address = Some(IpAddr::from([10, 0, 0, 1]));
            let required = Requirements {
                connections,
                ports: connections,
                connections_each: connections,
                sources,
                targets,
                address,
                bytes_each: 0,
            };
            shortages(&required, &limits)
        };
        assert_eq!(elsewhere(28_232, 1, 1), [""; 0]);
        assert_eq!(elsewhere(56_464, 2, 1), [""; 0]);
        assert_eq!(elsewhere(112_928, 2, 2), [""; 0]);
        let widen = "local ports: 28233 wanted, 28232 available, 1 short; \
                     try: sudo sysctl -w net.ipv4.ip_local_port_range='1024 65535'";
        assert_eq!(elsewhere(28_233, 1, 1), [widen]);
        let add = "local ports: 64513 wanted, 28232 available, 36281 short; \
                   try: sudo ip address add ADDRESS/32 dev DEVICE, for 2 addresses more, \
                   and name all of them in --source-ip";
        assert_eq!(elsewhere(64_513, 1, 1), [add]);
    }

    #[test]
    fn conntrack_is_checked_where_it_tracks() {
        let full =
            |now| SystemLimits { conntrack: Some(Usage { used: now, max: 1_000 }), ..LIMITS };
        let text = "conntrack entries: 600 wanted, 500 available, 100 short; \
                    try: sudo sysctl -w net.netfilter.nf_conntrack_max=1100";
        assert_eq!(shortages(&requirements(600), &full(500)), [text]);
        assert_eq!(shortages(&requirements(1_600), &full(0)), [""; 0]);
        assert_eq!(
            shortages(&requirements(1_600), &SystemLimits { conntrack: None, ..LIMITS }),
            [""; 0]
        );
    }

    #[test]
    fn tcp_memory_counts_both_ends_of_loopback() {
        let required = Requirements { bytes_each: 1 << 20, ..requirements(1_500) };
        let text = "pages of TCP memory: 768000 wanted, 575000 available, 193000 short; \
                    try: sudo sysctl -w net.ipv4.tcp_mem='384401 576600 768802'";
        assert_eq!(shortages(&required, &LIMITS), [text]);
        let elsewhere = Requirements { address: Some(IpAddr::from([10, 0, 0, 1])), ..required };
        assert_eq!(shortages(&elsewhere, &LIMITS), [""; 0]);
        let wide = SystemLimits { page_bytes: 65_536, ..LIMITS };
        assert_eq!(shortages(&required, &wide), [""; 0], "of wider pages fewer do");
        let huge = Requirements { bytes_each: u64::MAX, connections: 280, ..required };
        assert_eq!(shortages(&huge, &LIMITS), [""; 0], "a window bounds the bytes in flight");
    }

    #[test]
    fn unix_socket_needs_files_alone() {
        let required = Requirements { address: None, bytes_each: 1 << 20, ..requirements(19_000) };
        let preflight = Preflight::new(&required, &SystemLimits { ports: Some(1), ..LIMITS });
        assert_eq!(
            (preflight.checks, preflight.shortages),
            (vec!["files 19020 of 20000".into()], vec![])
        );
    }

    #[test]
    fn all_shortages_are_named_at_once() {
        let required = Requirements { sources: 1, ..requirements(2_000_000) };
        assert_eq!(shortages(&required, &LIMITS).len(), 3);
    }
}
