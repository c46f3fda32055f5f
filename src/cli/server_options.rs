//! The server's options, each once: `--help`, the parser and the keys of `[server]` are made of this
//! table. What a setting means and its range is `app`'s matter.

use super::ini::no_such_key;
use super::options::{OptionSpec, OptionValue};
use crate::defaults;
use crate::limits::{FILES_RESERVED, FRAME_LEN_LIMIT};
use crate::protocol::{PrefixedProtocol, UrlProtocol};
use crate::setting::HAS_PLUGINS;

/// The options under the titles they have in `--help`.
pub(crate) const GROUPS: [(&str, &[OptionSpec]); 6 + FEATURE_GROUPS] = [
    ("Listeners and configuration", &LISTENERS),
    ("Connections", &CONNECTIONS),
    #[cfg(feature = "tls")]
    ("TLS", &TLS),
    #[cfg(feature = "admission")]
    ("Admission", &ADMISSION),
    #[cfg(feature = "accounts")]
    ("Accounts", &ACCOUNTS),
    #[cfg(feature = "admin")]
    ("Admin", &ADMIN),
    #[cfg(feature = "cluster")]
    ("Cluster", &CLUSTER),
    ("Memory", &MEMORY),
    ("Plugins", &PLUGINS),
    ("Logging", &LOGGING),
    ("Others", &OTHERS),
];

/// Options that are not settings, and so not keys of `[server]`.
const NO_SETTINGS: [&str; 7] = ["listen", "config", "verbose", "quiet", "check", "help", "version"];

#[cfg(not(feature = "unix"))]
const LISTEN: &str = "add a listener, PROTOCOL://[HOST]:PORT[?key=value&…]; repeatable; no HOST is all \
                      addresses, port 0 is a free one";
#[cfg(feature = "unix")]
const LISTEN: &str = "add a listener, PROTOCOL://[HOST]:PORT[?key=value&…] or PROTOCOL+unix:///PATH; \
                      repeatable; no HOST is all addresses, port 0 is a free one";

const LISTENERS: [OptionSpec; 3] = [
    OptionSpec::new("l", "listen", "URL", LISTEN).repeated(),
    OptionSpec::new("c", "config", "FILE", "read an INI file; options on the command line win"),
    OptionSpec::new("", "check", "", "check options and config, print what would open, then exit"),
];

const CONNECTIONS: [OptionSpec; 6] = [
    OptionSpec::new(
        "m",
        "max-clients",
        "N",
        "most connections at once (default: the file limit less {})",
    )
    .showing(&[OptionValue::Number(FILES_RESERVED as u64)]),
    OptionSpec::new("", "max-frame", "BYTES", "longest command payload (default {}, at most {})")
        .showing(&[
            OptionValue::Number(defaults::MAX_FRAME_BYTES as u64),
            OptionValue::Number(FRAME_LEN_LIMIT as u64),
        ]),
    OptionSpec::new(
        "",
        "idle-timeout",
        "SECS",
        "close a connection that has sent nothing for so long (default {} = never; prefixed {})",
    )
    .showing(&[
        OptionValue::Number(defaults::IDLE_TIMEOUT_SECS),
        OptionValue::Number(PrefixedProtocol::IDLE_SECS),
    ]),
    OptionSpec::new(
        "",
        "tcp-keepalive",
        "SECS",
        "let the kernel find dead peers (default {}, 0 = off)",
    )
    .showing(&[OptionValue::Number(defaults::TCP_KEEPALIVE_SECS)]),
    OptionSpec::new(
        "",
        "frame-timeout",
        "SECS",
        "how long an incomplete frame may stall (default {})",
    )
    .showing(&[OptionValue::Number(defaults::FRAME_TIMEOUT_SECS)]),
    OptionSpec::new(
        "",
        "drain-timeout",
        "SECS",
        "how long a stop waits for unsent replies (default {})",
    )
    .showing(&[OptionValue::Number(defaults::DRAIN_TIMEOUT_SECS)]),
];

