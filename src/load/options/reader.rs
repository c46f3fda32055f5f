//! The settings that a command line asks for, and whether they go together.

use std::cell::RefCell;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use getopts::Matches;

use super::super::exchange::Exchange;
use super::super::exchange_options::ExchangeOptions;
use super::super::plan::{ConnectPacing, JsonOutput, Mode, Plan};
use super::super::quantity::{self, QuantityError};
use super::super::record::LoadModel;
use super::super::same_file::is_same_file;
use super::super::settings::{CompareSettings, MergeSettings};
use super::super::share::Share;
use super::super::storm::STORMS_MAX;
use super::super::target::{NO_EXCHANGE, Protocol, Target, TargetError};
use super::super::workload::Workload;
use super::tables::{ModeSpec, all_options, find_mode};
use super::{Invocation, UsageError};
use crate::cli::options::OptionSpec;
#[cfg(feature = "tls")]
use crate::cli::tls_options;
use crate::cli::url_for;
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
const BYSTANDERS: u32 = 10;
const BYSTANDER_REQUESTS_PER_SEC: u64 = 100;
const SAMPLE: u32 = 100;
const SIZE: u32 = 64;
/// Default of `--hold` and `--duration`.
const DURATION: Duration = Duration::from_secs(10);

/// Default of `--hold` in a storm.
const CALM: Duration = Duration::from_secs(3);
/// Default of `--timeout`.
const STORM_TIMEOUT: Duration = Duration::from_secs(60);
/// Default of `--tolerance`, in percent.
const TOLERANCE_PERCENT: f64 = 2.0;

const CONNECTIONS_LIMIT: u32 = 100_000_000;
const RATE_LIMIT: u64 = 10_000_000;
const TIMES_LIMIT: u32 = STORMS_MAX as u32;
const JOBS_LIMIT: u32 = 256;
const DEPTH_LIMIT: u32 = 1 << 16;
const DURATION_LIMIT: Duration = Duration::from_secs(TIMEOUT_SECS_LIMIT);
/// Shortest `--duration`. A hold may be none at all.
const DURATION_MIN: Duration = Duration::from_millis(1);

/// Reads the settings of a run, and collects the errors in them. A wrong value becomes its default,
/// so that the others are read as well.
pub(super) struct Reader<'a> {
    pub(super) matches: &'a Matches,
    pub(super) has_doubtful_words: bool,
    pub(super) errors: RefCell<Vec<UsageError>>,
}

