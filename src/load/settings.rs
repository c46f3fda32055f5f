//! Settings of the modes that open no connections: they read records.

use std::path::PathBuf;

use super::plan::JsonOutput;

/// Settings of `compare`.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct CompareSettings {
    /// Files and folders of both sets, at least one each.
    pub(super) before: Vec<PathBuf>,
    pub(super) after: Vec<PathBuf>,
    /// Change for the worse that is allowed, in percent.
    pub(super) tolerance_percent: f64,
    pub(super) json: Option<JsonOutput>,
    pub(super) report: Option<PathBuf>,
    pub(super) quiet: bool,
}

/// Settings of `merge`.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct MergeSettings {
    pub(super) out: PathBuf,
    /// At least one.
    pub(super) parts: Vec<PathBuf>,
    pub(super) report: Option<PathBuf>,
    pub(super) quiet: bool,
    /// The command line, to be pasted into a shell.
    pub(super) command: String,
}
