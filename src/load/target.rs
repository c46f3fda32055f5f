//! What the load goes to, as it is written: a listener's URL, or `tcp://HOST:PORT` for any server.

use std::fmt::{self, Write};

use crate::cli::{EscapeControl, ListenerError, ListenerSpec, ProtocolName};

/// What a `raw` answer begins with where the URL does not say: what the server's does.
const RAW_PREFIX: &[u8] = b"Echo: ";

/// How the target is spoken to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Speech {
    /// 5-byte header.
    Command,
    /// 1-byte length prefix.
    Prefixed,
    /// No framing; each answer is preceded by `prefix`, as often as the server read.
    Raw { prefix: Vec<u8> },
    /// Lines.
    Chat,
    /// Not at all: connections are opened and held.
    Tcp,
}

/// What the load goes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) speech: Speech,
    /// An address, IPv6 without brackets, or a name.
    pub(super) host: String,
    /// Never 0.
    pub(super) port: u16,
    /// As it was given.
    pub(super) url: String,
}

/// What is wrong with a target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum BadTarget {
    UnknownProtocol(String),
    NoPort,
    UnknownKey { key: &'static str, protocol: String },
    Url(ListenerError),
}

impl fmt::Display for BadTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut f = EscapeControl(f);
        match self {
            BadTarget::UnknownProtocol(name) => {
                let all = "command, prefixed, raw, chat and tcp";
                write!(f, "unknown protocol '{name}', there are {all}")
            }
            BadTarget::NoPort => f.write_str("nothing listens on port 0"),
            BadTarget::UnknownKey { key, protocol } => {
                write!(f, "a {protocol} target has no key '{key}'")
            }
            BadTarget::Url(why) => write!(f, "{why}"),
        }
    }
}

impl Target {
    /// Reads a target's URL. A listener's `prefix=` may stand there, because it says what comes
    /// back; its other keys say nothing to a client.
    pub(super) fn parse(url: &str) -> Result<Self, BadTarget> {
        // To the reader of listener URLs, `tcp` is a `raw` without a prefix.
        let tcp = url.strip_prefix("tcp://");
        let spec = match tcp {
            Some(rest) => ListenerSpec::parse_url(&format!("raw://{rest}")),
            None => ListenerSpec::parse_url(url),
        };
        let spec = spec.map_err(|why| match why {
            ListenerError::UnknownProtocol(name) => BadTarget::UnknownProtocol(name),
            why => BadTarget::Url(why),
        })?;
        let keys = [
            ("idle", spec.idle_secs.is_some()),
            ("max_frame", spec.frame_len_max.is_some()),
            ("lang", spec.lang.is_some()),
            ("prefix", spec.prefix.is_some() && tcp.is_some()),
        ];
        if let Some((key, _)) = keys.into_iter().find(|(_, given)| *given) {
            let protocol = if tcp.is_some() { "tcp".into() } else { spec.protocol.to_string() };
            return Err(BadTarget::UnknownKey { key, protocol });
        }
        if spec.port == 0 {
            return Err(BadTarget::NoPort);
        }
        let speech = match spec.protocol {
            _ if tcp.is_some() => Speech::Tcp,
            ProtocolName::Command => Speech::Command,
            ProtocolName::Prefixed => Speech::Prefixed,
            ProtocolName::Raw => {
                Speech::Raw { prefix: spec.prefix.unwrap_or_else(|| RAW_PREFIX.to_vec()) }
            }
            ProtocolName::Chat => Speech::Chat,
            ProtocolName::Plugin => return Err(BadTarget::UnknownProtocol("plugin".to_owned())),
        };
        Ok(Target { speech, host: spec.host, port: spec.port, url: url.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn refused(url: &str, why: &str) {
        assert_eq!(Target::parse(url).unwrap_err().to_string(), why);
    }

    #[test]
    fn a_target_is_a_listeners_url_or_any_tcp_server() {
        let speech = |url: &str| Target::parse(url).unwrap().speech;
        assert_eq!(speech("command://h:1"), Speech::Command);
        assert_eq!(speech("prefixed://h:1"), Speech::Prefixed);
        assert_eq!(speech("chat://[::1]:1"), Speech::Chat);
        assert_eq!(speech("tcp://h:1"), Speech::Tcp);
        assert_eq!(speech("raw://h:1"), Speech::Raw { prefix: b"Echo: ".to_vec() });
        assert_eq!(speech("raw://h:1?prefix="), Speech::Raw { prefix: Vec::new() });
    }

    #[test]
    fn what_is_no_target_is_refused_by_name() {
        let all = "command, prefixed, raw, chat and tcp";
        refused("http://h:1", &format!("unknown protocol 'http', there are {all}"));
        refused("h:1", "not of the form PROTOCOL://HOST:PORT");
        refused("tcp://h", "bad port '', it is 0 to 65535");
        refused("tcp://h:0", "nothing listens on port 0");
        refused("tcp://h:1?prefix=x", "a tcp target has no key 'prefix'");
        refused("command://h:1?max_frame=5", "a command target has no key 'max_frame'");
        refused("tcp://a\nb:1", r"bad host 'a\nb'");
    }
}
