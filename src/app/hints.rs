//! Hints: what would do in place of arguments that other servers take, such as `-p 9999` or a plain
//! port.

use std::fmt::{self, Write};
use std::path::Path;

use crate::cli::options::OptionError;
use crate::cli::suggest::{DidYouMean, nearest};
use crate::cli::{ListenerSpec, server_options, url_for};
use crate::escape::EscapeControl;
use crate::os_text;
use crate::protocol::ProtocolName;

/// Options of other servers for a port, and for an address.
const PORT_OPTIONS: [&str; 2] = ["--port", "-p"];
const HOST_OPTIONS: [&str; 4] = ["--host", "--bind", "-H", "-b"];

/// A word on the command line that is neither an option nor the value of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArgumentError {
    word: String,
    hint: Hint,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Hint {
    /// Arguments that were probably meant, if any.
    Meant(Option<String>),
    /// The word is a number of threads.
    OneThread,
}

impl fmt::Display for ArgumentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut f = EscapeControl(f);
        write!(f, "unexpected argument '{}'", self.word)?;
        match &self.hint {
            Hint::Meant(arguments) => write!(f, "{}", DidYouMean(arguments.as_deref())),
            Hint::OneThread => f.write_str(": there is no number of threads, mynah runs on one"),
        }
    }
}

/// The errors for `words`, one each.
#[inline(never)]
pub(super) fn for_words(words: &[String]) -> Vec<ArgumentError> {
    let mut errors: Vec<ArgumentError> = words
        .iter()
        .map(|word| ArgumentError { word: word.clone(), hint: Hint::Meant(meant(word)) })
        .collect();
    // `server.py PORT THREADS`, the ancestor of `prefixed`.
    if let [port, threads] = &mut errors[..]
        && let Ok(number) = port.word.parse::<u16>()
        && threads.word.parse::<u16>().is_ok()
    {
        let spec = ListenerSpec { port: number, ..ListenerSpec::new(ProtocolName::Prefixed) };
        port.hint = Hint::Meant(Some(format!("--listen {spec}")));
        threads.hint = Hint::OneThread;
    }
    errors
}

/// The arguments for which `word` stands: a listener, a configuration file, or an option without its
/// dashes.
fn meant(word: &str) -> Option<String> {
    let url = match ListenerSpec::parse_url(word) {
        Ok(_) => Some(word.to_owned()),
        Err(_) => url_for(word),
    };
    if let Some(url) = url {
        return Some(format!("--listen {url}"));
    }
    let extension = Path::new(word).extension().and_then(|extension| extension.to_str());
    if matches!(extension, Some("ini" | "conf" | "cfg"))
        || Path::new(&os_text::decode(word)).is_file()
    {
        return Some(format!("--config {word}"));
    }
    let options = server_options::all();
    let option = nearest(word, options.iter().map(|option| option.name))?;
    Some(format!("--{option}"))
}

/// Adds the listener that would do to the errors of options that other servers have for ports and
/// addresses.
#[inline(never)]
pub(super) fn add_listener(errors: &mut [OptionError], args: &[String]) {
    let Some(url) = url_of_options(args) else { return };
    for error in errors {
        if let OptionError::Unknown { given, .. } = error
            && PORT_OPTIONS.iter().chain(&HOST_OPTIONS).any(|option| option == given)
        {
            let (given, instead) = (std::mem::take(given), format!("--listen {url}"));
            *error = OptionError::Foreign { given, instead };
        }
    }
}

fn url_of_options(args: &[String]) -> Option<String> {
    let port = value_of(&PORT_OPTIONS, args);
    let Some(host) = value_of(&HOST_OPTIONS, args) else { return url_for(port?) };
    let port = port.map_or_else(|| ProtocolName::Command.default_port().to_string(), str::to_owned);
    let is_bare_ipv6 = host.contains(':') && !host.starts_with('[');
    url_for(&if is_bare_ipv6 { format!("[{host}]:{port}") } else { format!("{host}:{port}") })
}

/// The value of the first of `options` in `args`: `--port 80`, `--port=80`, `-p 80`, `-p80`.
fn value_of<'a>(options: &[&str], args: &'a [String]) -> Option<&'a str> {
    args.iter().enumerate().find_map(|(at, arg)| {
        let (option, rest) =
            options.iter().find_map(|option| Some((option, arg.strip_prefix(option)?)))?;
        match rest.strip_prefix('=') {
            Some(value) => Some(value),
            None if rest.is_empty() => args.get(at + 1).map(String::as_str),
            None => Some(rest).filter(|_| !option.starts_with("--")),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[&str]) -> Vec<String> {
        let words: Vec<String> = words.iter().map(|&word| word.to_owned()).collect();
        for_words(&words).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn word_is_answered_with_what_would_do() {
        for (word, meant) in [
            ("9999", ", did you mean --listen raw://127.0.0.1:9999?"),
            ("8080", ", did you mean --listen prefixed://127.0.0.1:8080?"),
            ("0.0.0.0:20432", ", did you mean --listen command://0.0.0.0:20432?"),
            ("raw://:7?prefix=", ", did you mean --listen raw://:7?prefix=?"),
            ("/etc/mynah.conf", ", did you mean --config /etc/mynah.conf?"),
            ("check", ", did you mean --check?"),
            ("now", ""),
            ("99999", ""),
        ] {
            assert_eq!(words(&[word]), [format!("unexpected argument '{word}'{meant}")]);
        }
    }

    #[test]
    fn port_and_threads_are_those_of_prefixed() {
        let expected = [
            "unexpected argument '20432', did you mean --listen prefixed://127.0.0.1:20432?",
            "unexpected argument '3': there is no number of threads, mynah runs on one",
        ];
        assert_eq!(words(&["20432", "3"]), expected);
    }

    #[test]
    fn port_and_host_options_have_a_url() {
        let url = |args: &[&str]| {
            let args: Vec<String> = args.iter().map(|&arg| arg.to_owned()).collect();
            url_of_options(&args)
        };
        for args in [&["-p", "9999"][..], &["-p9999"], &["--port=9999"], &["-q", "--port", "9999"]]
        {
            assert_eq!(url(args).as_deref(), Some("raw://127.0.0.1:9999"), "{args:?}");
        }
        let both = url(&["-p", "80", "--bind", "::1"]);
        assert_eq!(both.as_deref(), Some("command://[::1]:80"));
        assert_eq!(url(&["--host", "h"]).as_deref(), Some("command://h:65432"));
        for args in [&["-p"][..], &["--ports=80"], &["-p", "x"], &["80"]] {
            assert_eq!(url(args), None, "{args:?}");
        }
    }
}
