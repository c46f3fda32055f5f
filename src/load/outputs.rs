//! The files of a run: `--json`, `--csv`, `--report`. One that fails does not take the others with it.

use std::fmt::{self, Write as _};
use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::html_report;
use super::plan::{JsonOutput, Plan};
use super::record::Record;
use super::stats::Row;
use crate::escape::EscapeControl;
use crate::os_text;
use crate::strerror::strerror;

/// An open file and its name.
struct Output {
    path: PathBuf,
    file: File,
}

/// The files that were asked for, opened before the first connect: a run of an hour must not end with
/// a file that cannot be written.
pub(super) struct Outputs {
    json: Option<Output>,
    csv: Option<(PathBuf, csv::Writer<File>)>,
    report: Option<Output>,
    errors: Vec<String>,
}

impl Outputs {
    /// Creates the files. None is emptied unless all can be written.
    ///
    /// # Errors
    ///
    /// A message for each file that cannot be created.
    pub(super) fn create(plan: &Plan) -> Result<Self, Vec<String>> {
        Outputs::open(plan.json.as_ref(), plan.csv.as_ref(), plan.report.as_ref())
    }

    /// Creates the files at these paths, as [`create`](Self::create) does.
    pub(super) fn open(
        json: Option<&JsonOutput>,
        csv: Option<&PathBuf>,
        report: Option<&PathBuf>,
    ) -> Result<Self, Vec<String>> {
        let mut errors = Vec::new();
        let mut open = |path: Option<&PathBuf>| {
            let path = path?.clone();
            match OpenOptions::new().write(true).create(true).truncate(false).open(&path) {
                Ok(file) => Some(Output { path, file }),
                Err(error) => {
                    errors.push(cannot_write(&path, &error));
                    None
                }
            }
        };
        let json = match json {
            Some(JsonOutput::File(path)) => open(Some(path)),
            Some(JsonOutput::Stdout) | None => None,
        };
        let (csv, report) = (open(csv), open(report));
        if !errors.is_empty() {
            return Err(errors);
        }
        for Output { path, file } in [&json, &csv, &report].into_iter().flatten() {
            if let Err(error) = empty(file) {
                errors.push(cannot_write(path, &error));
            }
        }
        let csv = csv.map(|csv| (csv.path, csv::Writer::from_writer(csv.file)));
        if errors.is_empty() { Ok(Outputs { json, csv, report, errors }) } else { Err(errors) }
    }

    /// Adds a row to the CSV file. Flushes it, for those who follow the file. After a failure the file
    /// stays as it is: rows with a gap would pass for all.
    pub(super) fn write_row(&mut self, row: &Row) {
        let Some((path, csv)) = &mut self.csv else { return };
        let result = csv.serialize(row).map_err(io::Error::from).and_then(|()| csv.flush());
        if let Err(error) = result {
            self.errors.push(cannot_write(path, &error));
            self.csv = None;
        }
    }

    /// Writes the JSON file and the page. Returns a message for each file of the run that could not be
    /// written.
    pub(super) fn write_record(mut self, record: &Record) -> Vec<String> {
        if let Some(Output { path, file }) = &self.json
            && let Err(error) = write_json(file, record)
        {
            self.errors.push(cannot_write(path, &error));
        }
        if let Some(Output { path, file }) = &mut self.report
            && let Err(error) = file.write_all(html_report::render(record).as_bytes())
        {
            self.errors.push(cannot_write(path, &error));
        }
        self.errors
    }
}

/// Empties a file; a device has nothing to be emptied.
fn empty(file: &File) -> io::Result<()> {
    if file.metadata()?.is_file() { file.set_len(0) } else { Ok(()) }
}

fn write_json(file: &File, record: &Record) -> io::Result<()> {
    let mut file = BufWriter::new(file);
    serde_json::to_writer_pretty(&mut file, record)?;
    writeln!(file)?;
    file.flush()
}

pub(super) fn cannot_write(path: &Path, error: &io::Error) -> String {
    format!("cannot write {}: {}", PathName(path), strerror(error))
}

/// Displays a path, its control characters and invalid bytes escaped.
pub(super) struct PathName<'a>(pub(super) &'a Path);

impl fmt::Display for PathName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        EscapeControl(f).write_str(&os_text::encode(self.0.as_os_str().as_bytes()))
    }
}
