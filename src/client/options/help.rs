//! The options of `mynah-cli`, and the text of `--help`.

use crate::cli::options::{OptionSpec, usage};
#[cfg(feature = "tls")]
use crate::cli::tls_options;

/// The options, which go before the command: a TEXT may begin with a dash.
const OPTIONS: [OptionSpec; 14] = [
    OptionSpec::new("H", "host", "HOST", "the server's address or name (default 127.0.0.1)"),
    OptionSpec::new("p", "port", "PORT", "its port (default 65432, 5000 for chat)"),
    OptionSpec::new("", "protocol", "NAME", "command, prefixed, raw, chat or plugin"),
    OptionSpec::new("", "config", "FILE", "take host and port from [server] in an INI file"),
    OptionSpec::new("", "timeout", "SECS", TIMEOUT),
    OptionSpec::new("", "user", "NAME", USER),
    OptionSpec::new("", "admin", "URL", "ask an admin listener, admin://HOST:PORT"),
    OptionSpec::new("", "token", "FILE", "--admin: the token, one line in a file"),
    OptionSpec::new("", "json", "", "status, clients: JSON on a terminal as well"),
    OptionSpec::new("", "watch", "", "status: again every second"),
    OptionSpec::new("y", "yes", "", "kick: without a question"),
    OptionSpec::new("", "no-history", "", "keep no ~/.mynah_history of the prompt"),
    OptionSpec::new("h", "help", "", "print this"),
    OptionSpec::new("V", "version", "", "print the version"),
];

const TIMEOUT: &str =
    "longest to wait for a connection, and for an answer (default 30, 0 = for ever)";

const USER: &str = "log in first, with the password of MYNAH_PASSWORD, or one that is asked for";

const BRIEF: &str = "\
mynah-cli, the client of mynah: one request, a prompt, or a chat.

Usage: mynah-cli [OPTION…] [URL] [COMMAND [ARG…]]

A URL is PROTOCOL://HOST:PORT, PROTOCOL+unix:///PATH, or HOST:PORT. Without a
protocol the ports 8080, 9999, 5000 and 6070 mean prefixed, raw, chat and
plugin, any other command.

Commands over command:
    echo TEXT           print TEXT as the server sends it back
    rev TEXT            print TEXT reversed
    broadcast TEXT      send TEXT to everyone else, print how many they are
    status              print the server's counters; --json, --watch
    call CODE [TEXT]    any command by its code; 128 to 254 go to plugins
    listen              print broadcasts as they come
Over prefixed, raw and plugin:
    send TEXT           one message
Over chat:
    chat [NICK]         the chat window; without an address it reads config.ini
On an admin listener, with --admin URL:
    status              print the server's figures and listeners
    clients [FILTER…]   print connections: listener=chat ip=192.0.2.7 name=bob
                        min_idle=60 min_queue=1 sort=idle|queue limit=N
    kick FILTER…        close them; kick 17 is one; ban=SECS refuses its ip=
    reload              read the configuration anew, print what has changed
    drain, undrain      accept no new clients; accept them again
    top                 a live screen: ? lists its keys
Without a command:
    a prompt, or one command a line from a pipe. Where send is the only command
    a line is a message. When the server has closed the connection, the prompt
    asks before it connects again.

A TEXT of - is standard input. One that begins with a dash needs no --.

Examples:
    mynah-cli echo 'Hello, World!'
    mynah-cli raw://192.0.2.7:9999 send hello
    mynah-cli -p 8080 send hello
    mynah-cli status --watch
    mynah-cli -H chat.example chat ann
    mynah-cli --admin admin+unix:///run/mynah/admin.sock top
    mynah-cli --user ann command+tls://mynah.example:65432 listen
    printf 'echo one\\nrev two\\n' | mynah-cli

Status: 0 answered, 1 refused or failed, 2 bad usage.";

/// Stands before [`WITHOUT_COMMAND`] where there are accounts.
const PASSWD: &str = "\
On a file of accounts, without a server:
    passwd FILE NAME    add an account or change its password; NAME - reads it
                        from standard input, --delete FILE NAME deletes it
";
const WITHOUT_COMMAND: &str = "Without a command:\n";

/// The options in their groups.
pub(crate) const GROUPS: &[(&str, &[OptionSpec])] = &[
    ("Options, before the command", &OPTIONS),
    #[cfg(feature = "tls")]
    (tls_options::TITLE, tls_options::OPTIONS),
];

/// The options of all groups.
pub(super) fn options() -> Vec<OptionSpec> {
    GROUPS.iter().flat_map(|(_, options)| *options).copied().collect()
}

/// The text of `--help`.
pub(crate) fn help() -> String {
    if cfg!(feature = "accounts") {
        let brief = BRIEF.replace(WITHOUT_COMMAND, &format!("{PASSWD}{WITHOUT_COMMAND}"));
        return usage(&brief, GROUPS);
    }
    usage(BRIEF, GROUPS)
}
