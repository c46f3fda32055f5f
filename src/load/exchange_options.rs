//! The options `--send`, `--expect`, `--expect-bytes` and `--greeting`, which make `tcp://` a protocol
//! with requests.

use getopts::Matches;

use super::escaped_bytes::unescape;
use super::exchange::{ANSWER_BYTES_MAX, Exchange, Expect};
use super::quantity;
use super::target::Protocol;
use crate::cli::options::OptionSpec;

/// The title of their group in `--help`.
pub(super) const TITLE: &str =
    r"Requests to any server, tcp://; TEXT takes \r \n \t \0 \\ and \xNN";

/// The options.
pub(super) const OPTIONS: &[OptionSpec] = &[
    OptionSpec::new("", "send", "TEXT", "the request"),
    OptionSpec::new("", "expect", "TEXT", "its answer, which must be exactly this"),
    OptionSpec::new("", "expect-bytes", "N", "its answer, of which the length alone counts"),
    OptionSpec::new(
        "",
        "greeting",
        "TEXT",
        "the server speaks first: a connection is open once TEXT has come",
    ),
];

/// The exchange and the greeting that the options give.
#[derive(Debug, Default)]
pub(super) struct ExchangeOptions {
    pub(super) exchange: Option<Exchange>,
    pub(super) greeting: Option<Vec<u8>>,
    /// All errors: an option, and what is wrong with it.
    pub(super) errors: Vec<(&'static str, String)>,
}

impl ExchangeOptions {
    /// Reads the options.
    pub(super) fn read(matches: &Matches) -> Self {
        let mut read = ExchangeOptions::default();
        let send = read.text(matches, "send");
        let expect = read.text(matches, "expect").map(Expect::Bytes);
        let expect_len = read.answer_len(matches).map(Expect::Len);
        read.greeting = read.text(matches, "greeting");
        let is_given = |option: &&str| matches.opt_present(option);
        let given: Vec<&'static str> =
            ["expect", "expect-bytes"].into_iter().filter(is_given).collect();
        match (matches.opt_present("send"), &given[..]) {
            (true, []) => read.add("send", "needs --expect TEXT or --expect-bytes N"),
            (_, [_, second]) => read.add(second, "--expect has the whole answer: give one of both"),
            (false, [expect]) => read.add(expect, "needs --send TEXT"),
            _ => {}
        }
        read.exchange =
            send.zip(expect.or(expect_len)).map(|(send, expect)| Exchange { send, expect });
        read
    }

    /// Checks that the options are given for a target that they are for.
    pub(super) fn check_protocol(&mut self, matches: &Matches, protocol: Protocol) {
        if protocol == Protocol::Tcp {
            return;
        }
        for OptionSpec { name, .. } in OPTIONS {
            if matches.opt_present(name) {
                let reason = format!("{protocol}:// has requests of its own, this is for tcp://");
                self.errors.push((name, reason));
            }
        }
    }

    /// Whether any of the options is given, right or wrong.
    pub(super) fn has_request(matches: &Matches) -> bool {
        ["send", "expect", "expect-bytes"].iter().any(|option| matches.opt_present(option))
    }

    fn add(&mut self, option: &'static str, reason: &str) {
        self.errors.push((option, reason.to_owned()));
    }

    fn text(&mut self, matches: &Matches, option: &'static str) -> Option<Vec<u8>> {
        let text = matches.opt_str(option)?;
        unescape(&text).map_err(|error| self.errors.push((option, error.to_string()))).ok()
    }

    fn answer_len(&mut self, matches: &Matches) -> Option<u32> {
        let option = "expect-bytes";
        let read = quantity::count(&matches.opt_str(option)?, 1..=ANSWER_BYTES_MAX);
        read.map_err(|error| self.errors.push((option, error.to_string()))).ok()
    }
}
