//! The folders of plugins: each plugin may keep files in one of its own and reach no others.
//! cap-std resolves no path that leads out of the folder, links included.

use std::fmt;
use std::io::{self, Read, Write};
use std::path::Path;

use cap_std::ambient_authority;
use cap_std::fs::{Dir, OpenOptions, OpenOptionsExt};

use super::limits::{FILE_BYTES_MAX, FILE_NAME_LEN_MAX, FOLDER_BYTES_MAX, FOLDER_FILES_MAX};

/// The plugin folder, which contains those of the plugins.
pub(super) struct Folders(Dir);

impl Folders {
    pub(super) fn open(dir: &Path) -> io::Result<Self> {
        Dir::open_ambient_dir(dir, ambient_authority()).map(Folders)
    }

    /// The folder of the plugin `name`, which must be a [plain name](super::identity).
    pub(super) fn of<'a>(&'a self, name: &'a str) -> Folder<'a> {
        Folder { parent: &self.0, name }
    }
}

/// One plugin's folder, which may not exist yet.
pub(super) struct Folder<'a> {
    parent: &'a Dir,
    name: &'a str,
}

/// The reason why an operation on a folder failed.
#[derive(Debug)]
pub(super) enum FolderError {
    /// The file's name is invalid.
    InvalidName,
    /// The file does not exist.
    Missing { file: String },
    /// The name is that of a folder, a pipe or the like.
    NotAFile { file: String },
    /// The file would have more than [`FILE_BYTES_MAX`].
    FileTooLarge,
    /// The folder would have more than [`FOLDER_FILES_MAX`].
    TooManyFiles,
    /// The folder would have more than [`FOLDER_BYTES_MAX`].
    FolderFull,
    /// The file does not fit into the plugin's memory.
    OutOfMemory,
    /// The system's error.
    Io(io::Error),
}

impl fmt::Display for FolderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FolderError::InvalidName => write!(
                f,
                "a file's name has 1 to {FILE_NAME_LEN_MAX} bytes of UTF-8, does not begin with a \
                 dot, and has no slash, backslash or control character"
            ),
            FolderError::Missing { file } => write!(f, "there is no {file}"),
            FolderError::NotAFile { file } => write!(f, "{file} is not a file"),
            FolderError::FileTooLarge => {
                write!(f, "a file may have {FILE_BYTES_MAX} bytes")
            }
            FolderError::TooManyFiles => write!(f, "a folder may have {FOLDER_FILES_MAX} files"),
            FolderError::FolderFull => {
                write!(f, "a folder may have {FOLDER_BYTES_MAX} bytes in all")
            }
            FolderError::OutOfMemory => write!(f, "not enough memory"),
            FolderError::Io(error) => write!(f, "{error}"),
        }
    }
}

impl From<io::Error> for FolderError {
    fn from(error: io::Error) -> Self {
        FolderError::Io(error)
    }
}

type Result<T> = std::result::Result<T, FolderError>;

/// Name of a file until it is complete. It begins with a dot, so that no plugin can name it and no
/// list shows it.
const TEMP_FILE: &str = ".unfinished";

