//! A set of runs: records read from files and folders, checked against each other, and reduced to what is
//! compared.

use std::fmt::{self, Write};
use std::fs;
use std::path::{Path, PathBuf};

use fastrand::Rng;
use hdrhistogram::Histogram;
use serde_json::Value;

use super::super::histogram;
use super::super::outputs::PathName;
use super::super::record::{ModeName, Record};
use super::super::record_file::{self, RecordFileError};
use super::super::same_file::is_same_file;
use super::super::summary_line::excerpt;
use super::metrics::{self, Setting, Source};
use super::seconds::{self, SecondsErrors};
use crate::escape::EscapeControl;
use crate::strerror::strerror;

/// Most runs of a set.
const RUNS_MAX: usize = 100;

/// Largest value of a metric, and latest second of a run.
const VALUE_MAX: f64 = 1e15;
const SECS_MAX: f64 = 1e9;

/// Settings that are not of the load.
const NOT_OF_LOAD: [&str; 3] = ["max_errors", "max_p99_ms", "server_pid"];

/// Settings that may differ, with a warning. All others make runs that cannot be compared.
const MAY_DIFFER: [&str; 7] = [
    "address",
    "connects_per_sec",
    "duration_secs",
    "hold_secs",
    "jobs",
    "ramp_secs",
    "source_ips",
];

/// A set of runs.
pub(super) struct Set {
    pub(super) files: Vec<PathBuf>,
    /// The first run without its storms; of several, without the latencies of its seconds.
    pub(super) first: Record,
    /// Values of each metric, one a run.
    pub(super) values: Vec<Vec<Option<f64>>>,
    /// Latencies of all runs.
    pub(super) latency: Histogram<u64>,
    /// Runs that a signal ended.
    pub(super) interrupted: usize,
    /// Runs with warnings, and the first of these.
    pub(super) warned: usize,
    pub(super) warning: Option<String>,
    /// The uncertainty that the seconds of a single run leave.
    pub(super) seconds: SecondsErrors,
    /// Length of the hold or the traffic, one a run.
    pub(super) measured_secs: Vec<f64>,
    pub(super) differences: Differences,
}

/// Differences to the runs before that do not forbid the comparison.
#[derive(Debug, Default)]
pub(super) struct Differences {
    pub(super) texts: Vec<String>,
    /// Settings that change figures.
    pub(super) settings: Vec<Setting>,
}

impl Differences {
    fn note(&mut self, what: &str, first: &str, value: &str) {
        let (shown, value_shown) = (excerpt(first), excerpt(value));
        let text = format!("{what} differs: {shown}, then {value_shown}");
        if first != value && !self.texts.contains(&text) {
            self.texts.push(text);
        }
    }
}

/// A set that cannot be compared.
#[derive(Debug)]
pub(super) enum SetError {
    Record(RecordFileError),
    /// A folder that cannot be read.
    Folder {
        path: PathBuf,
        source: std::io::Error,
    },
    /// A folder without records.
    Empty(PathBuf),
    TooMany(usize),
    Twice(PathBuf),
    /// A run of another mode or load than the first.
    Differs {
        path: PathBuf,
        first: PathBuf,
        setting: String,
        value: String,
        first_value: String,
    },
}

impl fmt::Display for SetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SetError::Record(source) => write!(f, "{source}"),
            SetError::Folder { path, source } => {
                write!(f, "{}: {}", PathName(path), strerror(source))
            }
            SetError::Empty(path) => write!(f, "{}: no .json file in this folder", PathName(path)),
            SetError::TooMany(count) => {
                write!(f, "{count} runs in a set, at most {RUNS_MAX} are compared")
            }
            SetError::Twice(path) => write!(f, "{}: twice in one set", PathName(path)),
            SetError::Differs { path, first, setting, value, first_value } => {
                write!(f, "{}: {setting} is ", PathName(path))?;
                write!(EscapeControl(&mut *f), "{value}")?;
                write!(f, ", in {} it is ", PathName(first))?;
                write!(EscapeControl(&mut *f), "{first_value}")?;
                f.write_str("; only runs of the same load can be compared")
            }
        }
    }
}

/// The runs that all others are checked against: the first one.
pub(super) struct Reference {
    path: PathBuf,
    mode: ModeName,
    settings: Value,
    targets: String,
    host: [String; 5],
}

impl Reference {
    fn new(path: &Path, record: &Record) -> Self {
        Reference {
            path: path.to_owned(),
            mode: record.mode,
            settings: serde_json::to_value(&record.settings).unwrap_or_default(),
            targets: record.target_urls().join(", "),
            host: host_facts(record),
        }
    }

