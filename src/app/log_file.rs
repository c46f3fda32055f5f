//! The log file: whole lines, through full disks and rotation. Knows nothing of queues and loggers.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use chrono::{DateTime, Local};
use log::{Level, log_enabled};
use rustix::fs::Access;

use super::log_queue::{Line, Sink};
use super::timestamp::push_date_time;
use crate::strerror::strerror;

/// Time from a failed write to the next try.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Buffered bytes that are written although more lines are waiting.
const BUFFER_BYTES: usize = 8 * 1024;

/// A file that log lines are appended to.
///
/// No line is ever torn: when a write ends inside a line, its rest is kept and written first when
/// the file works again. Whole lines are not kept for a file that fails: they are counted, and the
/// count is reported on the console and in the file.
///
/// Invariant: `buffer` holds whole lines. If `is_torn`, the rest of a partly written line precedes
/// them; while there is a `failure`, that rest is all it holds.
pub(super) struct LogFile<W = File> {
    path: PathBuf,
    file: W,
    buffer: Vec<u8>,
    is_torn: bool,
    failure: Option<Failure>,
    report: Report,
}

/// Reports on the console that the file fails, works again or was opened anew.
type Report = Box<dyn FnMut(Level, &str) + Send>;

struct Failure {
    /// Lines lost since the file failed.
    lines_lost: u64,
    /// Those of them that a line in the file itself reports already.
    lines_noted: u64,
    retry_at: Instant,
}

impl LogFile {
    /// Opens `path` for appending, and makes its folders.
    pub(super) fn open(
        path: PathBuf,
        report: impl FnMut(Level, &str) + Send + 'static,
    ) -> io::Result<Self> {
        let file = open(&path)?;
        Ok(LogFile::new(path, file, report))
    }
}

impl<W: Write> LogFile<W> {
    fn new(path: PathBuf, file: W, report: impl FnMut(Level, &str) + Send + 'static) -> Self {
        let report = Box::new(report);
        LogFile { path, file, buffer: Vec::new(), is_torn: false, failure: None, report }
    }

    fn add(&mut self, line: &Line, now: Instant) {
        self.retry_if_due(now);
        if let Some(failure) = &mut self.failure {
            failure.lines_lost += 1;
            return;
        }
        format_line(&mut self.buffer, line.at, line.level, &line.text);
        if self.buffer.len() >= BUFFER_BYTES {
            self.write_out(now);
        }
    }

    /// Writes the buffer, unless the file fails and its next try is not due.
    fn flush_if_usable(&mut self, now: Instant) {
        self.retry_if_due(now);
        if self.failure.is_none() {
            self.write_out(now);
        }
    }

    fn write_out(&mut self, now: Instant) {
        let (lines_lost, result) = self.write_buffer();
        if let Err(error) = result {
            let retry_at = now + RETRY_AFTER;
            self.failure = Some(Failure { lines_lost, lines_noted: 0, retry_at });
            let path = self.path.display();
            let text = format!("log file {path} cannot be written: {}", strerror(&error));
            (self.report)(Level::Error, &text);
        }
    }

    /// Retries a failed file when that is due: writes the rest of a torn line, then a line with the
    /// count of the lost ones.
    fn retry_if_due(&mut self, now: Instant) {
        let Some(failure) = self.failure.as_mut().filter(|failure| failure.retry_at <= now) else {
            return;
        };
        failure.retry_at = now + RETRY_AFTER;
        let lost = failure.lines_lost;
        let to_note = lost - failure.lines_noted;
        if self.write_buffer().1.is_err() {
            return;
        }
        if to_note > 0 {
            let text = self.lines_lost_text(to_note);
            format_line(&mut self.buffer, SystemTime::now(), Level::Error, &text);
            let (notices_lost, result) = self.write_buffer();
            if result.is_err() {
                // A torn notice is completed by the next try; an unwritten one is written anew.
                if let (0, Some(failure)) = (notices_lost, &mut self.failure) {
                    failure.lines_noted = lost;
                }
                return;
            }
        }
        self.failure = None;
        let text = self.lines_lost_text(lost);
        (self.report)(Level::Error, &text);
    }

    fn lines_lost_text(&self, lines: u64) -> String {
        let path = self.path.display();
        match lines {
            0 => format!("log file {path} is written again; no line was lost"),
            1 => format!("log file {path} is written again; 1 line was lost"),
            _ => format!("log file {path} is written again; {lines} lines were lost"),
        }
    }

