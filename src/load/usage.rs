//! Resources of a run: memory of both ends and of the kernel, and processor time of all. Read at the
//! edges of its phases; the ticks in between read what takes microseconds.

use std::thread;
use std::time::Duration;

use super::resources::State;
use super::stats::Phase;
use super::sysinfo::{self, CpuTime, KernelMemory, MachineTime};

/// Longest wait for a server to close what the tester has reset, and time between two looks.
const CLOSE_WAIT: Duration = Duration::from_millis(500);
const CLOSE_LOOK: Duration = Duration::from_millis(10);

/// Fewest pending connects whose memory is read: the kernel's own figures are too coarse for less.
const CONNECTING_MIN: u64 = 100;

/// Memory and sockets in the kernel, with connections in one state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct StateSample {
    pub(super) state: State,
    pub(super) connections: u64,
    pub(super) memory: KernelMemory,
}

/// Processor time of the measured phase; `None` is unknown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct CpuUsage {
    pub(super) tester: Option<CpuTime>,
    /// Time for which the tester could have run and waited for a processor.
    pub(super) tester_wait_ns: Option<u64>,
    pub(super) server: Option<CpuTime>,
    pub(super) machine: Option<MachineTime>,
    /// Time for which any program waited for a processor.
    pub(super) pressure_ns: Option<u64>,
}

/// Resources that a run has used.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Usage {
    /// One of several processes leaves the kernel's memory, which is there once and costs milliseconds,
    /// to the parent.
    pub(super) is_of_job: bool,
    /// Anonymous memory of the server with all connections open, and after all are closed.
    pub(super) server_rss_opened: Option<u64>,
    pub(super) server_rss_closed: Option<u64>,
    /// Anonymous memory of this process before the first connect, and at the end of the measured phase.
    pub(super) tester_rss_before: Option<u64>,
    pub(super) tester_rss_held: Option<u64>,
    /// At most one of each state.
    pub(super) states: Vec<StateSample>,
    /// Of the measured phases.
    pub(super) cpu: CpuUsage,
    /// Sums at the start of the first.
    cpu_at_start: CpuUsage,
}

impl CpuUsage {
    fn read(server_pid: Option<u32>) -> Self {
        CpuUsage {
            tester: sysinfo::own_cpu(),
            tester_wait_ns: sysinfo::own_wait_ns(),
            server: server_pid.and_then(sysinfo::process_cpu),
            machine: sysinfo::machine_time(),
            pressure_ns: sysinfo::pressure_ns(),
        }
    }

    /// Processor time since `before`. A process that was replaced by another of its number has used
    /// nothing that is known.
    fn since(&self, before: &CpuUsage) -> CpuUsage {
        let process = |now: CpuTime, before: CpuTime| {
            Some(CpuTime {
                user_ns: now.user_ns.checked_sub(before.user_ns)?,
                system_ns: now.system_ns.checked_sub(before.system_ns)?,
            })
        };
        // The kernel's sums of idle and stolen time may go back a little.
        let machine = |now: MachineTime, before: MachineTime| MachineTime {
            programs_ns: now.programs_ns.saturating_sub(before.programs_ns),
            steal_ns: now.steal_ns.saturating_sub(before.steal_ns),
            total_ns: now.total_ns.saturating_sub(before.total_ns),
        };
        CpuUsage {
            tester: self.tester.zip(before.tester).and_then(|(now, was)| process(now, was)),
            tester_wait_ns: since(self.tester_wait_ns, before.tester_wait_ns),
            server: self.server.zip(before.server).and_then(|(now, was)| process(now, was)),
            machine: self.machine.zip(before.machine).map(|(now, was)| machine(now, was)),
            pressure_ns: since(self.pressure_ns, before.pressure_ns),
        }
    }
}

fn since(now: Option<u64>, before: Option<u64>) -> Option<u64> {
    now?.checked_sub(before?)
}

impl Usage {
    /// Reads what is used before the first connect.
    pub(super) fn start(&mut self) {
        self.tester_rss_before = sysinfo::anonymous_bytes_exact(std::process::id());
    }

    /// The kernel's memory; unknown in a job.
    pub(super) fn kernel_memory(&self) -> KernelMemory {
        if self.is_of_job { KernelMemory::default() } else { sysinfo::kernel_memory() }
    }

    /// Reads what the kernel has in sockets, in the phases for which that is told.
    pub(super) fn on_tick(&mut self, phase: Phase, pending: u64, connected: u64) {
        match phase {
            Phase::Ramp => self.on_ramp_tick(pending, connected),
            Phase::Hold | Phase::Traffic | Phase::Calm | Phase::Storm | Phase::Asleep => {
                self.on_measured_tick(connected);
            }
            Phase::Drain => {}
        }
    }

    /// Ramp: reads the sockets of `pending` connects, if there are far more of them than at the last
    /// reading.
    fn on_ramp_tick(&mut self, pending: u64, opened: u64) {
        let most = self.sample(State::Connecting).map_or(0, |sample| sample.connections);
        // Others would hide them in the kernel's sums.
        if pending >= CONNECTING_MIN.max(most.saturating_mul(2)) && opened < pending / 10 {
            self.set(State::Connecting, pending);
        }
    }

