//! The plan of a run: target, mode, outputs and thresholds. Knows no command line.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::exchange::Exchange;
use super::record::{LoadModel, ModeName};
use super::route::Spread;
use super::share::Share;
use super::target::{Protocol, Target};
#[cfg(feature = "tls")]
use crate::tls::client::ClientTls;

/// Payload of a probe, in bytes.
const PROBE_BYTES: u32 = 64;

/// The settings of a run.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Plan {
    /// The target; of several, the one that a fan-out publishes to.
    pub(super) target: Target,
    /// Targets over which the subscribers of a fan-out are spread; none if they are at `target`.
    pub(super) subscriber_targets: Vec<Target>,
    /// TLS of each target, where the URLs ask for it; else none.
    #[cfg(feature = "tls")]
    pub(super) tls: Vec<ClientTls>,
    pub(super) mode: Mode,
    /// Request and reply of `tcp://`; `None` if it is connected to only.
    pub(super) exchange: Option<Exchange>,
    /// The text that ends what a `tcp://` server says first; `None` if nothing is awaited.
    pub(super) greeting: Option<Vec<u8>>,
    pub(super) pacing: ConnectPacing,
    /// Processes that share the connections; 1 is this one.
    pub(super) jobs: u32,
    /// Share of this process, where there are several; `mode` then has what it does itself.
    pub(super) share: Share,
    /// Process whose memory and CPU are watched.
    pub(super) server_pid: Option<u32>,
    pub(super) source_ips: Vec<IpAddr>,
    pub(super) json: Option<JsonOutput>,
    pub(super) csv: Option<PathBuf>,
    pub(super) report: Option<PathBuf>,
    pub(super) errors_max: u64,
    pub(super) p99_ms_max: Option<f64>,
    pub(super) quiet: bool,
    /// The command line, to be pasted into a shell.
    pub(super) command: String,
}

/// The place of the JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum JsonOutput {
    /// Standard output. The summary is on standard error then.
    Stdout,
    File(PathBuf),
}

impl JsonOutput {
    /// The file; `None` of standard output.
    pub(super) fn path(&self) -> Option<&Path> {
        match self {
            JsonOutput::Stdout => None,
            JsonOutput::File(path) => Some(path),
        }
    }
}

impl Plan {
    /// The plan of process `job`, from 0, of [`jobs`](Self::jobs): its share of the connections, of
    /// those that are woken, and of what is due. Bystanders of a storm are in the first one.
    pub(super) fn of_job(&self, job: u32) -> Plan {
        let share = Share::new(job, self.jobs, self.mode.shared_connections());
        let own = |count: &mut u32| {
            // At most as many.
            *count = u32::try_from(share.count((*count).into())).unwrap_or(*count);
        };
        let mut mode = self.mode;
        match &mut mode {
            Mode::Idle { connections, .. } | Mode::Echo { connections, .. } => own(connections),
            Mode::Storm { connections, bystanders, .. } => {
                own(connections);
                *bystanders = if job == 0 { *bystanders } else { 0 };
            }
            Mode::Wake { connections, sample, .. } => {
                own(connections);
                own(sample);
            }
            Mode::Fanout { .. } => {}
        }
        // What the machine has is watched by the parent.
        Plan { mode, share, server_pid: None, ..self.clone() }
    }

    /// All targets, the first one first.
    pub(super) fn targets(&self) -> impl Iterator<Item = &Target> {
        std::iter::once(&self.target).chain(&self.subscriber_targets)
    }

    /// The load model; none where there is nobody to send, or nothing.
    pub(super) fn load_model(&self) -> LoadModel {
        let has_requests = self.target.protocol != Protocol::Tcp || self.exchange.is_some();
        match self.mode {
            Mode::Storm { bystanders: 0, .. } => LoadModel::None,
            Mode::Storm { .. } if !has_requests => LoadModel::None,
            mode => mode.load_model(),
        }
    }

    /// Payload of a request, in bytes; of a given exchange, all of it.
    pub(super) fn request_bytes(&self) -> u32 {
        self.exchange.as_ref().map_or(self.mode.size(), Exchange::request_bytes)
    }

    /// Bytes of a request or of its answer, whichever is longer.
    pub(super) fn exchange_bytes(&self) -> u64 {
        self.exchange.as_ref().map_or(self.mode.size().into(), Exchange::bytes_max)
    }

    /// How the connections are spread over the targets.
    pub(super) fn spread(&self) -> Spread {
        Spread::new(1 + self.subscriber_targets.len())
    }

    /// Whether standard output has the JSON instead of the summary.
    pub(super) fn has_json_on_stdout(&self) -> bool {
        self.json == Some(JsonOutput::Stdout)
    }
}

/// The pace of connects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ConnectPacing {
    /// Connects a second, as a token bucket allows them.
    PerSec(u64),
    /// All connects, spread evenly over this time.
    Ramp(Duration),
}

