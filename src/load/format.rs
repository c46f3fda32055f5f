//! Numbers, sizes and times formatted for people.

use std::time::Duration;

use indicatif::{HumanBytes, HumanCount};

/// Formats a count: `19,000`.
pub(super) fn count(n: u64) -> String {
    HumanCount(n).to_string()
}

/// Formats a count with its noun: `1 error`, `2,000 errors`.
pub(super) fn plural(number: u64, noun: &str) -> String {
    let s = if number == 1 { "" } else { "s" };
    format!("{} {noun}{s}", count(number))
}

/// Formats a rate: `172,732`, or `0.50` below 10.
pub(super) fn rate(per_sec: f64) -> String {
    let is_small = per_sec > 0.0 && per_sec < 10.0;
    if is_small { format!("{per_sec:.2}") } else { count(per_sec.round() as u64) }
}

/// Formats a size: `2.68 MiB`.
pub(super) fn bytes(n: u64) -> String {
    HumanBytes(n).to_string()
}

/// Formats microseconds: `41.2 µs`, `1.23 ms`, `4.56 s`; `-` for none.
pub(super) fn duration(us: Option<f64>) -> String {
    match us {
        None => "-".to_owned(),
        Some(us) if us < 1e3 => format!("{us:.1} µs"),
        Some(us) if us < 1e6 => format!("{:.2} ms", us / 1e3),
        Some(us) => format!("{:.2} s", us / 1e6),
    }
}

/// Formats microseconds in three digits: `41.2 µs`, `746 µs`, `1.23 ms`; `-` for none.
pub(super) fn short_duration(us: Option<f64>) -> String {
    let (value, unit) = match us {
        None => return "-".to_owned(),
        Some(us) if us < 1e3 => (us, "µs"),
        Some(us) if us < 1e6 => (us / 1e3, "ms"),
        Some(us) => (us / 1e6, "s"),
    };
    let digits = if value < 10.0 { 2 } else { usize::from(value < 100.0) };
    format!("{value:.digits$} {unit}")
}

/// Formats a time that was set: `10 s`, `1.5 s`, `250 ms`.
pub(super) fn time(time: Duration) -> String {
    if time.as_millis() < 1_000 && !time.is_zero() {
        return format!("{} ms", time.as_secs_f64() * 1e3);
    }
    format!("{} s", time.as_secs_f64())
}

/// Formats seconds: `1.92 s`.
pub(super) fn seconds(secs: f64) -> String {
    format!("{secs:.2} s")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_a_fitting_unit() {
        assert_eq!(count(1_234_567), "1,234,567");
        assert_eq!((rate(0.5), rate(172_731.6)), ("0.50".into(), "172,732".into()));
        assert_eq!(rate(0.0), "0");
        assert_eq!(bytes(2_813_952), "2.68 MiB");
        assert_eq!(duration(None), "-");
        assert_eq!(duration(Some(41.25)), "41.2 µs");
        assert_eq!(duration(Some(1_234.0)), "1.23 ms");
        assert_eq!(duration(Some(4_560_000.0)), "4.56 s");
        let short =
            [None, Some(41.25), Some(746.4), Some(1_234.0), Some(98_760.0)].map(short_duration);
        assert_eq!(short, ["-", "41.2 µs", "746 µs", "1.23 ms", "98.8 ms"]);
        assert_eq!(seconds(1.92), "1.92 s");
        let set = [0, 250, 1_500, 10_000].map(|ms| time(Duration::from_millis(ms)));
        assert_eq!(set, ["0 s", "250 ms", "1.5 s", "10 s"]);
    }
}
