//! The command line: the plan of a run, and the errors in it.

use std::ffi::{OsStr, OsString};
use std::fmt::{self, Write};
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;

use getopts::{Matches, Options};

use super::target::{Protocol, Target, TargetError};
use super::workload::{Pattern, Workload};
use crate::escape::EscapeControl;
use crate::limits::TIMEOUT_SECS_LIMIT;
use crate::protocol::ProtocolName;
use crate::setting::{SettingError, number};

/// Default of `--hold`.
const HOLD_SECS: u64 = 10;

/// Default rate of connects: fast, but a backlog of 511, as Redis has it, does not overflow.
const CONNECTS_PER_SEC: u64 = 10_000;

/// Payload of a probe, in bytes.
const PROBE_BYTES: u32 = 64;

const CONNECTIONS_LIMIT: u32 = 100_000_000;
const RATE_LIMIT: u64 = 10_000_000;
const DEPTH_LIMIT: u32 = 1 << 16;

pub(super) const HELP: &str = "\
Usage: mynah-load MODE --target URL OPTION…

Modes:
  idle     open connections and hold them
      --connections N       how many
      --rate PER_SEC        connects a second (default 10000)
      --hold SECS           how long, once all are open (default 10)
      --probe PER_SEC       echoes a second among the idle ones meanwhile
      --server-pid PID      watch the memory of this process
  echo     requests and their answers
      --connections N       on how many connections
      --depth D             most requests in flight on each
      --size BYTES          of each request
      --duration SECS       for how long
      --rate PER_SEC        requests a second in all, sent when they are due and measured from
                            then (open loop); without it, each waits for an answer (closed loop)
  fanout   one publishes, all others receive (command and chat)
      --subscribers N       how many others
      --size BYTES          of each message
      --batch B             messages published together
      --duration SECS       for how long

Common options:
      --target URL          command://, prefixed://, raw:// or chat://HOST:PORT, as the server
                            listens; tcp://HOST:PORT for any server, which is only connected to
      --source-ip A,B,…     local addresses to connect from, in turn
      --json FILE           write all figures
      --csv FILE            write a row a second
      --report FILE.html    write a page with charts
      --max-errors N        most errors of a run that is met (default 0)
      --max-p99-ms X        longest 99th percentile of a run that is met, in ms
      --quiet               print failures only
  -h, --help   -V, --version

Exit status: 0 met, 1 a threshold missed or the target failed, 2 bad usage.
";

/// A command line that was understood.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Invocation {
    Help,
    Version,
    Run(Box<Plan>),
}

/// The settings of a run.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Plan {
    pub(super) target: Target,
    pub(super) mode: Mode,
    /// Connects a second.
    pub(super) connects_per_sec: u64,
    pub(super) source_ips: Vec<IpAddr>,
    pub(super) json: Option<PathBuf>,
    pub(super) csv: Option<PathBuf>,
    pub(super) report: Option<PathBuf>,
    pub(super) errors_max: u64,
    pub(super) p99_ms_max: Option<f64>,
    pub(super) quiet: bool,
}

/// The mode, with its settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    Idle {
        connections: u32,
        hold_secs: u64,
        /// Echoes a second, spread over the idle connections.
        probe_per_sec: Option<u64>,
        server_pid: Option<u32>,
    },
    Echo {
        connections: u32,
        /// Most requests in flight on each connection.
        depth: u32,
        size: u32,
        duration_secs: u64,
        /// Requests a second over all connections; `None` is closed-loop.
        rate_per_sec: Option<u64>,
    },
    Fanout {
        subscribers: u32,
        size: u32,
        /// Messages published together.
        batch: u32,
        duration_secs: u64,
    },
}

/// Condition under which a request leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LoadModel {
    /// The run has no requests.
    None,
    /// A request leaves when it is due, whether or not earlier ones are answered.
    Open,
    /// A request leaves when an earlier one is answered.
    Closed,
}

