//! The date and time of a log line. Written by hand, because chrono's formatting would add 20 KiB of
//! code.

use std::io::Write;

use chrono::{Datelike, NaiveDateTime, Timelike};

/// Appends `YYYY-MM-DD HH:MM:SS`, with `separator` between date and time.
pub(super) fn push_date_time(buffer: &mut Vec<u8>, at: NaiveDateTime, separator: char) {
    let (year, month, day) = (at.year(), at.month(), at.day());
    let (hour, minute, second) = (at.hour(), at.minute(), at.second());
    // Writing into a vector cannot fail.
    let _ =
        write!(buffer, "{year:04}-{month:02}-{day:02}{separator}{hour:02}:{minute:02}:{second:02}");
}

/// The time as a `Date` of HTTP has it.
#[cfg(feature = "admin")]
pub(super) fn http_date() -> String {
    httpdate::fmt_http_date(std::time::SystemTime::now())
}
