//! Resources in a record: memory and processor time of server and tester, memory of the kernel, load
//! of the machine. Each type says how those of several records become one: [`merge`](Server::merge)
//! takes what was measured, and [`Record::derive`](super::record::Record::derive) computes the rest.

use serde::{Deserialize, Serialize};

use super::sysinfo::SocketCounts;

/// Fewest bytes that a connection takes: a server keeps a descriptor and a pointer for each.
const CONNECTION_BYTES_MIN: u64 = 16;

/// Smallest growth of a process that is one. A few pages come and go on their own.
const GROWTH_BYTES_MIN: u64 = 32 * 1024;

/// Fewest bytes that a socket takes in slabs: the smallest of Linux (`struct tcp_sock`) has over 2,000.
const SOCKET_BYTES_MIN: f64 = 1_000.0;

/// Fewest connections by which the tester's growth is divided: some hundred kilobytes of it are
/// histograms and buffers, whatever their number.
const TESTER_CONNECTIONS_MIN: u64 = 1_000;

/// Fewest sockets whose share of the kernel's memory is told: its sums are off by some hundred objects,
/// those that each processor keeps for itself.
const SOCKETS_MIN: u64 = 500;

/// Fewest clock ticks of processor time that are told. Each edge of the phase is off by one.
pub(super) const TICKS_MIN: f64 = 10.0;

/// Memory and processor time of the server, and its version.
///
/// Memory is without the pages of files.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Server {
    /// As its STATUS says.
    pub(super) version: Option<String>,
    /// Before the first connect.
    pub(super) rss_bytes_before: Option<u64>,
    /// With all connections open, before the first request.
    #[serde(default)]
    pub(super) rss_bytes_opened: Option<u64>,
    /// At the end of the hold or the traffic.
    pub(super) rss_bytes_held: Option<u64>,
    /// After all connections are closed.
    #[serde(default)]
    pub(super) rss_bytes_closed: Option<u64>,
    pub(super) bytes_per_connection: Option<f64>,
    /// Of the hold or the traffic, as are the next.
    #[serde(default)]
    pub(super) cpu_user_secs: Option<f64>,
    #[serde(default)]
    pub(super) cpu_system_secs: Option<f64>,
    /// Length of a clock tick, in which its processor time is counted.
    #[serde(default)]
    pub(super) cpu_tick_secs: Option<f64>,
    /// Share of one processor.
    #[serde(default)]
    pub(super) busy_share: Option<f64>,
    /// A request, or in `fanout` a delivery. `None` if it used less than [`TICKS_MIN`].
    #[serde(default)]
    pub(super) cpu_us_per_request: Option<f64>,
    /// A connection held and second, where there are no requests. `None` as above.
    #[serde(default)]
    pub(super) cpu_us_per_connection_sec: Option<f64>,
}

/// Processor time and memory of the tester.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Tester {
    /// Of the hold or the traffic, as are the next; over all processes.
    pub(super) cpu_user_secs: Option<f64>,
    pub(super) cpu_system_secs: Option<f64>,
    /// Time for which it could have run and waited for a processor.
    pub(super) wait_secs: Option<f64>,
    /// Share of one processor; of the busiest process.
    pub(super) busy_share: Option<f64>,
    /// Share of the time for which it waited for a processor; of the process that waited most.
    pub(super) wait_share: Option<f64>,
    /// Anonymous memory before the first connect, and at the end of the hold or the traffic.
    pub(super) rss_bytes_before: Option<u64>,
    pub(super) rss_bytes_held: Option<u64>,
    pub(super) bytes_per_connection: Option<f64>,
}

/// Load of the tester's machine in the hold or the traffic.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Machine {
    /// Processor time of all programs, those of the run included.
    pub(super) programs_secs: Option<f64>,
    /// Time of all processors, idle time included.
    pub(super) total_secs: Option<f64>,
    /// Share of all processors that programs other than tester and server used. `None` if the server
    /// is on this machine and not known.
    pub(super) busy_by_others_share: Option<f64>,
    /// Share of the time in which a program waited for a processor.
    pub(super) pressure_share: Option<f64>,
    /// Share of all processors that the hypervisor withheld.
    pub(super) steal_share: Option<f64>,
}

/// State of the connections when the kernel's memory was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum State {
    /// Their connects are pending.
    Connecting,
    /// Open, before the first request.
    Open,
    /// With the most data in buffers of the hold or the traffic.
    Data,
    /// At the end of the hold or the traffic.
    Held,
    /// After the end.
    Closed,
}