    /// Checks that a run has the same load. Adds other differences to `differences`.
    fn check(
        &self,
        path: &Path,
        record: &Record,
        differences: &mut Differences,
    ) -> Result<(), SetError> {
        let differs = |setting: &str, value: String, first_value: String| SetError::Differs {
            path: path.to_owned(),
            first: self.path.clone(),
            setting: setting.to_owned(),
            value: excerpt(&value),
            first_value: excerpt(&first_value),
        };
        if record.mode != self.mode {
            let (mode, first) = (record.mode.as_str(), self.mode.as_str());
            return Err(differs("mode", mode.to_owned(), first.to_owned()));
        }
        let targets = record.target_urls().join(", ");
        differences.note("target", &self.targets, &targets);
        for ((what, first), value) in HOST_FACTS.iter().zip(&self.host).zip(&host_facts(record)) {
            differences.note(what, first, value);
        }
        let settings = serde_json::to_value(&record.settings).unwrap_or_default();
        let empty = serde_json::Map::new();
        let map = |value| Value::as_object(value).unwrap_or(&empty).clone();
        for (setting, value) in map(&settings) {
            let first = self.settings.get(&setting).unwrap_or(&Value::Null);
            if *first == value || NOT_OF_LOAD.contains(&setting.as_str()) {
                continue;
            }
            // The sleeps of `wake` are its load.
            let is_load = setting == "hold_secs" && self.mode != ModeName::Idle;
            if is_load || !MAY_DIFFER.contains(&setting.as_str()) {
                return Err(differs(&setting, value.to_string(), first.to_string()));
            }
            // The target has said it.
            if setting != "address" || targets == self.targets {
                differences.note(&setting, &first.to_string(), &value.to_string());
            }
            differences.settings.extend(match setting.as_str() {
                "connects_per_sec" | "ramp_secs" => Some(Setting::Pace),
                "duration_secs" | "hold_secs" => Some(Setting::Length),
                _ => None,
            });
        }
        Ok(())
    }
}

const HOST_FACTS: [&str; 5] = ["host", "kernel", "processor", "processors", "mynah-load"];

fn host_facts(record: &Record) -> [String; 5] {
    let host = &record.host;
    let text = |fact: &Option<String>| fact.clone().unwrap_or_else(|| "unknown".to_owned());
    [
        text(&host.name),
        text(&host.kernel),
        text(&host.processor_model),
        host.processors.to_string(),
        host.version.clone(),
    ]
}

impl Set {
    /// Reads the runs of `paths`. The first run of all becomes the `reference`.
    pub(super) fn read(
        paths: &[PathBuf],
        reference: &mut Option<Reference>,
    ) -> Result<Self, SetError> {
        let files = files(paths)?;
        let records = files.iter().map(|path| record_file::read(path).map_err(SetError::Record));
        let set = Set::of(&files, records, reference)?;
        set.ok_or_else(|| SetError::Empty(paths.first().cloned().unwrap_or_default()))
    }

    /// The runs of `files`, whose records are `records`; `None` of no runs.
    pub(super) fn of(
        files: &[PathBuf],
        records: impl Iterator<Item = Result<Record, SetError>>,
        reference: &mut Option<Reference>,
    ) -> Result<Option<Self>, SetError> {
        let mut found: Option<Set> = None;
        let mut differences = Differences::default();
        for (path, record) in files.iter().zip(records) {
            let record = record?;
            let reference = reference.get_or_insert_with(|| Reference::new(path, &record));
            reference.check(path, &record, &mut differences)?;
            match &mut found {
                Some(set) => set.add(&record),
                None => found = Some(Set::new(record)),
            }
        }
        let Some(mut set) = found else { return Ok(None) };
        if files.len() == 1 {
            set.seconds = seconds::errors(&set.first, &mut Rng::with_seed(1));
        } else {
            set.first.histograms.seconds = Vec::new();
        }
        Ok(Some(Set { files: files.to_vec(), differences, ..set }))
    }

    fn new(mut record: Record) -> Self {
        if !record.series.iter().all(|row| (0.0..=SECS_MAX).contains(&row.t)) {
            record.series = Vec::new();
        }
        // Not copied: the histograms of a thousand storms take more than a gigabyte.
        let storms = record.storm.take();
        let first = record.clone();
        record.storm = storms;
        let mut set = Set {
            files: Vec::new(),
            values: vec![Vec::new(); metrics::sources(&record).len()],
            latency: Histogram::new_from(record.latency()),
            interrupted: 0,
            warned: 0,
            warning: None,
            seconds: SecondsErrors::default(),
            measured_secs: Vec::new(),
            differences: Differences::default(),
            first,
        };
        set.add(&record);
        set
    }

    fn add(&mut self, record: &Record) {
        for (values, Source { value, .. }) in self.values.iter_mut().zip(metrics::sources(record)) {
            // A figure that no run can have was not measured.
            values.push(value(record).filter(|value| (0.0..=VALUE_MAX).contains(value)));
        }
        self.measured_secs.push(record.measured_secs);
        // More than there can be are left out: a chart alone has them.
        let _ = histogram::add(&mut self.latency, record.latency());
        self.interrupted += usize::from(record.interrupted.is_some());
        let warnings = &record.verdict.warnings;
        self.warned += usize::from(!warnings.is_empty());
        if self.warning.is_none() {
            self.warning = warnings.first().map(|warning| excerpt(warning));
        }
    }

    pub(super) fn runs(&self) -> usize {
        self.files.len()
    }
}

/// The files of a set, each once.
fn files(paths: &[PathBuf]) -> Result<Vec<PathBuf>, SetError> {
    let mut files: Vec<PathBuf> = Vec::new();
    for path in paths {
        if path.is_dir() {
            let found = records_in(path)
                .map_err(|source| SetError::Folder { path: path.clone(), source })?;
            if found.is_empty() {
                return Err(SetError::Empty(path.clone()));
            }
            files.extend(found);
        } else {
            files.push(path.clone());
        }
        if files.len() > RUNS_MAX {
            return Err(SetError::TooMany(files.len()));
        }
    }
    for (number, file) in files.iter().enumerate() {
        if files[..number].iter().any(|other| is_same_file(other, file)) {
            return Err(SetError::Twice(file.clone()));
        }
    }
    Ok(files)
}

/// The files of a folder that end in `.json`, by name.
fn records_in(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "json") && path.is_file() {
            found.push(path);
        }
    }
    found.sort_unstable();
    Ok(found)
}
