//! Additions to the tables of options for a configuration file: a value to show for each key of
//! `[server]`, and each key of a listener with its meaning.

use crate::cli::{known_listener_keys, server_options};
use crate::defaults;
use crate::protocol::ProtocolName;

/// A value that the example configuration shows.
pub(super) enum Shown {
    /// The default, where the key is not given.
    Default(String),
    /// There is no such value, or the machine decides it.
    Example(&'static str),
}

impl Shown {
    pub(super) fn value(&self) -> &str {
        match self {
            Shown::Default(value) => value,
            Shown::Example(value) => value,
        }
    }
}

/// The value to show for a key of `[server]`, named as its option; `None` if nobody has written it
/// here.
pub(super) fn setting(name: &str) -> Option<Shown> {
    use Shown::Example;
    let default = |value: u64| Some(Shown::Default(value.to_string()));
    match name {
        "max-clients" => Some(Example("10000")),
        "max-frame" => default(defaults::MAX_FRAME_BYTES.into()),
        "idle-timeout" => Some(Example("3600")),
        "tcp-keepalive" => default(defaults::TCP_KEEPALIVE_SECS),
        "frame-timeout" => default(defaults::FRAME_TIMEOUT_SECS),
        "drain-timeout" => default(defaults::DRAIN_TIMEOUT_SECS),
        "send-queue" => default(defaults::SEND_QUEUE_BYTES as u64),
        "broadcast-log" => default(defaults::BROADCAST_LOG_BYTES as u64),
        "memory-limit" => Some(Example("1073741824")),
        "tls-cert" => Some(Example("/etc/mynah/fullchain.pem")),
        "tls-key" => Some(Example("/etc/mynah/privkey.pem")),
        "tls-client-ca" => Some(Example("/etc/mynah/clients.pem")),
        "handshake-timeout" => default(defaults::HANDSHAKE_TIMEOUT_SECS),
        "max-per-ip" | "connect-rate" | "message-rate" | "broadcast-rate" => default(0),
        "limit-exempt" => Some(Example("10.0.0.0/8,192.0.2.7,::1")),
        "accounts" => Some(Example("/var/lib/mynah/accounts")),
        "admin-token" => Some(Example("/etc/mynah/admin-token")),
        "cluster" => {
            Some(Example("redis://mynah@redis.example.org?password_file=/etc/mynah/redis-password"))
        }
        "log-format" => Some(Example("plain")),
        "allow-register" | "no-plugins" => Some(Shown::Default("no".to_owned())),
        "plugin-dir" => Some(Example("/etc/mynah/plugins")),
        "plugin-budget" => default(defaults::PLUGIN_BUDGET_MS),
        "plugin-memory" => default(defaults::PLUGIN_MEMORY_BYTES as u64),
        "log-level" => Some(Shown::Default(defaults::LOG_LEVEL.as_str().to_ascii_lowercase())),
        "log-file" => Some(Example("/var/log/mynah/mynah.log")),
        _ => None,
    }
}

/// A key of a listener.
pub(super) struct ListenerKey {
    pub(super) name: &'static str,
    /// Name of the value, as in `--help`.
    pub(super) value: &'static str,
    /// The listeners that have it.
    pub(super) of: Of,
    pub(super) help: &'static str,
    /// A value that the example configuration shows.
    pub(super) shown: &'static str,
}

/// Listeners that have a key.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Of {
    /// All over TCP, in a file: a URL has them in front.
    Tcp,
    /// All on a Unix socket, in a file.
    UnixPath,
    /// All over TCP, in URLs too.
    TcpOption,
    Unix,
    Tls,
    All,
    Protocols(&'static [&'static str]),
}

impl Of {
    /// In words, for the listeners that have the key where not all have it.
    pub(super) fn words(self) -> String {
        match self {
            Of::All => String::new(),
            Of::Tcp | Of::TcpOption => "TCP".to_owned(),
            Of::Unix | Of::UnixPath => "+unix".to_owned(),
            Of::Tls => "+tls".to_owned(),
            Of::Protocols(names) => names.join(", "),
        }
    }

    /// Whether a URL has the key behind its `?`.
    pub(super) fn is_in_urls(self) -> bool {
        !matches!(self, Of::Tcp | Of::UnixPath)
    }
}

/// The keys that this build has, in the order of the documents.
pub(super) fn listener_keys() -> impl Iterator<Item = &'static ListenerKey> {
    let has = |protocol: &ProtocolName, name| known_listener_keys(*protocol).any(|key| key == name);
    LISTENER_KEYS.iter().filter(move |key| match key.of {
        Of::All | Of::Protocols(_) => ProtocolName::ALL.iter().any(|name| has(name, key.name)),
        _ => true,
    })
}