impl State {
    /// The name of such connections in tables.
    pub(super) fn description(self) -> &'static str {
        match self {
            State::Connecting => "connecting",
            State::Open => "open, before the first request",
            State::Data => "with most data under way",
            State::Held => "at the end of the phase",
            State::Closed => "closed",
        }
    }
}

/// Memory and sockets in the kernel with connections in one state; of the machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct KernelState {
    pub(super) state: State,
    pub(super) connections: u64,
    /// Not read in `data`.
    pub(super) slab_bytes: Option<u64>,
    pub(super) unreclaimable_bytes: Option<u64>,
    pub(super) buffer_bytes: Option<u64>,
    pub(super) sockets: Option<SocketCounts>,
    /// Growth over the connections since before the first connect.
    pub(super) slab_bytes_per_connection: Option<f64>,
    pub(super) buffer_bytes_per_connection: Option<f64>,
}

/// Memory of sockets in the kernel, of all programs of the machine.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Kernel {
    pub(super) slab_bytes_before: Option<u64>,
    pub(super) slab_bytes_held: Option<u64>,
    pub(super) buffer_bytes_before: Option<u64>,
    pub(super) buffer_bytes_held: Option<u64>,
    /// Growth of the slabs over the connections held.
    pub(super) slab_bytes_per_connection: Option<f64>,
    pub(super) buffer_bytes_per_connection: Option<f64>,
    /// Ends of each connection on this machine.
    pub(super) ends: u32,
    /// All slabs that are not caches, of sockets and all else (`SUnreclaim`).
    #[serde(default)]
    pub(super) unreclaimable_bytes_before: Option<u64>,
    #[serde(default)]
    pub(super) unreclaimable_bytes_held: Option<u64>,
    #[serde(default)]
    pub(super) unreclaimable_bytes_per_connection: Option<f64>,
    #[serde(default)]
    pub(super) sockets_before: Option<SocketCounts>,
    #[serde(default)]
    pub(super) states: Vec<KernelState>,
    /// Memory that the kernel may keep in buffers of no connection, as a reserve of each processor.
    #[serde(default)]
    pub(super) buffer_reserve_bytes: Option<u64>,
    /// Why there is no figure a connection.
    #[serde(default)]
    pub(super) not_measured: Option<String>,
}

/// The run that the figures are derived for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape {
    /// Connections held at the end.
    pub(super) held: u64,
    /// Requests or deliveries of the measured phase that the server's time was used for, or none.
    pub(super) requests: u64,
    /// Seconds of all connections that it was used for where there are no requests, or none.
    pub(super) connection_secs: f64,
    pub(super) measured_secs: f64,
}

/// Reason why parts together have no figures of a kernel.
const SEVERAL_MACHINES: &str = "the parts ran on several machines";

impl Server {
    /// Merges the watch of the same process by another part: each part saw all of what it used, so the
    /// least of before and the most of the rest are what the run took. A part on another machine has
    /// watched nothing.
    pub(super) fn merge(&mut self, other: &Server) {
        self.version = self.version.take().or_else(|| other.version.clone());
        self.rss_bytes_before = least(self.rss_bytes_before, other.rss_bytes_before);
        self.rss_bytes_opened = self.rss_bytes_opened.max(other.rss_bytes_opened);
        self.rss_bytes_held = self.rss_bytes_held.max(other.rss_bytes_held);
        self.rss_bytes_closed = least(self.rss_bytes_closed, other.rss_bytes_closed);
        self.cpu_user_secs = most(self.cpu_user_secs, other.cpu_user_secs);
        self.cpu_system_secs = most(self.cpu_system_secs, other.cpu_system_secs);
        self.cpu_tick_secs = most(self.cpu_tick_secs, other.cpu_tick_secs);
    }

    /// Computes the figures a connection and a request.
    pub(super) fn derive(&mut self, shape: Shape) {
        self.bytes_per_connection = grown(self.rss_bytes_before, self.rss_bytes_held, shape.held);
        let cpu = self.cpu_secs();
        self.busy_share = share(cpu, Some(shape.measured_secs));
        let cpu = cpu.filter(|_| self.has_enough_ticks());
        let per = |count: f64| cpu.filter(|_| count > 0.0).map(|secs| round3(secs * 1e6 / count));
        self.cpu_us_per_request = per(shape.requests as f64);
        self.cpu_us_per_connection_sec = per(shape.connection_secs);
    }

