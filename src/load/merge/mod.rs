//! `merge`: one record of the parts of a run, from files.
//!
//! | module | job |
//! |---|---|
//! | `records` | records into one |
//! | `rows` | their rows, second by second |

mod records;
mod rows;

use std::path::Path;
use std::process::ExitCode;

pub(super) use records::{JobRecord, merge_jobs};
pub(super) use rows::merge_row;

use super::outputs::Outputs;
use super::plan::JsonOutput;
use super::settings::MergeSettings;
use super::{print_errors, print_record, record_file};
use records::{FileRecord, merge_files};

/// Merges, prints the summary, and writes the files. Returns the exit status: 0 if the merged run is
/// met.
pub(super) fn run(settings: &MergeSettings) -> ExitCode {
    try_run(settings).unwrap_or_else(|reasons| {
        print_errors(&reasons);
        ExitCode::FAILURE
    })
}

fn try_run(settings: &MergeSettings) -> Result<ExitCode, Vec<String>> {
    let mut parts = Vec::new();
    let mut errors = Vec::new();
    for path in &settings.parts {
        match record_file::read(path) {
            Ok(record) => parts.push(FileRecord { path, record }),
            Err(error) => errors.push(error.to_string()),
        }
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    let mut record = merge_files(parts).map_err(|error| vec![error.to_string()])?;
    record.command.clone_from(&settings.command);
    let is_json = settings.out == Path::new("-");
    let json = if is_json { JsonOutput::Stdout } else { JsonOutput::File(settings.out.clone()) };
    let outputs = Outputs::open(Some(&json), None, settings.report.as_ref())?;
    let write_errors = outputs.write_record(&record);
    let printed = print_record(&record, is_json, settings.quiet);
    print_errors(&write_errors);
    let is_met = record.verdict.met && write_errors.is_empty();
    Ok(if is_met { printed } else { ExitCode::FAILURE })
}
