//! Folders for the files of one test.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::{fs, io};

use nix::sys::stat::{Mode, SFlag, mknod};

/// A folder of a test's own, removed with all in it.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Folder {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("it-{}-{number}", std::process::id());
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }

    /// Writes a file and returns its path.
    pub(crate) fn file(&self, name: &str, text: &str) -> String {
        let path = self.path(name);
        fs::write(&path, text).unwrap();
        path
    }

    /// Makes a socket file without a socket, and returns its path. (A listener that is dropped may
    /// live on for a moment, in a child that another test has just forked.)
    pub(crate) fn stale_socket(&self, name: &str) -> String {
        let path = self.path(name);
        let (kind, mode) = (SFlag::S_IFSOCK, Mode::S_IRWXU);
        mknod(path.as_str(), kind, mode, 0).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let removed: io::Result<()> = fs::remove_dir_all(&self.0);
        if let Err(error) = removed {
            eprintln!("{}: {error}", self.0.display());
        }
    }
}
