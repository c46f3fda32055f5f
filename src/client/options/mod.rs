//! The command line of `mynah-cli`: the endpoint and what to do there. Opens nothing but the file of
//! `--config`, and for a chat without an address `config.ini`.

mod address;
mod admin;
mod admin_error;
mod error;
mod help;
mod words;

use std::ffi::{OsStr, OsString};
use std::time::Duration;

use getopts::{Matches, ParsingStyle};

use super::account::check_name;
use super::admin::{AdminAction, Token};
use super::endpoint::Endpoint;
#[cfg(feature = "accounts")]
use super::passwd::Passwd;
use super::request::{Request, Verb};
use crate::cli::options as cli_options;
#[cfg(feature = "tls")]
use crate::cli::tls_options;
use crate::limits::TIMEOUT_SECS_LIMIT;
use crate::protocol::ProtocolName;
use address::Address;
use error::{COMMANDS, NamedBy};
use help::{help, options};
use words::Flags;

#[cfg(test)]
#[allow(unused_imports, reason = "`manual` alone needs it, which takes every feature")]
pub(crate) use error::COMMANDS as COMMAND_NAMES;
pub(super) use error::UsageError;
#[cfg(test)]
#[allow(unused_imports, reason = "`manual` alone needs it, which takes every feature")]
pub(crate) use help::{GROUPS as OPTION_GROUPS, help as help_text};

/// The default of `--timeout`.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Shortest `--timeout` above 0: a shorter one could round to zero, which std refuses.
const TIMEOUT_MIN: Duration = Duration::from_millis(1);

/// A parsed command line.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Invocation {
    /// `--help`, with the text to print.
    Help(String),
    Version,
    /// A change of an accounts file, without a server.
    #[cfg(feature = "accounts")]
    Passwd(Passwd),
    /// A command for an admin listener.
    Admin {
        endpoint: Endpoint,
        token: Option<Token>,
        action: AdminAction,
        /// Lines for standard error before it runs.
        notes: Vec<String>,
    },
    Run {
        endpoint: Endpoint,
        /// The name of `--user`, whose password is not known yet.
        user: Option<String>,
        action: Action,
        /// Lines for standard error before it runs.
        notes: Vec<String>,
    },
}

/// An action of the client at its endpoint.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Send one request, print its reply.
    Request(Request),
    /// The same, with standard input as the text.
    RequestFromStdin(Verb),
    /// Print the server's counters.
    Status {
        /// As JSON on a terminal as well.
        is_json: bool,
        /// Again every second.
        is_watch: bool,
    },
    /// Print broadcasts.
    Listen,
    /// Chat, under this nickname if there is one.
    Chat(Option<String>),
    /// One request a line.
    Prompt {
        /// Keep the lines typed in a file.
        has_history: bool,
    },
}

