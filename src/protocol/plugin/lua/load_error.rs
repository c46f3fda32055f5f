//! Errors of loading a plugin folder, and of loading one file of it.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use super::limits::PLUGIN_FILES_MAX;
use crate::strerror::strerror;

/// The error of one plugin file. Displays as one line with the file and, if Lua found the error,
/// its line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PluginError {
    /// The file's name without its folder, sanitized.
    pub file: String,
    /// The reason, one line.
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

/// The reason why a plugin folder could not be loaded. Displays after `cannot load plugins: `.
#[derive(Debug)]
pub enum LoadError {
    /// The folder does not exist.
    Missing {
        /// The folder.
        dir: PathBuf,
    },
    /// The path is not a folder.
    NotADirectory {
        /// The path.
        dir: PathBuf,
    },
    /// The folder has too many plugin files.
    TooManyFiles {
        /// The folder.
        dir: PathBuf,
    },
    /// The folder cannot be read.
    Unreadable {
        /// The folder.
        dir: PathBuf,
        /// The system's error.
        source: io::Error,
    },
}

impl LoadError {
    pub(super) fn new(dir: &Path, source: io::Error) -> Self {
        let dir = dir.to_owned();
        match source.kind() {
            io::ErrorKind::NotFound => LoadError::Missing { dir },
            io::ErrorKind::NotADirectory => LoadError::NotADirectory { dir },
            _ => LoadError::Unreadable { dir, source },
        }
    }
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LoadError::Missing { dir } => {
                write!(f, "{}: no such directory", dir.display())
            }
            LoadError::NotADirectory { dir } => {
                write!(f, "{}: not a directory", dir.display())
            }
            LoadError::TooManyFiles { dir } => {
                write!(f, "{}: more than {PLUGIN_FILES_MAX} plugin files", dir.display())
            }
            LoadError::Unreadable { dir, source } => {
                write!(f, "{}: {}", dir.display(), strerror(source))
            }
        }
    }
}

impl std::error::Error for LoadError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            LoadError::Unreadable { source, .. } => Some(source),
            _ => None,
        }
    }
}
