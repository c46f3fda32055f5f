//! The command line of `--admin URL`: the listener's address, the token, a command and its words.

use std::path::Path;

use getopts::Matches;

use super::address::Address;
use super::admin_error::{AdminUsageError, COMMANDS};
use super::error::NamedBy;
use crate::cli::unix_url::UrlPath;
use crate::client::admin::{AdminAction, Choice, Filter, Token};
use crate::os_text;

/// The port of an admin listener that has none of its own.
const DEFAULT_PORT: u16 = 6580;

/// Options that name a server in another way, or mean nothing to an admin listener.
const NOT_WITH_ADMIN: [&str; 5] = ["host", "port", "protocol", "config", "user"];

/// Options that mean nothing without `--admin`.
const ONLY_WITH_ADMIN: [&str; 2] = ["token", "yes"];

/// Checks that no option is given that needs `--admin`.
pub(super) fn refuse(matches: &Matches) -> Result<(), AdminUsageError> {
    match ONLY_WITH_ADMIN.iter().find(|option| matches.opt_present(option)) {
        Some(option) => Err(AdminUsageError::NeedsAdmin(option)),
        None => Ok(()),
    }
}

/// Parses the URL of `--admin`; no option may name another server.
pub(super) fn address(matches: &Matches, url: &str) -> Result<Address, AdminUsageError> {
    if let Some(option) = NOT_WITH_ADMIN.iter().find(|option| matches.opt_present(option)) {
        return Err(AdminUsageError::Option(option));
    }
    parse_url(url).ok_or_else(|| AdminUsageError::Url {
        url: url.to_owned(),
        instead: instead_of(url).filter(|instead| parse_url(instead).is_some()),
    })
}

/// An admin listener's URL. Its keys are the server's business.
fn parse_url(url: &str) -> Option<Address> {
    let (scheme, rest) = url.split_once("://")?;
    let transports = scheme.strip_prefix("admin")?;
    if !["", "+tls", "+unix", "+tls+unix", "+unix+tls"].contains(&transports) {
        return None;
    }
    let rest = rest.split('?').next().unwrap_or_default();
    // A protocol that every build has; nothing is spoken of it.
    Address::from_word(&format!("command{transports}://{rest}")).ok().flatten()
}

/// The URL that was probably meant.
fn instead_of(word: &str) -> Option<String> {
    if let Some((scheme, rest)) = word.split_once("://") {
        let rest = rest.trim_end_matches('/');
        let (_, transports) = scheme.split_at(scheme.find('+').unwrap_or(scheme.len()));
        let transports = if scheme == "https" { "+tls" } else { transports };
        return match rest.contains(':') || transports.contains("unix") {
            true => Some(format!("admin{transports}://{rest}")),
            false => Some(format!("admin{transports}://{rest}:{DEFAULT_PORT}")),
        };
    }
    if word.starts_with('/') {
        return Some(format!("admin+unix://{}", UrlPath(Path::new(&os_text::decode(word)))));
    }
    if word.parse::<u16>().is_ok() {
        return Some(format!("admin://127.0.0.1:{word}"));
    }
    match word.rsplit_once(':').filter(|(_, port)| port.parse::<u16>().is_ok()) {
        Some(_) => Some(format!("admin://{word}")),
        None if word.contains(':') => Some(format!("admin://[{word}]:{DEFAULT_PORT}")),
        None => Some(format!("admin://{word}:{DEFAULT_PORT}")),
    }
}

/// Reads the file of `--token`.
pub(super) fn token(matches: &Matches) -> Result<Option<Token>, AdminUsageError> {
    let Some(file) = matches.opt_str("token") else { return Ok(None) };
    let read = Token::read(Path::new(&os_text::decode(&file)));
    read.map(Some).map_err(|reason| AdminUsageError::Token { file, reason })
}

/// Options that stand before a command or among its words.
#[derive(Debug, Clone, Copy, Default)]
struct Flags {
    is_json: bool,
    is_watch: bool,
    is_confirmed: bool,
}

