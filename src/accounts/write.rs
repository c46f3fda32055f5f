//! The accounts file on disk. Registrations are appended, changes and deletions put a new file in
//! the place of the old one; either is on disk before it is confirmed, and a crash at any moment
//! leaves the old or the new accounts.
//!
//! Writers take turns by a lock on `FILE.lock`. Editors do not know it, so that a writer also looks
//! whether the file it has written is still the one under its name.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::disk::{Disk, Meta, SystemDisk};
use super::file::{
    End, FILE_LEN_MAX, FileError, FileProblem, LINE_LEN_MAX, Parsed, edit, end_of, find_same,
    line_of, parse,
};
use super::hash::PasswordHash;
use super::store::{ACCOUNTS_MAX, Accounts, FileVersion, SharedAccounts};
use crate::escape::EscapeControl;
use crate::os_text;
use crate::protocol::nickname::Nickname;
use crate::strerror::strerror;

/// How often a lock is tried: for 5 s.
const LOCK_TRIES: usize = 250;
/// How often a write is repeated because the file was replaced meanwhile.
const REPLACED_MAX: usize = 3;

/// An accounts file, and what was read of it last.
#[derive(Debug)]
pub struct AccountsFile<D = SystemDisk> {
    disk: D,
    path: PathBuf,
    /// The accounts of the file where it is newer than those that are shared.
    newer: Option<Accounts>,
}

/// Outcome of [`AccountsFile::set`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// There is an account more.
    Added,
    /// The account of this name has another password.
    Changed(String),
}

/// Why nothing was written, or not confirmed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WriteError {
    /// The file is bad.
    File(FileError),
    /// An account has this name, or one that looks like it.
    Taken {
        /// The name.
        name: String,
        /// The name of the account where it is known.
        account: Option<String>,
    },
    /// There is no such account.
    Unknown(String),
    /// There are as many accounts as there may be.
    Full,
    /// Another process has the file locked.
    Locked(PathBuf),
    /// The file was replaced again and again.
    Replaced(PathBuf),
    /// An operation of the system failed.
    Io {
        /// The operation, as in `cannot write`.
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// The error, in the words of strerror(3).
        reason: String,
    },
}

impl fmt::Display for WriteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write;
        let mut out = EscapeControl(f);
        let shown = |path: &Path| os_text::encode(path.as_os_str().as_encoded_bytes());
        match self {
            WriteError::File(error) => write!(out, "{error}"),
            WriteError::Taken { name, account: Some(account) } if name != account => {
                write!(out, "{name} is taken: it looks like {account}")
            }
            WriteError::Taken { name, .. } => write!(out, "{name} is taken"),
            WriteError::Unknown(name) => write!(out, "there is no account {name}"),
            WriteError::Full => {
                write!(out, "there are {ACCOUNTS_MAX} accounts, the most there may be")
            }
            WriteError::Locked(path) => write!(out, "{} is locked by another process", shown(path)),
            WriteError::Replaced(path) => {
                write!(out, "{} was replaced while it was written", shown(path))
            }
            WriteError::Io { operation, path, reason } => {
                write!(out, "cannot {operation} {}: {reason}", shown(path))
            }
        }
    }
}

impl std::error::Error for WriteError {}

impl From<FileError> for WriteError {
    fn from(error: FileError) -> Self {
        WriteError::File(error)
    }
}

impl AccountsFile {
    /// The accounts file at `path`, which is opened by each operation anew.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        AccountsFile::on(SystemDisk, path)
    }
}

impl<D: Disk> AccountsFile<D> {
    /// The accounts file at `path` of a file system.
    #[must_use]
    pub fn on(disk: D, path: PathBuf) -> Self {
        AccountsFile { disk, path, newer: None }
    }

    /// The path as it was given.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads the accounts. Takes no lock: a line that is being appended is no account yet.
    ///
    /// # Errors
    ///
    /// The file cannot be read, or a line of it is bad.
    pub fn read(&self) -> Result<Parsed, FileError> {
        self.read_text().map(|(_, parsed, _)| parsed)
    }

