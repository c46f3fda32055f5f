//! Records in files: what `--json` has written, or a page of `--report`, which has its record in it.

use std::fmt::{self, Write as _};
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::record::{Record, SCHEMA};
use super::summary_line::excerpt;
use crate::escape::EscapeControl;
use crate::os_text;
use crate::strerror::strerror;

/// Most bytes of a file. An hour's record has about ten million.
const FILE_BYTES_MAX: u64 = 256 << 20;

/// Begin and end of the record in a page. The JSON between them has no `</`.
pub(super) const ISLAND_BEGIN: &str = r#"<script type="application/json" id="mynah-load-record">"#;
pub(super) const ISLAND_END: &str = "</script>";

/// A file without a record that can be read.
#[derive(Debug)]
pub(super) struct RecordFileError {
    path: PathBuf,
    reason: Reason,
}

#[derive(Debug)]
enum Reason {
    Io(io::Error),
    /// It has more than [`FILE_BYTES_MAX`].
    TooLong,
    /// A page without a record in it.
    NoIsland,
    NoRecord(serde_json::Error),
    /// The record has another layout.
    Schema(u64),
}

impl fmt::Display for RecordFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut f = EscapeControl(f);
        write!(f, "{}: ", os_text::encode(self.path.as_os_str().as_bytes()))?;
        match &self.reason {
            Reason::Io(source) => write!(f, "{}", strerror(source)),
            Reason::TooLong => write!(f, "longer than {} MiB", FILE_BYTES_MAX >> 20),
            Reason::NoIsland => f.write_str("the page has no record of mynah-load in it"),
            // It quotes what it has found.
            Reason::NoRecord(source) => {
                write!(f, "not a record of mynah-load: {}", excerpt(&source.to_string()))
            }
            Reason::Schema(found) if *found < u64::from(SCHEMA) => {
                write!(f, "its schema is {found}, which has no histograms; {SCHEMA} is needed")
            }
            Reason::Schema(found) => {
                write!(f, "its schema is {found}, of a later mynah-load; this one reads {SCHEMA}")
            }
        }
    }
}

/// The one field that all layouts have.
#[derive(Deserialize)]
struct AnyRecord {
    schema: u64,
}

/// Reads the record in the file `path`.
///
/// # Errors
///
/// See [`RecordFileError`]: the message has the name of the file.
pub(super) fn read(path: &Path) -> Result<Record, RecordFileError> {
    let text = read_text(path);
    let record = text.and_then(|text| parse(&text));
    record.map_err(|reason| RecordFileError { path: path.to_owned(), reason })
}

fn read_text(path: &Path) -> Result<String, Reason> {
    let mut bytes = Vec::new();
    // One byte more than allowed tells a file that is too long. A device has no length to ask for.
    let file = File::open(path).map_err(Reason::Io)?;
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(Reason::Io)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(Reason::TooLong);
    }
    String::from_utf8(bytes)
        .map_err(|_| Reason::Io(io::Error::new(io::ErrorKind::InvalidData, "not text")))
}

/// The record of a file's text, JSON or a page.
fn parse(text: &str) -> Result<Record, Reason> {
    let text = if text.trim_start().starts_with('<') { island(text)? } else { text };
    let AnyRecord { schema } = serde_json::from_str(text).map_err(Reason::NoRecord)?;
    if schema != u64::from(SCHEMA) {
        return Err(Reason::Schema(schema));
    }
    serde_json::from_str(text).map_err(Reason::NoRecord)
}

/// The JSON in a page.
fn island(page: &str) -> Result<&str, Reason> {
    let (_, rest) = page.split_once(ISLAND_BEGIN).ok_or(Reason::NoIsland)?;
    let (json, _) = rest.split_once(ISLAND_END).ok_or(Reason::NoIsland)?;
    Ok(json)
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{run, with_record};
    use super::*;

    const IDLE: &str = "idle --target command://h:1 --connections 10 --probe 5";

    /// The message for a file of `text`, without its name.
    fn refusal(text: &str) -> String {
        let path = "a\nb.json".into();
        let reason = parse(text).map(drop).unwrap_err();
        let message = RecordFileError { path, reason }.to_string();
        assert!(message.starts_with(r"a\nb.json: "), "{message}");
        message[r"a\nb.json: ".len()..].to_owned()
    }

    #[test]
    fn record_is_read_from_json_and_from_a_page() {
        with_record(IDLE, run(), |record| {
            let json = serde_json::to_string_pretty(record).unwrap();
            assert_eq!(parse(&json).unwrap(), *record);
            let island = json.replace("</", r"<\/");
            let page = format!("\n<!DOCTYPE html><p>{ISLAND_BEGIN}{island}{ISLAND_END}</p>");
            assert_eq!(parse(&page).unwrap(), *record);
        });
    }

    #[test]
    fn file_without_a_record_is_named() {
        assert_eq!(refusal("<p>"), "the page has no record of mynah-load in it");
        let cut = format!("<p>{ISLAND_BEGIN}{{}}");
        assert_eq!(refusal(&cut), "the page has no record of mynah-load in it");
        for text in ["", "[]", "{}", r#"{"schema":-1}"#, r#"{"schema":2}"#, &"[".repeat(99_999)] {
            let message = refusal(text);
            assert!(message.starts_with("not a record of mynah-load: "), "{message}");
            assert!(message.len() < 200, "{message}");
        }
        let long = format!(r#"{{"schema":2,"mode":"{}"}}"#, "x".repeat(1 << 20));
        let message = refusal(&long);
        assert!(message.contains("unknown variant `xxx") && message.len() < 600, "{message}");
        let missing = read(Path::new("/no/such.json")).unwrap_err().to_string();
        assert_eq!(missing, "/no/such.json: no such file or directory");
        let text = read(Path::new("/proc/self/exe")).unwrap_err().to_string();
        assert_eq!(text, "/proc/self/exe: not text");
    }

    #[test]
    fn other_schema_is_named() {
        let message = refusal(r#"{"schema":1}"#);
        assert_eq!(message, "its schema is 1, which has no histograms; 2 is needed");
        let message = refusal(r#"{"schema":3,"mode":[]}"#);
        assert_eq!(message, "its schema is 3, of a later mynah-load; this one reads 2");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn endless_file_is_refused() {
        let message = read(Path::new("/dev/zero")).unwrap_err().to_string();
        assert_eq!(message, "/dev/zero: longer than 256 MiB");
    }
}