/// Parses a command and its words.
pub(super) fn parse(matches: &Matches, words: &[String]) -> Result<AdminAction, AdminUsageError> {
    let mut flags = Flags {
        is_json: matches.opt_present("json"),
        is_watch: matches.opt_present("watch"),
        is_confirmed: matches.opt_present("yes"),
    };
    let Some((name, words)) = words.split_first() else { return Err(AdminUsageError::NoCommand) };
    if name.contains("://") {
        return Err(AdminUsageError::SecondUrl(name.clone()));
    }
    let command = COMMANDS.iter().copied().find(|command| name.eq_ignore_ascii_case(command));
    let command = command.ok_or_else(|| AdminUsageError::UnknownCommand(name.clone()))?;
    let mut arguments = Vec::new();
    for word in words {
        match &**word {
            "--json" => flags.is_json = true,
            "--watch" => flags.is_watch = true,
            "--yes" | "-y" => flags.is_confirmed = true,
            _ => arguments.push(word.clone()),
        }
    }
    check_flags(command, flags)?;
    let Flags { is_json, is_watch, is_confirmed } = flags;
    let in_filter = |source| AdminUsageError::Filter { command, source };
    match (command, &*arguments) {
        ("clients", words) => {
            let filter = Filter::of_list(words).map_err(in_filter)?;
            Ok(AdminAction::Clients { filter, is_json })
        }
        ("kick", []) => Err(AdminUsageError::NoChoice),
        ("kick", words) => {
            let choice = match (words, parse_id(&words[0])) {
                ([_], Some(id)) => Choice::Id(id),
                _ => Choice::Filter(Filter::of_kick(words).map_err(in_filter)?),
            };
            Ok(AdminAction::Kick { choice, is_confirmed })
        }
        (_, [argument, ..]) => {
            Err(AdminUsageError::UnexpectedArgument { command, argument: argument.clone() })
        }
        ("status", _) => Ok(AdminAction::Status { is_json, is_watch }),
        ("reload", _) => Ok(AdminAction::Reload),
        ("drain", _) => Ok(AdminAction::Drain),
        ("undrain", _) => Ok(AdminAction::Undrain),
        _ => Ok(AdminAction::Top),
    }
}

/// The number of a connection, as the log has it: `17` or `#17`.
fn parse_id(word: &str) -> Option<u32> {
    let digits = word.strip_prefix('#').unwrap_or(word);
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
}

fn check_flags(command: &str, flags: Flags) -> Result<(), AdminUsageError> {
    let error = |option, commands| Err(AdminUsageError::OptionOf { option, commands });
    match command {
        "status" if flags.is_confirmed => error("yes", "kick"),
        "status" => Ok(()),
        _ if flags.is_watch => error("watch", "status"),
        "kick" | "reload" | "drain" | "undrain" | "top" if flags.is_json => {
            error("json", "status and clients")
        }
        "kick" => Ok(()),
        _ if flags.is_confirmed => error("yes", "kick"),
        _ => Ok(()),
    }
}

/// A word that needs `--admin`: one of its commands that no other server has, or the URL of an admin
/// listener.
pub(super) fn word_of_admin(words: &[String]) -> Option<AdminUsageError> {
    let word = words.first()?;
    let is_url = word
        .split_once("://")
        .is_some_and(|(scheme, _)| scheme == "admin" || scheme.starts_with("admin+"));
    if is_url {
        let instead = format!("{word} {}", words.get(1).map_or("status", String::as_str));
        return Some(AdminUsageError::WithoutAdmin { word: word.clone(), instead });
    }
    let is_command = *word != "status" && COMMANDS.contains(&&*word.to_ascii_lowercase());
    is_command.then(|| AdminUsageError::WithoutAdmin {
        word: word.clone(),
        instead: format!("admin://127.0.0.1:{DEFAULT_PORT} {word}"),
    })
}

/// The protocol or port of an admin listener without `--admin`.
pub(super) fn protocol_of_admin(host: &str, port: u16, named_by: NamedBy) -> AdminUsageError {
    let word = match named_by {
        NamedBy::Port(port) => format!("port {port}"),
        _ => "--protocol admin".to_owned(),
    };
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    AdminUsageError::WithoutAdmin { word, instead: format!("admin://{host}:{port} status") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_forms_of_an_address_have_a_url() {
        for (word, url) in [
            ("6580", "admin://127.0.0.1:6580"),
            ("10.0.0.1:1", "admin://10.0.0.1:1"),
            ("[::1]:1", "admin://[::1]:1"),
            ("::1:99999", "admin://[::1:99999]:6580"),
            ("localhost", "admin://localhost:6580"),
            ("/run/my admin", "admin+unix:///run/my%20admin"),
            ("http://h:80/", "admin://h:80"),
            ("https://h:80", "admin+tls://h:80"),
            ("command+tls://h:1", "admin+tls://h:1"),
            ("http+unix:///x", "admin+unix:///x"),
            ("admin://h", "admin://h:6580"),
        ] {
            assert_eq!(instead_of(word).as_deref(), Some(url), "{word}");
        }
        assert!(parse_url("admin+unix+tls:///x?mode=0600").is_some());
        for url in ["admin://h", "admin+udp://h:1", "administer://h:1", "chat://h:1", "admin"] {
            assert!(parse_url(url).is_none(), "{url}");
        }
    }

    #[test]
    fn number_of_a_connection_may_have_its_sign() {
        let ids = ["17", "#17", "#", "", "+1", "4294967296", "name=17"].map(parse_id);
        assert_eq!(ids, [Some(17), Some(17), None, None, None, None, None]);
    }
}