    /// Writes the buffer, in one write if the file takes it. On an error the rest of a torn line
    /// stays; whole lines are dropped, and their number returned.
    fn write_buffer(&mut self) -> (u64, io::Result<()>) {
        let mut written = 0;
        let result = loop {
            let rest = &self.buffer[written..];
            if rest.is_empty() {
                break Ok(());
            }
            match self.file.write(rest) {
                Ok(0) => break Err(ErrorKind::WriteZero.into()),
                Ok(n) => written += n,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => break Err(error),
            }
        };
        if let Some(last) = self.buffer[..written].last() {
            self.is_torn = *last != b'\n';
        }
        self.buffer.drain(..written);
        let torn_len = if self.is_torn { line_len(&self.buffer) } else { 0 };
        let lines_lost = count_lines(&self.buffer[torn_len..]);
        self.buffer.truncate(torn_len);
        (lines_lost, result)
    }

    /// Continues with `file`. Unless both are the same file, the rest of a torn line is tried on the
    /// old one once more and then counted as lost.
    fn replace(&mut self, file: W, is_same: bool, now: Instant) {
        if let Some(failure) = &mut self.failure {
            failure.retry_at = now;
        }
        if !is_same {
            self.flush_if_usable(now);
            if let Some(failure) = &mut self.failure {
                failure.lines_lost += u64::from(self.is_torn);
                failure.retry_at = now;
                self.is_torn = false;
                self.buffer.clear();
            }
        }
        self.file = file;
        self.flush_if_usable(now);
    }
}

impl LogFile {
    /// Logs a line about the file on the console and in it. It bypasses the logger, because this
    /// thread's queue may be closed.
    fn announce(&mut self, level: Level, text: &str) {
        if log_enabled!(level) {
            (self.report)(level, text);
            self.line(&Line { at: SystemTime::now(), level, text: text.into() });
        }
    }
}

impl Sink for LogFile {
    fn line(&mut self, line: &Line) {
        self.add(line, Instant::now());
    }

    fn dropped(&mut self, notice: &Line, lines: u64) {
        match &mut self.failure {
            Some(failure) => failure.lines_lost += lines,
            None => self.line(notice),
        }
    }

    fn flush(&mut self) {
        self.flush_if_usable(Instant::now());
    }

    fn retry_in(&self) -> Option<Duration> {
        let failure = self.failure.as_ref()?;
        Some(failure.retry_at.saturating_duration_since(Instant::now()))
    }

    /// Keeps the old file in use where the new one cannot be opened.
    fn reopen(&mut self) {
        let now = Instant::now();
        self.flush_if_usable(now);
        let path = self.path.display().to_string();
        match open(&self.path) {
            Ok(file) => {
                let is_same = is_same_file(&self.file, &file);
                self.replace(file, is_same, now);
                self.announce(Level::Info, &format!("log file {path} opened anew"));
            }
            Err(error) => {
                let reason = strerror(&error);
                let text = format!(
                    "log file {path} cannot be opened anew, the old one stays in use: {reason}"
                );
                self.announce(Level::Error, &text);
            }
        }
    }

    fn finish(&mut self) {
        if let Some(failure) = &mut self.failure {
            failure.retry_at = Instant::now();
        }
        self.flush();
        if let Some(Failure { lines_lost, .. }) = self.failure {
            let lines_lost = lines_lost + u64::from(self.is_torn);
            let path = self.path.display();
            let text = format!("log file {path} could not be written; lines lost: {lines_lost}");
            (self.report)(Level::Error, &text);
        }
    }
}

fn open(path: &Path) -> io::Result<File> {
    if let Some(folder) = path.parent().filter(|folder| *folder != Path::new("")) {
        fs::create_dir_all(folder)?;
    }
    OpenOptions::new().append(true).create(true).open(path)
}

/// Why [`LogFile::open`] would fail, as far as permissions tell, without opening or making anything.
///
/// # Errors
///
/// Those of stat(2) and access(2).
pub(super) fn check(path: &Path) -> io::Result<()> {
    match fs::metadata(path) {
        Ok(file) if file.is_dir() => Err(ErrorKind::IsADirectory.into()),
        Ok(_) => Ok(rustix::fs::access(path, Access::WRITE_OK)?),
        Err(error) if error.kind() == ErrorKind::NotFound => check_folder(path),
        Err(error) => Err(error),
    }
}

