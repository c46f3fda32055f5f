//! Numbers and times as they are written on the command line: `64`, `10k`, `4Ki`, `500ms`, `2m`.

use std::fmt::{self, Write};
use std::ops::RangeInclusive;
use std::time::Duration;

use super::format::time;
use crate::escape::EscapeControl;
use crate::setting::{SettingError, number};

/// Suffixes of numbers.
const FACTORS: [(&str, u64); 4] =
    [("k", 1_000), ("M", 1_000_000), ("Ki", 1 << 10), ("Mi", 1 << 20)];

/// Suffixes of times, in nanoseconds. `ms` stands before those that it ends with.
const UNITS: [(&str, u64); 3] =
    [("ms", NS_PER_MS), ("s", 1_000 * NS_PER_MS), ("m", 60_000 * NS_PER_MS)];

/// Largest percentage. More is a slip.
const PERCENT_MAX: f64 = 1_000.0;

pub(super) const NS_PER_MS: u64 = 1_000_000;

/// A value that is not a quantity, or out of its range.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum QuantityError {
    Number {
        source: SettingError,
        has_suffix: bool,
    },
    /// Not a time from `min` to `max`.
    Time {
        value: String,
        min: Duration,
        max: Duration,
    },
    /// Not a positive time; without a unit it is milliseconds.
    Milliseconds {
        value: String,
    },
    Percent {
        value: String,
    },
}

impl fmt::Display for QuantityError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut f = EscapeControl(f);
        match self {
            QuantityError::Number { source, has_suffix } => {
                let units = if *has_suffix { ", its unit may be k, M, Ki or Mi" } else { "" };
                write!(f, "{source}{units}")
            }
            QuantityError::Time { value, min, max } => {
                let (min, max) = (time(*min), time(*max));
                write!(f, "'{value}' is not a time in s, ms or m from {min} to {max}")
            }
            QuantityError::Milliseconds { value } => {
                write!(f, "'{value}' is not a number of milliseconds above 0")
            }
            QuantityError::Percent { value } => {
                write!(f, "'{value}' is not a percentage from 0 to {PERCENT_MAX}")
            }
        }
    }
}

/// Parses a decimal number of `range`, with a suffix or without.
pub(super) fn count<N>(value: &str, range: RangeInclusive<N>) -> Result<N, QuantityError>
where
    N: Copy + PartialOrd + TryFrom<u64> + TryInto<u64> + std::str::FromStr,
{
    let is_suffixed = |(suffix, factor): &(&str, u64)| {
        let digits = value.strip_suffix(suffix).filter(|digits| !digits.is_empty())?;
        number(digits, 0..=u64::MAX).ok()?.checked_mul(*factor)
    };
    if let Some(found) = FACTORS.iter().find_map(is_suffixed)
        && let Ok(found) = N::try_from(found)
        && range.contains(&found)
    {
        return Ok(found);
    }
    let has_suffix = value.starts_with(|c: char| c.is_ascii_digit())
        && value.ends_with(|c: char| c.is_ascii_alphabetic());
    number(value, range).map_err(|source| QuantityError::Number { source, has_suffix })
}

/// Parses a time of `range`; without a unit it is seconds.
pub(super) fn duration(
    value: &str,
    range: RangeInclusive<Duration>,
) -> Result<Duration, QuantityError> {
    let found = nanoseconds(value, "s").map(Duration::from_nanos);
    found.filter(|found| range.contains(found)).ok_or_else(|| QuantityError::Time {
        value: value.to_owned(),
        min: *range.start(),
        max: *range.end(),
    })
}

/// Parses a time above 0 as milliseconds; without a unit it is that.
pub(super) fn milliseconds(value: &str) -> Result<f64, QuantityError> {
    let found = nanoseconds(value, "ms").filter(|ns| *ns > 0);
    found
        .map(|ns| ns as f64 / NS_PER_MS as f64)
        .ok_or_else(|| QuantityError::Milliseconds { value: value.to_owned() })
}

/// Parses a percentage from 0 on.
pub(super) fn percent(value: &str) -> Result<f64, QuantityError> {
    let digits = value.strip_suffix('%').unwrap_or(value);
    let is_decimal = digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let found = digits.parse().ok().filter(|_| is_decimal).filter(|found| *found <= PERCENT_MAX);
    found.ok_or_else(|| QuantityError::Percent { value: value.to_owned() })
}

/// Parses a decimal fraction and a unit; `default` is the unit of a value without one.
fn nanoseconds(value: &str, default: &str) -> Option<u64> {
    let split = |(unit, ns): &(&str, u64)| value.strip_suffix(unit).map(|digits| (digits, *ns));
    let bare = || UNITS.iter().find(|(unit, _)| *unit == default).map(|(_, ns)| (value, *ns));
    let (digits, unit_ns) = UNITS.iter().find_map(split).or_else(bare)?;
    let is_decimal = digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let number: f64 = digits.parse().ok().filter(|_| is_decimal)?;
    let ns = number * unit_ns as f64;
    // Beyond this, further than any range, numbers are not exact.
    (ns < 1e18).then(|| ns.round() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn count_takes_decimal_and_binary_suffixes() {
        let parse = |value: &str| count(value, 1..=50_000_000_u32).ok();
        for (value, number) in
            [("7", 7), ("10k", 10_000), ("2M", 2_000_000), ("4Ki", 4_096), ("1Mi", 1 << 20)]
        {
            assert_eq!(parse(value), Some(number), "{value}");
        }
        for bad in
            ["", "k", "0", "0k", "51M", "1.5k", "-1", "+1k", "1 k", "1kk", "99999999999999999M"]
        {
            assert_eq!(parse(bad), None, "{bad}");
        }
        let reason = |value: &str| count(value, 1..=9_u32).unwrap_err().to_string();
        assert_eq!(reason("many"), "'many' is not a number from 1 to 9");
        let units = "its unit may be k, M, Ki or Mi";
        assert_eq!(reason("64K"), format!("'64K' is not a number from 1 to 9, {units}"));
    }

    #[test]
    fn duration_has_a_unit_or_is_seconds() {
        let range = Duration::from_millis(1)..=Duration::from_secs(600);
        let parse = |value: &str| duration(value, range.clone()).ok().map(|time| time.as_millis());
        for (value, ms) in
            [("10", 10_000), ("10s", 10_000), ("250ms", 250), ("2m", 120_000), ("1.5", 1_500)]
        {
            assert_eq!(parse(value), Some(ms), "{value}");
        }
        for bad in ["", "s", "0", "11m", "1h", "-1", "1e3", ".", "inf", "1 s", "\u{b5}s"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
        let reason = duration("1h", range.clone()).unwrap_err().to_string();
        assert_eq!(reason, "'1h' is not a time in s, ms or m from 1 ms to 600 s");
    }

    #[test]
    fn milliseconds_are_above_0() {
        assert_eq!(milliseconds("1.5"), Ok(1.5));
        assert_eq!(milliseconds("2s"), Ok(2_000.0));
        for bad in ["0", "x", "-1", "inf", "1e3", "."] {
            assert!(milliseconds(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn percentage_is_0_or_more() {
        assert_eq!((percent("0"), percent("2.5"), percent("3%")), (Ok(0.0), Ok(2.5), Ok(3.0)));
        for bad in ["", "%", "-1", "nan", "inf", "1e1", "1001"] {
            assert!(percent(bad).is_err(), "{bad}");
        }
    }
}
