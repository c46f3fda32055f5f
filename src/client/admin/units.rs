//! Bytes and times for the columns of a table: short, and never more precise than is read.

/// `0 B`, `999 B`, `1.2 KiB`, `34 MiB`.
pub(super) fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1000 {
        return format!("{bytes} B");
    }
    let (mut amount, mut unit) = (bytes as f64 / 1024.0, 0);
    // 1000 KiB would be a digit wider.
    while amount >= 999.5 && unit + 1 < UNITS.len() {
        amount /= 1024.0;
        unit += 1;
    }
    let decimals = usize::from(amount < 9.95);
    format!("{amount:.decimals$} {}", UNITS[unit])
}

/// `59 s`, `1 m 01 s`, `23 h 59 m`, `2 d 3 h`: the first two units.
pub(super) fn time(secs: u64) -> String {
    match (secs / 86400, secs / 3600 % 24, secs / 60 % 60, secs % 60) {
        (0, 0, 0, secs) => format!("{secs} s"),
        (0, 0, minutes, secs) => format!("{minutes} m {secs:02} s"),
        (0, hours, minutes, _) => format!("{hours} h {minutes:02} m"),
        (days, hours, ..) => format!("{days} d {hours} h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_have_two_or_three_digits() {
        let shown = [0, 999, 1000, 1024, 10 << 10, 1_022_975, 1 << 20, u64::MAX].map(bytes);
        let expected =
            ["0 B", "999 B", "1.0 KiB", "1.0 KiB", "10 KiB", "999 KiB", "1.0 MiB", "16 EiB"];
        assert_eq!(shown, expected);
    }

    #[test]
    fn time_has_two_units() {
        let shown = [0, 59, 61, 3600, 86_399, 183_600].map(time);
        assert_eq!(shown, ["0 s", "59 s", "1 m 01 s", "1 h 00 m", "23 h 59 m", "2 d 3 h"]);
    }
}
