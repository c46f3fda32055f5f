//! `compare`: two records, or two sets of records, side by side, with a verdict.
//!
//! | module | job |
//! |---|---|
//! | `set` | reads the runs of a set, checks that they can be compared |
//! | `metrics` | the metrics of a record |
//! | `seconds` | what the seconds of one run leave open |
//! | `statistics` | the changes, their uncertainty, the decision |
//! | `comparison` | what is said of them; the layout of `--json` |
//! | `table`, `page` | how it is shown |
//! | `rng`, `student` | random numbers, Student's t distribution |

mod comparison;
mod metrics;
mod page;
mod rng;
mod seconds;
mod set;
mod statistics;
mod student;
mod table;

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use super::outputs::cannot_write;
use super::plan::JsonOutput;
use super::same_file::is_same_file;
use super::settings::CompareSettings;
use super::{PROGRAM, print_errors};
use crate::cli::{EXIT_USAGE, print, print_error};
use comparison::Comparison;
use set::Set;

/// Compares, prints the table, and writes the files that were asked for.
///
/// Exit status, as diff(1) has it: 0 not worse, 1 worse, 2 the runs cannot be compared, or a file or
/// standard output cannot be written.
pub(super) fn run(settings: &CompareSettings) -> ExitCode {
    try_run(settings).unwrap_or_else(|reasons| {
        print_errors(&reasons);
        ExitCode::from(EXIT_USAGE)
    })
}

fn try_run(settings: &CompareSettings) -> Result<ExitCode, Vec<String>> {
    let mut reference = None;
    let reason = |error: set::SetError| vec![error.to_string()];
    let before = Set::read(&settings.before, &mut reference).map_err(reason)?;
    let after = Set::read(&settings.after, &mut reference).map_err(reason)?;
    let outputs: Vec<&Path> = output_paths(settings).collect();
    for output in &outputs {
        if before.files.iter().chain(&after.files).any(|file| is_same_file(file, output)) {
            return Err(vec![format!("{}: is one of the runs", super::outputs::PathName(output))]);
        }
    }
    let comparison = Comparison::new(&before, &after, settings.tolerance_percent);
    let mut errors = Vec::new();
    let json = serde_json::to_string_pretty(&comparison).unwrap_or_default();
    if let Some(JsonOutput::File(path)) = &settings.json {
        errors.extend(write_file(path, &format!("{json}\n")));
    }
    if let Some(path) = &settings.report {
        errors.extend(write_file(path, &page::render(&comparison, &before, &after)));
    }
    let is_printed = print_comparison(&comparison, &json, settings) == ExitCode::SUCCESS;
    if !errors.is_empty() {
        return Err(errors);
    }
    Ok(match comparison.verdict.is_worse {
        // What was found is not told.
        _ if !is_printed => ExitCode::from(EXIT_USAGE),
        true => ExitCode::FAILURE,
        false => ExitCode::SUCCESS,
    })
}

fn output_paths(settings: &CompareSettings) -> impl Iterator<Item = &Path> {
    let json = settings.json.as_ref().and_then(JsonOutput::path);
    json.into_iter().chain(settings.report.as_deref())
}

fn write_file(path: &Path, text: &str) -> Option<String> {
    let written = std::fs::File::create(path).and_then(|mut file| file.write_all(text.as_bytes()));
    written.err().map(|error| cannot_write(path, &error))
}

/// Prints the JSON, if standard output has it, and the table. Returns the exit status of that.
fn print_comparison(comparison: &Comparison, json: &str, settings: &CompareSettings) -> ExitCode {
    let is_json = settings.json == Some(JsonOutput::Stdout);
    let mut printed = if is_json { print(PROGRAM, json) } else { ExitCode::SUCCESS };
    let table = comparison.to_string();
    match (settings.quiet, is_json) {
        (true, _) if comparison.verdict.is_worse => {
            print_errors(std::slice::from_ref(&comparison.verdict.text));
        }
        (true, _) => {}
        (false, true) => print_error(table.trim_end()),
        (false, false) => printed = print(PROGRAM, table.trim_end()),
    }
    printed
}
