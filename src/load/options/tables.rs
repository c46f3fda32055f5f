//! The tables of options, and the words of `--help`: what each mode is, with an example.

use super::super::exchange_options;
use crate::cli::options::{self, OptionSpec};
#[cfg(feature = "tls")]
use crate::cli::tls_options;

/// A mode: the first word of the command line.
pub(super) struct ModeSpec {
    pub(super) name: &'static str,
    /// Usage, purpose and example.
    brief: &'static str,
    pub(super) options: &'static [OptionSpec],
    /// Whether it opens connections, and has the options of a run; the others read records.
    pub(super) is_run: bool,
}

/// Names of the modes, in the order of [`ALL`].
pub(crate) const MODES: [&str; 7] = ["idle", "echo", "fanout", "storm", "wake", "compare", "merge"];

/// All modes.
pub(super) const ALL: [ModeSpec; 7] = [
    ModeSpec { name: MODES[0], brief: IDLE_BRIEF, options: IDLE, is_run: true },
    ModeSpec { name: MODES[1], brief: ECHO_BRIEF, options: ECHO, is_run: true },
    ModeSpec { name: MODES[2], brief: FANOUT_BRIEF, options: FANOUT, is_run: true },
    ModeSpec { name: MODES[3], brief: STORM_BRIEF, options: STORM, is_run: true },
    ModeSpec { name: MODES[4], brief: WAKE_BRIEF, options: WAKE, is_run: true },
    ModeSpec { name: MODES[5], brief: COMPARE_BRIEF, options: COMPARE, is_run: false },
    ModeSpec { name: MODES[6], brief: MERGE_BRIEF, options: &[], is_run: false },
];

const IDLE: &[OptionSpec] = &[
    OptionSpec::new("c", "connections", "N", "how many (default 1000)"),
    OptionSpec::new("", "rate", "PER_SEC", "connects a second (default 10000)"),
    OptionSpec::new("", "hold", "SECS", "how long, once all are open (default 10)"),
    OptionSpec::new("", "probe", "PER_SEC", "requests a second among the idle ones meanwhile"),
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

const STORM: &[OptionSpec] = &[
    OptionSpec::new("c", "connections", "N", "how many are dropped and come back (default 1000)"),
    OptionSpec::new("", "times", "K", "storms, one after the other (default 1)"),
    OptionSpec::new("", "spread", "SECS", "come back over this time, not at once (default 0)"),
    OptionSpec::new("", "orderly", "", "close in order (FIN); without it, by reset"),
    OptionSpec::new(
        "",
        "no-backoff",
        "",
        "try again at once where a connect is refused; without it, after an exponential \
         backoff with jitter",
    ),
    OptionSpec::new(
        "",
        "timeout",
        "SECS",
        "give up those that are not back so long after the last was due (default 60)",
    ),
    OptionSpec::new("", "bystanders", "N", "further connections, which stay (default 10)"),
    OptionSpec::new("", "probe", "PER_SEC", "requests a second of the bystanders (default 100)"),
    OptionSpec::new("", "hold", "SECS", "calm before each storm, and after the last (default 3)"),
];

const WAKE: &[OptionSpec] = &[
    OptionSpec::new("c", "connections", "N", "how many sleep (default 1000)"),
    OptionSpec::new("", "hold", "SECS", "the longest sleep (default 10)"),
    OptionSpec::new("", "sample", "N", "how many are woken, over all sleeps (default 100)"),
    OptionSpec::new("", "rate", "PER_SEC", "connects a second (default 10000)"),
];

const COMPARE: &[OptionSpec] = &[OptionSpec::new(
    "",
    "tolerance",
    "PCT",
    "a change for the worse that is allowed, in percent (default 2)",
)];

/// Options of every mode that opens connections.
const RUN: &[OptionSpec] = &[
    OptionSpec::new("", "target", "URL", "the URL, as an option"),
    OptionSpec::new("", "jobs", "N", "processes that share the connections (default 1)"),
    OptionSpec::new("", "ramp", "SECS", "spread the connects evenly over this time"),
    OptionSpec::new("", "source-ip", "A,B,…", "local addresses to connect from, in turn"),
    OptionSpec::new("", "server-pid", "PID", "watch the memory and the CPU of this process"),
    OptionSpec::new("", "csv", "FILE", "write a row a second"),
    OptionSpec::new("", "max-errors", "N", "most errors of a run that is met (default 0)"),
    OptionSpec::new(
        "",
        "max-p99-ms",
        "X",
        "longest 99th percentile of a run that is met, in milliseconds",
    ),
];

/// Options of every mode.
const COMMON: &[OptionSpec] = &[
    OptionSpec::new("", "json", "FILE", "write all figures; - is standard output"),
    OptionSpec::new("", "report", "FILE.html", "write a page with charts"),
    OptionSpec::new("", "quiet", "", "print failures only"),
    OptionSpec::new("h", "help", "", "this; behind a mode, that mode alone"),
    OptionSpec::new("V", "version", "", "print the version"),
];

/// Those of them that `merge` has: OUT.json is its first word.
const OF_MERGE: &[OptionSpec] = match COMMON {
    [_json, others @ ..] => others,
    [] => &[],
};

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
Usage: mynah-load idle|echo|fanout|storm|wake URL [OPTION…]
       mynah-load compare A.json B.json [OPTION…]
       mynah-load merge OUT.json PART.json… [OPTION…]

  idle     opens connections, holds them, and measures what they cost
  echo     sends requests and measures their answers
  fanout   publishes to many subscribers (command and chat)
  storm    drops all connections at once, and measures their coming back
  wake     measures the first request of connections that were long idle
  compare  says whether one run, or set of runs, is worse than another
  merge    makes one record of the parts of a run

URL is that of a listener: command://, prefixed://, raw:// or chat://HOST:PORT;
tcp://HOST:PORT is any server: --send is what it is asked, --expect its answer;
idle may only connect to it. Each may be on a Unix socket: command+unix:///PATH.
Numbers take k, M, Ki and Mi; times ms, s and m.

Example: 10,000 idle connections, 50 of them asked something each second
  mynah-load idle command://127.0.0.1:65432 -c 10k --probe 50";

const EXIT_STATUS: &str =
    "\n\nExit status: 0 met, 1 a threshold missed or the target failed, 2 bad usage.";

const COMPARE_EXIT_STATUS: &str =
    "\n\nExit status: 0 not worse, 1 worse, 2 bad usage, or runs that cannot be compared.";

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

const STORM_BRIEF: &str = "\
Usage: mynah-load storm URL [OPTION…]

Drops all connections at once, as a restart does, and has them come back, each
with a request. Measures how long until all are served again, and what a few
other connections (bystanders) felt meanwhile.

Example: 10,000 connections, three times, over a second each time
  mynah-load storm command://127.0.0.1:65432 -c 10k --times 3 --spread 1";

const WAKE_BRIEF: &str = "\
Usage: mynah-load wake URL [OPTION…]

Opens connections, lets them sleep, and measures the first request of some of
them, by how long they slept.

Example: 10,000 connections that sleep for up to five minutes
  mynah-load wake command://127.0.0.1:65432 -c 10k --hold 5m";

const COMPARE_BRIEF: &str = "\
Usage: mynah-load compare A.json B.json [OPTION…]

Says whether B is worse than A: each figure, the change, and how sure it is. A
and B are what --json has written: a file, several joined with commas, or a
folder of them. Ten runs a side find a change of 3 %.

Example: is a server slower since the change?
  mynah-load compare before/ after/ --tolerance 3";

const MERGE_BRIEF: &str = "\
Usage: mynah-load merge OUT.json PART.json… [OPTION…]

Makes one record of the parts of a run, which were measured at the same time
from several machines. Percentiles are those of all answers together.

Example: two machines against one server
  mynah-load merge all.json east.json west.json --report all.html";

pub(super) fn find_mode(name: &str) -> Option<&'static ModeSpec> {
    // A promoted constant: a reference into it lives as long as the program.
    const SPECS: &[ModeSpec] = &ALL;
    SPECS.iter().find(|mode| mode.name == name)
}

