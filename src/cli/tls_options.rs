//! The options of TLS of the programs that connect, and the `+tls` of a URL: one table and one
//! reading for both.

use std::fmt;
use std::path::PathBuf;

use getopts::Matches;

use super::options::OptionSpec;
use crate::os_text;
use crate::tls::client::{ClientFiles, ClientTls};

/// The title of their group in `--help`.
pub(crate) const TITLE: &str = "TLS, of a URL such as command+tls://HOST:PORT";

/// The options.
pub(crate) const OPTIONS: &[OptionSpec] = &[
    OptionSpec::new("", "cacert", "FILE", "trust the CAs in this PEM file, not the system's"),
    OptionSpec::new("", "insecure", "", "do not check the server's certificate"),
    OptionSpec::new("", "cert", "FILE", "show this client certificate (PEM chain)"),
    OptionSpec::new("", "key", "FILE", "the private key of --cert"),
    OptionSpec::new("", "server-name", "NAME", "the name to ask and check for, if not the URL's"),
];

/// The line on standard error where nothing is checked.
pub(crate) const INSECURE: &str = "warning: --insecure: the server's certificate is not checked";

/// An error in the options of TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum TlsOptionError {
    /// The URL asks for no TLS.
    NoTls {
        /// The option.
        option: &'static str,
        /// The URL that would do.
        instead: String,
    },
    /// `--cert` without `--key`, or the other way round.
    Missing {
        /// The option that is given.
        given: &'static str,
        /// The one that is not.
        missing: &'static str,
    },
    /// Two options that contradict each other.
    Contradiction,
    /// The file that an option names cannot be used.
    Unusable(String),
}

impl fmt::Display for TlsOptionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TlsOptionError::NoTls { option, instead } => {
                write!(f, "--{option} needs a +tls URL, such as {instead}")
            }
            TlsOptionError::Missing { given, missing } => write!(f, "--{given} needs --{missing}"),
            TlsOptionError::Contradiction => {
                f.write_str("--insecure checks nothing, and --cacert says what to check: give one")
            }
            TlsOptionError::Unusable(reason) => f.write_str(reason),
        }
    }
}

/// Takes the `+tls` out of a URL's scheme; `None` if it has none.
pub(crate) fn without_tls(url: &str) -> Option<String> {
    let (scheme, rest) = url.split_once("://")?;
    let transports = || scheme.split('+').skip(1);
    if !transports().any(|transport| transport == "tls") {
        return None;
    }
    let protocol = scheme.split('+').next().unwrap_or_default();
    let mut without = protocol.to_owned();
    for transport in transports().filter(|transport| *transport != "tls") {
        without.push('+');
        without.push_str(transport);
    }
    Some(format!("{without}://{rest}"))
}

/// Checks that none of the options is given for a URL without `+tls`; `instead` is that URL with it.
pub(crate) fn refuse(matches: &Matches, instead: &str) -> Result<(), TlsOptionError> {
    match OPTIONS.iter().find(|spec| matches.opt_present(spec.name)) {
        Some(spec) => Err(TlsOptionError::NoTls { option: spec.name, instead: instead.to_owned() }),
        None => Ok(()),
    }
}

/// Reads the options and their files, for connections to `host`.
pub(crate) fn read(matches: &Matches, host: &str) -> Result<ClientTls, TlsOptionError> {
    let path = |option| matches.opt_str(option).map(|path| PathBuf::from(os_text::decode(&path)));
    let identity = match (path("cert"), path("key")) {
        (Some(cert), Some(key)) => Some((cert, key)),
        (None, None) => None,
        (Some(_), None) => return Err(TlsOptionError::Missing { given: "cert", missing: "key" }),
        (None, Some(_)) => return Err(TlsOptionError::Missing { given: "key", missing: "cert" }),
    };
    let files = ClientFiles {
        cacert: path("cacert"),
        is_insecure: matches.opt_present("insecure"),
        identity,
    };
    if files.is_insecure && files.cacert.is_some() {
        return Err(TlsOptionError::Contradiction);
    }
    let name = matches.opt_str("server-name");
    ClientTls::load(files, name.as_deref(), host)
        .map_err(|error| TlsOptionError::Unusable(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tls_is_taken_out_of_the_scheme_alone() {
        for (url, without) in [
            ("command+tls://h:1", Some("command://h:1")),
            ("command+tls+unix:///x", Some("command+unix:///x")),
            ("raw+tls://h:1?prefix=+tls", Some("raw://h:1?prefix=+tls")),
            ("raw://h:1?prefix=+tls", None),
            ("raw+tlss://h:1", None),
            ("tls://h:1", None),
            ("h:1", None),
        ] {
            assert_eq!(without_tls(url).as_deref(), without, "{url}");
        }
    }
}