    /// Checks that registrations can be written: that the lock and the file can be opened.
    ///
    /// # Errors
    ///
    /// They cannot.
    pub fn check_writable(&self) -> Result<(), WriteError> {
        let path = self.resolve()?;
        let _lock = self.lock(&path)?;
        let opened = self.disk.open(&path, true);
        opened.map(drop).map_err(|error| io_error("write", &path, &error))
    }

    /// Adds an account for a client and, once it is on disk, to the shared ones. Returns its name.
    ///
    /// # Errors
    ///
    /// The name is taken, or the account could not be written: then there is no such account, unless
    /// undoing it failed as well.
    pub fn register(
        &mut self,
        accounts: &SharedAccounts,
        name: &Nickname<'_>,
        hash: PasswordHash,
    ) -> Result<Arc<str>, WriteError> {
        let path = self.resolve()?;
        let _lock = self.lock(&path)?;
        for _ in 0..REPLACED_MAX {
            let mut file = self.open(&path)?;
            let is_current = self.check_name(accounts, name, &file)?;
            if let Some(version) = self.append(&mut file, &path, &line_of(name.text(), &hash))? {
                return Ok(self.confirm(accounts, name, hash, version, is_current));
            }
        }
        Err(WriteError::Replaced(path))
    }

    /// Adds an account, or gives it another password.
    ///
    /// # Errors
    ///
    /// The name looks like an account's, or the file is bad or could not be written.
    pub fn set(&mut self, name: &Nickname<'_>, hash: &PasswordHash) -> Result<Change, WriteError> {
        let path = self.resolve()?;
        let _lock = self.lock(&path)?;
        for _ in 0..REPLACED_MAX {
            let (text, meta) = match self.disk.meta_at(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    // As a replacement of no file: a crash leaves none, or one with the account.
                    self.replace(&path, None, line_of(name.text(), hash).as_bytes())?;
                    return Ok(Change::Added);
                }
                _ => {
                    let (text, parsed, meta) = self.read_text()?;
                    if let Some(account) = parsed.accounts.find(name.text()) {
                        let account = (**account).to_owned();
                        let edited = edit(&text, name, Some(hash)).unwrap_or_default();
                        if self.replace(&path, Some(&meta), &edited)? {
                            return Ok(Change::Changed(account));
                        }
                        continue;
                    }
                    check_new(&parsed.accounts, name, &text)?;
                    (text, meta)
                }
            };
            drop(text);
            let mut file = self.open(&path)?;
            let opened = self.disk.meta(&file).map_err(|error| io_error("read", &path, &error))?;
            if opened.version != meta.version {
                continue;
            }
            if self.append(&mut file, &path, &line_of(name.text(), hash))?.is_some() {
                return Ok(Change::Added);
            }
        }
        Err(WriteError::Replaced(path))
    }

    /// Deletes the account whose name equals `name`.
    ///
    /// # Errors
    ///
    /// There is none, or the file is bad or could not be written.
    pub fn delete(&mut self, name: &Nickname<'_>) -> Result<(), WriteError> {
        let path = self.resolve()?;
        let _lock = self.lock(&path)?;
        for _ in 0..REPLACED_MAX {
            let (text, _, meta) = self.read_text()?;
            let Some(edited) = edit(&text, name, None) else {
                return Err(WriteError::Unknown(name.text().to_owned()));
            };
            if self.replace(&path, Some(&meta), &edited)? {
                return Ok(());
            }
        }
        Err(WriteError::Replaced(path))
    }

    fn resolve(&self) -> Result<PathBuf, WriteError> {
        self.disk.resolve(&self.path).map_err(|error| io_error("find", &self.path, &error))
    }

    fn open(&self, path: &Path) -> Result<D::File, WriteError> {
        self.disk.open(path, true).map_err(|error| io_error("write", path, &error))
    }

    /// Locks `FILE.lock`, which is created where there is none, for whoever may write the file.
    fn lock(&self, path: &Path) -> Result<D::File, WriteError> {
        let lock_path = with_suffix(path, ".lock");
        let failed = |error: &io::Error| io_error("lock", &lock_path, error);
        let file = match self.disk.create(&lock_path) {
            Ok(file) => {
                if let Ok(meta) = self.disk.meta_at(path) {
                    // Root may run `passwd`, and the server is somebody else. Nothing is lost where
                    // it fails.
                    let _ = self.disk.set_owner_and_mode(&file, &meta);
                }
                file
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                self.disk.open(&lock_path, true).map_err(|error| failed(&error))?
            }
            Err(error) => return Err(failed(&error)),
        };
        for _ in 0..LOCK_TRIES {
            if self.disk.try_lock(&file).map_err(|error| failed(&error))? {
                return Ok(file);
            }
            self.disk.pause();
        }
        Err(WriteError::Locked(path.to_owned()))
    }

    /// Text and accounts of the file, and its state before it was read.
    fn read_text(&self) -> Result<(Vec<u8>, Parsed, Meta), FileError> {
        let bad = |problem| FileError { path: self.path.clone(), problem };
        let io = |error: io::Error| bad(FileProblem::Io(strerror(&error).to_string()));
        let path = self.disk.resolve(&self.path).map_err(io)?;
        let mut file = match self.disk.open(&path, false) {
            Err(error) if self.disk.meta_at(&path).is_ok_and(|meta| meta.is_folder) => {
                drop(error);
                return Err(bad(FileProblem::Folder));
            }
            opened => opened.map_err(io)?,
        };
        let meta = self.disk.meta(&file).map_err(io)?;
        match meta {
            Meta { is_folder: true, .. } => return Err(bad(FileProblem::Folder)),
            Meta { is_file: false, .. } => return Err(bad(FileProblem::NotRegular)),
            _ => {}
        }
        let text = self.disk.read(&mut file, 0, FILE_LEN_MAX + 1).map_err(io)?;
        let mut parsed = parse(&text).map_err(bad)?;
        let is_whole = text.len() as u64 == meta.version.len;
        parsed.accounts.set_version(Some(meta.version).filter(|_| is_whole));
        Ok((text, parsed, meta))
    }

    /// Checks that a name is not taken, neither by the shared accounts nor by the file, which may
    /// have been changed since. Returns whether the shared ones are those of the file.
    fn check_name(
        &mut self,
        accounts: &SharedAccounts,
        name: &Nickname<'_>,
        file: &D::File,
    ) -> Result<bool, WriteError> {
        check_new(&accounts.read(), name, b"")?;
        let meta = self.disk.meta(file).map_err(|error| io_error("read", &self.path, &error))?;
        if accounts.read().version() == Some(meta.version) {
            self.newer = None;
            return Ok(true);
        }
        if self.newer.as_ref().and_then(Accounts::version) != Some(meta.version) {
            self.newer = None;
            self.newer = Some(self.read_text()?.1.accounts);
        }
        if let Some(newer) = &self.newer {
            check_new(newer, name, b"")?;
        }
        Ok(false)
    }

    /// Appends a line and waits until it is on disk. Returns the file's new state; `None` if the
    /// file is no longer the one under its name.
    fn append(
        &self,
        file: &mut D::File,
        path: &Path,
        line: &str,
    ) -> Result<Option<FileVersion>, WriteError> {
        let failed = |error: io::Error| io_error("write", path, &error);
        let len = self.disk.meta(file).map_err(failed)?.version.len;
        let tail_at = len.saturating_sub(LINE_LEN_MAX as u64 + 1);
        let tail = self.disk.read(file, tail_at, LINE_LEN_MAX + 1).map_err(failed)?;
        let (end, line) = match end_of(&tail) {
            End::Terminated => (len, line.to_owned()),
            End::LineEndMissing => (len, format!("\n{line}")),
            End::Unfinished(unfinished) => {
                let end = len.saturating_sub(unfinished as u64);
                self.disk.truncate(file, end).map_err(failed)?;
                (end, line.to_owned())
            }
        };
        let written = self.write_all(file, line.as_bytes());
        let synced = written.and_then(|()| self.disk.sync(file));
        // Whoever put the file there may have crashed, or failed, before its name was on disk.
        if let Err(error) = synced.and_then(|()| self.disk.sync_folder_of(path)) {
            // If this fails as well, an unfinished line stays, or an account that nobody was
            // promised.
            let undone = self.disk.truncate(file, end);
            let _ = undone.and_then(|()| self.disk.sync(file));
            return Err(failed(error));
        }
        let meta = self.disk.meta(file).map_err(failed)?;
        match self.disk.meta_at(path) {
            Ok(now) if now.version.inode == meta.version.inode => Ok(Some(meta.version)),
            Ok(_) => Ok(None),
            Err(error) => Err(failed(error)),
        }
    }

    /// Puts a file with `text` in the place of the one that was read, with its owner and mode. False
    /// if that one was changed or replaced meanwhile.
    fn replace(&self, path: &Path, old: Option<&Meta>, text: &[u8]) -> Result<bool, WriteError> {
        let new_path = with_suffix(path, ".new");
        // Left by a crash: the lock is ours.
        match self.disk.remove(&new_path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(io_error("remove", &new_path, &error));
            }
            _ => {}
        }
        let written = self.write_new(&new_path, old, text);
        let is_same = match self.disk.meta_at(path) {
            Ok(now) => old.is_some_and(|old| now.version == old.version),
            Err(error) => old.is_none() && error.kind() == io::ErrorKind::NotFound,
        };
        let renamed = match written {
            Ok(()) if is_same => self.disk.rename(&new_path, path),
            written => written,
        };
        if renamed.is_err() || !is_same {
            let _ = self.disk.remove(&new_path);
        }
        renamed.map_err(|error| io_error("write", path, &error))?;
        if is_same {
            let synced = self.disk.sync_folder_of(path);
            synced.map_err(|error| io_error("sync the folder of", path, &error))?;
        }
        Ok(is_same)
    }

    fn write_new(&self, path: &Path, old: Option<&Meta>, text: &[u8]) -> io::Result<()> {
        let mut file = self.disk.create(path)?;
        if let Some(old) = old {
            self.disk.set_owner_and_mode(&file, old)?;
        }
        self.write_all(&mut file, text)?;
        self.disk.sync(&file)
    }

    fn write_all(&self, file: &mut D::File, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match self.disk.write(file, bytes) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Adds an account that is on disk.
    fn confirm(
        &mut self,
        accounts: &SharedAccounts,
        name: &Nickname<'_>,
        hash: PasswordHash,
        version: FileVersion,
        is_current: bool,
    ) -> Arc<str> {
        if !is_current && let Some(newer) = &mut self.newer {
            newer.insert(name, hash.clone());
            newer.set_version(Some(version));
        }
        let mut accounts = accounts.write();
        if is_current {
            accounts.set_version(Some(version));
        }
        accounts.insert(name, hash).unwrap_or_else(|| name.text().into())
    }
}