    /// Measured phase, at its start: all `connections` are open, and none has had a request.
    pub(super) fn start_measured(&mut self, server_pid: Option<u32>, connections: u64) {
        self.server_rss_opened = server_pid.and_then(sysinfo::anonymous_bytes_exact);
        self.set(State::Open, connections);
        // Last, so that the readings above are not in it.
        self.cpu_at_start = CpuUsage::read(server_pid);
    }

    /// Reads the processor time that was used since the start, at the end of each measured phase: a
    /// storm has several.
    pub(super) fn read_cpu(&mut self, server_pid: Option<u32>) {
        self.cpu = CpuUsage::read(server_pid).since(&self.cpu_at_start);
    }

    /// Measured phase: reads the buffers, and keeps the fullest.
    fn on_measured_tick(&mut self, connections: u64) {
        if self.is_of_job {
            return;
        }
        let memory = sysinfo::socket_buffers();
        let fullest = self.sample(State::Data).and_then(|sample| sample.memory.buffer_bytes);
        if memory.buffer_bytes > fullest {
            self.keep(State::Data, connections, memory);
        }
    }

    /// Measured phase, at its end, with `connections` open.
    pub(super) fn end_measured(&mut self, connections: u64) {
        self.tester_rss_held = sysinfo::anonymous_bytes_exact(std::process::id());
        self.set(State::Held, connections);
    }

    /// End: all connections are closed. A server that is watched has a moment to close its ends, until
    /// there are no more sockets than `before`.
    pub(super) fn on_closed(&mut self, server_pid: Option<u32>, before: &KernelMemory) {
        let in_use = |memory: &KernelMemory| memory.sockets.map(|sockets| sockets.in_use);
        let mut waited = Duration::ZERO;
        while server_pid.is_some()
            && waited < CLOSE_WAIT
            && in_use(&sysinfo::socket_buffers()) > in_use(before)
        {
            thread::sleep(CLOSE_LOOK);
            waited += CLOSE_LOOK;
        }
        self.server_rss_closed = server_pid.and_then(sysinfo::anonymous_bytes_exact);
        self.set(State::Closed, 0);
    }

    /// Memory of the kernel at the end of the measured phase.
    pub(super) fn held(&self) -> KernelMemory {
        self.sample(State::Held).map(|sample| sample.memory).unwrap_or_default()
    }

    fn sample(&self, state: State) -> Option<&StateSample> {
        self.states.iter().find(|sample| sample.state == state)
    }

    /// Reads the kernel's memory with `connections` in `state`.
    fn set(&mut self, state: State, connections: u64) {
        if !self.is_of_job {
            self.keep(state, connections, sysinfo::kernel_memory());
        }
    }

    fn keep(&mut self, state: State, connections: u64, memory: KernelMemory) {
        self.states.retain(|sample| sample.state != state);
        self.states.push(StateSample { state, connections, memory });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usage_is_what_was_used_since() {
        let time = |ns| CpuTime { user_ns: ns, system_ns: 2 * ns };
        let machine = |ns| MachineTime { programs_ns: ns, steal_ns: 5, total_ns: 9 * ns };
        let at = |ns| CpuUsage {
            tester: Some(time(ns)),
            tester_wait_ns: Some(ns),
            server: Some(time(ns)),
            machine: Some(machine(ns)),
            pressure_ns: None,
        };
        let used = at(17).since(&at(10));
        let expected = MachineTime { programs_ns: 7, steal_ns: 0, total_ns: 63 };
        assert_eq!(used, CpuUsage { machine: Some(expected), ..at(7) });
        assert_eq!(at(9).since(&at(10)).server, None, "another process of this number");
        assert_eq!(at(9).since(&CpuUsage::default()), CpuUsage::default());
    }

    #[test]
    fn fullest_buffers_are_kept() {
        let mut usage = Usage::default();
        usage.on_measured_tick(7);
        if let Some(sample) = usage.sample(State::Data).copied() {
            let full = KernelMemory { buffer_bytes: Some(u64::MAX), ..sample.memory };
            usage.keep(State::Data, 3, full);
            usage.on_measured_tick(7);
            assert_eq!(usage.sample(State::Data).unwrap().connections, 3);
        }
        assert!(usage.states.len() <= 1);
    }

    #[test]
    fn job_leaves_the_kernel_to_its_parent() {
        let run = |is_of_job| {
            let mut usage = Usage { is_of_job, ..Usage::default() };
            let before = usage.kernel_memory();
            for phase in [Phase::Ramp, Phase::Hold] {
                usage.on_tick(phase, 1_000, 9);
            }
            usage.start_measured(None, 7);
            usage.end_measured(7);
            usage.on_closed(None, &before);
            let has_memory = before != KernelMemory::default();
            (usage.states.iter().map(|sample| sample.state).collect::<Vec<_>>(), has_memory)
        };
        assert_eq!(run(true), (vec![], false));
        let (states, _) = run(false);
        for state in [State::Connecting, State::Open, State::Held, State::Closed] {
            assert!(states.contains(&state), "{state:?}");
        }
    }

    #[test]
    fn few_connects_are_not_read() {
        let mut usage = Usage::default();
        usage.on_ramp_tick(CONNECTING_MIN - 1, 0);
        usage.on_ramp_tick(1_000, 100);
        assert_eq!(usage.sample(State::Connecting), None);
        usage.on_ramp_tick(1_000, 99);
        usage.on_ramp_tick(1_999, 99);
        assert_eq!(usage.sample(State::Connecting).unwrap().connections, 1_000);
    }
}
