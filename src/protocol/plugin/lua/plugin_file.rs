//! Lists and reads the plugin files of a folder. Runs nothing.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::vec;

use super::folder::Folders;
use super::limits::{PLUGIN_FILES_MAX, SOURCE_BYTES_MAX};
use super::load_error::LoadError;
use crate::escape::Sanitized;

/// Opens a folder and lists its plugin files. Blocks on the disk.
pub(super) fn open(dir: &Path) -> Result<(Folders, PluginFiles), LoadError> {
    let paths = plugin_files(dir).map_err(|error| LoadError::new(dir, error))?;
    if paths.len() > PLUGIN_FILES_MAX {
        return Err(LoadError::TooManyFiles { dir: dir.to_owned() });
    }
    let folders = Folders::open(dir).map_err(|error| LoadError::new(dir, error))?;
    Ok((folders, PluginFiles(paths.into_iter())))
}

/// The `*.lua` of a folder, sorted. Hidden files are left out: editors create them.
fn plugin_files(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if path.extension() == Some(OsStr::new("lua")) && !hidden {
            files.push(path);
            if files.len() > PLUGIN_FILES_MAX {
                break;
            }
        }
    }
    files.sort();
    Ok(files)
}

/// Reads the plugin files of a folder, one at each [`next`](Iterator::next), which blocks on the
/// disk.
pub(super) struct PluginFiles(vec::IntoIter<PathBuf>);

impl Iterator for PluginFiles {
    type Item = PluginFile;

    fn next(&mut self) -> Option<PluginFile> {
        let path = self.0.next()?;
        Some(PluginFile {
            // A file's name may have any bytes, and goes to the log.
            name: Sanitized(&path.file_name().unwrap_or_default().to_string_lossy()).to_string(),
            stem: path.file_stem().unwrap_or_default().to_string_lossy().into_owned(),
            source: read(&path),
        })
    }
}

/// A plugin file that has been read.
pub(super) struct PluginFile {
    /// The name without the folder, sanitized.
    pub(super) name: String,
    /// The name without `.lua`.
    pub(super) stem: String,
    pub(super) source: io::Result<Vec<u8>>,
}

/// Reads a plugin's source.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::other("not a file"));
    }
    let mut source = Vec::new();
    File::open(path)?.take(SOURCE_BYTES_MAX + 1).read_to_end(&mut source)?;
    if source.len() as u64 > SOURCE_BYTES_MAX {
        return Err(io::Error::other(format!("larger than {SOURCE_BYTES_MAX} bytes")));
    }
    Ok(source)
}