impl Invocation {
    /// Parses the arguments after the program's name, and reads the file that names the server.
    ///
    /// # Errors
    ///
    /// All options that are wrong, or the first of all other errors.
    pub(super) fn from_args(args: &[OsString]) -> Result<Self, Vec<UsageError>> {
        // A TEXT may begin with a dash.
        let matches = cli_options::parse(&options(), ParsingStyle::StopAtFirstFree, args)
            .map_err(|errors| errors.into_iter().map(UsageError::Option).collect::<Vec<_>>())?;
        let mut words = &matches.free[..];
        if matches.opt_present("help") {
            return match host_of_short_help(args, words) {
                Some(host) => Err(UsageError::HelpForHost(host.to_owned()).into()),
                None => Ok(Invocation::Help(help())),
            };
        }
        if matches.opt_present("version") {
            return Ok(Invocation::Version);
        }
        if let Some(url) = matches.opt_str("admin") {
            return admin_invocation(&matches, &url, words);
        }
        admin::refuse(&matches).map_err(UsageError::Admin)?;
        if let Some(error) = admin::word_of_admin(words) {
            return Err(UsageError::Admin(error).into());
        }
        let url = words.first().map(|word| Address::from_word(word)).transpose()?.flatten();
        if url.is_some() {
            words = &words[1..];
            if let Some(error) = admin::word_of_admin(words) {
                return Err(UsageError::Admin(error).into());
            }
        }
        if let [word] = words
            && word.eq_ignore_ascii_case("help")
        {
            return Ok(Invocation::Help(help()));
        }
        #[cfg(feature = "accounts")]
        if let Some(passwd) = words::parse_passwd(words)? {
            if matches.opt_present("user") {
                return Err(UsageError::PasswdUser.into());
            }
            let has_address = ["host", "port", "protocol", "config"];
            let has_address = has_address.iter().any(|option| matches.opt_present(option));
            return match url.is_some() || has_address {
                true => Err(UsageError::PasswdAddress.into()),
                false => Ok(Invocation::Passwd(passwd)),
            };
        }
        let mut address = Address::new(&matches, url)?;
        let (protocol, named_by) = address.protocol(words::is_chat(words));
        if protocol.as_str() == "admin" {
            let (host, port) = address.host_and_port(protocol);
            let error = admin::protocol_of_admin(&host, port, named_by);
            return Err(UsageError::Admin(error).into());
        }
        let flags = Flags {
            is_json: matches.opt_present("json"),
            is_watch: matches.opt_present("watch"),
            has_history: !matches.opt_present("no-history"),
        };
        let action = words::parse(words, protocol, named_by, flags)?;
        let user = matches.opt_str("user");
        if let Some(user) = &user {
            check_user(user, &action, protocol, named_by)?;
        }
        let is_chat = matches!(action, Action::Chat(_));
        let note = if is_chat { address.read_default_file() } else { None };
        let (endpoint, tls_note) = endpoint(&matches, address, protocol)?;
        let notes = note.into_iter().chain(tls_note).collect();
        Ok(Invocation::Run { endpoint, user, action, notes })
    }
}

/// Parses the rest of a command line with `--admin URL`.
fn admin_invocation(
    matches: &Matches,
    url: &str,
    words: &[String],
) -> Result<Invocation, Vec<UsageError>> {
    if let [word] = words
        && word.eq_ignore_ascii_case("help")
    {
        return Ok(Invocation::Help(help()));
    }
    let address = admin::address(matches, url).map_err(UsageError::Admin)?;
    let action = admin::parse(matches, words).map_err(UsageError::Admin)?;
    // Any protocol: nothing is spoken of it.
    let (endpoint, note) = endpoint(matches, address, ProtocolName::Command)?;
    let endpoint = Endpoint { is_admin: true, ..endpoint };
    let token = admin::token(matches).map_err(UsageError::Admin)?;
    Ok(Invocation::Admin { endpoint, token, action, notes: note.into_iter().collect() })
}

/// The server at `address`, and a line for standard error if there is one.
fn endpoint(
    matches: &Matches,
    address: Address,
    protocol: ProtocolName,
) -> Result<(Endpoint, Option<String>), UsageError> {
    let (host, port) = address.host_and_port(protocol);
    if address.path.is_none() && port == 0 {
        return Err(UsageError::PortZero);
    }
    #[cfg_attr(not(feature = "tls"), allow(unused_mut, reason = "TLS is set behind it"))]
    let mut endpoint = Endpoint {
        protocol,
        is_admin: false,
        host,
        port,
        path: address.path,
        timeout: timeout(matches)?,
        account: None,
        #[cfg(feature = "tls")]
        tls: None,
    };
    #[cfg_attr(not(feature = "tls"), allow(unused_mut, reason = "TLS adds one"))]
    let mut note = None;
    #[cfg(feature = "tls")]
    if address.is_tls {
        let tls = tls_options::read(matches, &endpoint.host).map_err(UsageError::Tls)?;
        note = tls.is_insecure().then(|| tls_options::INSECURE.to_owned());
        endpoint.tls = Some(tls);
    } else {
        tls_options::refuse(matches, &endpoint.url("+tls")).map_err(UsageError::Tls)?;
    }
    Ok((endpoint, note))
}

/// Checks the name of `--user`, and that there is an account to log in to.
fn check_user(
    user: &str,
    action: &Action,
    protocol: ProtocolName,
    named_by: NamedBy,
) -> Result<(), UsageError> {
    if !matches!(protocol, ProtocolName::Command | ProtocolName::Chat) {
        return Err(UsageError::UserProtocol { protocol, named_by });
    }
    check_name(user).map_err(UsageError::User)?;
    match action {
        Action::Chat(Some(nick)) if nick != user => {
            Err(UsageError::UserAndNickname { user: user.to_owned(), nick: nick.clone() })
        }
        _ => Ok(()),
    }
}