/// Checks that an account of this name may be added.
fn check_new(accounts: &Accounts, name: &Nickname<'_>, text: &[u8]) -> Result<(), WriteError> {
    if accounts.is_taken(name) {
        let account = find_same(text, name).map(|(_, account)| account);
        return Err(WriteError::Taken { name: name.text().to_owned(), account });
    }
    if accounts.len() >= ACCOUNTS_MAX {
        return Err(WriteError::Full);
    }
    Ok(())
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut path = path.as_os_str().to_owned();
    path.push(suffix);
    path.into()
}

fn io_error(operation: &'static str, path: &Path, error: &io::Error) -> WriteError {
    WriteError::Io { operation, path: path.to_owned(), reason: strerror(error).to_string() }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fs;
    use std::io::{BufRead, BufReader, Write};
    use std::os::unix::fs::PermissionsExt;
    use std::process::{Command, Stdio};
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;
    use crate::accounts::memory_disk::{Fault, MemoryDisk, Survives};
    use crate::protocol::login::parse_name;

    const FILE: &str = "/accounts";
    const PARAMETERS: &str = "$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHQ$";

    /// A hash as new ones are, told from others by its number.
    fn hash(number: usize) -> PasswordHash {
        let text = format!("{PARAMETERS}CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb{number:05}c");
        PasswordHash::parse(&text).unwrap()
    }

    fn account(name: &str, number: usize) -> String {
        format!("{name}:{}\n", hash(number))
    }

    fn register<D: Disk>(
        file: &mut AccountsFile<D>,
        accounts: &SharedAccounts,
        name: &str,
        number: usize,
    ) -> Result<Arc<str>, WriteError> {
        file.register(accounts, &parse_name(name).unwrap(), hash(number))
    }

    /// Names and hashes.
    type Content = BTreeMap<String, String>;

    fn content(disk: &MemoryDisk) -> Content {
        let file = AccountsFile::on(disk.clone(), FILE.into());
        let parsed = match file.read() {
            Ok(parsed) => parsed,
            Err(error) => panic!("{error}\n{}", disk.text(FILE)),
        };
        let hash = |name: &str| parsed.accounts.hash_of(name).unwrap().to_string();
        parsed.accounts.names().map(|name| (name.to_string(), hash(name))).collect()
    }

    /// Runs registrations, changes and deletions. Returns the contents that the file may have: each
    /// step that was confirmed has happened, each that failed may have.
    fn run_steps(disk: &MemoryDisk) -> Vec<Content> {
        let mut file = AccountsFile::on(disk.clone(), FILE.into());
        let mut passwd = AccountsFile::on(disk.clone(), FILE.into());
        let accounts = file.read().map(|parsed| SharedAccounts::new(parsed.accounts));
        let accounts = accounts.unwrap_or_default();
        let mut allowed = vec![Content::from([("bob".into(), hash(0).to_string())])];
        type Step = (&'static str, Option<usize>, bool);
        let steps: [Step; 6] = [
            ("ann", Some(1), true),
            ("bob", Some(2), false),
            ("eve", Some(3), true),
            ("ann", None, false),
            ("dan", Some(4), false),
            ("zoe", Some(5), true),
        ];
        for (name, number, is_server) in steps {
            let nickname = parse_name(name).unwrap();
            let result = match number {
                Some(number) if is_server => {
                    register(&mut file, &accounts, name, number).map(|_| ())
                }
                Some(number) => passwd.set(&nickname, &hash(number)).map(|_| ()),
                None => passwd.delete(&nickname),
            };
            let after = allowed.iter().cloned().map(|mut content| {
                match number {
                    Some(number) => content.insert(name.into(), hash(number).to_string()),
                    None => content.remove(name),
                };
                content
            });
            let after: Vec<Content> = after.collect();
            match result {
                Ok(()) => allowed = after,
                Err(_) => allowed.extend(after),
            }
        }
        allowed
    }

    fn disk_with_bob() -> MemoryDisk {
        MemoryDisk::with_file(FILE, &format!("# people\n{}", account("bob", 0)))
    }

    /// Checks what is in the file now, and what would be after a crash.
    #[track_caller]
    fn assert_allowed(disk: &MemoryDisk, allowed: &[Content], what: &str) {
        for names in [true, false] {
            for data_percent in [100, 0, 1, 50, 99] {
                let after = disk.after_crash(Survives { names, data_percent });
                let found = content(&after);
                assert!(
                    allowed.contains(&found),
                    "{what}, names {names}, data {data_percent} %: {found:#?}\nnot in {allowed:#?}"
                );
                assert!(after.text(FILE).starts_with("# people\n"), "comments stay");
                // Whatever is left, the next write repairs.
                let mut file = AccountsFile::on(after.clone(), FILE.into());
                let added = file.set(&parse_name("last").unwrap(), &hash(9));
                assert_eq!(added, Ok(Change::Added), "{what}");
                assert_eq!(content(&after).len(), found.len() + 1, "{what}");
                file.delete(&parse_name("last").unwrap()).unwrap();
                assert!(content(&after) == found && !after.has("/accounts.new"), "{what}");
            }
        }
    }

    #[test]
    fn no_confirmed_account_is_lost_by_any_fault() {
        for write_max in [usize::MAX, 50] {
            let disk = disk_with_bob();
            disk.limit_writes(write_max);
            let allowed = run_steps(&disk);
            assert_eq!(allowed.len(), 1, "all are confirmed");
            assert_allowed(&disk, &allowed, "without a fault");
            let operations = disk.operations();
            assert!(operations > 80, "{operations}");
            for operation in 0..operations {
                for fault in [
                    Fault::Error(libc::ENOSPC),
                    Fault::Error(libc::EIO),
                    Fault::Error(libc::EINTR),
                    Fault::Broken(libc::EIO),
                    Fault::Crash,
                ] {
                    let disk = disk_with_bob();
                    disk.limit_writes(write_max);
                    disk.fail_at(operation, fault.clone());
                    let allowed = run_steps(&disk);
                    assert_allowed(&disk, &allowed, &format!("{fault:?} at {operation}"));
                }
            }
        }
    }

    #[test]
    fn account_is_written_into_the_file_that_replaced_it() {
        let register_ann = |disk: &MemoryDisk| {
            let mut file = AccountsFile::on(disk.clone(), FILE.into());
            let accounts = SharedAccounts::new(file.read().unwrap().accounts);
            let before = disk.operations();
            let result = register(&mut file, &accounts, "ann", 1);
            (before, result)
        };
        let disk = disk_with_bob();
        let (before, _) = register_ann(&disk);
        let other = account("eve", 3);
        for operation in before..disk.operations() {
            let disk = disk_with_bob();
            disk.fail_at(operation, Fault::Replaced(FILE.into(), other.clone()));
            assert_eq!(register_ann(&disk).1.as_deref(), Ok("ann"), "at {operation}");
            assert_eq!(disk.text(FILE), format!("{other}{}", account("ann", 1)), "at {operation}");
            let taken = disk_with_bob();
            taken.fail_at(operation, Fault::Replaced(FILE.into(), account("ANN", 3)));
            let result = register_ann(&taken).1;
            assert!(matches!(result, Err(WriteError::Taken { .. })), "at {operation}: {result:?}");
        }
    }

    #[test]
    fn change_is_made_in_the_file_that_replaced_it() {
        let change = |disk: &MemoryDisk| {
            AccountsFile::on(disk.clone(), FILE.into()).set(&parse_name("bob").unwrap(), &hash(2))
        };
        let disk = disk_with_bob();
        assert_eq!(change(&disk), Ok(Change::Changed("bob".into())));
        // Behind the rename comes only the sync of the folder.
        for operation in 0..disk.operations() - 2 {
            let disk = disk_with_bob();
            let other = format!("{}{}", account("bob", 0), account("eve", 3));
            disk.fail_at(operation, Fault::Replaced(FILE.into(), other));
            assert_eq!(change(&disk), Ok(Change::Changed("bob".into())), "at {operation}");
            let expected = format!("{}{}", account("bob", 2), account("eve", 3));
            assert_eq!(disk.text(FILE), expected, "at {operation}");
        }
    }

    #[test]
    fn registration_sees_what_passwd_has_written() {
        let disk = disk_with_bob();
        let mut file = AccountsFile::on(disk.clone(), FILE.into());
        let accounts = SharedAccounts::new(file.read().unwrap().accounts);
        let mut passwd = AccountsFile::on(disk.clone(), FILE.into());
        passwd.set(&parse_name("paypal").unwrap(), &hash(4)).unwrap();
        let taken = register(&mut file, &accounts, "раураl", 2);
        assert!(matches!(taken, Err(WriteError::Taken { .. })));
        assert!(accounts.find("paypal").is_none(), "that is a reload's business");
        register(&mut file, &accounts, "ann", 2).unwrap();
        register(&mut file, &accounts, "eve", 3).unwrap();
        assert_eq!(content(&disk).len(), 4);
        let before = disk.operations();
        register(&mut file, &accounts, "zoe", 3).unwrap();
        assert!(disk.operations() - before < 14, "the file is not read again");
        assert!(accounts.find("eve").is_some());
    }

    #[test]
    fn replaced_file_keeps_owner_and_mode() {
        let disk = disk_with_bob();
        let mut file = AccountsFile::on(disk.clone(), FILE.into());
        file.set(&parse_name("bob").unwrap(), &hash(4)).unwrap();
        assert_eq!(disk.owner_and_mode(FILE), ((7, 8), 0o640));
        assert_eq!(disk.owner_and_mode("/accounts.lock"), ((7, 8), 0o640));
        assert!(!disk.has("/accounts.new"));
    }

    #[test]
    fn locked_file_is_not_written() {
        let disk = disk_with_bob();
        let mut file = AccountsFile::on(disk.clone(), FILE.into());
        let lock = file.lock(Path::new(FILE)).unwrap();
        let error = file.delete(&parse_name("bob").unwrap()).unwrap_err();
        assert_eq!(error.to_string(), "/accounts is locked by another process");
        drop(lock);
        assert_eq!(file.delete(&parse_name("bob").unwrap()), Ok(()));
        let error = file.delete(&parse_name("bob").unwrap()).unwrap_err();
        assert_eq!(error.to_string(), "there is no account bob");
    }

    #[test]
    fn look_alike_of_an_account_is_refused_with_its_name() {
        let disk = disk_with_bob();
        let mut file = AccountsFile::on(disk, FILE.into());
        let error = file.set(&parse_name("b\u{43e}b").unwrap(), &hash(4)).unwrap_err();
        assert_eq!(error.to_string(), "b\u{43e}b is taken: it looks like bob");
        let changed = file.set(&parse_name("BOB").unwrap(), &hash(4));
        assert_eq!(changed, Ok(Change::Changed("bob".into())));
    }

    /// A folder of a test's own, removed with all in it.
    struct Folder(PathBuf);

    impl Folder {
        fn new() -> Folder {
            static COUNT: AtomicU32 = AtomicU32::new(0);
            let number = COUNT.fetch_add(1, Ordering::Relaxed);
            let name = format!("mynah-accounts-{}-{number}", std::process::id());
            let path = std::env::temp_dir().join(name);
            fs::create_dir_all(&path).unwrap();
            Folder(path)
        }

        fn file(&self) -> PathBuf {
            self.0.join("accounts")
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn read_error(path: &Path) -> String {
        let error = AccountsFile::new(path.to_owned()).read().unwrap_err().to_string();
        error.replace(&path.display().to_string(), "FILE")
    }

    #[test]
    fn file_that_cannot_be_read_is_an_error() {
        let folder = Folder::new();
        assert_eq!(read_error(&folder.file()), "FILE: no such file or directory");
        assert_eq!(read_error(&folder.0), "FILE: is a folder");
        assert_eq!(read_error(Path::new("/dev/null")), "FILE: is not a regular file");
        fs::write(folder.file(), "bob\n").unwrap();
        assert_eq!(read_error(&folder.file()), "FILE: line 1: is not of the form name:$argon2id$…");
        // Root may read anything.
        fs::set_permissions(folder.file(), fs::Permissions::from_mode(0o000)).unwrap();
        if fs::File::open(folder.file()).is_err() {
            assert_eq!(read_error(&folder.file()), "FILE: permission denied");
        }
        let huge = fs::File::create(folder.0.join("huge")).unwrap();
        huge.set_len(FILE_LEN_MAX as u64 + 1).unwrap();
        assert_eq!(read_error(&folder.0.join("huge")), "FILE: is over 64 MiB");
    }

    #[test]
    fn symbolic_link_is_followed() {
        let folder = Folder::new();
        fs::write(folder.file(), account("bob", 0)).unwrap();
        let link = folder.0.join("link");
        std::os::unix::fs::symlink("accounts", &link).unwrap();
        AccountsFile::new(link.clone()).set(&parse_name("bob").unwrap(), &hash(1)).unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read_to_string(folder.file()).unwrap(), account("bob", 1));
        assert!(folder.0.join("accounts.lock").exists() && !folder.0.join("link.lock").exists());
        fs::remove_file(folder.file()).unwrap();
        assert!(AccountsFile::new(link).set(&parse_name("bob").unwrap(), &hash(4)).is_err());
    }

    #[test]
    fn new_file_is_its_owner_s_alone() {
        let folder = Folder::new();
        let mut file = AccountsFile::new(folder.file());
        assert_eq!(file.set(&parse_name("bob").unwrap(), &hash(0)), Ok(Change::Added));
        let mode = fs::metadata(folder.file()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(file.check_writable(), Ok(()));
        let missing = AccountsFile::new(folder.0.join("no/accounts")).check_writable();
        assert!(missing.unwrap_err().to_string().ends_with(": no such file or directory"));
    }

    #[test]
    fn writers_at_the_same_time_lose_nothing() {
        let folder = Folder::new();
        fs::write(folder.file(), account("bob", 0)).unwrap();
        let path = folder.file();
        std::thread::scope(|scope| {
            for writer in 0..3 {
                let path = path.clone();
                scope.spawn(move || {
                    let mut file = AccountsFile::new(path);
                    let accounts = SharedAccounts::new(file.read().unwrap().accounts);
                    for n in 0..20 {
                        let name = format!("w{writer}-{n}");
                        if writer == 0 {
                            file.set(&parse_name(&name).unwrap(), &hash(n)).unwrap();
                            file.set(&parse_name(&name).unwrap(), &hash(n + 1)).unwrap();
                        } else {
                            register(&mut file, &accounts, &name, n).unwrap();
                        }
                    }
                });
            }
        });
        assert_eq!(AccountsFile::new(path).read().unwrap().accounts.len(), 61);
    }

    const KILLED: &str = "MYNAH_TEST_KILLED_WRITER";

    /// Not a test of its own: the process that the next test kills.
    #[test]
    #[ignore = "runs until it is killed"]
    fn killed_writer() {
        let Some(path) = std::env::var_os(KILLED) else { return };
        let mut file = AccountsFile::new(path.into());
        let accounts = SharedAccounts::new(file.read().unwrap().accounts);
        let count = accounts.read().len();
        for n in count.. {
            let name = format!("name{n}");
            register(&mut file, &accounts, &name, n % 9).unwrap();
            // With a line end in front: the test harness has begun this line.
            writeln!(io::stdout(), "\n={name}").unwrap();
            if n % 3 == 0 {
                file.set(&parse_name(&name).unwrap(), &hash(n % 9)).unwrap();
                let read = file.read().unwrap().accounts;
                accounts.replace(read, accounts.begin_reload());
            }
        }
    }

    #[test]
    fn no_confirmed_account_is_lost_by_kill_9() {
        let folder = Folder::new();
        let path = folder.file();
        fs::write(&path, account("bob", 0)).unwrap();
        let mut confirmed: Vec<String> = Vec::new();
        for round in 0..30 {
            let mut child = Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "accounts::write::tests::killed_writer"])
                .args(["--ignored", "--nocapture", "--test-threads=1"])
                .env(KILLED, &path)
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            let lines = BufReader::new(child.stdout.take().unwrap()).lines();
            let wanted = confirmed.len() + 1 + round * 7 % 11;
            for line in lines {
                confirmed.extend(line.unwrap().strip_prefix('=').map(str::to_owned));
                if confirmed.len() == wanted {
                    child.kill().unwrap();
                }
            }
            child.wait().unwrap();
            assert!(confirmed.len() >= wanted, "the writer ended by itself");
            let parsed = AccountsFile::new(path.clone()).read().unwrap();
            for name in &confirmed {
                assert!(parsed.accounts.find(name).is_some(), "round {round}: {name} is lost");
            }
        }
    }
}