impl ModeSpec {
    /// Whether the mode has the option `name`.
    pub(super) fn has(&self, name: &str) -> bool {
        self.tables().into_iter().flatten().any(|spec| spec.name == name)
    }

    fn tables(&self) -> Vec<&'static [OptionSpec]> {
        let mut tables = vec![self.options, COMMON];
        if self.is_run {
            tables.extend([RUN, TLS]);
        }
        tables.extend(self.has_exchange().then_some(exchange_options::OPTIONS));
        tables
    }

    /// Whether the user may give the requests. A fan-out's are messages to others.
    fn has_exchange(&self) -> bool {
        self.is_run && self.name != "fanout"
    }
}

/// The options of all modes, each name once.
pub(super) fn all_options() -> Vec<OptionSpec> {
    let mut all: Vec<OptionSpec> = Vec::new();
    let own = ALL.iter().map(|mode| mode.options);
    for spec in own.chain([RUN, COMMON, exchange_options::OPTIONS, TLS]).flatten() {
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
    let mut tables: Vec<_> = ALL.iter().map(|mode| (mode.name, mode.options)).collect();
    tables.extend([("Options of a run", RUN), ("Common options", COMMON)]);
    tables.push((exchange_options::TITLE, exchange_options::OPTIONS));
    #[cfg(feature = "tls")]
    tables.push((tls_options::TITLE, TLS));
    tables
}

/// The text of `--help`, for one mode or for all.
pub(crate) fn help(mode: Option<&str>) -> String {
    let mode = mode.and_then(find_mode);
    let mut groups: Vec<(&str, &[OptionSpec])> = match mode {
        Some(mode) => vec![("Options", mode.options)],
        None => ALL.iter().map(|mode| (mode.name, mode.options)).collect(),
    };
    groups.retain(|(_, options)| !options.is_empty());
    if mode.is_none_or(|mode| mode.is_run) {
        groups.push(("Options of a run", RUN));
    }
    let is_merge = mode.is_some_and(|mode| mode.name == "merge");
    groups.push(("Common options", if is_merge { OF_MERGE } else { COMMON }));
    if mode.is_none_or(ModeSpec::has_exchange) {
        groups.push((exchange_options::TITLE, exchange_options::OPTIONS));
    }
    #[cfg(feature = "tls")]
    if mode.is_none_or(|mode| mode.is_run) {
        groups.push((tls_options::TITLE, TLS));
    }
    let is_compare = mode.is_some_and(|mode| mode.name == "compare");
    let exit_status = if is_compare { COMPARE_EXIT_STATUS } else { EXIT_STATUS };
    options::usage(mode.map_or(BRIEF, |mode| mode.brief), &groups) + exit_status
}
