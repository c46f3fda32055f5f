//! Commands that change what the preflight finds too small. Linux has its own; the others are those
//! of macOS.

use std::net::IpAddr;

const IS_LINUX: bool = cfg!(target_os = "linux");

/// Raises the file limit of the shell, which the programs it starts inherit, to `wanted`, and the
/// system's `ceiling` where that is lower.
pub(super) fn raise_files(wanted: u64, ceiling: Option<u64>) -> String {
    let (raise_ceiling, raise) = if IS_LINUX {
        let raise = format!("sudo prlimit --pid $$ --nofile={wanted}:{wanted}");
        ("fs.nr_open", raise)
    } else {
        ("kern.maxfilesperproc", format!("ulimit -n {wanted}"))
    };
    match ceiling {
        Some(ceiling) if wanted > ceiling => {
            format!("sudo sysctl -w {raise_ceiling}={wanted} && {raise}")
        }
        _ => raise,
    }
}

/// Has the kernel give out all ports from 1024 on.
pub(super) fn widen_ports() -> String {
    let setting = if IS_LINUX {
        "net.ipv4.ip_local_port_range='1024 65535'"
    } else {
        "net.inet.ip.portrange.first=1024"
    };
    format!("sudo sysctl -w {setting}")
}

/// Adds the address called `name`, of the same IP version and device as `like`.
pub(super) fn add_address(name: &str, like: IpAddr) -> String {
    let bits = if like.is_ipv4() { 32 } else { 128 };
    if IS_LINUX {
        let device = if like.is_loopback() { "lo" } else { "DEVICE" };
        format!("sudo ip address add {name}/{bits} dev {device}")
    } else {
        let device = if like.is_loopback() { "lo0" } else { "DEVICE" };
        let family = if like.is_ipv4() { "inet" } else { "inet6" };
        format!("sudo ifconfig {device} {family} {name}/{bits} alias")
    }
}

/// Has the firewall track up to `wanted` connections (Linux).
pub(super) fn raise_conntrack(wanted: u64) -> String {
    format!("sudo sysctl -w net.netfilter.nf_conntrack_max={wanted}")
}

/// Lets TCP buffers take up to `max` pages (Linux, tcp(7)).
pub(super) fn raise_tcp_memory(max: u64) -> String {
    let (low, pressure) = (max / 2, max / 4 * 3);
    format!("sudo sysctl -w net.ipv4.tcp_mem='{low} {pressure} {max}'")
}