    /// Processor time of user and system together.
    pub(super) fn cpu_secs(&self) -> Option<f64> {
        Some(self.cpu_user_secs? + self.cpu_system_secs?)
    }

    /// Whether it used as many clock ticks as a figure needs.
    pub(super) fn has_enough_ticks(&self) -> bool {
        let least = self.cpu_tick_secs.map(|tick| tick * TICKS_MIN);
        // Sums of ticks have rounding errors in their last digits.
        self.cpu_secs().zip(least).is_some_and(|(secs, least)| secs >= least - 1e-6)
    }
}

impl Tester {
    /// Merges the figures of another process: times and memory are sums, shares those of the busiest.
    pub(super) fn merge(&mut self, other: &Tester) {
        self.cpu_user_secs = sum(self.cpu_user_secs, other.cpu_user_secs);
        self.cpu_system_secs = sum(self.cpu_system_secs, other.cpu_system_secs);
        self.wait_secs = sum(self.wait_secs, other.wait_secs);
        self.busy_share = most(self.busy_share, other.busy_share);
        self.wait_share = most(self.wait_share, other.wait_share);
        let both = |a: Option<u64>, b: Option<u64>| Some(a?.saturating_add(b?));
        self.rss_bytes_before = both(self.rss_bytes_before, other.rss_bytes_before);
        self.rss_bytes_held = both(self.rss_bytes_held, other.rss_bytes_held);
    }

    /// Computes the shares, unless they are those of the busiest of several, and memory a connection.
    pub(super) fn derive(&mut self, shape: Shape) {
        let secs = Some(shape.measured_secs);
        self.busy_share = self.busy_share.or_else(|| share(self.cpu_secs(), secs));
        self.wait_share = self.wait_share.or_else(|| share(self.wait_secs, secs));
        let each = grown(self.rss_bytes_before, self.rss_bytes_held, shape.held);
        self.bytes_per_connection = each.filter(|_| shape.held >= TESTER_CONNECTIONS_MIN);
    }

    /// Processor time of user and system together.
    pub(super) fn cpu_secs(&self) -> Option<f64> {
        Some(self.cpu_user_secs? + self.cpu_system_secs?)
    }
}

impl Machine {
    /// Merges the figures of another part. Parts on one machine have seen the same; of several
    /// machines, the worst shares stay, and the sums say nothing.
    pub(super) fn merge(&mut self, other: &Machine, is_same_machine: bool) {
        // Sums that were left out once stay so, whatever comes behind them.
        let of_both = |a: Option<f64>, b: Option<f64>| {
            a.zip(b).map(|(a, b)| a.max(b)).filter(|_| is_same_machine)
        };
        self.programs_secs = of_both(self.programs_secs, other.programs_secs);
        self.total_secs = of_both(self.total_secs, other.total_secs);
        let others = most(self.busy_by_others_share, other.busy_by_others_share);
        self.busy_by_others_share = others;
        self.pressure_share = most(self.pressure_share, other.pressure_share);
        self.steal_share = most(self.steal_share, other.steal_share);
    }

    /// Computes what others used. `is_server_here`: the server is a program of this machine.
    pub(super) fn derive(&mut self, tester: &Tester, server: &Server, is_server_here: bool) {
        let (Some(programs), Some(total)) = (self.programs_secs, self.total_secs) else { return };
        let server_secs = if is_server_here { server.cpu_secs() } else { Some(0.0) };
        let known = tester.cpu_secs().zip(server_secs).map(|(tester, server)| tester + server);
        let others = known.map(|known| (programs - known).max(0.0));
        self.busy_by_others_share = share(others, Some(total));
    }
}

