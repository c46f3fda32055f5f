//! Types of the limits that decide how many connections can be opened.

/// Limits on the number of connections. `None` is unknown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in super::super) struct SystemLimits {
    /// Files that this process may open, the soft limit raised to the hard one.
    pub(in super::super) files: u64,
    /// Highest value that the hard limit can be raised to (`fs.nr_open`, `kern.maxfilesperproc`).
    pub(in super::super) files_ceiling: Option<u64>,
    /// Number of ports that the kernel gives out, without the reserved ones.
    pub(in super::super) ports: Option<u64>,
    /// First and last of these ports, if the kernel gives out all between them and in the order that
    /// [`Sources`](super::super::sources::Sources) relies on.
    pub(in super::super) port_range: Option<(u16, u16)>,
    /// Connections that the firewall tracks.
    pub(in super::super) conntrack: Option<Usage>,
    /// Pages of memory in TCP buffers (tcp(7): `tcp_mem`).
    pub(in super::super) tcp_pages: Option<Usage>,
    /// Bytes of a page.
    pub(in super::super) page_bytes: u64,
}

/// Use of a limited resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) struct Usage {
    pub(in super::super) used: u64,
    pub(in super::super) max: u64,
}