/// Checks that the first folder above `path` that exists can be written to.
fn check_folder(path: &Path) -> io::Result<()> {
    for folder in path.ancestors().skip(1) {
        let folder = if folder == Path::new("") { Path::new(".") } else { folder };
        match fs::metadata(folder) {
            Ok(found) if !found.is_dir() => return Err(ErrorKind::NotADirectory.into()),
            Ok(_) => return Ok(rustix::fs::access(folder, Access::WRITE_OK | Access::EXEC_OK)?),
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            Err(_) => {}
        }
    }
    Err(ErrorKind::NotFound.into())
}

fn is_same_file(old: &File, new: &File) -> bool {
    match (old.metadata(), new.metadata()) {
        (Ok(old), Ok(new)) => (old.dev(), old.ino()) == (new.dev(), new.ino()),
        _ => false,
    }
}

/// Appends `YYYY-MM-DD HH:MM:SS [LEVEL] message` in local time, the ancestor's format.
fn format_line(buffer: &mut Vec<u8>, at: SystemTime, level: Level, text: &str) {
    push_date_time(buffer, DateTime::<Local>::from(at).naive_local(), ' ');
    // Writing into a vector cannot fail.
    let _ = writeln!(buffer, " [{level}] {text}");
}

/// Length of the first line, with its end.
fn line_len(bytes: &[u8]) -> usize {
    bytes.iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |at| at + 1)
}