impl Kernel {
    /// Merges the figures of another part: those of one machine are of the same kernel, so the least of
    /// before and the most of the rest are what the run took. Those of several machines say nothing
    /// together: they are left out.
    pub(super) fn merge(&mut self, other: &Kernel, is_same_machine: bool) {
        let is_of_several =
            |kernel: &Kernel| kernel.not_measured.as_deref() == Some(SEVERAL_MACHINES);
        if !is_same_machine || is_of_several(self) || is_of_several(other) {
            let reason = Some(SEVERAL_MACHINES.to_owned());
            let ends = self.ends.min(other.ends);
            *self = Kernel { ends, not_measured: reason, ..Kernel::default() };
            return;
        }
        self.slab_bytes_before = least(self.slab_bytes_before, other.slab_bytes_before);
        self.slab_bytes_held = self.slab_bytes_held.max(other.slab_bytes_held);
        self.buffer_bytes_before = least(self.buffer_bytes_before, other.buffer_bytes_before);
        self.buffer_bytes_held = self.buffer_bytes_held.max(other.buffer_bytes_held);
        let before = least(self.unreclaimable_bytes_before, other.unreclaimable_bytes_before);
        self.unreclaimable_bytes_before = before;
        let held = self.unreclaimable_bytes_held.max(other.unreclaimable_bytes_held);
        self.unreclaimable_bytes_held = held;
        if other.sockets_before.is_some_and(|sockets| {
            self.sockets_before.is_none_or(|ours| sockets.in_use < ours.in_use)
        }) {
            self.sockets_before = other.sockets_before;
        }
        for theirs in &other.states {
            match self.states.iter_mut().find(|ours| ours.state == theirs.state) {
                Some(ours) => ours.merge(theirs),
                None => self.states.push(theirs.clone()),
            }
        }
    }

    /// Computes the figures a connection, or the reason why there are none.
    pub(super) fn derive(&mut self, shape: Shape) {
        let before = (self.slab_bytes_before, self.buffer_bytes_before);
        self.not_measured = self.not_measured.take().or_else(|| self.reason(shape));
        let is_measured = self.not_measured.is_none();
        let each = |before, held| growth_each(before, held, shape.held).filter(|_| is_measured);
        self.slab_bytes_per_connection = each(before.0, self.slab_bytes_held);
        self.buffer_bytes_per_connection = each(before.1, self.buffer_bytes_held);
        let unreclaimable = each(self.unreclaimable_bytes_before, self.unreclaimable_bytes_held);
        self.unreclaimable_bytes_per_connection = unreclaimable;
        for state in &mut self.states {
            state.slab_bytes_per_connection =
                growth_each(before.0, state.slab_bytes, state.connections).filter(|_| is_measured);
            state.buffer_bytes_per_connection =
                growth_each(before.1, state.buffer_bytes, state.connections)
                    .filter(|_| is_measured);
        }
    }

    /// Why the growth is not that of the connections; `None` if it is.
    fn reason(&self, shape: Shape) -> Option<String> {
        let expected = shape.held.saturating_mul(u64::from(self.ends));
        if self.slab_bytes_held.is_none() && self.unreclaimable_bytes_held.is_none() {
            return Some("this system does not tell".to_owned());
        }
        if expected < SOCKETS_MIN {
            return Some(format!("fewer than {SOCKETS_MIN} sockets"));
        }
        if let Some(counted) = self.sockets_opened()
            && counted.abs_diff(expected) > expected / 20
        {
            let (counted, expected) =
                (super::format::count(counted), super::format::count(expected));
            return Some(format!(
                "the machine has {counted} sockets more than before, not {expected}: \
                 other programs opened or closed some"
            ));
        }
        let slab = growth_each(self.slab_bytes_before, self.slab_bytes_held, expected);
        let all =
            growth_each(self.unreclaimable_bytes_before, self.unreclaimable_bytes_held, expected);
        let is_small = slab.or(all).is_none_or(|each| each < SOCKET_BYTES_MIN);
        is_small.then(|| "the kernel's memory did not grow with them".to_owned())
    }

    /// TCP sockets at the end of the hold that there were not before; `None` where that is unknown.
    fn sockets_opened(&self) -> Option<u64> {
        let held = self.state(State::Held)?.sockets?;
        Some(held.in_use.saturating_sub(self.sockets_before?.in_use))
    }

    pub(super) fn state(&self, state: State) -> Option<&KernelState> {
        self.states.iter().find(|known| known.state == state)
    }
}

impl KernelState {
    fn merge(&mut self, other: &KernelState) {
        self.connections = self.connections.saturating_add(other.connections);
        self.slab_bytes = self.slab_bytes.max(other.slab_bytes);
        self.unreclaimable_bytes = self.unreclaimable_bytes.max(other.unreclaimable_bytes);
        self.buffer_bytes = self.buffer_bytes.max(other.buffer_bytes);
        if other.sockets.map(|sockets| sockets.in_use) > self.sockets.map(|sockets| sockets.in_use)
        {
            self.sockets = other.sockets;
        }
    }
}