const MEMORY: [OptionSpec; 3] = [
    OptionSpec::new(
        "",
        "send-queue",
        "BYTES",
        "most unsent reply bytes of one connection (default {})",
    )
    .showing(&[OptionValue::Number(defaults::SEND_QUEUE_BYTES as u64)]),
    OptionSpec::new(
        "",
        "broadcast-log",
        "BYTES",
        "most broadcast bytes kept for those who lag (default {})",
    )
    .showing(&[OptionValue::Number(defaults::BROADCAST_LOG_BYTES as u64)]),
    OptionSpec::new(
        "",
        "memory-limit",
        "BYTES",
        "most bytes that may wait, of all connections (default a quarter of the memory)",
    ),
];

/// A build without a feature has no options for it.
const FEATURE_GROUPS: usize = cfg!(feature = "tls") as usize
    + cfg!(feature = "accounts") as usize
    + cfg!(feature = "admission") as usize
    + cfg!(feature = "admin") as usize
    + cfg!(feature = "cluster") as usize;

#[cfg(feature = "admission")]
const ADMISSION: [OptionSpec; 5] = [
    OptionSpec::new(
        "",
        "max-per-ip",
        "N",
        "most open connections of one address, or one IPv6 /64 (default 0 = no limit)",
    ),
    OptionSpec::new(
        "",
        "connect-rate",
        "N",
        "most new connections a second of one address, and in a burst (default 0 = no limit)",
    ),
    OptionSpec::new(
        "",
        "limit-exempt",
        "CIDR,…",
        "addresses these two do not count, such as 10.0.0.0/8,::1",
    ),
    OptionSpec::new(
        "",
        "message-rate",
        "N",
        "messages a second of one connection, bursts of 2N; beyond, it is not read from until its \
         turn comes (default 0 = no limit)",
    ),
    OptionSpec::new(
        "",
        "broadcast-rate",
        "BYTES",
        "the same for broadcast and chat bytes of one sender (default 0 = no limit)",
    ),
];

#[cfg(feature = "tls")]
const TLS: [OptionSpec; 4] = [
    OptionSpec::new(
        "",
        "tls-cert",
        "FILE",
        "certificate of +tls listeners, in PEM, with those that lead to its root",
    ),
    OptionSpec::new("", "tls-key", "FILE", "its key, in PEM (default: in the same file)"),
    OptionSpec::new(
        "",
        "tls-client-ca",
        "FILE",
        "demand certificates of clients, signed by one in FILE",
    ),
    HANDSHAKE_TIMEOUT,
];

#[cfg(any(feature = "tls", feature = "accounts"))]
const HANDSHAKE_TIMEOUT: OptionSpec = OptionSpec::new(
    "",
    "handshake-timeout",
    "SECS",
    if cfg!(not(feature = "accounts")) {
        "longest time from connect to the end of the handshake (default {})"
    } else if cfg!(not(feature = "tls")) {
        "longest time from connect to the login with auth=required (default {})"
    } else {
        "longest time from connect to the end of the handshake, and of the login with \
         auth=required (default {})"
    },
)
.showing(&[OptionValue::Number(defaults::HANDSHAKE_TIMEOUT_SECS)]);

#[cfg(feature = "accounts")]
const ACCOUNTS: [OptionSpec; 2 + cfg!(not(feature = "tls")) as usize] = [
    OptionSpec::new(
        "",
        "accounts",
        "FILE",
        "names and password hashes of those who may log in; 'mynah-cli passwd FILE NAME' adds one",
    ),
    OptionSpec::new("", "allow-register", "", "let clients add accounts to FILE"),
    #[cfg(not(feature = "tls"))]
    HANDSHAKE_TIMEOUT,
];

#[cfg(feature = "admin")]
const ADMIN: [OptionSpec; 1] = [OptionSpec::new(
    "",
    "admin-token",
    "FILE",
    "the secret that admin:// listeners demand over TCP, one line; without it they are for loopback, \
     and change nothing",
)];

#[cfg(feature = "cluster")]
const CLUSTER: [OptionSpec; 1] = [OptionSpec::new(
    "",
    "cluster",
    "URL",
    "join other nodes over Redis or Valkey: redis://[USER@]HOST[:PORT][/DB], rediss:// over TLS or \
     redis+unix:///PATH[?db=N], with ?prefix=TEXT&node=NAME&password_file=FILE and ca=FILE of rediss \
     behind it; nodes of one prefix share rooms and broadcasts of listeners of one name (default prefix \
     mynah, node the host's name)",
)];