/// The mode, with its settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    Idle {
        connections: u32,
        hold: Duration,
        /// Echoes a second, spread over the idle connections.
        probe_per_sec: Option<u64>,
    },
    Echo {
        connections: u32,
        /// Most requests in flight on each connection.
        depth: u32,
        size: u32,
        duration: Duration,
        /// Requests a second over all connections; `None` is closed-loop.
        rate_per_sec: Option<u64>,
    },
    Fanout {
        subscribers: u32,
        size: u32,
        /// Messages published together.
        batch: u32,
        duration: Duration,
    },
    Storm {
        /// Connections that are dropped and come back, without the bystanders.
        connections: u32,
        times: u32,
        /// Time over which they come back; zero is at once.
        spread: Duration,
        /// They are closed in order, instead of by reset.
        is_orderly: bool,
        /// A refused connect is tried again after an exponential backoff with jitter, else at once.
        has_backoff: bool,
        /// Longest storm, from when the last connection was due to come back.
        timeout: Duration,
        /// Further connections, which stay.
        bystanders: u32,
        /// Requests a second of the bystanders.
        probe_per_sec: u64,
        /// Time before each storm, and after the last.
        hold: Duration,
    },
    Wake {
        connections: u32,
        /// The longest sleep.
        hold: Duration,
        /// Connections that are woken, over all sleeps.
        sample: u32,
    },
}

/// Pattern of requests and answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pattern {
    /// Each request is answered on its own connection.
    Echo,
    /// One connection publishes, all others receive.
    Fanout,
}

impl Mode {
    pub(super) fn name(self) -> ModeName {
        match self {
            Mode::Idle { .. } => ModeName::Idle,
            Mode::Echo { .. } => ModeName::Echo,
            Mode::Fanout { .. } => ModeName::Fanout,
            Mode::Storm { .. } => ModeName::Storm,
            Mode::Wake { .. } => ModeName::Wake,
        }
    }

    /// Number of connections, a publisher and bystanders included.
    pub(super) fn connections(self) -> u32 {
        match self {
            Mode::Idle { connections, .. }
            | Mode::Echo { connections, .. }
            | Mode::Wake { connections, .. } => connections,
            Mode::Fanout { subscribers, .. } => subscribers + 1,
            Mode::Storm { connections, bystanders, .. } => connections.saturating_add(bystanders),
        }
    }

    /// How many times all connections but the bystanders take local ports, before those that they had
    /// are free again: a connection that the tester closes in order keeps its port for a minute
    /// (TIME_WAIT; RFC 9293, 3.6).
    pub(super) fn generations(self) -> u32 {
        const TIME_WAIT_SECS: u64 = 60;
        match self {
            Mode::Storm { is_orderly: true, times, hold, .. } => {
                let within = TIME_WAIT_SECS / hold.as_secs().max(1) + 1;
                1 + times.min(u32::try_from(within).unwrap_or(u32::MAX))
            }
            _ => 1,
        }
    }

    /// Number of local ports of all connections.
    pub(super) fn ports(self) -> u64 {
        let again = match self {
            Mode::Storm { connections, .. } => {
                u64::from(connections) * u64::from(self.generations() - 1)
            }
            _ => 0,
        };
        u64::from(self.connections()) + again
    }

    /// Number of connections that processes can share: those of a fan-out are one publisher's.
    pub(super) fn shared_connections(self) -> u32 {
        match self {
            Mode::Idle { connections, .. }
            | Mode::Echo { connections, .. }
            | Mode::Wake { connections, .. }
            | Mode::Storm { connections, .. } => connections,
            Mode::Fanout { .. } => 1,
        }
    }

    /// Payload of a request, in bytes.
    pub(super) fn size(self) -> u32 {
        match self {
            Mode::Idle { .. } | Mode::Storm { .. } | Mode::Wake { .. } => PROBE_BYTES,
            Mode::Echo { size, .. } | Mode::Fanout { size, .. } => size,
        }
    }

    /// Most requests in flight on one connection.
    pub(super) fn depth(self) -> u32 {
        match self {
            Mode::Idle { .. } | Mode::Storm { .. } | Mode::Wake { .. } => 1,
            Mode::Echo { depth, .. } => depth,
            Mode::Fanout { batch, .. } => batch,
        }
    }

    pub(super) fn pattern(self) -> Pattern {
        if matches!(self, Mode::Fanout { .. }) { Pattern::Fanout } else { Pattern::Echo }
    }

    /// Length of the hold or the traffic.
    pub(super) fn duration(self) -> Duration {
        match self {
            Mode::Idle { hold, .. } | Mode::Wake { hold, .. } | Mode::Storm { hold, .. } => hold,
            Mode::Echo { duration, .. } | Mode::Fanout { duration, .. } => duration,
        }
    }

    /// [`duration`](Self::duration) in nanoseconds.
    pub(super) fn ns(self) -> u64 {
        u64::try_from(self.duration().as_nanos()).unwrap_or(u64::MAX)
    }

    pub(super) fn load_model(self) -> LoadModel {
        match self {
            Mode::Idle { probe_per_sec: None, .. } => LoadModel::None,
            Mode::Idle { .. }
            | Mode::Echo { rate_per_sec: Some(_), .. }
            | Mode::Storm { .. }
            | Mode::Wake { .. } => LoadModel::Open,
            Mode::Echo { .. } | Mode::Fanout { .. } => LoadModel::Closed,
        }
    }

    /// Requests a second in an open loop, else `None`.
    pub(super) fn requests_per_sec(self) -> Option<u64> {
        match self {
            Mode::Idle { probe_per_sec, .. } => probe_per_sec,
            Mode::Echo { rate_per_sec, .. } => rate_per_sec,
            Mode::Storm { probe_per_sec, .. } => Some(probe_per_sec),
            Mode::Fanout { .. } | Mode::Wake { .. } => None,
        }
    }
}
