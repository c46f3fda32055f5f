//! Figures of this process from the system, for metrics.

use std::fs;
use std::time::SystemTime;

use super::log_queue;
use crate::server::{Process, ProcessSample};

/// This process, as proc(5) shows it. Other systems say nothing but its start.
pub(super) struct ThisProcess {
    started_at_secs: Option<f64>,
}

impl ThisProcess {
    /// The process, which starts now.
    pub(super) fn new() -> Self {
        let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let started_at_secs = since_epoch.ok().map(|since| since.as_secs_f64());
        ThisProcess { started_at_secs }
    }
}

impl Process for ThisProcess {
    fn sample(&self) -> ProcessSample {
        let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
        ProcessSample {
            started_at_secs: self.started_at_secs,
            log_lines_dropped: log_queue::dropped_total(),
            open_fds: open_files(),
            max_fds: rlimit::Resource::NOFILE.get_soft().ok(),
            ..parse_stat(&stat).unwrap_or_default()
        }
    }
}

/// Open files, as Linux 6.2 and later count them: listing a million would take a second.
fn open_files() -> Option<u64> {
    fs::metadata("/proc/self/fd").ok().map(|folder| folder.len()).filter(|count| *count > 0)
}

/// The fields of `/proc/PID/stat` that metrics have (proc_pid_stat(5)).
fn parse_stat(stat: &str) -> Option<ProcessSample> {
    // The name of the program stands in brackets, and may have blanks and brackets.
    let (_, fields) = stat.rsplit_once(") ")?;
    let fields: Vec<&str> = fields.split_ascii_whitespace().collect();
    // Counted from 1 in the manual, of which two come before.
    let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
    let ticks_per_sec = rustix::param::clock_ticks_per_second();
    Some(ProcessSample {
        cpu_secs: Some((field(14)? + field(15)?) as f64 / ticks_per_sec as f64),
        threads: field(20),
        virtual_bytes: field(23),
        resident_bytes: Some(field(24)? * rustix::param::page_size() as u64),
        ..ProcessSample::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_is_read_behind_the_last_bracket() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194304 1 2 3 4 250 50 0 0 20 0 3 0 99 8192 2 18446";
        let sample = parse_stat(stat).unwrap();
        assert_eq!((sample.threads, sample.virtual_bytes), (Some(3), Some(8192)));
        let page = rustix::param::page_size() as u64;
        assert_eq!(sample.resident_bytes, Some(2 * page));
        let ticks = rustix::param::clock_ticks_per_second() as f64;
        assert_eq!(sample.cpu_secs, Some(300.0 / ticks));
        assert_eq!(parse_stat(""), None);
        assert_eq!(parse_stat("7 (a) S 1"), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_has_memory_threads_and_files() {
        let sample = ThisProcess::new().sample();
        assert!(sample.resident_bytes > Some(1 << 20), "{sample:?}");
        assert!(sample.threads >= Some(1) && sample.max_fds > Some(3), "{sample:?}");
        let listed = fs::read_dir("/proc/self/fd").unwrap().count() as u64;
        assert!(sample.open_fds.is_none_or(|count| count.abs_diff(listed) < 16), "{sample:?}");
    }
}