/// Growth of a process's memory over the connections held, in bytes. `None` if it was not watched, or
/// did not grow with them: a process that had as many before takes them into memory it has.
fn grown(before: Option<u64>, held: Option<u64>, connections: u64) -> Option<f64> {
    let growth = held?.saturating_sub(before?);
    let least = connections.saturating_mul(CONNECTION_BYTES_MIN).max(GROWTH_BYTES_MIN);
    let has_grown = connections > 0 && growth >= least;
    has_grown.then(|| round(growth as f64 / connections as f64))
}

/// Growth over the connections.
fn growth_each(before: Option<u64>, held: Option<u64>, connections: u64) -> Option<f64> {
    let growth = held?.saturating_sub(before?);
    (connections > 0).then(|| round(growth as f64 / connections as f64))
}

fn share(part: Option<f64>, whole: Option<f64>) -> Option<f64> {
    let (part, whole) = (part?, whole?);
    (whole > 0.0).then(|| round3(part / whole))
}

fn least(a: Option<u64>, b: Option<u64>) -> Option<u64> {
    a.into_iter().chain(b).min()
}

fn most(a: Option<f64>, b: Option<f64>) -> Option<f64> {
    a.into_iter().chain(b).reduce(f64::max)
}

fn sum(a: Option<f64>, b: Option<f64>) -> Option<f64> {
    Some(a? + b?)
}

