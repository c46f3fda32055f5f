//! Types of what programs use: memory and sockets in the kernel, processor time. All are sums since
//! the machine or the process began, or of now; differences say what a run used.

use serde::{Deserialize, Serialize};

/// Memory that the kernel has in sockets, of all programs. `None` is unknown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in super::super) struct KernelMemory {
    /// Data in TCP buffers.
    pub(in super::super) buffer_bytes: Option<u64>,
    /// Sockets themselves, in slabs.
    pub(in super::super) slab_bytes: Option<u64>,
    /// All slabs that are not caches (proc(5), meminfo: `SUnreclaim`), of sockets and of all else.
    pub(in super::super) unreclaimable_bytes: Option<u64>,
    pub(in super::super) sockets: Option<SocketCounts>,
}

/// Numbers of TCP sockets: those of this network namespace, orphans and `allocated` of the machine.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(in super::super) struct SocketCounts {
    /// Of IPv4 and IPv6, those in TIME_WAIT left out.
    pub(in super::super) in_use: u64,
    /// Closed by their program, and not yet by the peer.
    pub(in super::super) orphans: u64,
    pub(in super::super) time_wait: u64,
    pub(in super::super) allocated: u64,
}

/// Processor time of a process.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in super::super) struct CpuTime {
    pub(in super::super) user_ns: u64,
    pub(in super::super) system_ns: u64,
}

/// Processor time of the machine, over all processors.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in super::super) struct MachineTime {
    /// Of programs: user, nice and system. Interrupts are left out: they are no program's, and carry
    /// the packets of the run itself.
    pub(in super::super) programs_ns: u64,
    /// Withheld by the hypervisor.
    pub(in super::super) steal_ns: u64,
    /// All of it, idle time included.
    pub(in super::super) total_ns: u64,
}
