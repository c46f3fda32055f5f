//! The command line: what it asks for, and the errors in it.

mod reader;
mod tables;
#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::ffi::OsStr;
use std::fmt::{self, Write};
use std::os::unix::ffi::OsStrExt;

use getopts::ParsingStyle;

use super::plan::Plan;
use super::quantity::QuantityError;
use super::settings::{CompareSettings, MergeSettings};
use super::target::TargetError;
use crate::cli::options::{self, OptionError};
use crate::cli::suggest::{DidYouMean, nearest};
#[cfg(feature = "tls")]
use crate::cli::tls_options::TlsOptionError;
use crate::escape::EscapeControl;
use crate::os_text;
use reader::Reader;
#[cfg(test)]
#[allow(unused_imports, reason = "`manual` alone needs it, which takes every feature")]
pub(crate) use tables::option_tables;
pub(crate) use tables::{MODES, help};
use tables::{all_options, find_mode};

/// A command line that was understood.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Invocation {
    /// `--help`, of one mode or of all.
    Help(String),
    Version,
    Run(Box<Plan>),
    Compare(CompareSettings),
    Merge(MergeSettings),
}

/// An error in the command line.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum UsageError {
    Option(OptionError),
    /// An argument follows the URL.
    Argument(String),
    NoMode,
    UnknownMode(String),
    /// An option belongs to another mode; `instead` is the one that was probably meant.
    NotOfMode {
        option: &'static str,
        mode: &'static str,
        instead: Option<&'static str>,
    },
    NoUrl {
        mode: &'static str,
    },
    /// `compare` or `merge` has too few files.
    NoFiles {
        mode: &'static str,
    },
    /// A file of `merge` is out of place.
    File {
        path: String,
        reason: &'static str,
    },
    Target {
        url: String,
        source: TargetError,
    },
    Value {
        option: &'static str,
        source: QuantityError,
    },
    #[cfg(feature = "tls")]
    Tls(TlsOptionError),
    /// A value is out of place for a reason of its own.
    Invalid {
        option: &'static str,
        reason: String,
    },
}

impl fmt::Display for UsageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut f = EscapeControl(f);
        match self {
            UsageError::Option(source) => write!(f, "{source}"),
            UsageError::Argument(argument) => write!(f, "unexpected argument '{argument}'"),
            UsageError::NoMode => write!(f, "no mode, there are {}", Modes),
            UsageError::UnknownMode(mode) => {
                let meant = DidYouMean(nearest(mode, MODES));
                write!(f, "unknown mode '{mode}', there are {}{meant}", Modes)
            }
            UsageError::NotOfMode { option, mode, instead } => {
                let instead = instead.map(|name| format!("--{name}"));
                let meant = DidYouMean(instead.as_deref());
                write!(f, "{mode} has no option --{option}{meant}")
            }
            UsageError::NoUrl { mode } => {
                write!(f, "{mode} needs a URL, such as command://127.0.0.1:65432")
            }
            UsageError::NoFiles { mode: "compare" } => {
                f.write_str("compare needs two records, as in: mynah-load compare A.json B.json")
            }
            UsageError::NoFiles { mode } => {
                write!(
                    f,
                    "{mode} needs records, as in: mynah-load {mode} OUT.json PART.json PART.json"
                )
            }
            UsageError::File { path, reason } => write!(f, "{path}: {reason}"),
            UsageError::Target { url, source } => write!(f, "{url}: {source}"),
            #[cfg(feature = "tls")]
            UsageError::Tls(source) => write!(f, "{source}"),
            UsageError::Value { option, source } => write!(f, "--{option}: {source}"),
            UsageError::Invalid { option, reason } => write!(f, "--{option}: {reason}"),
        }
    }
}

/// The modes, in a sentence.
struct Modes;

impl fmt::Display for Modes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [first @ .., last] = MODES;
        write!(f, "{} and {last}", first.join(", "))
    }
}

impl Invocation {
    /// Reads the command line, without the program's name.
    ///
    /// # Errors
    ///
    /// All errors that are in it.
    pub(super) fn from_args<A: AsRef<OsStr>>(args: &[A]) -> Result<Self, Vec<UsageError>> {
        let wrap = |errors: Vec<OptionError>| errors.into_iter().map(UsageError::Option);
        let parsed = options::parse_leniently(&all_options(), ParsingStyle::FloatingFrees, args)
            .map_err(|errors| wrap(errors).collect::<Vec<_>>())?;
        let matches = parsed.matches;
        let mode = matches.free.first().and_then(|name| find_mode(name)).map(|mode| mode.name);
        if matches.opt_present("help") {
            return Ok(Invocation::Help(help(mode)));
        }
        if matches.opt_present("version") {
            return Ok(Invocation::Version);
        }
        let reader = Reader {
            matches: &matches,
            has_doubtful_words: parsed.has_doubtful_words,
            errors: RefCell::new(wrap(parsed.errors).collect()),
        };
        let invocation = reader.invocation(command_line(args));
        let errors = reader.errors.into_inner();
        match invocation {
            Some(invocation) if errors.is_empty() => Ok(invocation),
            _ => Err(errors),
        }
    }
}

/// The command line, quoted where a shell needs it.
fn command_line<A: AsRef<OsStr>>(args: &[A]) -> String {
    let quote = |arg: &A| {
        let text = os_text::encode(arg.as_ref().as_bytes());
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@%+".contains(c);
        if !text.is_empty() && text.chars().all(is_plain) {
            return text;
        }
        format!("'{}'", text.replace('\'', r"'\''"))
    };
    let words = std::iter::once("mynah-load".to_owned()).chain(args.iter().map(quote));
    words.collect::<Vec<String>>().join(" ")
}
