//! Facts about this machine: its limits, its name, the memory of a process. Judges nothing.

mod limits;
#[cfg(target_os = "linux")]
mod linux;
#[cfg(not(target_os = "linux"))]
mod portable;
#[cfg(target_os = "linux")]
mod proc_cpu;
#[cfg(target_os = "linux")]
mod proc_file;
#[cfg(target_os = "linux")]
mod proc_sockets;
mod usage;

#[cfg(target_os = "linux")]
use linux as platform;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeVal;
use nix::unistd::{SysconfVar, sysconf};
#[cfg(not(target_os = "linux"))]
use portable as platform;
use serde::{Deserialize, Serialize};

pub(super) use limits::{SystemLimits, Usage};
pub(super) use platform::{
    MEMORY_INTERVAL_NS, anonymous_bytes, anonymous_bytes_exact, is_hangup_ignored,
};
#[cfg(not(target_os = "linux"))]
pub(super) use platform::{
    buffer_reserve_bytes, kernel_memory, machine_time, own_wait_ns, pressure_ns, process_cpu,
    socket_buffers, tick_ns,
};
#[cfg(target_os = "linux")]
pub(super) use proc_cpu::{machine_time, own_wait_ns, pressure_ns, process_cpu, tick_ns};
#[cfg(target_os = "linux")]
pub(super) use proc_sockets::{buffer_reserve_bytes, kernel_memory, socket_buffers};
pub(super) use usage::{CpuTime, KernelMemory, MachineTime, SocketCounts};

impl SystemLimits {
    /// Reads the limits; `files` is the file limit of this process.
    pub(super) fn read(files: usize) -> Self {
        SystemLimits { files: files as u64, page_bytes: page_bytes(), ..platform::limits() }
    }
}

/// The machine of the load tester, as the files of a run name it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Host {
    pub(super) name: Option<String>,
    /// Name and release.
    pub(super) kernel: Option<String>,
    pub(super) arch: String,
    pub(super) processors: usize,
    pub(super) processor_model: Option<String>,
    pub(super) memory_bytes: Option<u64>,
    /// Files that the load tester may open.
    pub(super) file_limit: u64,
    /// Version of the load tester.
    pub(super) version: String,
    /// Start of the run, RFC 3339 in UTC.
    pub(super) started_at: String,
}

impl Host {
    /// Reads names and sizes; `files` is the file limit of this process.
    pub(super) fn read(files: usize) -> Self {
        Host {
            name: platform::host_name(),
            kernel: platform::kernel(),
            arch: std::env::consts::ARCH.to_owned(),
            processors: std::thread::available_parallelism().map_or(1, usize::from),
            processor_model: platform::processor_model(),
            memory_bytes: platform::memory_bytes(),
            file_limit: files as u64,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started_at: chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Secs, true),
        }
    }
}

/// Processor time of this process.
pub(super) fn own_cpu() -> Option<CpuTime> {
    let usage = getrusage(UsageWho::RUSAGE_SELF).ok()?;
    let ns = |time: TimeVal| {
        let (secs, micros) =
            (u64::try_from(time.tv_sec()).ok()?, u64::try_from(time.tv_usec()).ok()?);
        secs.checked_mul(1_000_000_000)?.checked_add(micros.checked_mul(1_000)?)
    };
    Some(CpuTime { user_ns: ns(usage.user_time())?, system_ns: ns(usage.system_time())? })
}

fn page_bytes() -> u64 {
    let known = sysconf(SysconfVar::PAGE_SIZE).ok().flatten();
    known.and_then(|bytes| u64::try_from(bytes).ok()).filter(|bytes| *bytes > 0).unwrap_or(4096)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_is_readable() {
        let limits = SystemLimits::read(1024);
        assert!(limits.ports.is_some_and(|ports| ports > 0) && limits.files_ceiling.is_some());
        assert!(limits.page_bytes.is_power_of_two());
        assert!(anonymous_bytes(std::process::id()).is_some_and(|bytes| bytes > 4096));
        assert!(Host::read(1).kernel.is_some());
        assert!(own_cpu().is_some());
    }
}
