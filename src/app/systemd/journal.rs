//! Log lines as journald takes them: no time, and the level in front as a syslog priority.

use std::io;

use log::Level;

use crate::app::config::Config;
use crate::app::log_format::LogFormat;

/// The form of this console's lines.
pub(in crate::app) struct ConsoleFormat(LogFormat);

impl ConsoleFormat {
    /// The form that was asked for, or the one that standard error calls for.
    pub(in crate::app) fn new(config: &Config) -> Self {
        let found = || if is_journal() { LogFormat::Plain } else { LogFormat::Full };
        ConsoleFormat(config.settings.log_format.unwrap_or_else(found))
    }

    /// Appends a whole line, and returns true, if lines are plain.
    pub(in crate::app) fn push_plain(
        &self,
        buffer: &mut Vec<u8>,
        level: Level,
        text: &str,
    ) -> bool {
        if self.0 != LogFormat::Plain {
            return false;
        }
        let priority = match level {
            Level::Error => b'3',
            Level::Warn => b'4',
            Level::Info => b'6',
            Level::Debug | Level::Trace => b'7',
        };
        buffer.extend_from_slice(&[b'<', priority, b'>']);
        buffer.extend_from_slice(text.as_bytes());
        buffer.push(b'\n');
        true
    }
}

/// Whether standard error is the journal: `JOURNAL_STREAM` has its device and inode then, and those
/// of another file where it has been redirected since (systemd.exec(5)).
fn is_journal() -> bool {
    let Ok(stream) = std::env::var("JOURNAL_STREAM") else { return false };
    let Some((device, inode)) = stream.split_once(':') else { return false };
    let Ok(found) = rustix::fs::fstat(io::stderr()) else { return false };
    device.parse() == Ok(found.st_dev) && inode.parse() == Ok(found.st_ino)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_line_begins_with_its_priority() {
        let (mut lines, format) = (Vec::new(), ConsoleFormat(LogFormat::Plain));
        for level in [Level::Error, Level::Warn, Level::Info, Level::Debug, Level::Trace] {
            assert!(format.push_plain(&mut lines, level, level.as_str()));
        }
        assert_eq!(lines, b"<3>ERROR\n<4>WARN\n<6>INFO\n<7>DEBUG\n<7>TRACE\n");
    }

    #[test]
    fn full_line_is_left_to_the_logger() {
        let mut line = Vec::new();
        assert!(!ConsoleFormat(LogFormat::Full).push_plain(&mut line, Level::Info, "x"));
        assert_eq!(line, b"");
    }
}
