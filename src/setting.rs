//! Settings: values on a command line, in a URL or in a file, and the errors of invalid ones.

use std::fmt::{self, Write};
use std::ops::RangeInclusive;
use std::str::FromStr;

use crate::escape::EscapeControl;

/// True if this build can load plugins.
pub(crate) const HAS_PLUGINS: bool = cfg!(feature = "plugins");

/// True if this build can speak TLS.
pub(crate) const HAS_TLS: bool = cfg!(feature = "tls");

/// True if this build can listen on Unix sockets.
pub(crate) const HAS_UNIX: bool = cfg!(feature = "unix");

/// A part of mynah that a build may be without.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Missing {
    what: &'static str,
    feature: &'static str,
}

impl SettingError {
    /// The setting needs plugins.
    pub(crate) const NO_PLUGINS: Self =
        SettingError::NotBuilt(Missing { what: "plugins", feature: "plugins" });
    /// The setting needs TLS.
    pub(crate) const NO_TLS: Self = SettingError::NotBuilt(Missing { what: "TLS", feature: "tls" });
    /// The setting needs accounts.
    #[cfg(not(feature = "accounts"))]
    pub(crate) const NO_ACCOUNTS: Self =
        SettingError::NotBuilt(Missing { what: "accounts", feature: "accounts" });
    /// The setting needs Unix sockets.
    pub(crate) const NO_UNIX: Self =
        SettingError::NotBuilt(Missing { what: "Unix sockets", feature: "unix" });
}

/// A setting that is unknown or has an invalid value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SettingError {
    /// No setting has that name.
    Unknown,
    /// The setting needs what this build does not have: [`Missing`].
    NotBuilt(Missing),
    /// The value is not a number of the range.
    NotInRange {
        /// The value given.
        value: String,
        /// The smallest number allowed.
        min: u64,
        /// The largest number allowed.
        max: u64,
    },
    /// The value is not one of the choices.
    NotOneOf {
        /// The value given.
        value: String,
        /// The choices.
        choices: &'static str,
    },
    /// The value is not the URL of an engine, for this reason.
    #[cfg(feature = "cluster")]
    NotAnEngine(String),
    /// The value is empty.
    Empty,
    /// A member of the list is no network.
    #[cfg(feature = "admission")]
    NotANetwork(String),
    /// The value is not percent-encoded, or too long.
    NotPercentEncoded {
        /// The value given.
        value: String,
        /// Most bytes of the decoded value.
        len_max: usize,
    },
}

impl fmt::Display for SettingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut f = EscapeControl(f);
        match self {
            SettingError::Unknown => write!(f, "no such setting"),
            SettingError::NotBuilt(Missing { what, feature }) => {
                write!(f, "this build has no {what} (cargo feature `{feature}`)")
            }
            SettingError::NotInRange { value, min, max } => {
                write!(f, "'{value}' is not a number from {min} to {max}")
            }
            SettingError::NotOneOf { value, choices } => write!(f, "'{value}' is not {choices}"),
            #[cfg(feature = "cluster")]
            SettingError::NotAnEngine(reason) => f.write_str(reason),
            SettingError::Empty => write!(f, "needs a value"),
            #[cfg(feature = "admission")]
            SettingError::NotANetwork(value) => {
                write!(f, "'{value}' is not an address or a network such as 10.0.0.0/8")
            }
            SettingError::NotPercentEncoded { value, len_max } => {
                write!(f, "'{value}' is not percent-encoded text of at most {len_max} bytes")
            }
        }
    }
}

impl std::error::Error for SettingError {}

/// Parses `yes` or `no`.
pub(crate) fn yes_or_no(value: &str) -> Result<bool, SettingError> {
    match value {
        "yes" => Ok(true),
        "no" => Ok(false),
        _ => Err(SettingError::NotOneOf { value: value.to_owned(), choices: "yes or no" }),
    }
}

/// Parses a decimal number of a range, without sign and blanks.
pub(crate) fn number<N>(value: &str, range: RangeInclusive<N>) -> Result<N, SettingError>
where
    N: FromStr + PartialOrd + Copy + TryInto<u64>,
{
    let digits = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
    match value.parse() {
        Ok(number) if digits && range.contains(&number) => Ok(number),
        _ => Err(SettingError::NotInRange {
            value: value.to_owned(),
            min: (*range.start()).try_into().unwrap_or(0),
            max: (*range.end()).try_into().unwrap_or(u64::MAX),
        }),
    }
}
