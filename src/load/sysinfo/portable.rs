//! Facts about a machine without proc(5), from sysctl(8) and ps(1). Names are those of macOS and the
//! BSDs; where one is missing, the fact is unknown.

use std::process::{Command, Stdio};

use super::super::rate::NS_PER_SEC;
use super::limits::SystemLimits;
use super::usage::{CpuTime, KernelMemory, MachineTime};

/// Interval at which the server's memory is read: a process is started for it.
pub(in super::super) const MEMORY_INTERVAL_NS: u64 = NS_PER_SEC;

/// The limits that the kernel knows; [`SystemLimits::read`] adds the others.
pub(super) fn limits() -> SystemLimits {
    let first = number("net.inet.ip.portrange.first");
    let last = number("net.inet.ip.portrange.last");
    SystemLimits {
        files_ceiling: number("kern.maxfilesperproc"),
        ports: first.zip(last).and_then(|(first, last)| (last + 1).checked_sub(first)),
        ..SystemLimits::default()
    }
}

pub(super) fn host_name() -> Option<String> {
    sysctl("kern.hostname")
}

pub(super) fn kernel() -> Option<String> {
    Some(format!("{} {}", sysctl("kern.ostype")?, sysctl("kern.osrelease")?))
}

pub(super) fn memory_bytes() -> Option<u64> {
    number("hw.memsize").or_else(|| number("hw.physmem"))
}

pub(super) fn processor_model() -> Option<String> {
    sysctl("machdep.cpu.brand_string").or_else(|| sysctl("hw.model"))
}

/// Resident memory of process `pid`, in bytes; `None` if there is no such process. ps(1) does not tell
/// anonymous memory from pages of files.
pub(in super::super) fn anonymous_bytes(pid: u32) -> Option<u64> {
    let kib = output("ps", &["-o", "rss=", "-p", &pid.to_string()])?;
    kib.parse::<u64>().ok()?.checked_mul(1024)
}

/// As [`anonymous_bytes`].
pub(in super::super) fn anonymous_bytes_exact(pid: u32) -> Option<u64> {
    anonymous_bytes(pid)
}

/// Unknown.
pub(in super::super) fn kernel_memory() -> KernelMemory {
    KernelMemory::default()
}

/// Unknown.
pub(in super::super) fn socket_buffers() -> KernelMemory {
    KernelMemory::default()
}

/// Unknown.
pub(in super::super) fn buffer_reserve_bytes() -> Option<u64> {
    None
}

/// Unknown: ps(1) has the sum of user and system time, in hundredths at best.
pub(in super::super) fn process_cpu(_pid: u32) -> Option<CpuTime> {
    None
}

/// Unknown.
pub(in super::super) fn machine_time() -> Option<MachineTime> {
    None
}

/// Unknown.
pub(in super::super) fn pressure_ns() -> Option<u64> {
    None
}

/// Unknown.
pub(in super::super) fn own_wait_ns() -> Option<u64> {
    None
}

/// Length of a clock tick.
pub(in super::super) fn tick_ns() -> u64 {
    NS_PER_SEC / 100
}

/// Whether this process was started with SIGHUP ignored: unknown, because sigaction(2) asks for
/// unsafe code.
pub(in super::super) fn is_hangup_ignored() -> Option<bool> {
    None
}

fn number(name: &str) -> Option<u64> {
    sysctl(name)?.parse().ok()
}

fn sysctl(name: &str) -> Option<String> {
    output("sysctl", &["-n", name])
}

/// Standard output of a command that succeeds, without blanks around it.
fn output(program: &str, args: &[&str]) -> Option<String> {
    let output = Command::new(program).args(args).stdin(Stdio::null()).output().ok()?;
    let text = String::from_utf8(output.stdout).ok().filter(|_| output.status.success())?;
    Some(text.trim().to_owned())
}
