//! The operations on files that writing an accounts file takes, so that tests can make each fail.
//! Knows nothing of accounts.

use std::fs::{self, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use super::store::FileVersion;

/// Metadata of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Meta {
    /// Which state of which file it is.
    pub version: FileVersion,
    /// Permission bits.
    pub mode: u32,
    /// User and group.
    pub owner: (u32, u32),
    /// Whether it is a regular file.
    pub is_file: bool,
    /// Whether it is a folder.
    pub is_folder: bool,
}

/// A file system.
pub trait Disk {
    /// An open file.
    type File;

    /// The path of the file itself, with symbolic links followed; the file need not exist.
    fn resolve(&self, path: &Path) -> io::Result<PathBuf>;
    /// Opens a file for reading and, with `is_append`, writing at its end.
    fn open(&self, path: &Path, is_append: bool) -> io::Result<Self::File>;
    /// Creates a file that does not exist, for its owner alone.
    fn create(&self, path: &Path) -> io::Result<Self::File>;
    /// Locks an open file, unless another process has locked it. Closing it unlocks it.
    fn try_lock(&self, file: &Self::File) -> io::Result<bool>;
    /// The metadata of an open file.
    fn meta(&self, file: &Self::File) -> io::Result<Meta>;
    /// The metadata of the file at `path`.
    fn meta_at(&self, path: &Path) -> io::Result<Meta>;
    /// Gives a file the owner and mode of another.
    fn set_owner_and_mode(&self, file: &Self::File, like: &Meta) -> io::Result<()>;
    /// Reads from an offset to the end, at most `len_max` bytes.
    fn read(&self, file: &mut Self::File, from: u64, len_max: usize) -> io::Result<Vec<u8>>;
    /// Writes some of `bytes` and returns how many.
    fn write(&self, file: &mut Self::File, bytes: &[u8]) -> io::Result<usize>;
    /// Cuts a file off at `len`.
    fn truncate(&self, file: &Self::File, len: u64) -> io::Result<()>;
    /// Waits until what was written is on disk.
    fn sync(&self, file: &Self::File) -> io::Result<()>;
    /// Puts a file in the place of another.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Waits until the names in a file's folder are on disk.
    fn sync_folder_of(&self, path: &Path) -> io::Result<()>;
    /// Waits a moment for a lock.
    fn pause(&self);
}

/// The file system of this system.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemDisk;

impl Disk for SystemDisk {
    type File = File;

    fn resolve(&self, path: &Path) -> io::Result<PathBuf> {
        let name = match (fs::canonicalize(path), path.file_name()) {
            (Err(error), Some(name)) if error.kind() == io::ErrorKind::NotFound => name,
            (resolved, _) => return resolved,
        };
        if fs::symlink_metadata(path).is_ok() {
            // A link to a file that is not there: rather an error than a file in its place.
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok(fs::canonicalize(folder_of(path))?.join(name))
    }

    fn open(&self, path: &Path, is_append: bool) -> io::Result<File> {
        // O_NONBLOCK: opening a pipe for reading would wait for its writer.
        let flags = libc::O_NONBLOCK | libc::O_NOCTTY;
        OpenOptions::new().read(true).append(is_append).custom_flags(flags).open(path)
    }

    fn create(&self, path: &Path) -> io::Result<File> {
        OpenOptions::new().read(true).append(true).create_new(true).mode(0o600).open(path)
    }

    fn try_lock(&self, file: &File) -> io::Result<bool> {
        match file.try_lock() {
            Ok(()) => Ok(true),
            Err(TryLockError::WouldBlock) => Ok(false),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    fn meta(&self, file: &File) -> io::Result<Meta> {
        file.metadata().map(|metadata| meta(&metadata))
    }

    fn meta_at(&self, path: &Path) -> io::Result<Meta> {
        fs::metadata(path).map(|metadata| meta(&metadata))
    }

    fn set_owner_and_mode(&self, file: &File, like: &Meta) -> io::Result<()> {
        let own = meta(&file.metadata()?);
        if own.owner != like.owner {
            fchown(file, Some(like.owner.0), Some(like.owner.1))?;
        }
        // Behind fchown, which clears bits.
        file.set_permissions(Permissions::from_mode(like.mode))
    }

    fn read(&self, file: &mut File, from: u64, len_max: usize) -> io::Result<Vec<u8>> {
        file.seek(SeekFrom::Start(from))?;
        let mut bytes = Vec::new();
        file.take(len_max as u64).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn write(&self, file: &mut File, bytes: &[u8]) -> io::Result<usize> {
        file.write(bytes)
    }

    fn truncate(&self, file: &File, len: u64) -> io::Result<()> {
        file.set_len(len)
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        file.sync_all()
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn sync_folder_of(&self, path: &Path) -> io::Result<()> {
        File::open(folder_of(path))?.sync_all()
    }

    fn pause(&self) {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    }
}

fn meta(metadata: &fs::Metadata) -> Meta {
    Meta {
        version: FileVersion {
            inode: (metadata.dev(), metadata.ino()),
            len: metadata.len(),
            changed_at: i128::from(metadata.mtime()) * 1_000_000_000
                + i128::from(metadata.mtime_nsec()),
        },
        mode: metadata.mode() & 0o7777,
        owner: (metadata.uid(), metadata.gid()),
        is_file: metadata.is_file(),
        is_folder: metadata.is_dir(),
    }
}
