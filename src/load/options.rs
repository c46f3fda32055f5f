//! The command line: tables of options, `--help`, the plan of a run, and the errors in it.

use std::cell::RefCell;
use std::ffi::OsStr;
use std::fmt::{self, Write};
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use getopts::{Matches, ParsingStyle};

use super::exchange::Exchange;
use super::exchange_options::{self, ExchangeOptions};
use super::plan::{JsonOutput, Mode, Plan};
use super::quantity::{self, QuantityError};
use super::same_file::is_same_file;
use super::target::{Protocol, Target, TargetError};
use super::workload::Workload;
use crate::cli::options::{self, OptionError, OptionSpec};
use crate::cli::suggest::{DidYouMean, nearest};
#[cfg(feature = "tls")]
use crate::cli::tls_options::{self, TlsOptionError};
use crate::cli::url_for;
use crate::escape::EscapeControl;
use crate::limits::TIMEOUT_SECS_LIMIT;
use crate::os_text;
use crate::protocol::ProtocolName;
#[cfg(feature = "tls")]
use crate::tls::client::ClientTls;

/// Default rate of connects: fast, but a backlog of 511, as Redis has it, does not overflow.
const CONNECTS_PER_SEC: u64 = 10_000;

const IDLE_CONNECTIONS: u32 = 1_000;
const ECHO_CONNECTIONS: u32 = 100;
const SUBSCRIBERS: u32 = 100;
const SIZE: u32 = 64;
/// Default of `--hold` and `--duration`.
const DURATION: Duration = Duration::from_secs(10);

const CONNECTIONS_LIMIT: u32 = 100_000_000;
const RATE_LIMIT: u64 = 10_000_000;
const DEPTH_LIMIT: u32 = 1 << 16;
const DURATION_LIMIT: Duration = Duration::from_secs(TIMEOUT_SECS_LIMIT);
/// Shortest `--duration`. A hold may be none at all.
const DURATION_MIN: Duration = Duration::from_millis(1);

pub(crate) const MODES: [&str; 3] = ["idle", "echo", "fanout"];

const IDLE: &[OptionSpec] = &[
    OptionSpec::new("c", "connections", "N", "how many (default 1000)"),
    OptionSpec::new("", "rate", "PER_SEC", "connects a second (default 10000)"),
    OptionSpec::new("", "hold", "SECS", "how long, once all are open (default 10)"),
    OptionSpec::new("", "probe", "PER_SEC", "echoes a second among the idle ones meanwhile"),
    OptionSpec::new("", "server-pid", "PID", "watch the memory of this process"),
];

const ECHO: &[OptionSpec] = &[
    OptionSpec::new("c", "connections", "N", "on how many connections (default 100)"),
    OptionSpec::new("", "depth", "D", "most requests in flight on each (default 1)"),
    OptionSpec::new("", "size", "BYTES", "of each request (default 64)"),
    OptionSpec::new("d", "duration", "SECS", "for how long (default 10)"),
    OptionSpec::new(
        "",
        "rate",
        "PER_SEC",
        "requests a second in all, sent when they are due and measured from then (open loop); \
         without it, each waits for an answer (closed loop)",
    ),
];

const FANOUT: &[OptionSpec] = &[
    OptionSpec::new("", "subscribers", "N", "how many receive (default 100)"),
    OptionSpec::new("", "size", "BYTES", "of each message (default 64)"),
    OptionSpec::new("", "batch", "B", "messages published together (default 1)"),
    OptionSpec::new("d", "duration", "SECS", "for how long (default 10)"),
];

const COMMON: &[OptionSpec] = &[
    OptionSpec::new("", "target", "URL", "the URL, as an option"),
    OptionSpec::new("", "source-ip", "A,B,…", "local addresses to connect from, in turn"),
    OptionSpec::new("", "json", "FILE", "write all figures; - is standard output"),
    OptionSpec::new("", "csv", "FILE", "write a row a second"),
    OptionSpec::new("", "report", "FILE.html", "write a page with charts"),
    OptionSpec::new("", "max-errors", "N", "most errors of a run that is met (default 0)"),
    OptionSpec::new(
        "",
        "max-p99-ms",
        "X",
        "longest 99th percentile of a run that is met, in milliseconds",
    ),
    OptionSpec::new("", "quiet", "", "print failures only"),
    OptionSpec::new("h", "help", "", "this; behind a mode, that mode alone"),
    OptionSpec::new("V", "version", "", "print the version"),
];

/// Those of TLS, where the build has it.
const TLS: &[OptionSpec] = {
    #[cfg(feature = "tls")]
    {
        tls_options::OPTIONS
    }
    #[cfg(not(feature = "tls"))]
    {
        &[]
    }
};

const BRIEF: &str = "\
Usage: mynah-load idle|echo|fanout URL [OPTION…]

  idle    opens connections, holds them, and measures what they cost
  echo    sends requests and measures their answers
  fanout  publishes to many subscribers (command and chat)

URL is that of a listener: command://, prefixed://, raw:// or chat://HOST:PORT;
tcp://HOST:PORT is any server, which is only connected to. Each may be on a Unix
socket instead: command+unix:///PATH.
Numbers take k, M, Ki and Mi; times ms, s and m.