impl Mode {
    pub(super) fn name(self) -> &'static str {
        match self {
            Mode::Idle { .. } => "idle",
            Mode::Echo { .. } => "echo",
            Mode::Fanout { .. } => "fanout",
        }
    }

    /// Number of connections, a publisher included.
    pub(super) fn connections(self) -> u32 {
        match self {
            Mode::Idle { connections, .. } | Mode::Echo { connections, .. } => connections,
            Mode::Fanout { subscribers, .. } => subscribers + 1,
        }
    }

    /// Payload of a request, in bytes.
    pub(super) fn size(self) -> u32 {
        match self {
            Mode::Idle { .. } => PROBE_BYTES,
            Mode::Echo { size, .. } | Mode::Fanout { size, .. } => size,
        }
    }

    /// Most requests in flight on one connection.
    pub(super) fn depth(self) -> u32 {
        match self {
            Mode::Idle { .. } => 1,
            Mode::Echo { depth, .. } => depth,
            Mode::Fanout { batch, .. } => batch,
        }
    }

    pub(super) fn pattern(self) -> Pattern {
        if matches!(self, Mode::Fanout { .. }) { Pattern::Fanout } else { Pattern::Echo }
    }

    /// Length of the hold or the traffic.
    pub(super) fn secs(self) -> u64 {
        match self {
            Mode::Idle { hold_secs, .. } => hold_secs,
            Mode::Echo { duration_secs, .. } | Mode::Fanout { duration_secs, .. } => duration_secs,
        }
    }

    pub(super) fn load_model(self) -> LoadModel {
        match self {
            Mode::Idle { probe_per_sec: None, .. } => LoadModel::None,
            Mode::Idle { .. } | Mode::Echo { rate_per_sec: Some(_), .. } => LoadModel::Open,
            Mode::Echo { .. } | Mode::Fanout { .. } => LoadModel::Closed,
        }
    }

    /// Requests a second in an open loop, else `None`.
    pub(super) fn requests_per_sec(self) -> Option<u64> {
        match self {
            Mode::Idle { probe_per_sec, .. } => probe_per_sec,
            Mode::Echo { rate_per_sec, .. } => rate_per_sec,
            Mode::Fanout { .. } => None,
        }
    }

    pub(super) fn server_pid(self) -> Option<u32> {
        match self {
            Mode::Idle { server_pid, .. } => server_pid,
            _ => None,
        }
    }
}

/// An error in the command line.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum UsageError {
    /// An option is unknown, lacks its value, or is given twice; the text is that of getopts.
    Options(String),
    /// An argument follows the mode.
    Argument(String),
    NoMode,
    UnknownMode(String),
    /// An option belongs to another mode.
    NotOfMode {
        option: &'static str,
        mode: &'static str,
    },
    Missing {
        option: &'static str,
        mode: &'static str,
    },
    Target {
        url: String,
        source: TargetError,
    },
    Value {
        option: &'static str,
        source: SettingError,
    },
    /// A value is out of place for a reason of its own.
    Invalid {
        option: &'static str,
        reason: String,
    },
}

impl fmt::Display for UsageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut f = EscapeControl(f);
        match self {
            UsageError::Options(reason) => f.write_str(reason),
            UsageError::Argument(argument) => write!(f, "unexpected argument '{argument}'"),
            UsageError::NoMode => f.write_str("no mode, there are idle, echo and fanout"),
            UsageError::UnknownMode(mode) => {
                write!(f, "unknown mode '{mode}', there are idle, echo and fanout")
            }
            UsageError::NotOfMode { option, mode } => write!(f, "{mode} has no option --{option}"),
            UsageError::Missing { option, mode } => write!(f, "{mode} needs --{option}"),
            UsageError::Target { url, source } => write!(f, "--target {url}: {source}"),
            UsageError::Value { option, source } => write!(f, "--{option}: {source}"),
            UsageError::Invalid { option, reason } => write!(f, "--{option}: {reason}"),
        }
    }
}

