//! `merge`: one record of the parts of a run.

use std::process::ExitCode;

use super::settings::MergeSettings;

/// Merges, prints the summary, and writes the files.
pub(super) fn run(settings: &MergeSettings) -> ExitCode {
    let _ = settings;
    ExitCode::FAILURE
}
