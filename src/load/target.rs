//! What the load goes to, as it is written: a listener's URL, or `tcp://HOST:PORT` for any server.

use std::fmt::{self, Write};

use crate::cli::{BadListener, ListenerSpec, OneLine, ProtocolName};

/// What a `raw` answer begins with where the URL does not say: what the server's does.
const RAW_PREFIX: &[u8] = b"Echo: ";

/// How the target is spoken to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Protocol {
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
    pub(super) protocol: Protocol,
    /// An address, IPv6 without brackets, or a name.
    pub(super) host: String,
    /// Never 0.
    pub(super) port: u16,
    /// As it was given.
    pub(super) url: String,
}

/// What is wrong with a target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum TargetError {
    UnknownProtocol(String),
    NoPort,
    UnknownKey { key: &'static str, protocol: String },
    Url(BadListener),
}

impl fmt::Display for TargetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut f = OneLine(f);
        match self {
            TargetError::UnknownProtocol(name) => {
                let all = "command, prefixed, raw, chat and tcp";
                write!(f, "unknown protocol '{name}', there are {all}")
            }
            TargetError::NoPort => f.write_str("nothing listens on port 0"),
            TargetError::UnknownKey { key, protocol } => {
                write!(f, "a {protocol} target has no key '{key}'")
            }
            TargetError::Url(reason) => write!(f, "{reason}"),
        }
    }
}

impl Target {
    /// Reads a target's URL. A listener's `prefix=` may stand there, because it says what comes
    /// back; its other keys say nothing to a client.
    pub(super) fn parse(url: &str) -> Result<Self, TargetError> {
        // To the reader of listener URLs, `tcp` is a `raw` without a prefix.
        let tcp = url.strip_prefix("tcp://");
        let spec = match tcp {
            Some(rest) => ListenerSpec::parse_url(&format!("raw://{rest}")),
            None => ListenerSpec::parse_url(url),
        };
        let spec = spec.map_err(|reason| match reason {
            BadListener::UnknownProtocol(name) => TargetError::UnknownProtocol(name),
            reason => TargetError::Url(reason),
        })?;
        let keys = [
            ("idle", spec.idle_secs.is_some()),
            ("max_frame", spec.frame_len_max.is_some()),
            ("lang", spec.lang.is_some()),
            ("prefix", spec.prefix.is_some() && tcp.is_some()),
        ];
        if let Some((key, _)) = keys.into_iter().find(|(_, given)| *given) {
            let protocol = if tcp.is_some() { "tcp".into() } else { spec.protocol.to_string() };
            return Err(TargetError::UnknownKey { key, protocol });
        }
        if spec.port == 0 {
            return Err(TargetError::NoPort);
        }
        let protocol = match spec.protocol {
            _ if tcp.is_some() => Protocol::Tcp,
            ProtocolName::Command => Protocol::Command,
            ProtocolName::Prefixed => Protocol::Prefixed,
            ProtocolName::Raw => {
                Protocol::Raw { prefix: spec.prefix.unwrap_or_else(|| RAW_PREFIX.to_vec()) }
            }
            ProtocolName::Chat => Protocol::Chat,
            ProtocolName::Plugin => return Err(TargetError::UnknownProtocol("plugin".to_owned())),
        };
        Ok(Target { protocol, host: spec.host, port: spec.port, url: url.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn refused(url: &str, reason: &str) {
        assert_eq!(Target::parse(url).unwrap_err().to_string(), reason);
    }

    #[test]
    fn a_target_is_a_listeners_url_or_any_tcp_server() {
        let protocol = |url: &str| Target::parse(url).unwrap().protocol;
        assert_eq!(protocol("command://h:1"), Protocol::Command);
        assert_eq!(protocol("prefixed://h:1"), Protocol::Prefixed);
        assert_eq!(protocol("chat://[::1]:1"), Protocol::Chat);
        assert_eq!(protocol("tcp://h:1"), Protocol::Tcp);
        assert_eq!(protocol("raw://h:1"), Protocol::Raw { prefix: b"Echo: ".to_vec() });
        assert_eq!(protocol("raw://h:1?prefix="), Protocol::Raw { prefix: Vec::new() });
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