Example: 10,000 idle connections, 50 of them asked something each second
  mynah-load idle command://127.0.0.1:65432 -c 10k --probe 50";

const EXIT_STATUS: &str =
    "\n\nExit status: 0 met, 1 a threshold missed or the target failed, 2 bad usage.";

const IDLE_BRIEF: &str = "\
Usage: mynah-load idle URL [OPTION…]

Opens connections, holds them, and measures what they cost the server and how
fast it answers a few of them meanwhile.

Example: 10,000 connections for 30 seconds, 50 of them asked each second
  mynah-load idle command://127.0.0.1:65432 -c 10k --hold 30 --probe 50";

const ECHO_BRIEF: &str = "\
Usage: mynah-load echo URL [OPTION…]

Sends requests and measures how long their answers take, and how many come.

Example: 5,000 requests a second over 200 connections, a page with charts
  mynah-load echo command://127.0.0.1:65432 -c 200 --rate 5k --report echo.html";

const FANOUT_BRIEF: &str = "\
Usage: mynah-load fanout URL [URL…] [OPTION…]

One connection publishes, all others receive. URL is command:// or chat://.
With several URLs, those of the nodes of a cluster, it publishes to the first,
and the subscribers are spread over the others.

Example: 1,000 subscribers, 32 messages at a time
  mynah-load fanout command://127.0.0.1:65432 --subscribers 1k --batch 32";

/// A command line that was understood.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Invocation {
    /// `--help`, of one mode or of all.
    Help(String),
    Version,
    Run(Box<Plan>),
}

/// An error in the command line.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum UsageError {
    Option(OptionError),
    /// An argument follows the URL.
    Argument(String),
    NoMode,
    UnknownMode(String),
    /// An option belongs to another mode; `instead` is the one that was probably meant.
    NotOfMode {
        option: &'static str,
        mode: &'static str,
        instead: Option<&'static str>,
    },
    NoUrl {
        mode: &'static str,
    },
    Target {
        url: String,
        source: TargetError,
    },
    Value {
        option: &'static str,
        source: QuantityError,
    },
    #[cfg(feature = "tls")]
    Tls(TlsOptionError),
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
            UsageError::Option(source) => write!(f, "{source}"),
            UsageError::Argument(argument) => write!(f, "unexpected argument '{argument}'"),
            UsageError::NoMode => f.write_str("no mode, there are idle, echo and fanout"),
            UsageError::UnknownMode(mode) => {
                let meant = DidYouMean(nearest(mode, MODES));
                write!(f, "unknown mode '{mode}', there are idle, echo and fanout{meant}")
            }
            UsageError::NotOfMode { option, mode, instead } => {
                let instead = instead.map(|name| format!("--{name}"));
                let meant = DidYouMean(instead.as_deref());
                write!(f, "{mode} has no option --{option}{meant}")
            }
            UsageError::NoUrl { mode } => {
                write!(f, "{mode} needs a URL, such as command://127.0.0.1:65432")
            }
            UsageError::Target { url, source } => write!(f, "{url}: {source}"),
            #[cfg(feature = "tls")]
            UsageError::Tls(source) => write!(f, "{source}"),
            UsageError::Value { option, source } => write!(f, "--{option}: {source}"),
            UsageError::Invalid { option, reason } => write!(f, "--{option}: {reason}"),
        }
    }
}

impl Invocation {
    /// Reads the command line, without the program's name.
    ///
    /// # Errors
    ///
    /// All errors that are in it.
    pub(super) fn from_args<A: AsRef<OsStr>>(args: &[A]) -> Result<Self, Vec<UsageError>> {
        let wrap = |errors: Vec<OptionError>| errors.into_iter().map(UsageError::Option);
        let parsed = options::parse_leniently(&all_options(), ParsingStyle::FloatingFrees, args)
            .map_err(|errors| wrap(errors).collect::<Vec<_>>())?;
        let matches = parsed.matches;
        let mode = matches.free.first().and_then(|name| known_mode(name));
        if matches.opt_present("help") {
            return Ok(Invocation::Help(help(mode)));
        }
        if matches.opt_present("version") {
            return Ok(Invocation::Version);
        }
        let reader = Reader {
            matches: &matches,
            has_doubtful_words: parsed.has_doubtful_words,
            errors: RefCell::new(wrap(parsed.errors).collect()),
        };
        let plan = reader.plan(command_line(args));
        let errors = reader.errors.into_inner();
        match plan {
            Some(plan) if errors.is_empty() => Ok(Invocation::Run(Box::new(plan))),
            _ => Err(errors),
        }
    }
}

fn known_mode(name: &str) -> Option<&'static str> {
    MODES.into_iter().find(|known| *known == name)
}

fn options_of(mode: &str) -> &'static [OptionSpec] {
    match mode {
        "idle" => IDLE,
        "echo" => ECHO,
        _ => FANOUT,
    }
}

