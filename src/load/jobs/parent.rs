//! The clock of all processes of a run. It watches what belongs to the machine (memory of the server
//! and of the kernel), and puts one run together.

use std::ffi::OsString;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use mio::{Events, Poll, Token};

use super::super::engine::Run;
use super::super::explain;
use super::super::job_link::messages::ToJob;
use super::super::merge::{JobRecord, merge_jobs, merge_row};
use super::super::outputs::Outputs;
use super::super::plan::Plan;
use super::super::progress::Progress;
use super::super::rate::NS_PER_SEC;
use super::super::record::Record;
use super::super::route::Route;
use super::super::run_result::RunResult;
use super::super::stats::{Counts, Phase, Row};
use super::super::sysinfo::{self, Host};
use super::super::target::Address;
use super::super::{ask_version, signals};
use super::process::{Process, ProcessState};
use crate::net::{SignalPipe, poll};

/// Interval at which progress is shown and memory is read.
const TICK_NS: u64 = NS_PER_SEC / 10;

/// Longest time for a job to end once it was told to.
const STOP_NS_MAX: u64 = 10 * NS_PER_SEC;

const READ_BUFFER_BYTES: usize = 64 * 1024;

const SIGNALS: Token = Token(usize::MAX);

/// A run in several processes.
struct Parent<'a> {
    plan: &'a Plan,
    poll: Poll,
    signals: SignalPipe,
    is_signalled: Arc<AtomicBool>,
    processes: Vec<Process>,
    started_at: Instant,
    /// All have been started, and wait or have gone on.
    has_begun: bool,
    phase_started_at: u64,
    /// Start of the hold or the traffic.
    measured_from: u64,
    /// Time by which all must have ended, once they were told to.
    stop_at: Option<u64>,
    /// Measurements of all processes: counts, rows, the machine's memory.
    run: Run,
    buffer: Box<[u8]>,
}

/// Runs `plan`, which `args` ask for, in its number of processes, and returns their record. Rows go to
/// `outputs` as they come.
///
/// # Errors
///
/// The reasons why there is no record.
pub(in super::super) fn run(
    plan: &Plan,
    args: &[OsString],
    routes: &[Route],
    host: Host,
    progress: &mut Progress,
    outputs: &mut Outputs,
) -> Result<Record, Vec<String>> {
    let parent = Parent::start(plan, args, routes);
    let mut parent = parent.map_err(|error| explain("cannot start", &error))?;
    let pids: Vec<String> = parent.processes.iter().map(|job| job.pid().to_string()).collect();
    progress.print_line(&format!("jobs: processes {}", pids.join(", ")));
    let ran = parent.run(progress, outputs);
    progress.clear();
    ran.map_err(|error| explain("the run broke off", &error))?;
    let (records, losses) = parent.take_results();
    if records.is_empty() {
        return Err(losses);
    }
    let run = parent.run;
    let mut merged = merge_jobs(records).map_err(|error| vec![error.to_string()])?;
    let server_version = ask_version(plan, routes, merged.connections.opened);
    let rows = run.stats.series.clone();
    let own = RunResult { plan, routes, host, server_version, run }.record();
    merged.command = own.command;
    merged.settings = own.settings;
    merged.host = own.host;
    merged.server = own.server;
    merged.kernel = own.kernel;
    merged.machine = own.machine;
    merged.points.memory = own.points.memory;
    // A job that was lost had its share too.
    merged.connections.wanted = own.connections.wanted;
    add_memory(&mut merged.series, &rows);
    let mut record = merged.judge();
    if !losses.is_empty() {
        record.verdict.met = false;
        record.verdict.misses.splice(0..0, losses);
    }
    Ok(record)
}

/// Copies the server's memory from the parent's rows into those of the record.
fn add_memory(series: &mut [Row], rows: &[Row]) {
    let mut rows = rows.iter().peekable();
    let mut memory = None;
    for row in series {
        while let Some(known) = rows.next_if(|known| known.t.floor() <= row.t.floor()) {
            memory = known.server_rss_bytes;
        }
        row.server_rss_bytes = memory;
    }
}

