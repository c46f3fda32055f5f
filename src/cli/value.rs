//! Values as they are written on a command line, in a URL or in a file, and what may be wrong with
//! one.

use std::fmt::{self, Write};
use std::ops::RangeInclusive;
use std::str::FromStr;

use super::escape_control::EscapeControl;

/// Whether this build can load plugins.
pub(crate) const HAS_PLUGINS: bool = cfg!(feature = "plugins");

/// Why a setting was not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SettingError {
    /// There is none of that name.
    Unknown,
    /// It has that name, but this build cannot do what it asks.
    NoPlugins,
    /// The value is no number of the range.
    NotInRange {
        /// What was given.
        value: String,
        /// The smallest number allowed.
        min: u64,
        /// The largest number allowed.
        max: u64,
    },
    /// The value is not one of those there are.
    NotOneOf {
        /// What was given.
        value: String,
        /// Those there are.
        choices: &'static str,
    },
    /// The value is empty.
    Empty,
    /// The value is not percent-encoded, or too long.
    NotPercentEncoded {
        /// What was given.
        value: String,
        /// The most bytes it may come to.
        len_max: usize,
    },
}

impl fmt::Display for SettingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut f = EscapeControl(f);
        match self {
            SettingError::Unknown => write!(f, "no such setting"),
            SettingError::NoPlugins => {
                write!(f, "this build has no plugins (cargo feature `plugins`)")
            }
            SettingError::NotInRange { value, min, max } => {
                write!(f, "'{value}' is not a number from {min} to {max}")
            }
            SettingError::NotOneOf { value, choices } => write!(f, "'{value}' is not {choices}"),
            SettingError::Empty => write!(f, "needs a value"),
            SettingError::NotPercentEncoded { value, len_max } => {
                write!(f, "'{value}' is not percent-encoded text of at most {len_max} bytes")
            }
        }
    }
}

impl std::error::Error for SettingError {}

/// A decimal number of a range; no sign, no blanks.
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
