//! The files of a run: `--json`, `--csv`, `--report`.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use super::html_report;
use super::options::Plan;
use super::run_result::RunResult;
use super::stats::Row;
use crate::strerror::strerror;

/// The files that were asked for, opened before the first connect: a run of an hour must not end with
/// a file that cannot be written.
pub(super) struct Outputs<'a> {
    plan: &'a Plan,
    json: Option<File>,
    csv: Option<csv::Writer<File>>,
    report: Option<File>,
}

impl<'a> Outputs<'a> {
    /// Creates the files.
    ///
    /// # Errors
    ///
    /// A message that names the file that cannot be created.
    pub(super) fn create(plan: &'a Plan) -> Result<Self, String> {
        let create = |path: &Option<PathBuf>| match path {
            Some(path) => File::create(path).map(Some).map_err(|e| cannot_write(path, &e)),
            None => Ok(None),
        };
        Ok(Outputs {
            plan,
            json: create(&plan.json)?,
            csv: create(&plan.csv)?.map(csv::Writer::from_writer),
            report: create(&plan.report)?,
        })
    }

    /// Adds a row to the CSV file. Flushes it, for those who follow the file.
    ///
    /// # Errors
    ///
    /// Those of write(2).
    pub(super) fn write_row(&mut self, row: &Row) -> io::Result<()> {
        let Some(csv) = &mut self.csv else { return Ok(()) };
        csv.serialize(row).map_err(io::Error::other)?;
        csv.flush()
    }

    /// Writes the JSON file and the page.
    ///
    /// # Errors
    ///
    /// A message that names the file that cannot be written.
    pub(super) fn write_result(self, result: &RunResult<'_>) -> Result<(), String> {
        if let (Some(file), Some(path)) = (self.json, &self.plan.json) {
            write_json(file, result).map_err(|error| cannot_write(path, &error))?;
        }
        if let (Some(mut file), Some(path)) = (self.report, &self.plan.report) {
            let page = html_report::render(result);
            file.write_all(page.as_bytes()).map_err(|error| cannot_write(path, &error))?;
        }
        Ok(())
    }
}

fn write_json(file: File, result: &RunResult<'_>) -> io::Result<()> {
    let mut file = BufWriter::new(file);
    serde_json::to_writer_pretty(&mut file, &result.report())?;
    writeln!(file)?;
    file.flush()
}

fn cannot_write(path: &Path, error: &io::Error) -> String {
    format!("cannot write {}: {}", path.display(), strerror(error))
}