impl<'a> Parent<'a> {
    fn start(plan: &'a Plan, args: &[OsString], routes: &[Route]) -> io::Result<Self> {
        let poll = Poll::new()?;
        // Before the first job: a signal must not leave some of them behind.
        let (signals, is_signalled) = signals::watch(poll.registry(), SIGNALS, false)?;
        let addresses = routes.iter().map(|route| match route.address {
            Address::Inet(addr) => Some(addr),
            Address::Unix(_) => None,
        });
        let addresses: Vec<_> = addresses.collect();
        let mut processes = Vec::new();
        for job in 0..plan.jobs {
            let token = Token(job as usize);
            let mut process = Process::start(job, args, poll.registry(), token)?;
            process.tell(&ToJob::Start { job, addresses: addresses.clone() });
            processes.push(process);
        }
        Ok(Parent {
            plan,
            poll,
            signals,
            is_signalled,
            processes,
            started_at: Instant::now(),
            has_begun: false,
            phase_started_at: 0,
            measured_from: 0,
            stop_at: None,
            run: Run::new(routes.len()),
            buffer: vec![0; READ_BUFFER_BYTES].into_boxed_slice(),
        })
    }

    /// Runs until all jobs have ended.
    fn run(&mut self, progress: &mut Progress, outputs: &mut Outputs) -> io::Result<()> {
        let mut events = Events::with_capacity(64);
        let (mut next_tick_at, mut next_memory_at) = (0_u64, 0_u64);
        while self.processes.iter().any(Process::is_alive) {
            let now = self.now();
            let wait = next_tick_at.saturating_sub(now);
            let timeout = Duration::from_nanos(if self.has_begun { wait } else { TICK_NS });
            poll(&mut self.poll, &mut events, Some(timeout))?;
            for event in &events {
                match event.token() {
                    SIGNALS => self.signals.drain(),
                    Token(job) => self.processes[job].on_readable(&mut self.buffer),
                }
            }
            if self.is_signalled.swap(false, Ordering::AcqRel) {
                self.stop();
            }
            self.follow(progress);
            self.let_go_on(progress);
            self.stop_if_one_was_lost();
            let now = self.now();
            if self.has_begun && now >= next_tick_at {
                next_tick_at = now - now % TICK_NS + TICK_NS;
                if now >= next_memory_at {
                    next_memory_at = now - now % TICK_NS + sysinfo::MEMORY_INTERVAL_NS;
                    self.read_memory();
                }
                let phase_ns = now.saturating_sub(self.phase_started_at);
                progress.show_tick(&self.run.stats, self.plan.mode, phase_ns);
            }
            self.merge_rows(outputs);
            if self.stop_at.is_some_and(|at| now >= at) {
                for process in &mut self.processes {
                    process.kill("did not end within 10 s, and was killed");
                }
            }
        }
        self.merge_rows(outputs);
        if self.has_begun {
            self.run.usage.on_closed(self.plan.server_pid, &self.run.kernel_before);
        }
        Ok(())
    }