const LISTENER_KEYS: [ListenerKey; 16] = [
    ListenerKey {
        name: "host",
        value: "HOST",
        of: Of::Tcp,
        help: "an IPv4 or IPv6 address, or a name (default 127.0.0.1); empty is all addresses",
        shown: "127.0.0.1",
    },
    ListenerKey {
        name: "port",
        value: "PORT",
        of: Of::Tcp,
        help: "the TCP port (default that of the protocol); 0 is a free one",
        shown: "",
    },
    ListenerKey {
        name: "reuse_port",
        value: "yes|no",
        of: Of::TcpOption,
        help: "whether other processes may listen on the port too; the kernel deals new connections out \
               among them (default no)",
        shown: "yes",
    },
    ListenerKey {
        name: "path",
        value: "FILE",
        of: Of::UnixPath,
        help: "the socket's file; one that nobody listens on is replaced",
        shown: "/run/mynah/chat.sock",
    },
    ListenerKey {
        name: "mode",
        value: "OCTAL",
        of: Of::Unix,
        help: "permissions of the socket's file, 0 to 0777 (default: the umask decides); who may write \
               may connect",
        shown: "0660",
    },
    ListenerKey {
        name: "cert",
        value: "FILE",
        of: Of::Tls,
        help: "certificate of this listener, in PEM, with those that lead to its root (default that of \
               --tls-cert)",
        shown: "/etc/mynah/chat.pem",
    },
    ListenerKey {
        name: "key",
        value: "FILE",
        of: Of::Tls,
        help: "its key, in PEM (default: in the same file)",
        shown: "/etc/mynah/chat-key.pem",
    },
    ListenerKey {
        name: "idle",
        value: "SECS",
        of: Of::All,
        help: "close a connection that has sent nothing for so long, in seconds (default that of \
               --idle-timeout); 0 is never",
        shown: "",
    },
    ListenerKey {
        name: "name",
        value: "TEXT",
        of: Of::All,
        help: "what the log, metrics and socket units call it (default the protocol's name, with -2 and so \
               on behind it for a second one)",
        shown: "",
    },
    ListenerKey {
        name: "proxy",
        value: "CIDR,…",
        of: Of::All,
        help: "peers that begin with a PROXY protocol header, which says who their client is; unix is \
               those of a Unix socket (default: none)",
        shown: "127.0.0.1,10.0.0.0/8",
    },
    ListenerKey {
        name: "auth",
        value: "off|optional|required",
        of: Of::Protocols(&["command", "chat"]),
        help: "whether clients log in to an account (default optional where there are accounts, else off)",
        shown: "optional",
    },
    ListenerKey {
        name: "max_frame",
        value: "BYTES",
        of: Of::Protocols(&["command"]),
        help: "longest payload, in bytes, 0 to 1073741824 (default that of --max-frame)",
        shown: "1048576",
    },
    ListenerKey {
        name: "prefix",
        value: "TEXT",
        of: Of::Protocols(&["raw"]),
        help: "beginning of each answer, percent-encoded; may be empty (default Echo:%20)",
        shown: "Echo:%20",
    },
    ListenerKey {
        name: "lang",
        value: "en|ru",
        of: Of::Protocols(&["chat"]),
        help: "language of the server's lines (default en)",
        shown: "en",
    },
    ListenerKey {
        name: "hosts",
        value: "NAME,…",
        of: Of::Protocols(&["admin"]),
        help: "names under which it may be asked, besides addresses and localhost; host in a URL, where \
               the address stands before the ? (default: none)",
        shown: "status.example.org",
    },
    ListenerKey {
        name: "gather",
        value: "MS",
        of: Of::Protocols(&["plugin"]),
        help: "silence of a client after which its input is a package, in milliseconds, 0 to 60000 \
               (default 0: as soon as nothing more can be read)",
        shown: "0",
    },
];

#[test]
fn every_listener_key_has_its_meaning() {
    for protocol in ProtocolName::ALL {
        for key in known_listener_keys(*protocol) {
            let is_its = |known: &&ListenerKey| match known.of {
                Of::All => true,
                Of::Protocols(names) => names.contains(&protocol.as_str()),
                _ => false,
            };
            let known = LISTENER_KEYS.iter().find(|known| known.name == key);
            assert!(known.is_some_and(|known| is_its(&known)), "{protocol}: {key}");
        }
    }
    for key in listener_keys() {
        let Of::Protocols(names) = key.of else { continue };
        for name in names {
            let protocol = ProtocolName::parse(name).unwrap();
            assert!(known_listener_keys(protocol).any(|known| known == key.name), "{}", key.name);
        }
    }
}

#[test]
fn every_setting_has_a_value_to_show() {
    for spec in server_options::settings() {
        assert!(setting(spec.name).is_some(), "add {} to src/manual/keys.rs", spec.name);
    }
}