const PLUGINS: [OptionSpec; 4] = [
    plugin_option("plugin-dir", "DIR", "load DIR/*.lua (default ./{} where it exists)")
        .showing(&[OptionValue::Text(defaults::PLUGIN_DIR)]),
    plugin_option("plugin-budget", "MS", "longest a plugin call may run (default {})")
        .showing(&[OptionValue::Number(defaults::PLUGIN_BUDGET_MS)]),
    plugin_option("plugin-memory", "BYTES", "most memory a plugin may hold (default {})")
        .showing(&[OptionValue::Number(defaults::PLUGIN_MEMORY_BYTES as u64)]),
    OptionSpec::new("", "no-plugins", "", "load no plugins"),
];

const LOGGING: [OptionSpec; 4 + cfg!(feature = "systemd") as usize] = [
    OptionSpec::new("", "log-level", "LEVEL", "off, error, warn, info, debug, trace (default {})")
        .showing(&[OptionValue::Level(defaults::LOG_LEVEL)]),
    OptionSpec::new("v", "verbose", "", "the same as --log-level debug").repeated(),
    OptionSpec::new("q", "quiet", "", "the same as --log-level warn").repeated(),
    #[cfg(feature = "systemd")]
    OptionSpec::new(
        "",
        "log-format",
        "FORMAT",
        "full, or plain for the journal: no time, and the level as <N> (default: plain where standard \
         error is the journal)",
    ),
    OptionSpec::new("", "log-file", "FILE", "also log to FILE, created with its folders"),
];

const OTHERS: [OptionSpec; 2] = [
    OptionSpec::new("h", "help", "", "print this"),
    OptionSpec::new("V", "version", "", "print the version"),
];

const fn plugin_option(name: &'static str, value: &'static str, help: &'static str) -> OptionSpec {
    let help = if HAS_PLUGINS { help } else { "this build has no plugins" };
    OptionSpec::new("", name, value, help)
}

/// All options, in the order of `--help`.
#[inline(never)]
pub(crate) fn all() -> Vec<OptionSpec> {
    GROUPS.iter().flat_map(|(_, options)| *options).copied().collect()
}

/// The options that are settings, and so also keys of `[server]`.
#[inline(never)]
pub(crate) fn settings() -> Vec<&'static OptionSpec> {
    let options = GROUPS.iter().flat_map(|(_, options)| *options);
    options.filter(|option| !NO_SETTINGS.contains(&option.name)).collect()
}

/// The option for a key of `[server]`: a key is spelt as its option, with `_` for `-`.
///
/// # Errors
///
/// The key is unknown; with the nearest one.
pub(crate) fn option_for_key(key: &str) -> Result<&'static OptionSpec, String> {
    let is_spelt = |option: &&OptionSpec| {
        option.name.len() == key.len()
            && option
                .name
                .bytes()
                .map(|byte| if byte == b'-' { b'_' } else { byte })
                .eq(key.bytes())
    };
    settings().into_iter().find(|option| is_spelt(option)).ok_or_else(|| {
        let mut keys: Vec<String> =
            settings().iter().map(|option| option.name.replace('-', "_")).collect();
        keys.extend(["host", "port"].map(str::to_owned));
        no_such_key(key, keys.iter().map(String::as_str))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_is_its_option_with_underscores() {
        assert_eq!(option_for_key("max_clients").map(|option| option.name), Ok("max-clients"));
        for (key, why) in [
            ("max-clients", "no such key, did you mean max_clients?"),
            ("max_client", "no such key, did you mean max_clients?"),
            ("prot", "no such key, did you mean port?"),
            ("check", "no such key"),
            ("", "no such key"),
        ] {
            assert_eq!(option_for_key(key), Err(why.to_owned()), "{key}");
        }
    }

    #[test]
    fn option_has_one_name() {
        let mut names: Vec<&str> = all().iter().map(|option| option.name).collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
        assert!(NO_SETTINGS.iter().all(|name| names.contains(name)));
    }
}