/// The options of all modes, each name once.
fn all_options() -> Vec<OptionSpec> {
    let mut all: Vec<OptionSpec> = Vec::new();
    for spec in [IDLE, ECHO, FANOUT, COMMON, exchange_options::OPTIONS, TLS].into_iter().flatten() {
        if all.iter().all(|known| known.name != spec.name) {
            all.push(*spec);
        }
    }
    all
}

/// The tables under their titles: those of the modes first.
#[cfg(test)]
#[allow(dead_code, reason = "`manual` alone needs it, which takes every feature")]
pub(crate) fn option_tables() -> Vec<(&'static str, &'static [OptionSpec])> {
    vec![
        ("idle", IDLE),
        ("echo", ECHO),
        ("fanout", FANOUT),
        ("Common options", COMMON),
        (exchange_options::TITLE, exchange_options::OPTIONS),
        #[cfg(feature = "tls")]
        (tls_options::TITLE, TLS),
    ]
}

/// The text of `--help`, for one mode or for all.
pub(crate) fn help(mode: Option<&str>) -> String {
    let (brief, own): (_, &[_]) = match mode {
        None => (BRIEF, &[("idle", IDLE), ("echo", ECHO), ("fanout", FANOUT)]),
        Some("idle") => (IDLE_BRIEF, &[("Options", IDLE)]),
        Some("echo") => (ECHO_BRIEF, &[("Options", ECHO)]),
        Some(_) => (FANOUT_BRIEF, &[("Options", FANOUT)]),
    };
    let mut groups = own.to_vec();
    groups.push(("Common options", COMMON));
    if mode != Some("fanout") {
        groups.push((exchange_options::TITLE, exchange_options::OPTIONS));
    }
    #[cfg(feature = "tls")]
    groups.push((tls_options::TITLE, TLS));
    let text = options::usage(brief, &groups);
    text + EXIT_STATUS
}

/// The command line, quoted where a shell needs it.
fn command_line<A: AsRef<OsStr>>(args: &[A]) -> String {
    let quote = |arg: &A| {
        let text = os_text::encode(arg.as_ref().as_bytes());
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@%+".contains(c);
        if !text.is_empty() && text.chars().all(is_plain) {
            return text;
        }
        format!("'{}'", text.replace('\'', r"'\''"))
    };
    let words = std::iter::once("mynah-load".to_owned()).chain(args.iter().map(quote));
    words.collect::<Vec<String>>().join(" ")
}

/// Reads the settings of a run, and collects the errors in them. A wrong value becomes its default,
/// so that the others are read as well.
struct Reader<'a> {
    matches: &'a Matches,
    has_doubtful_words: bool,
    errors: RefCell<Vec<UsageError>>,
}

