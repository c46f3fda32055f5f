//! placeholder until the branch of jobs has it
use super::record::Record;
use std::fmt;
use std::path::{Path, PathBuf};
#[derive(Debug)]
pub(super) struct RecordFileError(PathBuf, String);
impl fmt::Display for RecordFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", super::outputs::PathName(&self.0), self.1)
    }
}
pub(super) fn read(path: &Path) -> Result<Record, RecordFileError> {
    let fail = |e: String| RecordFileError(path.to_owned(), e);
    let text = std::fs::read_to_string(path).map_err(|e| fail(e.to_string()))?;
    serde_json::from_str(&text).map_err(|e| fail(e.to_string()))
}