fn count_lines(bytes: &[u8]) -> u64 {
    bytes.iter().filter(|byte| **byte == b'\n').count() as u64
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    /// A disk with `room` bytes free, shared by the file and the test.
    #[derive(Clone, Default)]
    struct Disk(Arc<Mutex<DiskState>>);

    #[derive(Default)]
    struct DiskState {
        text: Vec<u8>,
        room: usize,
        writes: usize,
        reports: Vec<String>,
    }

    impl Disk {
        fn with_room(bytes: usize) -> Disk {
            let disk = Disk::default();
            disk.state().room = bytes;
            disk
        }

        fn state(&self) -> std::sync::MutexGuard<'_, DiskState> {
            self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
        }

        /// The messages of all lines. Panics if the last line is torn.
        fn messages(&self) -> Vec<String> {
            let text = String::from_utf8_lossy(&self.state().text).into_owned();
            assert!(text.is_empty() || text.ends_with('\n'), "torn: {text:?}");
            text.lines().map(message).collect()
        }

        fn reports(&self) -> Vec<String> {
            std::mem::take(&mut self.state().reports)
        }

        fn file(&self) -> LogFile<Disk> {
            let disk = self.clone();
            let report = move |_, text: &str| disk.state().reports.push(text.to_owned());
            LogFile::new(PathBuf::from("x.log"), self.clone(), report)
        }
    }

    fn message(line: &str) -> String {
        let (time, message) = line.split_at(20);
        assert!(time.ends_with(' ') && message.starts_with('['), "{line}");
        message.to_owned()
    }

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let mut state = self.state();
            state.writes += 1;
            let n = bytes.len().min(state.room);
            if n == 0 {
                return Err(io::Error::from_raw_os_error(libc::ENOSPC));
            }
            state.text.extend(&bytes[..n]);
            state.room -= n;
            Ok(n)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn line(text: &str) -> Line {
        Line { at: SystemTime::UNIX_EPOCH, level: Level::Info, text: text.into() }
    }

    /// Length of a line whose message is one character.
    const SHORT: usize = "1970-01-01 00:00:00 [INFO] a\n".len();

    const FULL: &str = "log file x.log cannot be written: no space left on device";

    fn again(lost: &str) -> String {
        format!("log file x.log is written again; {lost} lost")
    }

    #[test]
    fn waiting_lines_are_written_together() {
        let disk = Disk::with_room(1 << 20);
        let (mut file, now) = (disk.file(), Instant::now());
        ["a", "b", "c"].iter().for_each(|text| file.add(&line(text), now));
        assert_eq!(disk.state().writes, 0);
        file.flush_if_usable(now);
        assert_eq!(disk.state().writes, 1);
        assert_eq!(disk.messages(), ["[INFO] a", "[INFO] b", "[INFO] c"]);
        (0..BUFFER_BYTES / SHORT).for_each(|_| file.add(&line("a"), now));
        assert_eq!(disk.state().writes, 1);
        file.add(&line("a"), now);
        assert_eq!(disk.state().writes, 2);
    }

    /// Tries every amount of free space, from none to more than all lines need.
    #[test]
    fn full_disk_tears_no_line_and_losses_are_counted() {
        for room in 0..=4 * SHORT {
            let disk = Disk::with_room(room);
            let (mut file, began_at) = (disk.file(), Instant::now());
            ["a", "b", "c"].iter().for_each(|text| file.add(&line(text), began_at));
            file.flush_if_usable(began_at);
            let begun = (room.div_ceil(SHORT)).min(3);
            assert_eq!(disk.reports().len(), usize::from(room < 3 * SHORT), "{room}");
            let lost = 3 - begun;
            disk.state().room = 1 << 20;
            file.add(&line("d"), began_at + RETRY_AFTER);
            file.flush_if_usable(began_at + RETRY_AFTER);
            let mut expected: Vec<String> =
                ["a", "b", "c"][..begun].iter().map(|text| format!("[INFO] {text}")).collect();
            let text = match lost {
                0 => again("no line was"),
                1 => again("1 line was"),
                lost => again(&format!("{lost} lines were")),
            };
            if lost > 0 {
                expected.push(format!("[ERROR] {text}"));
            }
            expected.push("[INFO] d".to_owned());
            assert_eq!(disk.messages(), expected, "{room}");
            let reports = disk.reports();
            assert_eq!(reports, if room < 3 * SHORT { vec![text] } else { vec![] }, "{room}");
        }
    }

    #[test]
    fn failing_file_is_reported_once_retried_each_second() {
        let disk = Disk::with_room(SHORT + 3);
        let (mut file, began_at) = (disk.file(), Instant::now());
        for ms in 0..5000 {
            let now = began_at + Duration::from_millis(ms);
            file.add(&line("a"), now);
            file.flush_if_usable(now);
        }
        // The first line, the second torn and its rest refused, and four more tries.
        assert_eq!(disk.state().writes, 2 + 1 + 4);
        assert_eq!(disk.reports(), [FULL]);
        disk.state().room = 1 << 20;
        let now = began_at + Duration::from_millis(5001);
        file.flush_if_usable(now);
        assert_eq!(disk.reports(), [again("4998 lines were")]);
        let notice = format!("[ERROR] {}", again("4998 lines were"));
        assert_eq!(disk.messages(), ["[INFO] a", "[INFO] a", &notice]);
    }

    #[test]
    fn torn_notice_is_completed_before_the_next_count() {
        let disk = Disk::with_room(SHORT);
        let (mut file, mut now) = (disk.file(), Instant::now());
        ["a", "b", "c"].iter().for_each(|text| file.add(&line(text), now));
        file.flush_if_usable(now);
        disk.state().room = 30;
        now += RETRY_AFTER;
        file.add(&line("d"), now);
        assert_eq!(disk.reports(), [FULL]);
        disk.state().room = 1 << 20;
        now += RETRY_AFTER;
        file.flush_if_usable(now);
        let (two, one) = (again("2 lines were"), again("1 line was"));
        assert_eq!(
            disk.messages(),
            ["[INFO] a", &format!("[ERROR] {two}"), &format!("[ERROR] {one}")]
        );
        assert_eq!(disk.reports(), [again("3 lines were")]);
    }

    #[test]
    fn new_file_begins_with_a_whole_line() {
        for is_same in [false, true] {
            let (old, new) = (Disk::with_room(SHORT + 3), Disk::with_room(1 << 20));
            let (mut file, now) = (old.file(), Instant::now());
            ["a", "b", "c"].iter().for_each(|text| file.add(&line(text), now));
            file.flush_if_usable(now);
            file.replace(new.clone(), is_same, now);
            let lost = if is_same { "1 line was" } else { "2 lines were" };
            assert_eq!(old.reports(), [FULL.to_owned(), again(lost)]);
            let text = String::from_utf8_lossy(&new.state().text).into_owned();
            let rest = text.find("INFO] b\n");
            assert_eq!(rest.is_some(), is_same, "{text}");
            let notice = format!("[ERROR] {}\n", again(lost));
            assert!(text.ends_with(&notice), "{text}");
        }
    }

    #[test]
    fn replacing_a_working_file_reports_nothing() {
        let (old, new) = (Disk::with_room(1 << 20), Disk::with_room(1 << 20));
        let (mut file, now) = (old.file(), Instant::now());
        file.add(&line("a"), now);
        file.replace(new.clone(), false, now);
        file.add(&line("b"), now);
        file.flush_if_usable(now);
        assert_eq!(
            (old.messages(), new.messages()),
            (vec!["[INFO] a".into()], vec!["[INFO] b".into()])
        );
        assert_eq!(old.reports(), [""; 0]);
    }
}
