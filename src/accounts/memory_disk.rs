//! A file system in memory, for tests: it fails, or crashes, at a chosen operation, and knows what
//! would be on disk then.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use super::disk::{Disk, Meta};
use super::store::FileVersion;

/// Outcome of one operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fault {
    /// It fails with this error number.
    Error(i32),
    /// It and all behind it fail.
    Broken(i32),
    /// The system crashes before it: it and all behind it fail, and nothing else happens.
    Crash,
    /// Before it, an editor puts another text in the place of the file at this path.
    Replaced(PathBuf, String),
}

/// Part of the unsynced bytes that survives a crash.
#[derive(Debug, Clone, Copy)]
pub(super) struct Survives {
    pub(super) names: bool,
    /// Percent of the bytes that were added.
    pub(super) data_percent: usize,
}

#[derive(Debug, Clone, Default)]
pub(super) struct MemoryDisk(Arc<Mutex<State>>);

#[derive(Debug, Clone, Default)]
struct State {
    inodes: Vec<Inode>,
    names: BTreeMap<PathBuf, usize>,
    names_on_disk: BTreeMap<PathBuf, usize>,
    locked: BTreeSet<usize>,
    operations: usize,
    fault: Option<(usize, Fault)>,
    is_broken: Option<i32>,
    /// Most bytes that one write takes.
    write_max: Option<usize>,
    changes: i128,
}

#[derive(Debug, Clone, Default)]
struct Inode {
    data: Vec<u8>,
    data_on_disk: Vec<u8>,
    mode: u32,
    owner: (u32, u32),
    changed_at: i128,
}

/// An open file, which unlocks its inode when it is dropped.
#[derive(Debug)]
pub(super) struct MemoryFile {
    inode: usize,
    disk: MemoryDisk,
    has_lock: std::cell::Cell<bool>,
}

impl Drop for MemoryFile {
    fn drop(&mut self) {
        if self.has_lock.get() {
            self.disk.state().locked.remove(&self.inode);
        }
    }
}

impl MemoryDisk {
    /// A disk with one file, of mode 0640 and user 7, group 8.
    pub(super) fn with_file(path: &str, text: &str) -> MemoryDisk {
        let disk = MemoryDisk::default();
        let mut state = disk.state();
        state.put(Path::new(path), text);
        state.inodes[0].data_on_disk = text.into();
        state.names_on_disk = state.names.clone();
        drop(state);
        disk
    }

    pub(super) fn fail_at(&self, operation: usize, fault: Fault) {
        self.state().fault = Some((operation, fault));
    }

    pub(super) fn limit_writes(&self, bytes: usize) {
        self.state().write_max = Some(bytes);
    }

    /// The number of operations so far.
    pub(super) fn operations(&self) -> usize {
        self.state().operations
    }

    pub(super) fn text(&self, path: &str) -> String {
        let state = self.state();
        let inode = state.names[Path::new(path)];
        String::from_utf8_lossy(&state.inodes[inode].data).into_owned()
    }

    pub(super) fn owner_and_mode(&self, path: &str) -> ((u32, u32), u32) {
        let state = self.state();
        let inode = &state.inodes[state.names[Path::new(path)]];
        (inode.owner, inode.mode)
    }

    pub(super) fn has(&self, path: &str) -> bool {
        self.state().names.contains_key(Path::new(path))
    }

    /// The disk after a crash.
    pub(super) fn after_crash(&self, survives: Survives) -> MemoryDisk {
        let mut state = self.state().clone();
        (state.fault, state.is_broken) = (None, None);
        state.locked.clear();
        if !survives.names {
            state.names = state.names_on_disk.clone();
        }
        for inode in &mut state.inodes {
            let Inode { data, data_on_disk, .. } = inode;
            if data.starts_with(data_on_disk) {
                let added = data.len() - data_on_disk.len();
                data.truncate(data_on_disk.len() + added * survives.data_percent / 100);
            } else if survives.data_percent < 100 {
                data.clone_from(data_on_disk);
            }
            data_on_disk.clone_from(data);
        }
        state.names_on_disk = state.names.clone();
        MemoryDisk(Arc::new(Mutex::new(state)))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Counts an operation, and fails if it is to.
    fn begin(&self) -> io::Result<MutexGuard<'_, State>> {
        let mut state = self.state();
        if let Some(errno) = state.is_broken {
            return Err(io::Error::from_raw_os_error(errno));
        }
        let operation = state.operations;
        state.operations += 1;
        match state.fault.clone() {
            Some((at, fault)) if at == operation => match fault {
                Fault::Error(errno) => return Err(io::Error::from_raw_os_error(errno)),
                Fault::Broken(errno) => state.is_broken = Some(errno),
                Fault::Crash => state.is_broken = Some(libc::EIO),
                Fault::Replaced(path, text) => state.put(&path, &text),
            },
            _ => {}
        }
        match state.is_broken {
            Some(errno) => Err(io::Error::from_raw_os_error(errno)),
            None => Ok(state),
        }
    }
}