/// Options with a value: name, modes, name of the value.
const VALUED: [(&str, &[&str], &str); 17] = [
    ("target", ALL, "URL"),
    ("connections", &["idle", "echo"], "N"),
    ("subscribers", &["fanout"], "N"),
    ("rate", &["idle", "echo"], "PER_SEC"),
    ("hold", &["idle"], "SECS"),
    ("probe", &["idle"], "PER_SEC"),
    ("server-pid", &["idle"], "PID"),
    ("depth", &["echo"], "D"),
    ("size", &["echo", "fanout"], "BYTES"),
    ("batch", &["fanout"], "B"),
    ("duration", &["echo", "fanout"], "SECS"),
    ("source-ip", ALL, "A,B,…"),
    ("json", ALL, "FILE"),
    ("csv", ALL, "FILE"),
    ("report", ALL, "FILE.html"),
    ("max-errors", ALL, "N"),
    ("max-p99-ms", ALL, "X"),
];
const ALL: &[&str] = &["idle", "echo", "fanout"];

impl Invocation {
    /// Reads the command line, without the program's name.
    ///
    /// # Errors
    ///
    /// See [`UsageError`].
    pub(super) fn from_args<A: AsRef<OsStr>>(args: &[A]) -> Result<Self, UsageError> {
        let mut options = Options::new();
        for (name, _, value) in VALUED {
            options.optopt("", name, "", value);
        }
        options.optflag("", "quiet", "");
        options.optflag("h", "help", "");
        options.optflag("V", "version", "");
        let matches =
            options.parse(args).map_err(|error| UsageError::Options(error.to_string()))?;
        if matches.opt_present("help") {
            return Ok(Invocation::Help);
        }
        if matches.opt_present("version") {
            return Ok(Invocation::Version);
        }
        let plan = Args::new(&matches)?.plan()?;
        Ok(Invocation::Run(Box::new(plan)))
    }
}

/// Arguments of a known mode.
struct Args<'a> {
    matches: &'a Matches,
    mode: &'static str,
}

impl<'a> Args<'a> {
    fn new(matches: &'a Matches) -> Result<Self, UsageError> {
        let mut free = matches.free.iter();
        let name = free.next().ok_or(UsageError::NoMode)?;
        let known = ALL.iter().find(|known| *known == name);
        let mode = known.ok_or_else(|| UsageError::UnknownMode(name.clone()))?;
        if let Some(argument) = free.next() {
            return Err(UsageError::Argument(argument.clone()));
        }
        for (option, modes, _) in VALUED {
            if matches.opt_present(option) && !modes.contains(mode) {
                return Err(UsageError::NotOfMode { option, mode });
            }
        }
        Ok(Args { matches, mode })
    }

    fn plan(&self) -> Result<Plan, UsageError> {
        let url = self.required("target")?;
        let target = Target::parse(&url).map_err(|source| UsageError::Target { url, source })?;
        let mode = match self.mode {
            "idle" => self.idle()?,
            "echo" => self.echo(&target)?,
            _ => self.fanout(&target)?,
        };
        let rate = self.optional("rate", 1..=RATE_LIMIT)?;
        let connects_per_sec = rate.filter(|_| self.mode == "idle").unwrap_or(CONNECTS_PER_SEC);
        let plan = Plan {
            connects_per_sec,
            source_ips: self.source_ips()?,
            json: self.path("json")?,
            csv: self.path("csv")?,
            report: self.path("report")?,
            errors_max: self.optional("max-errors", 0..=u64::MAX)?.unwrap_or(0),
            p99_ms_max: self.milliseconds("max-p99-ms")?,
            quiet: self.matches.opt_present("quiet"),
            target,
            mode,
        };
        plan.check()?;
        Ok(plan)
    }

    fn idle(&self) -> Result<Mode, UsageError> {
        Ok(Mode::Idle {
            connections: self.number("connections", 1..=CONNECTIONS_LIMIT)?,
            hold_secs: self.optional("hold", 0..=TIMEOUT_SECS_LIMIT)?.unwrap_or(HOLD_SECS),
            probe_per_sec: self.optional("probe", 1..=RATE_LIMIT)?,
            server_pid: self.optional("server-pid", 1..=u32::MAX)?,
        })
    }

