//! Figures of the process in metrics. A server knows no process: its program tells it.

/// The process around a server.
pub trait Process {
    /// Looks at the process. To take some microseconds at most: no client is served meanwhile.
    fn sample(&self) -> ProcessSample;
}

/// A look at a process. What the system does not say is `None`.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct ProcessSample {
    /// Processor time of all threads, user and system, in seconds.
    pub cpu_secs: Option<f64>,
    /// Resident memory, in bytes.
    pub resident_bytes: Option<u64>,
    /// Address space, in bytes.
    pub virtual_bytes: Option<u64>,
    /// Open files.
    pub open_fds: Option<u64>,
    /// Most open files.
    pub max_fds: Option<u64>,
    /// Threads.
    pub threads: Option<u64>,
    /// When it started, in seconds since 1970.
    pub started_at_secs: Option<f64>,
    /// Lines of its log that were dropped, because they came faster than they were written.
    pub log_lines_dropped: u64,
}