impl Folder<'_> {
    /// The names of the files, sorted. Names that are invalid for a plugin are left out.
    pub(super) fn list(&self) -> Result<Vec<String>> {
        let mut names: Vec<String> = self.files()?.into_iter().map(|(name, _)| name).collect();
        names.sort_unstable();
        Ok(names)
    }

    /// Reads a file, if `has_memory` for its length.
    pub(super) fn read(&self, file: &[u8], has_memory: &dyn Fn(usize) -> bool) -> Result<Vec<u8>> {
        let name = check_name(file)?;
        let missing = || FolderError::Missing { file: name.to_owned() };
        let dir = self.open_existing()?.ok_or_else(missing)?;
        // A pipe must not wait for its other end.
        let mut options = OpenOptions::new();
        options.read(true).custom_flags(libc::O_NONBLOCK);
        let opened = dir.open_with(name, &options).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => missing(),
            _ => FolderError::Io(error),
        })?;
        let metadata = opened.metadata()?;
        if !metadata.is_file() {
            return Err(FolderError::NotAFile { file: name.to_owned() });
        }
        if metadata.len() > FILE_BYTES_MAX {
            return Err(FolderError::FileTooLarge);
        }
        let len = usize::try_from(metadata.len()).map_err(|_| FolderError::FileTooLarge)?;
        if !has_memory(len) {
            return Err(FolderError::OutOfMemory);
        }
        let mut bytes = Vec::with_capacity(len);
        opened.take(metadata.len()).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// Replaces or creates a file atomically.
    pub(super) fn write(&self, file: &[u8], data: &[u8]) -> Result<()> {
        let name = check_name(file)?;
        if data.len() as u64 > FILE_BYTES_MAX {
            return Err(FolderError::FileTooLarge);
        }
        self.check_capacity(name, data.len() as u64)?;
        let dir = match self.open_existing()? {
            Some(dir) => dir,
            None => {
                self.parent.create_dir(self.name)?;
                self.parent.open_dir(self.name)?
            }
        };
        if dir.symlink_metadata(name).is_ok_and(|there| !there.is_file() && !there.is_symlink()) {
            return Err(FolderError::NotAFile { file: name.to_owned() });
        }
        let written = write_temp(&dir, data).and_then(|()| dir.rename(TEMP_FILE, &dir, name));
        if written.is_err() {
            let _ = dir.remove_file(TEMP_FILE);
        }
        written.map_err(FolderError::Io)
    }

    /// Removes a file.
    pub(super) fn remove(&self, file: &[u8]) -> Result<()> {
        let name = check_name(file)?;
        let missing = || FolderError::Missing { file: name.to_owned() };
        let dir = self.open_existing()?.ok_or_else(missing)?;
        match dir.symlink_metadata(name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(missing()),
            Err(error) => Err(FolderError::Io(error)),
            Ok(there) if there.is_dir() => Err(FolderError::NotAFile { file: name.to_owned() }),
            Ok(_) => dir.remove_file(name).map_err(FolderError::Io),
        }
    }

    /// Opens the folder, if it exists.
    fn open_existing(&self) -> Result<Option<Dir>> {
        match self.parent.open_dir(self.name) {
            Ok(dir) => Ok(Some(dir)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(FolderError::Io(error)),
        }
    }

    /// The plain files with valid names, with their sizes.
    fn files(&self) -> Result<Vec<(String, u64)>> {
        let mut files = Vec::new();
        let Some(dir) = self.open_existing()? else { return Ok(files) };
        for entry in dir.entries()? {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            if check_name(name.as_bytes()).is_err() {
                continue;
            }
            // A file may be removed while the folder is read.
            let Ok(metadata) = entry.metadata() else { continue };
            if metadata.is_file() {
                files.push((name, metadata.len()));
            }
            // The operator may have put more files here than a plugin may.
            if files.len() > FOLDER_FILES_MAX {
                return Err(FolderError::TooManyFiles);
            }
        }
        Ok(files)
    }

    /// Checks that the folder stays within its bounds when file `name` has this many bytes.
    fn check_capacity(&self, name: &str, bytes: u64) -> Result<()> {
        let others: Vec<u64> = self
            .files()?
            .into_iter()
            .filter_map(|(other, bytes)| (other != name).then_some(bytes))
            .collect();
        if others.len() >= FOLDER_FILES_MAX {
            return Err(FolderError::TooManyFiles);
        }
        match others.into_iter().fold(bytes, u64::saturating_add) {
            total if total > FOLDER_BYTES_MAX => Err(FolderError::FolderFull),
            _ => Ok(()),
        }
    }
}

/// Writes the temporary file.
fn write_temp(dir: &Dir, data: &[u8]) -> io::Result<()> {
    // A server that was killed may have left one, and it may be a link.
    match dir.remove_file(TEMP_FILE) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    dir.open_with(TEMP_FILE, OpenOptions::new().write(true).create_new(true))?.write_all(data)
}

/// Checks a file's name, which must not lead out of the folder.
fn check_name(file: &[u8]) -> Result<&str> {
    let name = std::str::from_utf8(file).map_err(|_| FolderError::InvalidName)?;
    let bad = |c: char| c == '/' || c == '\\' || c.is_control();
    if !(1..=FILE_NAME_LEN_MAX).contains(&name.len()) || name.starts_with('.') || name.contains(bad)
    {
        return Err(FolderError::InvalidName);
    }
    Ok(name)
}