impl Reader<'_> {
    /// The plan; `None` without a mode or a target.
    fn plan(&self, command: String) -> Option<Plan> {
        let mode = self.mode()?;
        self.check_options(mode);
        let target = self.target(mode);
        let subscriber_targets = self.subscriber_targets(mode);
        let (exchange, greeting) = self.exchange(mode, target.as_ref());
        let mut settings = self.settings(mode, target.as_ref());
        if let (Mode::Echo { size, .. }, Some(Exchange { send, .. })) = (&mut settings, &exchange) {
            // At most the 64 KiB of a text.
            *size = u32::try_from(send.len()).unwrap_or(u32::MAX);
        }
        let rate = self.number("rate", 1..=RATE_LIMIT, 0);
        let is_connect_rate = mode == "idle" && rate > 0;
        let plan = Plan {
            connects_per_sec: if is_connect_rate { rate } else { CONNECTS_PER_SEC },
            source_ips: self.source_ips(),
            json: self.json(),
            csv: self.path("csv"),
            report: self.path("report"),
            errors_max: self.number("max-errors", 0..=u64::MAX, 0),
            p99_ms_max: self.milliseconds("max-p99-ms"),
            quiet: self.matches.opt_present("quiet"),
            mode: settings,
            exchange,
            greeting,
            #[cfg(feature = "tls")]
            tls: self.tls(target.as_ref(), &subscriber_targets),
            target: target?,
            subscriber_targets,
            command,
        };
        self.check(&plan);
        Some(plan)
    }

    fn add(&self, error: UsageError) {
        // `--rate` is read twice.
        let mut errors = self.errors.borrow_mut();
        if !errors.contains(&error) {
            errors.push(error);
        }
    }

    fn add_invalid(&self, option: &'static str, reason: impl Into<String>) {
        self.add(UsageError::Invalid { option, reason: reason.into() });
    }

    fn mode(&self) -> Option<&'static str> {
        let name = self.matches.free.first();
        let mode = name.and_then(|name| known_mode(name));
        if mode.is_none() && !self.has_doubtful_words {
            let is_url = |name: &&String| name.contains("://") || url_for(name).is_some();
            self.add(match name.filter(|name| !is_url(name)) {
                Some(name) => UsageError::UnknownMode(name.clone()),
                None => UsageError::NoMode,
            });
        }
        mode
    }

    /// Options of other modes are errors.
    fn check_options(&self, mode: &'static str) {
        let own = options_of(mode);
        for OptionSpec { name: option, .. } in all_options() {
            let exchange = if mode == "fanout" { &[] } else { exchange_options::OPTIONS };
            let mut known = own.iter().chain(COMMON).chain(TLS).chain(exchange);
            let is_known = known.any(|spec| spec.name == option);
            if self.matches.opt_present(option) && !is_known {
                let instead = match (mode, option) {
                    ("fanout", "connections") => Some("subscribers"),
                    ("idle" | "echo", "subscribers") => Some("connections"),
                    ("idle", "duration") => Some("hold"),
                    (_, "hold") => Some("duration"),
                    ("fanout", "depth") => Some("batch"),
                    ("echo", "batch") => Some("depth"),
                    _ => None,
                };
                self.add(UsageError::NotOfMode { option, mode, instead });
            }
        }
    }

    fn target(&self, mode: &'static str) -> Option<Target> {
        let mut words = self.matches.free.iter().skip(1);
        let option = self.matches.opt_str("target");
        let word = if option.is_none() { words.next() } else { None };
        if !self.has_doubtful_words && mode != "fanout" {
            words.for_each(|word| self.add(UsageError::Argument(word.clone())));
        }
        let Some(url) = option.as_ref().or(word) else {
            if !self.has_doubtful_words {
                self.add(UsageError::NoUrl { mode });
            }
            return None;
        };
        self.parse_target(url, word.is_some())
    }

    /// The targets of a fan-out behind the first.
    fn subscriber_targets(&self, mode: &str) -> Vec<Target> {
        if mode != "fanout" {
            return Vec::new();
        }
        let before = if self.matches.opt_present("target") { 1 } else { 2 };
        let words = self.matches.free.iter().skip(before);
        words.filter_map(|url| self.parse_target(url, true)).collect()
    }

    /// The target at `url`, which may be a word that is none.
    fn parse_target(&self, url: &str, is_word: bool) -> Option<Target> {
        match Target::parse(url) {
            Ok(target) => Some(target),
            Err(_) if is_word && self.has_doubtful_words => None,
            Err(source) => {
                self.add(UsageError::Target { url: url.to_owned(), source });
                None
            }
        }
    }

    /// TLS of each target, if the URLs ask for it. Options without that are errors.
    #[cfg(feature = "tls")]
    fn tls(&self, first: Option<&Target>, further: &[Target]) -> Vec<ClientTls> {
        let Some(first) = first else { return Vec::new() };
        let read = if first.is_tls {
            let all = std::iter::once(first).chain(further);
            all.map(|target| tls_options::read(self.matches, &target.host)).collect()
        } else {
            tls_options::refuse(self.matches, &first.tls_url()).map(|()| Vec::new())
        };
        read.map_err(|source| self.add(UsageError::Tls(source))).unwrap_or_default()
    }

    /// The request and the answer, and the greeting, of a target that has none of its own.
    fn exchange(&self, mode: &str, target: Option<&Target>) -> (Option<Exchange>, Option<Vec<u8>>) {
        // Where they are not options of the mode, that has been said.
        if mode == "fanout" {
            return (None, None);
        }
        let mut read = ExchangeOptions::read(self.matches);
        if let Some(target) = target {
            read.check_protocol(self.matches, target.protocol);
        }
        read.errors.into_iter().for_each(|(option, reason)| self.add_invalid(option, reason));
        (read.exchange, read.greeting)
    }

    fn settings(&self, mode: &str, target: Option<&Target>) -> Mode {
        match mode {
            "idle" => Mode::Idle {
                connections: self.number("connections", 1..=CONNECTIONS_LIMIT, IDLE_CONNECTIONS),
                hold: self.duration("hold", Duration::ZERO),
                probe_per_sec: self.optional("probe", 1..=RATE_LIMIT),
                server_pid: self.optional("server-pid", 1..=u32::MAX),
            },
            "echo" => Mode::Echo {
                connections: self.number("connections", 1..=CONNECTIONS_LIMIT, ECHO_CONNECTIONS),
                depth: self.number("depth", 1..=DEPTH_LIMIT, 1),
                size: self.size(target),
                duration: self.duration("duration", DURATION_MIN),
                rate_per_sec: self.optional("rate", 1..=RATE_LIMIT),
            },
            _ => Mode::Fanout {
                subscribers: self.number("subscribers", 1..=CONNECTIONS_LIMIT, SUBSCRIBERS),
                size: self.size(target),
                batch: self.number("batch", 1..=DEPTH_LIMIT, 1),
                duration: self.duration("duration", DURATION_MIN),
            },
        }
    }

    /// A value as `read` understands it; `None` if it is not given, or wrong.
    fn value<T>(
        &self,
        option: &'static str,
        read: impl FnOnce(&str) -> Result<T, QuantityError>,
    ) -> Option<T> {
        let value = self.matches.opt_str(option)?;
        read(&value).map_err(|source| self.add(UsageError::Value { option, source })).ok()
    }

    fn optional<N>(&self, option: &'static str, range: RangeInclusive<N>) -> Option<N>
    where
        N: Copy + PartialOrd + TryFrom<u64> + TryInto<u64> + std::str::FromStr,
    {
        self.value(option, |value| quantity::count(value, range))
    }

    fn number<N>(&self, option: &'static str, range: RangeInclusive<N>, default: N) -> N
    where
        N: Copy + PartialOrd + TryFrom<u64> + TryInto<u64> + std::str::FromStr,
    {
        self.optional(option, range).unwrap_or(default)
    }

    fn duration(&self, option: &'static str, min: Duration) -> Duration {
        let read = |value: &str| quantity::duration(value, min..=DURATION_LIMIT);
        self.value(option, read).unwrap_or(DURATION)
    }

    fn milliseconds(&self, option: &'static str) -> Option<f64> {
        self.value(option, quantity::milliseconds)
    }

    /// A size that the target's protocol can carry. An unknown target, and `tcp`, have any size here:
    /// there is a better reason for refusing them.
    fn size(&self, target: Option<&Target>) -> u32 {
        match target.map(|target| target.protocol) {
            None | Some(Protocol::Tcp) => self.number("size", 0..=u32::MAX, SIZE),
            Some(protocol) => self.number("size", Workload::sizes(protocol), SIZE),
        }
    }

    fn source_ips(&self) -> Vec<IpAddr> {
        let option = "source-ip";
        let Some(list) = self.matches.opt_str(option) else { return Vec::new() };
        let parse = |text: &str| {
            let invalid = |_| self.add_invalid(option, format!("'{text}' is not an IP address"));
            text.parse().map_err(invalid).ok()
        };
        list.split(',').filter_map(parse).collect()
    }

    fn json(&self) -> Option<JsonOutput> {
        if self.matches.opt_str("json").as_deref() == Some("-") {
            return Some(JsonOutput::Stdout);
        }
        self.path("json").map(JsonOutput::File)
    }

    fn path(&self, option: &'static str) -> Option<PathBuf> {
        let path = self.matches.opt_str(option)?;
        let reason = match path.as_str() {
            "" => "needs a value",
            "-" => "'-' is not a file, only --json can be on standard output",
            path => return Some(os_text::decode(path).into()),
        };
        self.add_invalid(option, reason);
        None
    }

    /// Checks values that each option allows and that do not go together.
    fn check(&self, plan: &Plan) {
        self.check_target(plan);
        self.check_subscriber_targets(plan);
        let json = match &plan.json {
            Some(JsonOutput::File(path)) => Some(path.as_path()),
            _ => None,
        };
        let files =
            [("json", json), ("csv", plan.csv.as_deref()), ("report", plan.report.as_deref())];
        self.check_files(&files);
        if plan.targets().any(|target| target.path.is_some()) && !plan.source_ips.is_empty() {
            self.add_invalid("source-ip", "a Unix socket has no addresses to connect from");
        }
        for (number, ip) in plan.source_ips.iter().enumerate() {
            // An address given twice has its ports once.
            if plan.source_ips[..number].contains(ip) {
                self.add_invalid("source-ip", format!("{ip} is given twice"));
                continue;
            }
            let is_other = |target: &IpAddr| target.is_ipv4() != ip.is_ipv4();
            let mut targets = plan.targets();
            let other = targets.find(|target| target.host.parse().as_ref().is_ok_and(is_other));
            if let Some(Target { host, .. }) = other {
                let reason = format!("{ip} cannot reach {host}, of the other IP version");
                self.add_invalid("source-ip", reason);
            }
        }
    }

    fn check_target(&self, plan: &Plan) {
        let protocol = plan.target.protocol;
        let refuse = |source| {
            let url = plan.target.url.clone();
            self.add(UsageError::Target { url, source });
        };
        let has_request = ExchangeOptions::has_request(self.matches);
        match (plan.mode, protocol) {
            (Mode::Echo { .. }, Protocol::Tcp) if !has_request => refuse(TargetError::NoExchange),
            (Mode::Echo { .. }, Protocol::Tcp) if self.matches.opt_present("size") => {
                self.add_invalid("size", "a request has the bytes of --send");
            }
            (
                Mode::Fanout { .. },
                Protocol::Tcp | Protocol::Mynah(ProtocolName::Prefixed | ProtocolName::Raw),
            ) => refuse(TargetError::NoBroadcasts),
            (Mode::Idle { probe_per_sec: Some(_), .. }, Protocol::Tcp) if !has_request => {
                self.add_invalid("probe", exchange_options::MISSING);
            }
            (Mode::Idle { probe_per_sec: None, .. }, Protocol::Tcp) if has_request => {
                self.add_invalid("send", "idle sends requests only with --probe PER_SEC");
            }
            (Mode::Idle { probe_per_sec: None, .. }, _) if plan.p99_ms_max.is_some() => {
                self.add_invalid("max-p99-ms", "idle has answers to judge only with --probe");
            }
            _ => {}
        }
    }

    /// Checks the targets of a fan-out's subscribers against the first.
    fn check_subscriber_targets(&self, plan: &Plan) {
        let Mode::Fanout { subscribers, size, .. } = plan.mode else { return };
        if plan.subscriber_targets.is_empty() {
            return;
        }
        for target in &plan.subscriber_targets {
            let first = plan.target.protocol;
            let mut source =
                (target.protocol != first).then_some(TargetError::OtherProtocol { first });
            #[cfg(feature = "tls")]
            if target.is_tls != plan.target.is_tls {
                source.get_or_insert(TargetError::OtherTls);
            }
            if let Some(source) = source.take() {
                self.add(UsageError::Target { url: target.url.clone(), source });
            }
        }
        let targets = plan.subscriber_targets.len();
        if (subscribers as usize) < targets {
            self.add_invalid(
                "subscribers",
                format!("{subscribers} is too few for {targets} targets to subscribe to"),
            );
        }
        if size == 0 {
            let reason = "several targets need at least 1, by which late messages are told";
            self.add_invalid("size", reason);
        }
    }

    /// Two outputs in one file would overwrite each other.
    fn check_files(&self, files: &[(&'static str, Option<&Path>)]) {
        for (number, (option, file)) in files.iter().enumerate() {
            let is_same = |(_, other): &&(&str, Option<&Path>)| {
                file.zip(*other).is_some_and(|(file, other)| is_same_file(file, other))
            };
            if let Some((other, _)) = files[..number].iter().find(is_same) {
                self.add_invalid(option, format!("--{other} writes the same file"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::exchange::Expect;
    use super::super::plan::LoadModel;
    use super::*;

    const URL: &str = "command://127.0.0.1:1";

    fn parse(args: &str) -> Result<Invocation, Vec<UsageError>> {
        let args: Vec<&str> = args.split(' ').filter(|arg| !arg.is_empty()).collect();
        Invocation::from_args(&args)
    }

    fn plan(args: &str) -> Plan {
        match parse(args) {
            Ok(Invocation::Run(plan)) => *plan,
            other => panic!("{other:?}"),
        }
    }

    #[track_caller]
    fn refused(args: &str, reasons: &[&str]) {
        let found = parse(args).unwrap_err();
        let found: Vec<String> = found.iter().map(ToString::to_string).collect();
        assert_eq!(found, reasons, "{args:?}");
    }

    #[test]
    fn url_alone_has_defaults() {
        let idle = plan("idle command://127.0.0.1:1");
        let mode = Mode::Idle {
            connections: 1_000,
            hold: Duration::from_secs(10),
            probe_per_sec: None,
            server_pid: None,
        };
        assert_eq!((idle.mode, idle.connects_per_sec), (mode, 10_000));
        assert_eq!((idle.errors_max, idle.p99_ms_max, idle.quiet), (0, None, false));
        let duration = Duration::from_secs(10);
        let mode =
            Mode::Echo { connections: 100, depth: 1, size: 64, duration, rate_per_sec: None };
        assert_eq!(plan("echo command://127.0.0.1:1").mode, mode);
        let mode = Mode::Fanout { subscribers: 100, size: 64, batch: 1, duration };
        assert_eq!(plan("fanout chat://127.0.0.1:1").mode, mode);
    }

    #[test]
    fn options_stand_anywhere_short_or_long() {
        let long = plan("echo --target=command://127.0.0.1:1 --connections 2000 --duration 2");
        let short = plan("-c 2k echo -d 2s command://127.0.0.1:1");
        assert_eq!((short.mode, &short.target), (long.mode, &long.target));
        assert_eq!(short.mode.duration(), Duration::from_secs(2));
        let full = plan(
            "idle command://127.0.0.1:1 -c 5 --rate 7 --hold 0 --probe 2 --server-pid 9 --source-ip \
             127.0.0.2,127.0.0.3 --json j --csv c --report r --max-errors 3 --max-p99-ms 1.5 --quiet",
        );
        let mode = Mode::Idle {
            connections: 5,
            hold: Duration::ZERO,
            probe_per_sec: Some(2),
            server_pid: Some(9),
        };
        assert_eq!((full.mode, full.connects_per_sec), (mode, 7));
        assert_eq!((full.errors_max, full.p99_ms_max, full.quiet), (3, Some(1.5), true));
        assert_eq!(full.source_ips.len(), 2);
        assert_eq!(full.mode.load_model(), LoadModel::Open);
        assert_eq!(plan("idle tcp://h:1 --json -").json, Some(JsonOutput::Stdout));
    }

    #[test]
    fn rate_is_connects_in_idle_and_requests_in_echo() {
        let echo = plan(&format!("echo {URL} --rate 6k"));
        assert_eq!(echo.connects_per_sec, 10_000);
        assert_eq!(echo.mode.requests_per_sec(), Some(6_000));
        assert_eq!(echo.mode.load_model(), LoadModel::Open);
        assert_eq!(plan(&format!("echo {URL}")).mode.load_model(), LoadModel::Closed);
    }

    #[test]
    fn fanout_has_further_targets() {
        let of = |args: &str| {
            let plan = plan(args);
            plan.targets().map(|target| target.url.clone()).collect::<Vec<_>>()
        };
        let all = ["chat://h:1", "chat://h:2", "chat+unix:///run/s"];
        assert_eq!(of("fanout chat://h:1 --batch 2 chat://h:2 chat+unix:///run/s"), all);
        assert_eq!(of("fanout chat://h:2 --target chat://h:1 chat+unix:///run/s"), all);
        assert_eq!(of("fanout chat://h:1 chat://h:1"), ["chat://h:1"; 2], "its own subscribers");
        assert_eq!(of("fanout chat://h:1").len(), 1);
    }

    #[test]
    fn further_targets_are_like_the_first() {
        refused("echo chat://h:1 chat://h:2", &["unexpected argument 'chat://h:2'"]);
        refused(
            "fanout chat://h:1 command://h:2 nothing",
            &[
                "nothing: not of the form PROTOCOL://HOST:PORT",
                "command://h:2: the first target is chat://, and all must be",
            ],
        );
        refused(
            "fanout chat://h:1 chat://h:2 chat://h:3 --subscribers 1",
            &["--subscribers: 1 is too few for 2 targets to subscribe to"],
        );
        refused(
            "fanout command://h:1 command://h:2 --size 0",
            &["--size: several targets need at least 1, by which late messages are told"],
        );
        refused(
            "fanout chat://127.0.0.1:1 chat://[::1]:2 --source-ip 127.0.0.2",
            &["--source-ip: 127.0.0.2 cannot reach ::1, of the other IP version"],
        );
        #[cfg(feature = "tls")]
        refused(
            "fanout chat://h:1 chat+tls://h:2",
            &["chat+tls://h:2: either all targets go over TLS, or none does"],
        );
    }

    #[test]
    fn publisher_is_one_connection_more() {
        let mode = plan(&format!("fanout {URL} --subscribers 9 --batch 2")).mode;
        assert_eq!((mode.connections(), mode.depth()), (10, 2));
    }

    #[test]
    fn help_is_of_all_modes_or_of_one() {
        let help = |args: &str| match parse(args) {
            Ok(Invocation::Help(text)) => text,
            other => panic!("{other:?}"),
        };
        let all = help("-h");
        for spec in all_options() {
            assert!(all.contains(&format!("--{} {}", spec.name, spec.value)), "{}", spec.name);
        }
        let echo = help("echo --help --no-such");
        assert!(echo.starts_with("Usage: mynah-load echo URL") && !echo.contains("--probe"));
        for text in [all, echo, help("idle -h"), help("fanout -h")] {
            assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
            let example = text.lines().find(|line| line.starts_with("  mynah-load")).unwrap();
            plan(example.trim().strip_prefix("mynah-load ").unwrap());
        }
        assert_eq!(parse("idle --version"), Ok(Invocation::Version));
    }

    #[test]
    fn errors_name_the_culprit() {
        let modes = "there are idle, echo and fanout";
        refused("", &[&format!("no mode, {modes}")]);
        refused("command://h:1", &[&format!("no mode, {modes}")]);
        refused("idel tcp://h:1", &[&format!("unknown mode 'idel', {modes}, did you mean idle?")]);
        refused("idle tcp://h:1 echo", &["unexpected argument 'echo'"]);
        refused("idle tcp://h:1 --target tcp://h:2", &["unexpected argument 'tcp://h:1'"]);
        refused("idle", &["idle needs a URL, such as command://127.0.0.1:65432"]);
        refused("echo prefixed://h:1 --size 256", &["--size: '256' is not a number from 0 to 255"]);
        refused("idle tcp://h", &["tcp://h: bad port '', it is 0 to 65535"]);
        let meant = "not of the form PROTOCOL://HOST:PORT, did you mean command://127.0.0.1:65432?";
        refused("echo 127.0.0.1:65432", &[&format!("127.0.0.1:65432: {meant}")]);
        refused(
            "echo raw://h:1 -d 0",
            &["--duration: '0' is not a time in s, ms or m from 1 ms to 31536000 s"],
        );
        for (args, meant) in [
            ("fanout -c 5", "fanout has no option --connections, did you mean --subscribers?"),
            ("idle -d 5", "idle has no option --duration, did you mean --hold?"),
            ("echo --hold 5", "echo has no option --hold, did you mean --duration?"),
            ("echo --probe 5", "echo has no option --probe"),
        ] {
            refused(&format!("{args} {URL}"), &[meant]);
        }
    }

    #[test]
    fn all_errors_are_named_at_once() {
        refused(
            "echo --conections 5 --depth many --size -1 --hold 3 --json= --source-ip x,::y",
            &[
                "unknown option '--conections', did you mean --connections?",
                "echo has no option --hold, did you mean --duration?",
                "echo needs a URL, such as command://127.0.0.1:65432",
                "--depth: 'many' is not a number from 1 to 65536",
                "--size: '-1' is not a number from 0 to 4294967295",
                "--source-ip: 'x' is not an IP address",
                "--source-ip: '::y' is not an IP address",
                "--json: needs a value",
            ],
        );
        // Words may be values of the unknown option.
        refused(
            "echo --zzz 1 -c x",
            &["unknown option '--zzz'", "--connections: 'x' is not a number from 1 to 100000000"],
        );
        refused(
            "echo --zzz tcp://h:1 -c x",
            &[
                "unknown option '--zzz'",
                "--connections: 'x' is not a number from 1 to 100000000",
                "tcp://h:1: tcp:// needs --send and --expect (or --expect-bytes N)",
            ],
        );
    }

    #[test]
    fn contradictions_are_refused() {
        let missing = "tcp:// needs --send and --expect (or --expect-bytes N)";
        refused("echo tcp://h:1", &[&format!("tcp://h:1: {missing}")]);
        refused(
            "fanout raw://h:1",
            &["raw://h:1: fanout needs command:// or chat://, which broadcast"],
        );
        refused("idle tcp://h:1 --probe 1", &[&format!("--probe: {missing}")]);
        refused(
            "idle command://h:1 --max-p99-ms 1",
            &["--max-p99-ms: idle has answers to judge only with --probe"],
        );
        let idle = "idle command://10.0.0.1:1";
        refused(
            &format!("{idle} --source-ip 1.2.3.4,::1"),
            &["--source-ip: ::1 cannot reach 10.0.0.1, of the other IP version"],
        );
        refused(
            &format!("{idle} --source-ip 10.0.0.2,10.0.0.3,10.0.0.2"),
            &["--source-ip: 10.0.0.2 is given twice"],
        );
        refused(
            &format!("{idle} --json no-such.a --csv b --report ./no-such.a"),
            &["--report: --json writes the same file"],
        );
        refused(
            &format!("{idle} --csv -"),
            &["--csv: '-' is not a file, only --json can be on standard output"],
        );
        refused(
            &format!("{idle} --probe 1 --max-p99-ms 0"),
            &["--max-p99-ms: '0' is not a number of milliseconds above 0"],
        );
    }

    #[test]
    fn exchange_is_given_for_tcp() {
        let ping = plan(r"echo tcp+unix:///x --send PING\r\n --expect +PONG\r\n --greeting \n");
        let (send, expect) = (b"PING\r\n".to_vec(), Expect::Bytes(b"+PONG\r\n".to_vec()));
        assert_eq!(ping.exchange, Some(Exchange { send, expect }));
        assert_eq!(ping.greeting.as_deref(), Some(&b"\n"[..]));
        assert_eq!((ping.mode.size(), ping.request_bytes(), ping.exchange_bytes()), (6, 6, 7));
        let get = plan("idle tcp://h:1 --probe 1 --send GET --expect-bytes 4Ki");
        assert_eq!(get.exchange.unwrap().expect, Expect::Len(4_096));
        assert_eq!(plan("idle tcp://h:1 --greeting x").greeting.as_deref(), Some(&b"x"[..]));
        let unread = plan("idle tcp://h:1");
        assert_eq!((unread.exchange, unread.greeting), (None, None));
    }

    #[test]
    fn exchange_is_whole_and_in_its_place() {
        let echo = "echo tcp://h:1 -c 1";
        refused(&format!("{echo} --send x"), &["--send: needs --expect TEXT or --expect-bytes N"]);
        refused(&format!("{echo} --expect x"), &["--expect: needs --send TEXT"]);
        refused(&format!("{echo} --expect-bytes 1"), &["--expect-bytes: needs --send TEXT"]);
        let both = "--expect-bytes: --expect has the whole answer: give one of both";
        refused(&format!("{echo} --send x --expect x --expect-bytes 1"), &[both]);
        refused(
            &format!(r"{echo} --send a\q --expect= --size 1 --greeting \x"),
            &[
                r"--send: bad escape '\q' at character 2, there are \r \n \t \0 \\ and \xNN",
                "--expect: is empty",
                r"--greeting: bad escape at character 1: \x needs two hexadecimal digits",
                "--size: a request has the bytes of --send",
            ],
        );
        refused(
            &format!("{echo} --send x --expect-bytes 2000M"),
            &[
                "--expect-bytes: '2000M' is not a number from 1 to 1073741824, its unit may be k, M, Ki or Mi",
            ],
        );
        refused(
            &format!("echo {URL} --send x --expect y"),
            &[
                "--send: command:// has its own requests: tcp:// has none",
                "--expect: command:// has its own requests: tcp:// has none",
            ],
        );
        refused(
            "idle tcp://h:1 --send x --expect y",
            &["--send: idle sends requests only with --probe PER_SEC"],
        );
        refused(&format!("fanout {URL} --send x"), &["fanout has no option --send"]);
        let broadcast = "fanout needs command:// or chat://, which broadcast";
        refused("fanout tcp://h:1", &[&format!("tcp://h:1: {broadcast}")]);
    }

    #[test]
    fn command_line_can_be_pasted() {
        let args = ["echo", URL, "--json", "it's here", "-c", "5"];
        let Ok(Invocation::Run(plan)) = Invocation::from_args(&args) else { panic!() };
        assert_eq!(
            plan.command,
            r"mynah-load echo command://127.0.0.1:1 --json 'it'\''s here' -c 5"
        );
    }

    #[test]
    fn file_name_need_not_be_utf_8() {
        let name = os_text::decode(&os_text::encode(b"a\xff.csv"));
        let args = [OsStr::new("idle"), OsStr::new(URL), OsStr::new("--csv"), &name];
        let Ok(Invocation::Run(plan)) = Invocation::from_args(&args) else { panic!() };
        assert_eq!(plan.csv, Some(PathBuf::from(name)));
    }
}