    fn echo(&self, target: &Target) -> Result<Mode, UsageError> {
        Ok(Mode::Echo {
            connections: self.number("connections", 1..=CONNECTIONS_LIMIT)?,
            depth: self.number("depth", 1..=DEPTH_LIMIT)?,
            size: self.size(target)?,
            duration_secs: self.number("duration", 1..=TIMEOUT_SECS_LIMIT)?,
            rate_per_sec: self.optional("rate", 1..=RATE_LIMIT)?,
        })
    }

    fn fanout(&self, target: &Target) -> Result<Mode, UsageError> {
        Ok(Mode::Fanout {
            subscribers: self.number("subscribers", 1..=CONNECTIONS_LIMIT)?,
            size: self.size(target)?,
            batch: self.number("batch", 1..=DEPTH_LIMIT)?,
            duration_secs: self.number("duration", 1..=TIMEOUT_SECS_LIMIT)?,
        })
    }

    fn required(&self, option: &'static str) -> Result<String, UsageError> {
        let value = self.matches.opt_str(option);
        value.ok_or(UsageError::Missing { option, mode: self.mode })
    }

    fn number<N>(&self, option: &'static str, range: RangeInclusive<N>) -> Result<N, UsageError>
    where
        N: std::str::FromStr + PartialOrd + Copy + TryInto<u64>,
    {
        let value = self.required(option)?;
        number(&value, range).map_err(|source| UsageError::Value { option, source })
    }

    fn optional<N>(
        &self,
        option: &'static str,
        range: RangeInclusive<N>,
    ) -> Result<Option<N>, UsageError>
    where
        N: std::str::FromStr + PartialOrd + Copy + TryInto<u64>,
    {
        let given = self.matches.opt_present(option);
        given.then(|| self.number(option, range)).transpose()
    }

    /// A size that the target's protocol can carry. `tcp` has any size here: [`Plan::check`] refuses
    /// the protocol, which is the better reason.
    fn size(&self, target: &Target) -> Result<u32, UsageError> {
        if target.protocol == Protocol::Tcp {
            return self.number("size", 0..=u32::MAX);
        }
        self.number("size", Workload::sizes(target.protocol))
    }

    fn source_ips(&self) -> Result<Vec<IpAddr>, UsageError> {
        let option = "source-ip";
        let Some(list) = self.matches.opt_str(option) else { return Ok(Vec::new()) };
        let invalid = |text: &str| UsageError::Invalid {
            option,
            reason: format!("'{text}' is not an IP address"),
        };
        list.split(',').map(|text| text.parse().map_err(|_| invalid(text))).collect()
    }

    fn path(&self, option: &'static str) -> Result<Option<PathBuf>, UsageError> {
        match self.matches.opt_str(option) {
            Some(path) if path.is_empty() => {
                Err(UsageError::Value { option, source: SettingError::Empty })
            }
            path => Ok(path.map(|path| PathBuf::from(OsString::from(path)))),
        }
    }

    fn milliseconds(&self, option: &'static str) -> Result<Option<f64>, UsageError> {
        let Some(value) = self.matches.opt_str(option) else { return Ok(None) };
        let decimal = value.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
        match value.parse::<f64>() {
            Ok(ms) if decimal && ms.is_finite() && ms > 0.0 => Ok(Some(ms)),
            _ => {
                let reason = format!("'{value}' is not a number of milliseconds above 0");
                Err(UsageError::Invalid { option, reason })
            }
        }
    }
}

impl Plan {
    /// Checks values that each option allows and that do not go together.
    fn check(&self) -> Result<(), UsageError> {
        let invalid =
            |option, reason: &str| Err(UsageError::Invalid { option, reason: reason.to_owned() });
        match (self.mode, self.target.protocol) {
            (Mode::Echo { .. } | Mode::Fanout { .. }, Protocol::Tcp) => {
                return invalid("target", "tcp:// is only connected to and held: use idle");
            }
            (Mode::Fanout { .. }, Protocol::Mynah(ProtocolName::Prefixed | ProtocolName::Raw)) => {
                return invalid("target", "fanout needs command:// or chat://, which broadcast");
            }
            (Mode::Idle { probe_per_sec: Some(_), .. }, Protocol::Tcp) => {
                return invalid("probe", "tcp:// is only connected to and held, nothing answers");
            }
            (Mode::Idle { probe_per_sec: None, .. }, _) if self.p99_ms_max.is_some() => {
                return invalid("max-p99-ms", "idle has answers to judge only with --probe");
            }
            _ => {}
        }
        let files = [("json", &self.json), ("csv", &self.csv), ("report", &self.report)];
        for (number, (option, file)) in files.into_iter().enumerate() {
            let same = |other: &&(&str, &Option<PathBuf>)| file.is_some() && other.1 == file;
            if let Some((other, _)) = files[..number].iter().find(same) {
                return invalid(option, &format!("--{other} writes the same file"));
            }
        }
        let literal = self.target.host.parse::<IpAddr>();
        for (number, ip) in self.source_ips.iter().enumerate() {
            // An address given twice has its ports once.
            if self.source_ips[..number].contains(ip) {
                return invalid("source-ip", &format!("{ip} is given twice"));
            }
            if literal.as_ref().is_ok_and(|target| target.is_ipv4() != ip.is_ipv4()) {
                let reason =
                    format!("{ip} cannot reach {}, of the other IP version", self.target.host);
                return invalid("source-ip", &reason);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TARGET: &str = "--target=command://127.0.0.1:1";

    fn plan(args: &str) -> Plan {
        let args: Vec<&str> = args.split(' ').chain([TARGET]).collect();
        match Invocation::from_args(&args) {
            Ok(Invocation::Run(plan)) => *plan,
            other => panic!("{other:?}"),
        }
    }

    #[track_caller]
    fn refused(args: &str, reason: &str) {
        let args: Vec<&str> = args.split(' ').filter(|arg| !arg.is_empty()).collect();
        assert_eq!(Invocation::from_args(&args).unwrap_err().to_string(), reason, "{args:?}");
    }

    #[test]
    fn idle_needs_connections_alone() {
        let bare = plan("idle --connections 5");
        let mode =
            Mode::Idle { connections: 5, hold_secs: 10, probe_per_sec: None, server_pid: None };
        assert_eq!((bare.mode, bare.connects_per_sec), (mode, 10_000));
        assert_eq!((bare.errors_max, bare.p99_ms_max, bare.quiet), (0, None, false));
        let full = plan(
            "idle --connections 5 --rate 7 --hold 0 --probe 2 --server-pid 9 --source-ip \
             127.0.0.2,127.0.0.3 --json j --csv c --report r --max-errors 3 --max-p99-ms 1.5 --quiet",
        );
        let mode = Mode::Idle {
            connections: 5,
            hold_secs: 0,
            probe_per_sec: Some(2),
            server_pid: Some(9),
        };
        assert_eq!((full.mode, full.connects_per_sec), (mode, 7));
        assert_eq!((full.errors_max, full.p99_ms_max, full.quiet), (3, Some(1.5), true));
        assert_eq!(full.source_ips.len(), 2);
        assert_eq!(full.mode.load_model(), LoadModel::Open);
    }

    #[test]
    fn rate_is_connects_in_idle_and_requests_in_echo() {
        let echo = plan("echo --connections 2 --depth 3 --size 4 --duration 5 --rate 6");
        assert_eq!(echo.connects_per_sec, 10_000);
        assert_eq!(
            (echo.mode.requests_per_sec(), echo.mode.load_model()),
            (Some(6), LoadModel::Open)
        );
        let closed = plan("echo --connections 2 --depth 3 --size 4 --duration 5");
        assert_eq!(closed.mode.load_model(), LoadModel::Closed);
    }

    #[test]
    fn publisher_is_one_connection_more() {
        let mode = plan("fanout --subscribers 9 --size 1 --batch 2 --duration 3").mode;
        assert_eq!((mode.connections(), mode.depth(), mode.secs()), (10, 2, 3));
    }

    #[test]
    fn help_names_every_option() {
        assert_eq!(Invocation::from_args(&["-h"]), Ok(Invocation::Help));
        assert_eq!(Invocation::from_args(&["idle", "--version"]), Ok(Invocation::Version));
        for (option, _, value) in VALUED {
            assert!(HELP.contains(&format!("--{option} {value}")), "--{option} {value}");
        }
    }

    #[test]
    fn errors_name_the_culprit() {
        refused("", "no mode, there are idle, echo and fanout");
        refused("idel", "unknown mode 'idel', there are idle, echo and fanout");
        refused("idle echo", "unexpected argument 'echo'");
        refused("idle --no-such", "Unrecognized option: 'no-such'");
        refused("idle --hold", "Argument to option 'hold' missing");
        refused("idle --hold 1 --hold 2", "Option 'hold' given more than once");
        refused("idle --connections 5", "idle needs --target");
        refused("idle --target=tcp://h:1", "idle needs --connections");
        let echo = "echo --target=prefixed://h:1";
        refused(echo, "echo needs --connections");
        refused(&format!("{echo} --connections 1"), "echo needs --depth");
        refused(&format!("{echo} --connections 1 --depth 1"), "echo needs --size");
        let sized = format!("{echo} --connections 1 --depth 1 --size");
        refused(&format!("{sized} 9"), "echo needs --duration");
        refused(&format!("{sized} 256"), "--size: '256' is not a number from 0 to 255");
        refused(&format!("{sized} 9 --hold 1"), "echo has no option --hold");
        refused(
            &format!("{echo} --connections 0"),
            "--connections: '0' is not a number from 1 to 100000000",
        );
        refused("fanout --target=command://h:1", "fanout needs --subscribers");
        refused("idle --target=tcp://h", "--target tcp://h: bad port '', it is 0 to 65535");
    }

    #[test]
    fn contradictions_are_refused() {
        let traffic = "--size 1 --duration 1";
        refused(
            &format!("echo --target=tcp://h:1 --connections 1 --depth 1 {traffic}"),
            "--target: tcp:// is only connected to and held: use idle",
        );
        refused(
            &format!("fanout --target=raw://h:1 --subscribers 1 --batch 1 {traffic}"),
            "--target: fanout needs command:// or chat://, which broadcast",
        );
        refused(
            "idle --target=tcp://h:1 --connections 1 --probe 1",
            "--probe: tcp:// is only connected to and held, nothing answers",
        );
        refused(
            "idle --target=command://h:1 --connections 1 --max-p99-ms 1",
            "--max-p99-ms: idle has answers to judge only with --probe",
        );
        let idle = "idle --target=command://10.0.0.1:1 --connections 1";
        refused(&format!("{idle} --source-ip 1.2.3"), "--source-ip: '1.2.3' is not an IP address");
        refused(
            &format!("{idle} --source-ip 1.2.3.4,::1"),
            "--source-ip: ::1 cannot reach 10.0.0.1, of the other IP version",
        );
        refused(
            &format!("{idle} --source-ip 10.0.0.2,10.0.0.3,10.0.0.2"),
            "--source-ip: 10.0.0.2 is given twice",
        );
        refused(
            &format!("{idle} --json a --csv b --report a"),
            "--report: --json writes the same file",
        );
        for bad in ["0", "x", "-1", "inf", "1e3", "."] {
            let reason = format!("--max-p99-ms: '{bad}' is not a number of milliseconds above 0");
            refused(&format!("{idle} --probe 1 --max-p99-ms {bad}"), &reason);
        }
        refused(&format!("{idle} --json="), "--json: needs a value");
    }
}
