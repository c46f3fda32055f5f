//! Why a plugin folder, or one file of it, could not be loaded.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use super::limits::PLUGIN_FILES_MAX;

/// A file that is no plugin. Displays as one line that names the file and, where Lua found the
/// error, its line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PluginError {
    /// The file's name, without its folder, fit to be shown.
    pub file: String,
    /// What is wrong with it.
    pub reason: String,
}

impl fmt::Display for PluginError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let PluginError { file, reason } = self;
        // Lua begins its messages with file and line.
        match reason.strip_prefix(file.as_str()).and_then(|rest| rest.strip_prefix(':')) {
            Some(rest) => write!(f, "plugin {file}:{rest}"),
            None => write!(f, "plugin {file}: {reason}"),
        }
    }
}

impl std::error::Error for PluginError {}

/// Why a folder could not be loaded at all.
#[derive(Debug)]
pub enum LoadError {
    /// There is nothing of this name.
    Missing {
        /// The folder.
        dir: PathBuf,
    },
    /// There is something else of this name.
    NotAFolder {
        /// What was to be a folder.
        dir: PathBuf,
    },
    /// It has more plugin files than are read.
    TooManyFiles {
        /// The folder.
        dir: PathBuf,
    },
    /// It cannot be read.
    Unreadable {
        /// The folder.
        dir: PathBuf,
        /// What the system says.
        error: io::Error,
    },
}

impl LoadError {
    pub(super) fn new(dir: &Path, error: io::Error) -> Self {
        let dir = dir.to_owned();
        match error.kind() {
            io::ErrorKind::NotFound => LoadError::Missing { dir },
            io::ErrorKind::NotADirectory => LoadError::NotAFolder { dir },
            _ => LoadError::Unreadable { dir, error },
        }
    }
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LoadError::Missing { dir } => {
                write!(f, "plugin folder {}: there is none", dir.display())
            }
            LoadError::NotAFolder { dir } => {
                write!(f, "plugin folder {}: it is no folder", dir.display())
            }
            LoadError::TooManyFiles { dir } => {
                let dir = dir.display();
                write!(f, "plugin folder {dir}: more than {PLUGIN_FILES_MAX} plugin files")
            }
            LoadError::Unreadable { dir, error } => {
                write!(f, "plugin folder {}: {error}", dir.display())
            }
        }
    }
}

impl std::error::Error for LoadError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            LoadError::Unreadable { error, .. } => Some(error),
            _ => None,
        }
    }
}
