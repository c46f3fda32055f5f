//! `merge`: one record of the parts of a run.

use std::process::ExitCode;

use super::settings::MergeSettings;
use super::{print_errors, record_file};

/// Merges, prints the summary, and writes the files.
pub(super) fn run(settings: &MergeSettings) -> ExitCode {
    for path in &settings.parts {
        if let Err(error) = record_file::read(path) {
            print_errors(&[error.to_string()]);
        }
    }
    ExitCode::FAILURE
}