impl State {
    fn put(&mut self, path: &Path, text: &str) {
        self.changes += 1;
        let (changed_at, data) = (self.changes, text.into());
        self.inodes.push(Inode {
            data,
            mode: 0o640,
            owner: (7, 8),
            changed_at,
            ..Inode::default()
        });
        self.names.insert(path.to_owned(), self.inodes.len() - 1);
    }

    fn find(&self, path: &Path) -> io::Result<usize> {
        self.names.get(path).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn meta(&self, inode: usize) -> Meta {
        let Inode { data, mode, owner, changed_at, .. } = &self.inodes[inode];
        let (len, changed_at) = (data.len() as u64, *changed_at);
        let version = FileVersion { inode: (0, inode as u64), len, changed_at };
        Meta { version, mode: *mode, owner: *owner, is_file: true, is_folder: false }
    }

    fn changed(&mut self, inode: usize) -> &mut Inode {
        self.changes += 1;
        self.inodes[inode].changed_at = self.changes;
        &mut self.inodes[inode]
    }
}

impl Disk for MemoryDisk {
    type File = MemoryFile;

    fn resolve(&self, path: &Path) -> io::Result<PathBuf> {
        self.begin().map(|_| path.to_owned())
    }

    fn open(&self, path: &Path, _is_append: bool) -> io::Result<MemoryFile> {
        let inode = self.begin()?.find(path)?;
        Ok(MemoryFile { inode, disk: self.clone(), has_lock: false.into() })
    }

    fn create(&self, path: &Path) -> io::Result<MemoryFile> {
        let mut state = self.begin()?;
        if state.names.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        state.put(path, "");
        let inode = state.inodes.len() - 1;
        (state.inodes[inode].mode, state.inodes[inode].owner) = (0o600, (0, 0));
        drop(state);
        Ok(MemoryFile { inode, disk: self.clone(), has_lock: false.into() })
    }

    fn try_lock(&self, file: &MemoryFile) -> io::Result<bool> {
        let is_locked = self.begin()?.locked.insert(file.inode);
        file.has_lock.set(is_locked);
        Ok(is_locked)
    }

    fn meta(&self, file: &MemoryFile) -> io::Result<Meta> {
        self.begin().map(|state| state.meta(file.inode))
    }

    fn meta_at(&self, path: &Path) -> io::Result<Meta> {
        let state = self.begin()?;
        state.find(path).map(|inode| state.meta(inode))
    }

    fn set_owner_and_mode(&self, file: &MemoryFile, like: &Meta) -> io::Result<()> {
        let mut state = self.begin()?;
        let inode = &mut state.inodes[file.inode];
        (inode.mode, inode.owner) = (like.mode, like.owner);
        Ok(())
    }

    fn read(&self, file: &mut MemoryFile, from: u64, len_max: usize) -> io::Result<Vec<u8>> {
        let state = self.begin()?;
        let data = state.inodes[file.inode].data.iter().skip(from as usize).take(len_max);
        Ok(data.copied().collect())
    }

    fn write(&self, file: &mut MemoryFile, bytes: &[u8]) -> io::Result<usize> {
        let mut state = self.begin()?;
        let len = bytes.len().min(state.write_max.unwrap_or(usize::MAX));
        state.changed(file.inode).data.extend_from_slice(&bytes[..len]);
        Ok(len)
    }

    fn truncate(&self, file: &MemoryFile, len: u64) -> io::Result<()> {
        self.begin()?.changed(file.inode).data.truncate(len as usize);
        Ok(())
    }

    fn sync(&self, file: &MemoryFile) -> io::Result<()> {
        let mut state = self.begin()?;
        let inode = &mut state.inodes[file.inode];
        inode.data_on_disk.clone_from(&inode.data);
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.begin()?;
        let inode = state.find(from)?;
        state.names.remove(from);
        state.names.insert(to.to_owned(), inode);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.begin()?;
        state.find(path)?;
        state.names.remove(path);
        Ok(())
    }

    fn sync_folder_of(&self, _path: &Path) -> io::Result<()> {
        let mut state = self.begin()?;
        state.names_on_disk = state.names.clone();
        Ok(())
    }

    fn pause(&self) {}
}
