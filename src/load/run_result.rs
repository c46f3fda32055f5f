//! Result of a run, from which its record is made.

use std::mem::take;
use std::net::IpAddr;
use std::time::Duration;

use serde_json::Number;

use super::engine::Run;
use super::escaped_bytes::EscapedBytes;
use super::exchange::Expect;
use super::histogram::EncodedHistogram;
use super::plan::{ConnectPacing, Mode, Plan};
use super::record::{
    Bytes, Connections, Histograms, LoadModel, ModeName, Points, Record, Requests, SCHEMA,
    Settings, TargetRecord, Verdict,
};
use super::resources::{Kernel, KernelState, Machine, Server, Tester, round};
use super::route::Route;
use super::stats::{Percentiles, TargetCounts, TlsStats};
use super::sysinfo::{self, Host};
use super::usage::StateSample;

/// Result of a run, with its settings.
pub(super) struct RunResult<'a> {
    pub(super) plan: &'a Plan,
    /// One for each target, the first one first.
    pub(super) routes: &'a [Route],
    pub(super) host: Host,
    /// Version of the server, as its STATUS says; `None` is unknown.
    pub(super) server_version: Option<String>,
    pub(super) run: Run,
}

impl RunResult<'_> {
    /// The record of the run.
    pub(super) fn record(mut self) -> Record {
        let stats = &self.run.stats;
        let counts = stats.counts;
        let mode = self.plan.mode.name();
        let seconds = |ns: u64| ns as f64 / 1e9;
        let mut record = Record {
            schema: SCHEMA,
            mode,
            target: self.plan.target.url.clone(),
            command: self.plan.command.clone(),
            settings: self.settings(),
            host: self.host.clone(),
            parts: None,
            connections: Connections {
                wanted: u64::from(self.plan.mode.connections()),
                opened: self.opened_in_ramp(),
                failed: counts.failed,
                dropped: counts.dropped,
                held: self.run.held,
            },
            requests: Requests {
                sent: counts.sent,
                answered: counts.answered,
                unanswered: self.run.unanswered,
                unsent: self.run.unsent,
            },
            deliveries: counts.deliveries,
            targets: self.targets(),
            bytes: Bytes { sent: counts.bytes_sent, received: counts.bytes_received },
            rate_per_sec: self.rate_per_sec(),
            ramp_secs: seconds(self.run.ramp_ns),
            measured_secs: seconds(self.run.measured_ns),
            latency_us: Percentiles::default(),
            connect_us: Percentiles::default(),
            tls: self.tls(),
            errors: stats.errors.iter().map(|(name, found)| (name.clone(), found.count)).collect(),
            error_times: stats
                .errors
                .iter()
                .map(|(name, found)| {
                    (name.clone(), (seconds(found.first_at), seconds(found.last_at)))
                })
                .collect(),
            refusal: stats.refusal.clone(),
            reason: stats.reason.clone(),
            interrupted: self.run.interrupted,
            tester_lag_us: Percentiles::default(),
            left_late_us: Percentiles::default(),
            server: self.server(),
            kernel: self.kernel(),
            storm: None,
            wake: None,
            tester: self.tester(),
            machine: self.machine(),
            verdict: Verdict::default(),
            series: stats.series.clone(),
            points: self.points(),
            histograms: Histograms {
                latency: EncodedHistogram(stats.latency().clone()),
                connect: EncodedHistogram(stats.connect.clone()),
                tester_lag: EncodedHistogram(stats.lag.clone()),
                left_late: EncodedHistogram(stats.left_late.clone()),
                seconds: stats.seconds.clone(),
            },
        };
        // Not copied: the histograms of a thousand storms have pages that nothing has written to.
        let (storms, steps) = (take(&mut self.run.storms), take(&mut self.run.wake_steps));
        record.storm = (mode == ModeName::Storm).then_some(storms);
        record.wake = (mode == ModeName::Wake).then_some(steps);
        record.derive()
    }

    /// Rate per second of connections opened in the ramp, answers (`echo`) or deliveries (`fanout`).
    fn rate_per_sec(&self) -> f64 {
        let (count, ns) = match self.plan.mode {
            Mode::Echo { .. } => (self.run.measured.answered, self.run.measured_ns),
            Mode::Fanout { .. } => (self.run.measured.deliveries, self.run.measured_ns),
            _ => (self.opened_in_ramp(), self.run.ramp_ns),
        };
        if ns == 0 { 0.0 } else { round(count as f64 * 1e9 / ns as f64) }
    }

    /// Connections opened without those that came back in storms.
    fn opened_in_ramp(&self) -> u64 {
        let came_back: u64 = self.run.storms.iter().map(|storm| storm.connected).sum();
        self.run.stats.counts.opened.saturating_sub(came_back)
    }

    /// Figures of TLS, where the target speaks it.
    fn tls(&self) -> Option<TlsStats> {
        #[cfg(feature = "tls")]
        let is_tls = !self.plan.tls.is_empty();
        #[cfg(not(feature = "tls"))]
        let is_tls = false;
        is_tls.then(|| self.run.stats.tls.clone().unwrap_or_default())
    }

    fn server(&self) -> Server {
        let (run, usage) = (&self.run, &self.run.usage);
        let cpu = usage.cpu.server;
        Server {
            version: self.server_version.clone(),
            rss_bytes_before: run.rss_before,
            rss_bytes_opened: usage.server_rss_opened,
            rss_bytes_held: run.rss_held,
            rss_bytes_closed: usage.server_rss_closed,
            cpu_user_secs: cpu.map(|cpu| secs(cpu.user_ns)),
            cpu_system_secs: cpu.map(|cpu| secs(cpu.system_ns)),
            cpu_tick_secs: cpu.map(|_| secs(sysinfo::tick_ns())),
            ..Server::default()
        }
    }

    fn tester(&self) -> Tester {
        let usage = &self.run.usage;
        let cpu = usage.cpu.tester;
        Tester {
            cpu_user_secs: cpu.map(|cpu| secs(cpu.user_ns)),
            cpu_system_secs: cpu.map(|cpu| secs(cpu.system_ns)),
            wait_secs: usage.cpu.tester_wait_ns.map(secs),
            rss_bytes_before: usage.tester_rss_before,
            rss_bytes_held: usage.tester_rss_held,
            ..Tester::default()
        }
    }

    fn machine(&self) -> Machine {
        let cpu = &self.run.usage.cpu;
        let whole = cpu.machine.filter(|machine| machine.total_ns > 0);
        let phase = Some(self.run.measured_ns).filter(|ns| *ns > 0);
        let share = |part: u64, whole: u64| part as f64 / whole as f64;
        Machine {
            programs_secs: whole.map(|machine| secs(machine.programs_ns)),
            total_secs: whole.map(|machine| secs(machine.total_ns)),
            busy_by_others_share: None,
            pressure_share: cpu.pressure_ns.zip(phase).map(|(part, all)| share(part, all).min(1.0)),
            steal_share: whole.map(|machine| share(machine.steal_ns, machine.total_ns)),
        }
    }

    fn kernel(&self) -> Kernel {
        let (before, held) = (self.run.kernel_before, self.run.kernel_held);
        // Those of TCP: the kernel does not tell what Unix sockets have.
        let is_tcp = self.routes.iter().any(|route| route.address.ip().is_some());
        let state = |sample: &StateSample| KernelState {
            state: sample.state,
            connections: sample.connections,
            slab_bytes: sample.memory.slab_bytes,
            unreclaimable_bytes: sample.memory.unreclaimable_bytes,
            buffer_bytes: sample.memory.buffer_bytes.filter(|_| is_tcp),
            sockets: sample.memory.sockets.filter(|_| is_tcp),
            slab_bytes_per_connection: None,
            buffer_bytes_per_connection: None,
        };
        Kernel {
            slab_bytes_before: before.slab_bytes,
            slab_bytes_held: held.slab_bytes,
            buffer_bytes_before: before.buffer_bytes.filter(|_| is_tcp),
            buffer_bytes_held: held.buffer_bytes.filter(|_| is_tcp),
            unreclaimable_bytes_before: before.unreclaimable_bytes,
            unreclaimable_bytes_held: held.unreclaimable_bytes,
            sockets_before: before.sockets.filter(|_| is_tcp),
            states: self.run.usage.states.iter().map(state).collect(),
            buffer_reserve_bytes: sysinfo::buffer_reserve_bytes().filter(|_| is_tcp),
            ends: self.ends_here(),
            ..Kernel::default()
        }
    }

    /// Number of ends of each connection on this machine.
    fn ends_here(&self) -> u32 {
        let is_here = |Route { address, sources }: &Route| {
            address.ip().is_none_or(|ip| ip.is_loopback() || sources.addresses().contains(&ip))
        };
        if self.routes.iter().all(is_here) { 2 } else { 1 }
    }

    /// The local addresses of connections: those of the target that needs most.
    fn source_ips(&self) -> &[IpAddr] {
        let all = self.routes.iter().map(|route| route.sources.addresses());
        all.max_by_key(|addresses| addresses.len()).unwrap_or_default()
    }

    /// Several targets with their counts, that of the publisher first; none if there is one.
    fn targets(&self) -> Option<Vec<TargetRecord>> {
        let targets = self.plan.targets().zip(&self.run.targets).zip(self.routes);
        let record = targets.map(|((target, counts), route)| {
            let TargetCounts { opened, deliveries, lost } = *counts;
            let (target, address) = (target.url.clone(), route.address.to_string());
            TargetRecord { target, address, opened, deliveries, lost }
        });
        self.plan.spread().is_over_several().then(|| record.collect())
    }

    fn points(&self) -> Points {
        let stats = &self.run.stats;
        let seconds = |ns: u64| ns as f64 / 1e9;
        let phases = stats.phases.iter().map(|(phase, at, open)| (*phase, seconds(*at), *open));
        let memory = stats.memory.iter().map(|point| (point.connected, point.rss_bytes));
        Points {
            phases: phases.collect(),
            connected: stats.open_points.iter().map(|(at, open)| (seconds(*at), *open)).collect(),
            memory: memory.collect(),
        }
    }

    fn settings(&self) -> Settings {
        let (plan, mode) = (self.plan, self.plan.mode);
        let load = self.plan.load_model();
        let (connects_per_sec, ramp_secs) = match plan.pacing {
            ConnectPacing::PerSec(rate) => (Some(rate), None),
            ConnectPacing::Ramp(ramp) => (None, seconds(ramp)),
        };
        let escape = |bytes: &[u8]| EscapedBytes(bytes).to_string();
        let (expect, expect_bytes) = match plan.exchange.as_ref().map(|given| &given.expect) {
            None => (None, None),
            Some(Expect::Bytes(bytes)) => (Some(escape(bytes)), None),
            Some(Expect::Len(len)) => (None, Some(*len)),
        };
        let mut settings = Settings {
            address: self.routes[0].address.to_string(),
            connections: mode.connections(),
            subscribers: None,
            depth: None,
            size: (load != LoadModel::None).then_some(plan.request_bytes()),
            batch: None,
            send: plan.exchange.as_ref().map(|exchange| escape(&exchange.send)),
            expect,
            expect_bytes,
            greeting: plan.greeting.as_deref().map(escape),
            load,
            requests_per_sec: mode.requests_per_sec().filter(|_| load != LoadModel::None),
            connects_per_sec,
            ramp_secs,
            hold_secs: None,
            duration_secs: None,
            times: None,
            spread_secs: None,
            orderly: None,
            timeout_secs: None,
            backoff: None,
            bystanders: None,
            sample: None,
            jobs: plan.jobs,
            server_pid: plan.server_pid,
            source_ips: self.source_ips().iter().map(ToString::to_string).collect(),
            max_errors: plan.errors_max,
            max_p99_ms: plan.p99_ms_max,
        };
        match mode {
            Mode::Idle { hold, .. } => settings.hold_secs = seconds(hold),
            Mode::Echo { depth, duration, .. } => {
                settings.depth = Some(depth);
                settings.duration_secs = seconds(duration);
            }
            Mode::Fanout { subscribers, batch, duration, .. } => {
                settings.subscribers = Some(subscribers);
                settings.batch = Some(batch);
                settings.duration_secs = seconds(duration);
            }
            Mode::Storm {
                times,
                spread,
                is_orderly,
                has_backoff,
                timeout,
                bystanders,
                hold,
                ..
            } => {
                settings.hold_secs = seconds(hold);
                settings.times = Some(times);
                settings.spread_secs = seconds(spread);
                settings.orderly = Some(is_orderly);
                settings.timeout_secs = seconds(timeout);
                settings.backoff = Some(has_backoff);
                settings.bystanders = Some(bystanders);
            }
            Mode::Wake { hold, sample, .. } => {
                settings.hold_secs = seconds(hold);
                settings.sample = Some(sample);
            }
        }
        settings
    }
}

fn secs(ns: u64) -> f64 {
    ns as f64 / 1e9
}

/// Seconds, as an integer where they are whole.
fn seconds(time: Duration) -> Option<Number> {
    if time.subsec_nanos() == 0 {
        return Some(time.as_secs().into());
    }
    Number::from_f64(time.as_secs_f64())
}
