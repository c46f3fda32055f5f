//! Accounts of the server: read at start, for `--check`, and again at a reload; the thread that
//! hashes.

use std::path::PathBuf;
use std::thread;

use super::config::Config;
use crate::accounts::{
    Accounts, AccountsBackend, AccountsFile, FileError, ReloadToken, SharedAccounts, Worker,
};
use crate::address::AddressKey;
use crate::net::{Handle, SocketTransport};
use crate::server::Server;
use crate::strerror::strerror;

/// Reads the accounts and drops them again.
pub(super) fn check(config: &Config) -> Result<(), String> {
    read(config, &AccountsInService::default()).map(drop)
}

/// The accounts of a running server. Clones are the same accounts.
#[derive(Default, Clone)]
pub(super) struct AccountsInService {
    /// Their file; `None` where there are none any more.
    path: Option<PathBuf>,
    /// `None` where there never were any.
    shared: Option<SharedAccounts>,
}

/// The file of accounts, read.
pub(super) struct ReadAccounts {
    path: PathBuf,
    accounts: Accounts,
    /// Line of a registration that was not finished.
    unfinished_line: Option<usize>,
    place: Place,
}

/// How they come into service.
enum Place {
    /// In place of those there are, which are of the same file.
    Same(ReloadToken),
    /// With a thread that works on their file, which has yet to begin.
    Another,
    Begun(SharedAccounts, Worker<AddressKey>),
}

/// Reads the file of accounts, if one is configured.
///
/// # Errors
///
/// The file cannot be used.
pub(super) fn read(
    config: &Config,
    in_service: &AccountsInService,
) -> Result<Option<ReadAccounts>, String> {
    let Some(path) = config.settings.accounts.clone() else { return Ok(None) };
    let place = match &in_service.shared {
        // Before the file is read.
        Some(shared) if in_service.path.as_ref() == Some(&path) => {
            Place::Same(shared.begin_reload())
        }
        _ => Place::Another,
    };
    let parsed = AccountsFile::new(path.clone()).read().map_err(|error| unusable(&error))?;
    let (accounts, unfinished_line) = (parsed.accounts, parsed.unfinished_line);
    Ok(Some(ReadAccounts { path, accounts, unfinished_line, place }))
}

impl ReadAccounts {
    /// The accounts of a file that is not in service have their thread started, which wakes the loop
    /// of `handle`.
    ///
    /// # Errors
    ///
    /// The system has no thread left.
    pub(super) fn begin(&mut self, handle: Handle) -> Result<(), String> {
        if let Place::Another = self.place {
            let shared = SharedAccounts::new(std::mem::take(&mut self.accounts));
            let file = AccountsFile::new(self.path.clone());
            let worker = Worker::start(shared.clone(), file, move || handle.wake())
                .map_err(|error| format!("cannot start hashing: {}", strerror(&error)))?;
            self.place = Place::Begun(shared, worker);
        }
        Ok(())
    }

    /// The warning about a registration that was not finished.
    pub(super) fn warning(&self) -> Option<String> {
        let (path, line) = (self.path.display(), self.unfinished_line?);
        Some(format!("{path}: line {line} is a registration that was not finished; it is skipped"))
    }
}

impl AccountsInService {
    /// Takes accounts that have [begun](ReadAccounts::begin) into service, or none. Returns a line
    /// for the log if that changes anything.
    pub(super) fn replace(
        &mut self,
        read: Option<ReadAccounts>,
        config: &Config,
        server: &mut Server<SocketTransport>,
    ) -> Option<String> {
        let line = match read {
            Some(ReadAccounts { path, accounts, place, .. }) => match (place, &self.shared) {
                (Place::Begun(shared, worker), _) => {
                    let line =
                        format!("accounts loaded from {}: {}", path.display(), shared.read().len());
                    let backend = Box::new(AccountsBackend::new(shared.clone(), worker));
                    server.set_accounts_backend(backend);
                    *self = AccountsInService { path: Some(path), shared: Some(shared) };
                    Some(line)
                }
                (Place::Same(token), Some(shared)) => {
                    let version = accounts.version();
                    let is_same = version.is_some() && version == shared.read().version();
                    (!is_same).then(|| {
                        drop_elsewhere(shared.replace(accounts, token));
                        format!("accounts reloaded: {}", shared.read().len())
                    })
                }
                (Place::Same(_) | Place::Another, _) => None,
            },
            None => {
                if let (Some(_), Some(shared)) = (self.path.take(), &self.shared) {
                    // A clone that has them would be another file's.
                    drop_elsewhere(shared.replace(Accounts::default(), shared.begin_reload()));
                    server.sweep_accounts();
                }
                None
            }
        };
        if line.is_some() {
            server.sweep_accounts();
        }
        if let Some(authenticator) = server.accounts_mut() {
            let allows_registration = config.settings.allow_register.unwrap_or(false);
            authenticator.set_allows_registration(allows_registration);
        }
        line
    }
}

/// Freeing a hundred thousand takes longer than a turn may. Where there is no thread, it does.
fn drop_elsewhere(accounts: Accounts) {
    let _ = thread::Builder::new().spawn(move || drop(accounts));
}

fn unusable(error: &FileError) -> String {
    format!("cannot read accounts: {error}")
}
