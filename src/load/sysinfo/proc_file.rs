//! Files of proc(5), and the fields of those that have a line each.

use std::fs;

pub(super) fn read(path: &str) -> Option<String> {
    fs::read_to_string(path).ok()
}

/// A line such as `VmRSS:     2748 kB`, in bytes.
pub(super) fn field_bytes(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find(|line| line.split(':').next() == Some(name))?;
    line.split_whitespace().nth(1)?.parse::<u64>().ok()?.checked_mul(1024)
}