/// The word behind `-h` that is meant for `-H`, as with redis-cli and psql: it is not a command.
fn host_of_short_help<'a>(args: &[OsString], words: &'a [String]) -> Option<&'a str> {
    let is_command = |word: &String| {
        let known = COMMANDS.iter().chain(admin_error::COMMANDS);
        known.into_iter().any(|command| word.eq_ignore_ascii_case(command))
    };
    let word = words.first().filter(|word| !is_command(word))?;
    let follows = args.windows(2).any(|pair| pair[0] == "-h" && pair[1] == OsStr::new(word));
    follows.then_some(word)
}

fn timeout(matches: &Matches) -> Result<Option<Duration>, UsageError> {
    match matches.opt_str("timeout") {
        Some(value) => parse_timeout(&value).ok_or(UsageError::Timeout(value)),
        None => Ok(Some(TIMEOUT)),
    }
}

/// Parses a decimal number of seconds; `Some(None)` is 0, no limit.
fn parse_timeout(value: &str) -> Option<Option<Duration>> {
    if !value.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
        return None;
    }
    let secs: f64 = value.parse().ok()?;
    if secs > TIMEOUT_SECS_LIMIT as f64 {
        return None;
    }
    Some((secs > 0.0).then(|| Duration::from_secs_f64(secs).max(TIMEOUT_MIN)))
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt;

    use super::*;

    fn invocation(args: &[&str]) -> Result<Invocation, Vec<UsageError>> {
        let args: Vec<OsString> = args.iter().map(OsString::from).collect();
        Invocation::from_args(&args)
    }

    fn run(args: &[&str]) -> (Endpoint, Action) {
        match invocation(args) {
            Ok(Invocation::Run { endpoint, action, .. }) => (endpoint, action),
            other => panic!("{args:?}: {other:?}"),
        }
    }

    fn action(args: &[&str]) -> Action {
        run(args).1
    }

    #[track_caller]
    fn assert_error(args: &[&str], reason: &str) {
        let errors = invocation(args).unwrap_err();
        let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
        assert_eq!(errors, reason.split('\n').collect::<Vec<_>>(), "{args:?}");
    }

    fn request(verb: Verb, text: &str) -> Action {
        Action::Request(Request { verb, text: text.into() })
    }

    #[test]
    fn default_host_and_port_are_those_of_the_server() {
        for (args, server) in [
            (&["status"][..], "command://127.0.0.1:65432"),
            (&["listen"], "command://127.0.0.1:65432"),
            (&[], "command://127.0.0.1:65432"),
            (&["--protocol", "prefixed", "send", "x"], "prefixed://127.0.0.1:8080"),
            (&["--protocol", "raw", "send", "x"], "raw://127.0.0.1:9999"),
            (&["--protocol", "raw"], "raw://127.0.0.1:9999"),
            (&["chat"], "chat://127.0.0.1:5000"),
            (&["--protocol", "chat"], "chat://127.0.0.1:5000"),
            (&["-H", "::1", "-p", "7", "status"], "command://[::1]:7"),
            (&["--host", "[::1]", "--port", "7", "chat"], "chat://[::1]:7"),
            (&["-H", "", "status"], "command://127.0.0.1:65432"),
        ] {
            assert_eq!(run(args).0.to_string(), server, "{args:?}");
        }
    }

    #[test]
    fn command_names_an_action() {
        assert_eq!(action(&["echo", "a b"]), request(Verb::Echo, "a b"));
        assert_eq!(action(&["rev", ""]), request(Verb::Reverse, ""));
        assert_eq!(action(&["broadcast", "-n"]), request(Verb::Broadcast, "-n"));
        assert_eq!(action(&["--", "echo", "--help"]), request(Verb::Echo, "--help"));
        assert_eq!(action(&["echo", "--", "-n"]), request(Verb::Echo, "-n"));
        assert_eq!(action(&["echo", "--"]), request(Verb::Echo, "--"));
        assert_eq!(action(&["status"]), Action::Status { is_json: false, is_watch: false });
        let both = Action::Status { is_json: true, is_watch: true };
        assert_eq!(action(&["status", "--json", "--watch"]), both);
        assert_eq!(action(&["--json", "--watch", "status"]), both);
        assert_eq!(action(&["call", "128", "1 + 2"]), request(Verb::Call(128), "1 + 2"));
        assert_eq!(action(&["call", "7"]), request(Verb::Call(7), ""));
        assert_eq!(action(&["call", "200", "-"]), Action::RequestFromStdin(Verb::Call(200)));
        assert_eq!(action(&["rev", "-"]), Action::RequestFromStdin(Verb::Reverse));
        assert_eq!(action(&["--protocol", "raw", "send", "x"]), request(Verb::Send, "x"));
        assert_eq!(action(&["listen"]), Action::Listen);
        assert_eq!(action(&["chat", "ann"]), Action::Chat(Some("ann".into())));
        assert_eq!(action(&["--protocol", "chat"]), Action::Chat(None));
        assert_eq!(action(&[]), Action::Prompt { has_history: true });
        assert_eq!(action(&["--no-history"]), Action::Prompt { has_history: false });
    }

    #[test]
    fn commands_are_case_insensitive() {
        assert_eq!(action(&["ECHO", "x"]), request(Verb::Echo, "x"));
        assert_eq!(action(&["reverse", "x"]), request(Verb::Reverse, "x"));
        assert_eq!(action(&["Listen"]), Action::Listen);
        assert_eq!(action(&["Chat", "Ann"]), Action::Chat(Some("Ann".into())));
        assert!(matches!(invocation(&["HELP"]), Ok(Invocation::Help(_))));
        assert_eq!(run(&["--protocol", "RAW", "send", "x"]).0.to_string(), "raw://127.0.0.1:9999");
    }

    #[test]
    fn url_or_default_port_names_the_protocol() {
        for (args, server) in [
            (&["raw://h:1", "send", "x"][..], "raw://h:1"),
            (&["raw://h:1"], "raw://h:1"),
            (&["raw+unix:///run/a%20b?prefix=&mode=0660"], "raw+unix:///run/a%20b"),
            (&["chat+unix:///run/x", "chat", "ann"], "chat+unix:///run/x"),
            (&["raw://h:1?prefix=&idle=3"], "raw://h:1"),
            (&["chat://[::1]:7", "chat", "ann"], "chat://[::1]:7"),
            (&["prefixed://:7"], "prefixed://127.0.0.1:7"),
            (&["h:65432", "echo", "x"], "command://h:65432"),
            (&["h:1", "echo", "x"], "command://h:1"),
            (&["h:1", "chat"], "chat://h:1"),
            (&["h:9999"], "raw://h:9999"),
            (&[":9999"], "raw://127.0.0.1:9999"),
            (&["[::1]:5000"], "chat://[::1]:5000"),
            (&["--protocol", "raw", "h:1"], "raw://h:1"),
            (&["--protocol", "raw", "raw://h:1"], "raw://h:1"),
            (&["-p", "8080", "send", "x"], "prefixed://127.0.0.1:8080"),
            (&["-p", "9999"], "raw://127.0.0.1:9999"),
            (&["-p", "5000"], "chat://127.0.0.1:5000"),
            (&["--protocol", "command", "-p", "5000", "status"], "command://127.0.0.1:5000"),
        ] {
            assert_eq!(run(args).0.to_string(), server, "{args:?}");
        }
        #[cfg(feature = "plugins")]
        assert_eq!(run(&["-p", "6070", "send", "x"]).0.to_string(), "plugin://127.0.0.1:6070");
    }

    #[test]
    fn wrong_address_names_what_would_do() {
        assert_error(&["-h", "10.0.0.1"], "-h is --help; the host is -H, as in -H 10.0.0.1");
        assert_error(
            &["-H", "h:9999"],
            "--host: 'h:9999' is host and port, use -H h -p 9999 or the URL raw://h:9999",
        );
        assert_error(
            &["-H", "raw://h:1"],
            "--host: 'raw://h:1' is a URL, which goes before the command by itself",
        );
        assert_error(&["9999"], "there is no command '9999', did you mean raw://127.0.0.1:9999?");
        for (word, url) in [
            ("127.0.0.1", "command://127.0.0.1:65432"),
            ("::1", "command://[::1]:65432"),
            ("localhost", "command://localhost:65432"),
        ] {
            let reason = format!("there is no command '{word}', did you mean {url}?");
            assert_error(&[word], &reason);
        }
        assert_error(
            &["comand://h:1"],
            &format!(
                "comand://h:1: unknown protocol 'comand', there are {}, did you mean command?",
                crate::protocol::ProtocolName::list()
            ),
        );
        assert_error(&["raw://h:0"], "nothing listens on port 0");
        assert_error(&["raw://h"], "raw://h: bad port '', it is 0 to 65535");
        #[cfg(not(feature = "tls"))]
        assert_error(&["command+tls://h:1"], "command+tls://h:1: this build has no TLS");
        let unix = "command+unix://run/x";
        let example = "as in chat+unix:///run/chat.sock";
        let reason = format!("{unix}: the path 'run/x' does not begin with /, {example}");
        assert_error(&[unix], &reason);
        assert_error(
            &["-p", "1", "raw+unix:///x"],
            "--port says what the URL says, give one of them",
        );
        assert_error(&["-p", "1", "raw://h:1"], "--port says what the URL says, give one of them");
        assert_error(
            &["--protocol", "chat", "raw://h:1"],
            "--protocol says what the URL says, give one of them",
        );
    }

    #[cfg(feature = "tls")]
    #[test]
    fn tls_option_needs_a_tls_url() {
        for option in [&["--insecure"][..], &["--cacert", "f"], &["--server-name", "h"]] {
            let reason = format!("{} needs a +tls URL, such as command+tls://h:1", option[0]);
            assert_error(&[option, &["h:1", "status"]].concat(), &reason);
        }
        let url = "raw+tls://h:1?prefix=";
        assert_error(&["--cert", "f", url], "--cert needs --key");
        assert_error(&["--key", "f", url], "--key needs --cert");
        assert_error(
            &["--insecure", "--cacert", "f", url],
            "--insecure checks nothing, and --cacert says what to check: give one",
        );
        assert_error(
            &["--cacert", "/no/such", url],
            "cannot read /no/such: no such file or directory",
        );
        assert_error(
            &["--insecure", "--server-name", "a b", url],
            "'a b' is not the name of a server",
        );
    }

    #[cfg(feature = "tls")]
    #[test]
    fn tls_url_names_the_server_and_its_transport() {
        for (url, shown) in [
            ("raw+tls://h:1?prefix=", "raw+tls://h:1"),
            ("chat+tls://[::1]:7", "chat+tls://[::1]:7"),
            ("prefixed+tls://[fe80::1%lo]:7", "prefixed+tls://[fe80::1%lo]:7"),
            ("command+tls://:7", "command+tls://127.0.0.1:7"),
        ] {
            let Ok(Invocation::Run { endpoint, notes, .. }) = invocation(&["--insecure", url])
            else {
                panic!("{url}");
            };
            assert_eq!(endpoint.to_string(), shown);
            assert_eq!(notes, [tls_options::INSECURE]);
        }
    }

    #[test]
    fn text_may_be_any_bytes() {
        let invocation = |word: &str| {
            let args = ["-p", "1", word].map(OsString::from);
            Invocation::from_args(&[&args[..], &[OsStr::from_bytes(b"\xff").to_owned()]].concat())
        };
        let Ok(Invocation::Run { action, .. }) = invocation("echo") else { panic!() };
        let request = Request { verb: Verb::Echo, text: b"\xff".to_vec() };
        assert_eq!(action, Action::Request(request));
        assert_eq!(invocation("chat"), Err(vec![UsageError::Nickname]));
    }

    #[test]
    fn timeout_is_decimal_and_zero_is_no_limit() {
        let timeout = |value| run(&["--timeout", value]).0.timeout;
        assert_eq!(run(&[]).0.timeout, Some(Duration::from_secs(30)));
        assert_eq!(timeout("5"), Some(Duration::from_secs(5)));
        assert_eq!(timeout("0.25"), Some(Duration::from_millis(250)));
        assert_eq!(timeout("0.00001"), Some(Duration::from_millis(1)));
        assert_eq!(timeout("0"), None);
        assert_eq!(timeout("31536000"), Some(Duration::from_secs(31_536_000)));
        for value in ["-1", "", "1s", "inf", "1e3", ".", "31536001"] {
            let reason = format!("--timeout: '{value}' is not a number of seconds up to 31536000");
            assert_error(&["--timeout", value], &reason);
        }
    }

    #[test]
    fn usage_error_names_the_culprit() {
        assert_error(&["--protcol", "x"], "unknown option '--protcol', did you mean --protocol?");
        assert_error(&["-x", "-p"], "unknown option '-x'\n--port needs a value, PORT");
        assert_error(&["-p", "x"], "--port: bad port 'x', it is 0 to 65535");
        assert_error(&["-p", "0"], "nothing listens on port 0");
        assert_error(&["-H", "a b"], "--host: bad host 'a b'");
        assert_error(
            &["--protocol", "rwa"],
            &format!(
                "--protocol: unknown protocol 'rwa', there are {}, did you mean raw?",
                crate::protocol::ProtocolName::list()
            ),
        );
        assert_error(
            &["--config", "/no/such"],
            "/no/such: cannot be read: no such file or directory",
        );
        assert_error(&["ping"], "there is no command 'ping', did you mean echo?");
        assert_error(&["boradcast"], "there is no command 'boradcast', did you mean broadcast?");
        assert_error(
            &["zzzz\n"],
            &format!(r"there is no command 'zzzz\n'; there are {}", COMMANDS.join(", ")),
        );
        assert_error(&["call", "x"], "call needs a command code from 0 to 255, not 'x'");
        assert_error(&["call"], "call needs a command code from 0 to 255, not ''");
        assert_error(&["--json", "echo", "x"], "--json belongs to status");
        assert_error(&["echo"], "echo needs a TEXT");
        assert_error(
            &["echo", "a", "b"],
            "echo: unexpected argument 'b'; options go before the command, and TEXT in quotes",
        );
        assert_error(
            &["status", "-p"],
            "status: unexpected argument '-p'; it takes --json and --watch, and other options go before the command",
        );
        assert_error(
            &["chat", "ann", "--timeout"],
            "chat: unexpected argument '--timeout'; options go before the command",
        );
        assert_error(
            &["echo", "x", "raw://h:1"],
            "echo: unexpected argument 'raw://h:1'; the URL goes before the command",
        );
        assert_error(&["listen", "x"], "listen: unexpected argument 'x'; it takes none");
        assert_error(&["chat", "ann\nhello"], "the nickname is not one line of UTF-8");
        assert_error(&["chat", "a", "b"], "chat: unexpected argument 'b'; a nickname is one word");
    }

    #[test]
    fn command_needs_its_own_protocol() {
        let send = "send needs --protocol prefixed, raw or plugin";
        for (args, reason) in [
            (&["send", "x"][..], format!("{send}, or a URL such as raw://127.0.0.1:9999")),
            (&["command://h:1", "send", "x"], format!("{send}; over command use echo")),
            (&["--protocol", "chat", "send", "x"], format!("{send}; over chat use chat")),
        ] {
            assert_error(args, &reason);
        }
        for (args, reason) in [
            (
                &["--protocol", "raw", "echo", "x"][..],
                "echo needs --protocol command; over raw use send",
            ),
            (
                &["--protocol", "raw", "listen"],
                "listen needs --protocol command; over raw use send",
            ),
            (&["raw://h:1", "chat"], "chat needs --protocol chat; over raw use send"),
            (
                &["-p", "8080", "chat"],
                "chat needs --protocol chat; port 8080 means prefixed: use send there",
            ),
            (
                &["-p", "9999", "call", "1"],
                "call needs --protocol command; port 9999 means raw: use send there",
            ),
            (
                &["h:5000", "status"],
                "status needs --protocol command; port 5000 means chat: use chat there",
            ),
        ] {
            assert_error(args, reason);
        }
    }

    #[cfg(feature = "accounts")]
    #[test]
    fn user_has_an_account_over_command_and_chat() {
        let user = |args: &[&str]| match invocation(&[&["--user", "ann"], args].concat()) {
            Ok(Invocation::Run { user, action, .. }) => (user.unwrap(), action),
            other => panic!("{args:?}: {other:?}"),
        };
        assert_eq!(user(&["echo", "x"]).0, "ann");
        assert_eq!(user(&["chat", "ann"]).1, Action::Chat(Some("ann".into())));
        assert_eq!(user(&["chat://h:1"]).1, Action::Chat(None));
        for (args, reason) in [
            (&["--user", "an", "echo", "x"][..], "--user: a name has 3 to 16 characters"),
            (&["--user", "#ann", "chat"], "--user: a name has no blanks or control characters"),
            (&["--user", "ann", "chat", "Ann"], "--user ann chats under that name, not as Ann"),
            (
                &["--user", "ann", "raw://h:1"],
                "--user needs --protocol command or chat; raw has no accounts",
            ),
            (
                &["--user", "ann", "-p", "8080", "send", "x"],
                "--user needs --protocol command or chat; port 8080 means prefixed, which has no \
                 accounts",
            ),
            (
                &["--user", "ann", "passwd", "f", "ann"],
                "passwd takes the NAME behind its FILE, not --user",
            ),
            (&["--usr", "ann", "chat"], "unknown option '--usr', did you mean --user?"),
            (&["--user"], "--user needs a value, NAME"),
            (&["login", "ann"], "there is no command 'login'; --user NAME logs in first"),
        ] {
            assert_error(args, reason);
        }
    }

    #[cfg(not(feature = "accounts"))]
    #[test]
    fn user_needs_a_build_with_accounts() {
        let reason = "--user: this build has no accounts (cargo feature `accounts`)";
        assert_error(&["--user", "ann", "echo", "x"], reason);
    }

    #[cfg(feature = "accounts")]
    #[test]
    fn passwd_changes_a_file_without_a_server() {
        use crate::client::passwd::PasswdChange::{Delete, FromStdin, FromTerminal};
        let passwd = |args: &[&str]| match invocation(args) {
            Ok(Invocation::Passwd(passwd)) => passwd,
            other => panic!("{args:?}: {other:?}"),
        };
        for (args, change) in [
            (&["passwd", "f", "bob"][..], FromTerminal),
            (&["PASSWD", "f", "bob", "-"], FromStdin),
            (&["passwd", "--delete", "f", "bob"], Delete),
            (&["passwd", "f", "bob", "--delete"], Delete),
        ] {
            let expected = Passwd { file: "f".into(), name: "bob".into(), change };
            assert_eq!(passwd(args), expected, "{args:?}");
        }
        assert_eq!(passwd(&["passwd", "--", "--delete", "bob"]).change, FromTerminal);
        for args in [&["passwd"][..], &["passwd", "f"], &["passwd", "--delete", "f"]] {
            assert_error(args, "passwd needs FILE and NAME");
        }
        assert_error(&["passwd", "f", "bo"], "a name has 3 to 16 characters");
        assert_error(&["passwd", "f", "#bob"], "a name has no blanks or control characters");
        let more = "passwd: unexpected argument 'x'; it takes FILE and NAME";
        assert_error(&["passwd", "f", "bob", "x"], more);
        assert_error(&["passwd", "--delete", "f", "bob", "x"], more);
        let address = "passwd changes a file and takes no server's address";
        assert_error(&["-p", "1", "passwd", "f", "bob"], address);
        assert_error(&["h:1", "passwd", "f", "bob"], address);
    }

    #[test]
    fn help_lists_all_and_fits_80_columns() {
        let Ok(Invocation::Help(text)) = invocation(&["-h"]) else { panic!() };
        assert!(text.starts_with("mynah-cli, the client of mynah"), "{text}");
        assert!(text.contains("\nExamples:\n"), "{text}");
        for option in options() {
            assert!(text.contains(&format!("--{}", option.name)), "{text}");
        }
        for word in COMMANDS.iter().filter(|word| **word != "help") {
            assert!(text.contains(&format!("    {word} ")), "{text}");
        }
        for line in text.lines() {
            assert!(line.chars().count() <= 80, "{line}");
        }
        assert_eq!(invocation(&["help"]), Ok(Invocation::Help(text.clone())));
        assert_eq!(invocation(&["-h", "echo"]), Ok(Invocation::Help(text)));
        assert_eq!(invocation(&["-V"]), Ok(Invocation::Version));
    }
}