impl Reader<'_> {
    /// The run, comparison or merge that is asked for; `None` without a mode, a target or files.
    pub(super) fn invocation(&self, command: String) -> Option<Invocation> {
        let mode = self.mode()?;
        self.check_options(mode);
        match mode.name {
            "compare" => self.compare().map(Invocation::Compare),
            "merge" => self.merge(command).map(Invocation::Merge),
            name => self.plan(name, command).map(|plan| Invocation::Run(Box::new(plan))),
        }
    }

    /// The plan; `None` without a target.
    fn plan(&self, mode: &'static str, command: String) -> Option<Plan> {
        let target = self.target(mode);
        let subscriber_targets = self.subscriber_targets(mode);
        let (exchange, greeting) = self.exchange(mode, target.as_ref());
        let mut settings = self.settings(mode, target.as_ref());
        if let (Mode::Echo { size, .. }, Some(exchange)) = (&mut settings, &exchange) {
            *size = exchange.request_bytes();
        }
        let plan = Plan {
            pacing: self.pacing(mode),
            jobs: self.number("jobs", 1..=JOBS_LIMIT, 1),
            share: Share::WHOLE,
            server_pid: self.optional("server-pid", 1..=u32::MAX),
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

    /// The two sets of records. Each is a file, a folder, or several joined with commas.
    fn compare(&self) -> Option<CompareSettings> {
        let words = &self.matches.free[1..];
        for word in words.iter().skip(2) {
            self.add(UsageError::Argument(word.clone()));
        }
        let settings = CompareSettings {
            tolerance_percent: self.percent("tolerance", TOLERANCE_PERCENT),
            json: self.json(),
            report: self.path("report"),
            quiet: self.matches.opt_present("quiet"),
            before: paths(words.first().map_or("", String::as_str)),
            after: paths(words.get(1).map_or("", String::as_str)),
        };
        if settings.before.is_empty() || settings.after.is_empty() {
            self.add(UsageError::NoFiles { mode: "compare" });
            return None;
        }
        let json = settings.json.as_ref().and_then(JsonOutput::path);
        self.check_files(&[("json", json), ("report", settings.report.as_deref())]);
        Some(settings)
    }

    fn merge(&self, command: String) -> Option<MergeSettings> {
        let mut words = self.matches.free[1..].iter().map(|word| os_text::decode(word).into());
        let out = words.next();
        let parts: Vec<PathBuf> = words.collect();
        let Some(out) = out.filter(|_| !parts.is_empty()) else {
            self.add(UsageError::NoFiles { mode: "merge" });
            return None;
        };
        if self.matches.opt_present("json") {
            self.add_invalid("json", "merge writes its record to OUT.json, its first word");
        }
        let (report, quiet) = (self.path("report"), self.matches.opt_present("quiet"));
        self.check_parts(&out, &parts, report.as_deref());
        Some(MergeSettings { out, parts, report, quiet, command })
    }

    /// `merge` must not write a file that it reads, and reads each once.
    fn check_parts(&self, out: &Path, parts: &[PathBuf], report: Option<&Path>) {
        let refuse = |path: &Path, reason| {
            let path = os_text::encode(path.as_os_str().as_bytes());
            self.add(UsageError::File { path, reason });
        };
        for (number, part) in parts.iter().enumerate() {
            if parts[..number].iter().any(|earlier| is_same_file(earlier, part)) {
                refuse(part, "is given twice");
            }
            if is_same_file(out, part) {
                refuse(out, "is one of the parts; the record they make needs a name of its own");
            }
            if report.is_some_and(|report| is_same_file(report, part)) {
                self.add_invalid("report", "is one of the parts");
            }
        }
        if report.is_some_and(|report| is_same_file(report, out)) {
            self.add_invalid("report", "OUT.json is the same file");
        }
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

    fn mode(&self) -> Option<&'static ModeSpec> {
        let name = self.matches.free.first();
        let mode = name.and_then(|name| find_mode(name));
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
    fn check_options(&self, mode: &'static ModeSpec) {
        for OptionSpec { name: option, .. } in all_options() {
            if self.matches.opt_present(option) && !mode.has(option) {
                let instead = match (mode.name, option) {
                    ("fanout", "connections") => Some("subscribers"),
                    (_, "subscribers") => Some("connections"),
                    (_, "duration") => Some("hold"),
                    (_, "hold") => Some("duration"),
                    ("fanout", "depth") => Some("batch"),
                    (_, "batch") => Some("depth"),
                    _ => None,
                };
                let instead = instead.filter(|name| mode.has(name));
                self.add(UsageError::NotOfMode { option, mode: mode.name, instead });
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
        let connections = |default| self.number("connections", 1..=CONNECTIONS_LIMIT, default);
        match mode {
            "idle" => Mode::Idle {
                connections: connections(IDLE_CONNECTIONS),
                hold: self.duration("hold", Duration::ZERO, DURATION),
                probe_per_sec: self.optional("probe", 1..=RATE_LIMIT),
            },
            "echo" => Mode::Echo {
                connections: connections(ECHO_CONNECTIONS),
                depth: self.number("depth", 1..=DEPTH_LIMIT, 1),
                size: self.size(target),
                duration: self.duration("duration", DURATION_MIN, DURATION),
                rate_per_sec: self.optional("rate", 1..=RATE_LIMIT),
            },
            "storm" => Mode::Storm {
                connections: connections(IDLE_CONNECTIONS),
                times: self.number("times", 1..=TIMES_LIMIT, 1),
                spread: self.duration("spread", Duration::ZERO, Duration::ZERO),
                is_orderly: self.matches.opt_present("orderly"),
                has_backoff: !self.matches.opt_present("no-backoff"),
                timeout: self.duration("timeout", DURATION_MIN, STORM_TIMEOUT),
                bystanders: self.number("bystanders", 0..=CONNECTIONS_LIMIT, BYSTANDERS),
                probe_per_sec: self.number("probe", 1..=RATE_LIMIT, BYSTANDER_REQUESTS_PER_SEC),
                hold: self.duration("hold", Duration::ZERO, CALM),
            },
            "wake" => Mode::Wake {
                connections: connections(IDLE_CONNECTIONS),
                hold: self.duration("hold", DURATION_MIN, DURATION),
                sample: self.number("sample", 1..=CONNECTIONS_LIMIT, SAMPLE),
            },
            _ => Mode::Fanout {
                subscribers: self.number("subscribers", 1..=CONNECTIONS_LIMIT, SUBSCRIBERS),
                size: self.size(target),
                batch: self.number("batch", 1..=DEPTH_LIMIT, 1),
                duration: self.duration("duration", DURATION_MIN, DURATION),
            },
        }
    }

    /// The pace of connects. `--rate` is that of requests in `echo`.
    fn pacing(&self, mode: &str) -> ConnectPacing {
        let read = |value: &str| quantity::duration(value, DURATION_MIN..=DURATION_LIMIT);
        let ramp = self.value("ramp", read);
        let rate = self.optional("rate", 1..=RATE_LIMIT).filter(|_| mode != "echo");
        if rate.is_some() && ramp.is_some() {
            self.add_invalid("ramp", "--rate has set the pace of connects");
        }
        match ramp {
            Some(ramp) => ConnectPacing::Ramp(ramp),
            None => ConnectPacing::PerSec(rate.unwrap_or(CONNECTS_PER_SEC)),
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

    fn duration(&self, option: &'static str, min: Duration, default: Duration) -> Duration {
        let read = |value: &str| quantity::duration(value, min..=DURATION_LIMIT);
        self.value(option, read).unwrap_or(default)
    }

    fn percent(&self, option: &'static str, default: f64) -> f64 {
        self.value(option, quantity::percent).unwrap_or(default)
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
        self.check_jobs(plan);
        let json = plan.json.as_ref().and_then(JsonOutput::path);
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
            (
                Mode::Fanout { .. },
                Protocol::Tcp | Protocol::Mynah(ProtocolName::Prefixed | ProtocolName::Raw),
            ) => refuse(TargetError::NoBroadcasts),
            (Mode::Idle { probe_per_sec: None, .. }, Protocol::Tcp) if has_request => {
                self.add_invalid("send", "idle sends requests only with --probe PER_SEC");
            }
            (Mode::Idle { probe_per_sec: Some(_), .. }, Protocol::Tcp) if !has_request => {
                self.add_invalid("probe", NO_EXCHANGE);
            }
            (Mode::Echo { .. } | Mode::Wake { .. }, Protocol::Tcp) if !has_request => {
                refuse(TargetError::NoExchange)
            }
            (Mode::Echo { .. }, Protocol::Tcp) if self.matches.opt_present("size") => {
                self.add_invalid("size", "a request has the bytes of --send");
            }
            (Mode::Storm { .. }, _)
                if plan.p99_ms_max.is_some() && plan.load_model() == LoadModel::None =>
            {
                let reason = "a storm has answers to judge only with bystanders that ask";
                self.add_invalid("max-p99-ms", reason);
            }
            (Mode::Idle { probe_per_sec: None, .. }, _) if plan.p99_ms_max.is_some() => {
                self.add_invalid("max-p99-ms", "idle has answers to judge only with --probe");
            }
            _ => {}
        }
    }

    fn check_jobs(&self, plan: &Plan) {
        let (jobs, connections) = (plan.jobs, plan.mode.shared_connections());
        if jobs > 1 && matches!(plan.mode, Mode::Fanout { .. }) {
            self.add_invalid("jobs", "fanout has one publisher, which one process measures");
        } else if jobs > connections {
            let reason = format!("{connections} connections are too few for {jobs} processes");
            self.add_invalid("jobs", reason);
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

/// The files or folders in a word, which commas separate.
fn paths(word: &str) -> Vec<PathBuf> {
    let names = word.split(',').filter(|name| !name.is_empty());
    names.map(|name| os_text::decode(name).into()).collect()
}
