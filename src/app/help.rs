//! The text of `--help`: what mynah is, what it opens by default, and the options.

use std::fmt::Write;

use crate::cli::{ListenerSpec, options, server_options};
use crate::protocol::ProtocolName;

const INTRODUCTION: &str = "\
mynah is a small TCP server for echo, broadcasts, chat and plugins in Lua, with
very many connections on one thread. Without --listen and --config it opens:
";

/// The text, 80 columns wide at most, without a line break at its end.
#[inline(never)]
pub(super) fn text() -> String {
    let mut brief = INTRODUCTION.to_owned();
    for protocol in ProtocolName::ALL.iter().filter(|protocol| protocol.is_default()) {
        let url = ListenerSpec::new(*protocol).to_string();
        let _ = write!(brief, "\n    {url:27} {}", protocol.summary());
    }
    brief.push_str("\n\nUsage: mynah [OPTION…]");
    options::usage(&brief, &server_options::GROUPS).trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::defaults;

    #[test]
    fn help_fits_80_columns() {
        for line in text().lines() {
            assert!(line.chars().count() <= 80, "{line}");
        }
    }

    #[test]
    fn help_begins_with_the_default_listeners() {
        let text = text();
        let (before, _) = text.split_once("Usage: ").unwrap();
        assert!(before.starts_with("mynah is "), "{before}");
        for url in
            ["command://127.0.0.1:65432", "prefixed://127.0.0.1:8080", "chat://127.0.0.1:5000"]
        {
            assert!(before.contains(url), "{before}");
        }
    }

    #[test]
    fn every_default_protocol_has_a_summary() {
        let mut defaults = ProtocolName::ALL.iter().filter(|protocol| protocol.is_default());
        assert!(defaults.all(|protocol| !protocol.summary().is_empty()));
    }

    #[test]
    fn help_shows_the_defaults() {
        let words = text().split_whitespace().collect::<Vec<_>>().join(" ");
        for shown in [
            format!("(default {}, at most", defaults::MAX_FRAME_BYTES),
            format!("(default {})", defaults::DRAIN_TIMEOUT_SECS),
            "(default 0 = never; prefixed 60)".to_owned(),
            "(default info)".to_owned(),
        ] {
            assert!(words.contains(&shown), "{shown}: {words}");
        }
        assert!(!words.contains("{}"), "{words}");
    }
}
