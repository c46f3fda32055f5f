//! Sockets by proc(5): their numbers, the memory in their buffers, and that of themselves.

use nix::unistd::{SysconfVar, sysconf};

use super::proc_file::{field_bytes, read};
use super::usage::{KernelMemory, SocketCounts};

/// Memory that the kernel has in sockets now.
pub(in super::super) fn kernel_memory() -> KernelMemory {
    KernelMemory {
        // Readable by root alone.
        slab_bytes: read("/proc/slabinfo").and_then(|text| socket_slab_bytes(&text)),
        unreclaimable_bytes: read("/proc/meminfo")
            .and_then(|text| field_bytes(&text, "SUnreclaim")),
        ..socket_buffers()
    }
}

/// The part of [`kernel_memory`] that takes microseconds to read: numbers, and data in buffers.
pub(in super::super) fn socket_buffers() -> KernelMemory {
    let (v4, v6) = (read("/proc/net/sockstat"), read("/proc/net/sockstat6"));
    let pages = v4.as_deref().and_then(|text| field(text, "TCP:", "mem"));
    KernelMemory {
        buffer_bytes: pages.map(|pages| pages.saturating_mul(super::page_bytes())),
        sockets: v4.and_then(|text| socket_counts(&text, v6.as_deref().unwrap_or_default())),
        ..KernelMemory::default()
    }
}

/// Pages that each processor may keep in reserve for buffers, where the kernel does not tell
/// (Linux 5.19 and later: `SK_MEMORY_PCPU_RESERVE`).
const RESERVE_PAGES: u64 = 256;

/// Memory that the kernel counts to TCP buffers in advance, so as not to count each packet: growth by
/// as much is none.
pub(in super::super) fn buffer_reserve_bytes() -> Option<u64> {
    let pages = read("/proc/sys/net/core/mem_pcpu_rsv").and_then(|text| text.trim().parse().ok());
    let processors = sysconf(SysconfVar::_NPROCESSORS_ONLN).ok().flatten()?;
    let processors = u64::try_from(processors).ok()?;
    let pages: u64 = pages.unwrap_or(RESERVE_PAGES);
    Some(pages.saturating_mul(super::page_bytes()).saturating_mul(processors))
}

/// Pages of memory in TCP buffers.
pub(super) fn tcp_pages(sockstat: &str) -> Option<u64> {
    field(sockstat, "TCP:", "mem")
}

/// Counts as sockstat and sockstat6 have them. The second has `inuse` alone; TIME_WAIT and the others
/// are in the first for both.
fn socket_counts(sockstat: &str, sockstat6: &str) -> Option<SocketCounts> {
    let v4 = |name| field(sockstat, "TCP:", name);
    Some(SocketCounts {
        in_use: v4("inuse")?.saturating_add(field(sockstat6, "TCP6:", "inuse").unwrap_or(0)),
        orphans: v4("orphan")?,
        time_wait: v4("tw")?,
        allocated: v4("alloc")?,
    })
}

/// The number behind `name` in a line such as `TCP: inuse 5 orphan 0 tw 3 alloc 9 mem 231`.
fn field(sockstat: &str, line: &str, name: &str) -> Option<u64> {
    let line = sockstat.lines().find_map(|text| text.strip_prefix(line))?;
    let mut words = line.split_whitespace();
    words.find(|word| *word == name)?;
    words.next()?.parse().ok()
}

/// Caches whose objects are parts of sockets, and of nothing else: the sockets, those in TIME_WAIT,
/// connects that are not accepted, local ports, and the entries of epoll.
const CACHES: [&str; 12] = [
    "TCP",
    "TCPv6",
    "UNIX",
    "UNIX-STREAM",
    "tw_sock_TCP",
    "tw_sock_TCPv6",
    "request_sock_TCP",
    "request_sock_TCPv6",
    "tcp_bind_bucket",
    "tcp_bind2_bucket",
    "eventpoll_epi",
    "eventpoll_pwq",
];

/// Bytes of the objects of sockets in slabinfo(5). Each socket has a file and a directory entry too;
/// their caches are those of all files, so they are counted by the sockets' inodes.
fn socket_slab_bytes(slabinfo: &str) -> Option<u64> {
    let cache = |name: &str| -> Option<(u64, u64)> {
        let line = slabinfo.lines().find(|line| line.split_whitespace().next() == Some(name))?;
        let mut fields = line.split_whitespace().skip(1);
        let objects = fields.next()?.parse().ok()?;
        Some((objects, fields.nth(1)?.parse().ok()?))
    };
    let (sockets, inode_bytes) = cache("sock_inode_cache")?;
    let bytes_of_each = |name| cache(name).map_or(0, |(_, bytes)| bytes);
    let each = inode_bytes + bytes_of_each("filp") + bytes_of_each("dentry");
    let others = CACHES.into_iter().filter_map(cache).map(|(objects, bytes)| objects * bytes);
    Some(sockets * each + others.sum::<u64>())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOCKSTAT: &str =
        "sockets: used 17\nTCP: inuse 5 orphan 2 tw 194 alloc 9 mem 231\nUDP: inuse 1 mem 9";

    #[test]
    fn sockets_of_both_ip_versions_count() {
        assert_eq!(tcp_pages(SOCKSTAT), Some(231));
        let counts = SocketCounts { in_use: 12, orphans: 2, time_wait: 194, allocated: 9 };
        let v6 = "TCP6: inuse 7\nUDP6: inuse 1\n";
        assert_eq!(socket_counts(SOCKSTAT, v6), Some(counts));
        assert_eq!(socket_counts(SOCKSTAT, ""), Some(SocketCounts { in_use: 5, ..counts }));
        for bad in ["", "TCP: inuse", "TCP: inuse x orphan 0 tw 0 alloc 0 mem 0"] {
            assert_eq!(socket_counts(bad, v6), None, "{bad}");
        }
    }

    #[test]
    fn slab_counts_what_a_socket_has() {
        let slabinfo = "slabinfo - version: 2.1\n# name <active_objs> <num_objs> <objsize>\n\
                        tw_sock_TCP 2400 2400 256\nTCP 2 130 2368\neventpoll_epi 3 4 128\n\
                        sock_inode_cache 5 323 832\nfilp 729 819 192\ndentry 282397 347739 192\n";
        let expected = 5 * (832 + 192 + 192) + 2 * 2368 + 3 * 128 + 2400 * 256;
        assert_eq!(socket_slab_bytes(slabinfo), Some(expected));
        assert_eq!(socket_slab_bytes(""), None);
    }

    #[test]
    fn this_machine_has_sockets() {
        let _listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let memory = kernel_memory();
        assert!(memory.sockets.is_some_and(|sockets| sockets.in_use > 0), "{memory:?}");
        assert!(memory.unreclaimable_bytes.is_some() && memory.buffer_bytes.is_some());
    }
}