/// Rounds to a tenth: further digits were not measured.
pub(super) fn round(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

fn round3(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: Shape =
        Shape { held: 10_000, requests: 100_000, connection_secs: 0.0, measured_secs: 2.0 };

    fn server(user: f64, system: f64) -> Server {
        Server {
            rss_bytes_before: Some(1_000_000),
            rss_bytes_held: Some(1_570_000),
            cpu_user_secs: Some(user),
            cpu_system_secs: Some(system),
            cpu_tick_secs: Some(0.01),
            ..Server::default()
        }
    }

    fn sockets(in_use: u64) -> Option<SocketCounts> {
        Some(SocketCounts { in_use, ..SocketCounts::default() })
    }

    /// A kernel that `opened` sockets more, of 4,000 bytes each, for 10,000 connections.
    fn kernel(opened: u64) -> Kernel {
        let held = KernelState {
            state: State::Held,
            connections: 10_000,
            slab_bytes: Some(1_000 + opened * 4_000),
            unreclaimable_bytes: None,
            buffer_bytes: Some(50_000),
            sockets: sockets(7 + opened),
            slab_bytes_per_connection: None,
            buffer_bytes_per_connection: None,
        };
        Kernel {
            slab_bytes_before: Some(1_000),
            slab_bytes_held: held.slab_bytes,
            buffer_bytes_before: Some(0),
            buffer_bytes_held: held.buffer_bytes,
            sockets_before: sockets(7),
            states: vec![held],
            ends: 2,
            ..Kernel::default()
        }
    }

    #[test]
    fn server_has_cpu_a_request() {
        let mut server = server(0.1, 0.21);
        server.derive(SHAPE);
        assert_eq!((server.cpu_us_per_request, server.busy_share), (Some(3.1), Some(0.155)));
        assert_eq!(
            (server.bytes_per_connection, server.cpu_us_per_connection_sec),
            (Some(57.0), None)
        );
        server.derive(Shape { requests: 0, connection_secs: 20_000.0, ..SHAPE });
        assert_eq!(
            (server.cpu_us_per_request, server.cpu_us_per_connection_sec),
            (None, Some(15.5))
        );
    }

    #[test]
    fn few_clock_ticks_are_no_figure() {
        for (user, has_figure) in [(0.04, false), (0.05, true)] {
            let mut server = server(user, 0.05);
            server.derive(SHAPE);
            assert_eq!(server.cpu_us_per_request.is_some(), has_figure, "{user}");
        }
        let mut unknown = Server::default();
        unknown.derive(SHAPE);
        assert_eq!(unknown, Server::default());
    }

    #[test]
    fn kernel_has_a_figure_if_the_sockets_are_there() {
        let mut kernel_of_all = kernel(20_000);
        kernel_of_all.derive(SHAPE);
        assert_eq!(kernel_of_all.not_measured, None);
        assert_eq!(kernel_of_all.slab_bytes_per_connection, Some(8_000.0));
        assert_eq!(kernel_of_all.states[0].buffer_bytes_per_connection, Some(5.0));
        for (mut kernel, held, reason) in [
            (kernel(25_000), 10_000, "25,000 sockets more than before, not 20,000: other programs"),
            (kernel(400), 200, "fewer than 500 sockets"),
            (Kernel { slab_bytes_held: Some(9_000), ..kernel(20_000) }, 10_000, "did not grow"),
            (Kernel::default(), 10_000, "this system does not tell"),
        ] {
            kernel.derive(Shape { held, ..SHAPE });
            let found = kernel.not_measured.unwrap();
            assert!(found.contains(reason), "{found}");
            assert_eq!(kernel.slab_bytes_per_connection, None, "{reason}");
        }
    }

    #[test]
    fn kernel_without_slabinfo_has_the_machines_growth() {
        let all = |bytes| Some(bytes);
        let mut kernel = Kernel {
            slab_bytes_before: None,
            slab_bytes_held: None,
            unreclaimable_bytes_before: all(5_000_000),
            unreclaimable_bytes_held: all(95_000_000),
            ..kernel(20_000)
        };
        kernel.derive(SHAPE);
        let figures = (kernel.slab_bytes_per_connection, kernel.unreclaimable_bytes_per_connection);
        assert_eq!((figures, kernel.not_measured), ((None, Some(9_000.0)), None));
    }

    #[test]
    fn processes_of_one_run_are_merged() {
        let tester = |secs, busy| Tester {
            cpu_user_secs: Some(secs),
            cpu_system_secs: Some(secs),
            wait_secs: Some(0.5),
            busy_share: Some(busy),
            rss_bytes_before: Some(1_000_000),
            rss_bytes_held: Some(2_000_000),
            ..Tester::default()
        };
        let mut both = tester(0.5, 0.5);
        both.merge(&tester(0.9, 0.9));
        both.derive(SHAPE);
        assert_eq!(
            (both.cpu_secs(), both.busy_share, both.wait_secs),
            (Some(2.8), Some(0.9), Some(1.0))
        );
        assert_eq!(both.bytes_per_connection, Some(200.0));

        let mut watched = server(0.1, 0.2);
        watched.merge(&Server { rss_bytes_before: Some(1_200_000), ..server(0.11, 0.2) });
        watched.merge(&Server::default());
        assert_eq!(watched, server(0.11, 0.2), "each part saw the whole process");

        let machine = |secs| Machine {
            programs_secs: Some(secs),
            total_secs: Some(4.0),
            pressure_share: Some(secs / 10.0),
            ..Machine::default()
        };
        let mut here = machine(3.5);
        here.merge(&machine(3.6), true);
        here.derive(&both, &watched, true);
        let others = here.busy_by_others_share.unwrap();
        assert!(
            (others - (3.6 - 2.8 - 0.31) / 4.0).abs() < 0.001,
            "{others}: without the siblings"
        );
        assert_eq!(here.pressure_share, Some(0.36));
    }

    #[test]
    fn parts_on_several_machines_keep_the_worst_shares() {
        let machine = |share| Machine {
            programs_secs: Some(1.0),
            total_secs: Some(4.0),
            busy_by_others_share: Some(share),
            steal_share: Some(share / 2.0),
            ..Machine::default()
        };
        let mut apart = machine(0.1);
        apart.merge(&machine(0.4), false);
        apart.derive(&Tester::default(), &Server::default(), false);
        assert_eq!((apart.busy_by_others_share, apart.steal_share), (Some(0.4), Some(0.2)));
        assert_eq!(apart.programs_secs, None);
    }

    #[test]
    fn kernels_of_one_machine_are_one() {
        let mut half = kernel(10_000);
        half.states[0].connections = 5_000;
        half.sockets_before = sockets(9);
        half.merge(&Kernel { slab_bytes_before: Some(2_000), ..kernel(20_000) }, true);
        half.derive(SHAPE);
        assert_eq!((half.not_measured.as_deref(), half.slab_bytes_before), (None, Some(1_000)));
        assert_eq!(half.slab_bytes_per_connection, Some(8_000.0));
        assert_eq!(half.states[0].connections, 15_000);
        half.merge(&kernel(1), false);
        half.derive(SHAPE);
        assert_eq!(half.not_measured.as_deref(), Some("the parts ran on several machines"));
    }
}