    /// Nanoseconds since the run began.
    fn now(&self) -> u64 {
        u64::try_from(self.started_at.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// Phase of the job that is least far; `None` if none is alive.
    fn phase_of_jobs(&self) -> Option<Phase> {
        let alive = self.processes.iter().filter(|process| process.is_alive());
        alive.map(|process| process.tick.phase).min()
    }

    /// Whether all jobs that are alive have come as far, and none has gone on.
    fn are_all_waiting(&self) -> bool {
        let mut alive = self.processes.iter().filter(|process| process.is_alive()).peekable();
        let is_waiting = |process: &Process| matches!(process.state, ProcessState::Waiting);
        alive.peek().is_some() && alive.all(is_waiting)
    }

    /// Lets all jobs go on, if none has still to come as far. They send, or close connections, at once:
    /// what is to be read of their connections is read before.
    fn let_go_on(&mut self, progress: &mut Progress) {
        if self.stop_at.is_some() || !self.are_all_waiting() {
            return;
        }
        debug_assert!(
            self.phase_of_jobs() <= Some(self.run.stats.phase),
            "a phase was not followed, and its memory not read"
        );
        if !self.has_begun {
            self.has_begun = true;
            let pid = self.plan.server_pid;
            self.run.rss_before = pid.and_then(sysinfo::anonymous_bytes_exact);
            self.run.kernel_before = sysinfo::kernel_memory();
            self.run.usage.start();
            self.started_at = Instant::now();
            progress.show_phase(&self.run.stats, self.plan.mode);
        } else if self.run.stats.phase == Phase::Ramp {
            self.read_opened();
        }
        for process in self.processes.iter_mut().filter(|process| process.is_alive()) {
            process.go();
        }
    }

    /// Adds up the jobs' counts, and follows the phase of the last of them.
    fn follow(&mut self, progress: &mut Progress) {
        let zero = Counts::default();
        let counts = self.processes.iter().map(|process| &process.tick.counts);
        self.run.stats.counts = counts.fold(zero, |sum, counts| sum.plus(counts));
        let Some(phase) = self.phase_of_jobs() else { return };
        // Jobs that were stopped close their connections.
        if phase <= self.run.stats.phase || self.stop_at.is_some() {
            return;
        }
        let now = self.now();
        if phase == Phase::Drain {
            // No job closes a connection before all are told to go on.
            self.read_held();
        }
        self.phase_started_at = now;
        self.run.stats.start_phase(phase, now);
        progress.show_phase(&self.run.stats, self.plan.mode);
    }

    /// Reads the memory before the hold or the traffic.
    fn read_opened(&mut self) {
        debug_assert!(self.are_all_waiting(), "their requests leave already");
        let connected = self.run.stats.connected();
        self.run.usage.start_measured(self.plan.server_pid, connected);
        self.measured_from = self.now();
    }

    /// Reads the memory at the end of the hold or the traffic.
    fn read_held(&mut self) {
        self.run.held = self.run.stats.connected();
        self.run.measured_ns = self.now().saturating_sub(self.measured_from);
        self.run.usage.read_cpu(self.plan.server_pid);
        self.run.usage.end_measured(self.run.held);
        self.run.rss_held = self.plan.server_pid.and_then(sysinfo::anonymous_bytes_exact);
        self.run.kernel_held = self.run.usage.held();
    }

    fn read_memory(&mut self) {
        let pending = self.processes.iter().map(|process| process.tick.pending).sum();
        let stats = &self.run.stats;
        self.run.usage.on_tick(stats.phase, pending, stats.connected());
        if let Some(bytes) = self.plan.server_pid.and_then(sysinfo::anonymous_bytes) {
            self.run.stats.record_memory(bytes);
        }
    }

    /// Tells all jobs to end in order.
    fn stop(&mut self) {
        if self.stop_at.is_some() {
            return;
        }
        self.stop_at = Some(self.now().saturating_add(STOP_NS_MAX));
        if !matches!(self.run.stats.phase, Phase::Ramp | Phase::Drain) {
            self.read_held();
        }
        for process in &mut self.processes {
            process.tell(&ToJob::Stop);
        }
    }

    /// A job that was lost, or told to end by another, has left a part of the load out.
    fn stop_if_one_was_lost(&mut self) {
        let is_cut = |process: &Process| match &process.state {
            ProcessState::Lost(_) => true,
            ProcessState::Done(record) => record.interrupted.is_some(),
            ProcessState::Running | ProcessState::Waiting => false,
        };
        if self.processes.iter().any(is_cut) {
            self.stop();
        }
    }

    /// Joins the rows of the seconds that all jobs have ended, as the record has them.
    fn merge_rows(&mut self, outputs: &mut Outputs) {
        while self.processes.iter().all(|job| !job.is_alive() || !job.rows.is_empty()) {
            let fronts = self.processes.iter().filter_map(|job| job.rows.front());
            let Some(first) = fronts.map(|(begins, ..)| *begins).min() else { return };
            let mut ended = Vec::new();
            for process in &mut self.processes {
                if process.rows.front().is_some_and(|(begins, ..)| *begins == first) {
                    ended.extend(process.rows.pop_front());
                }
            }
            let rows: Vec<_> = ended.iter().map(|(_, row, s)| (row, s.as_deref())).collect();
            // The jobs are this program, and have written what it reads.
            let Ok(Some((mut row, _))) = merge_row(first, &rows) else { return };
            row.server_rss_bytes = self.run.stats.rss_now;
            outputs.write_row(&row);
            self.run.stats.series.push(row);
        }
    }

    /// The records of the jobs, and why some have none.
    fn take_results(&mut self) -> (Vec<JobRecord>, Vec<String>) {
        let (mut records, mut losses) = (Vec::new(), Vec::new());
        for (mut process, number) in self.processes.drain(..).zip(1..) {
            let taken = ProcessState::Lost(String::new());
            match std::mem::replace(&mut process.state, taken) {
                ProcessState::Done(record) => records.push(JobRecord { number, record: *record }),
                ProcessState::Lost(why) => losses.push(why),
                ProcessState::Running | ProcessState::Waiting => {}
            }
        }
        (records, losses)
    }
}
