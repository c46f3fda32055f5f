//! Accounts of the server: read at start, for `--check`, and again at a reload; the thread that
//! hashes.

use std::path::PathBuf;
use std::sync::mpsc::{self, Receiver, TryRecvError};
use std::thread;

use log::{error, info, warn};

use super::config::Config;
use crate::accounts::{AccountsBackend, AccountsFile, FileError, Parsed, SharedAccounts, Worker};
use crate::net::{EventLoop, Handle, SocketTransport};
use crate::protocol::login::{Auth, Authenticator};
use crate::server::Server;
use crate::strerror::strerror;

/// Reads the accounts and drops them again.
pub(super) fn check(config: &Config) -> Result<(), String> {
    let Some(path) = &config.settings.accounts else { return Ok(()) };
    AccountsFile::new(path.clone()).read().map(drop).map_err(unusable)
}

/// The accounts of a running server, if it has any.
pub(super) struct AccountsReloader {
    file: Option<Loaded>,
    /// Whether the clients of each listener log in, by its place in the configuration.
    auth: Vec<Auth>,
}

/// A file of accounts that has been read.
struct Loaded {
    path: PathBuf,
    accounts: SharedAccounts,
    /// Line of a registration that was not finished, to be warned of at the start.
    unfinished_line: Option<usize>,
    /// Wakes the loop when a reload is done.
    handle: Option<Handle>,
    /// A reload that has begun.
    reloading: Option<Receiver<ReloadResult>>,
    /// Result of a reload, to be taken up.
    reloaded: Option<ReloadResult>,
}

/// The number of accounts after a reload, and the line of a registration that was not finished.
type ReloadResult = Result<(usize, Option<usize>), FileError>;

impl AccountsReloader {
    /// Reads the accounts of a server that starts.
    ///
    /// # Errors
    ///
    /// The file cannot be used.
    pub(super) fn load(config: &Config) -> Result<Self, String> {
        let auth = config.listeners.iter().map(|spec| config.auth(spec)).collect();
        let Some(path) = config.settings.accounts.clone() else {
            return Ok(AccountsReloader { file: None, auth });
        };
        let Parsed { accounts, unfinished_line } =
            AccountsFile::new(path.clone()).read().map_err(unusable)?;
        let accounts = SharedAccounts::new(accounts);
        let (handle, reloading, reloaded) = (None, None, None);
        let file = Loaded { path, accounts, unfinished_line, handle, reloading, reloaded };
        Ok(AccountsReloader { file: Some(file), auth })
    }

    /// The server starts: its loop takes the accounts into service.
    ///
    /// # Errors
    ///
    /// The system has no thread left.
    pub(super) fn start(
        &mut self,
        config: &Config,
        event_loop: &mut EventLoop,
    ) -> Result<(), String> {
        let Some(file) = &mut self.file else { return Ok(()) };
        let handle = event_loop.handle();
        file.handle = Some(handle.clone());
        let (path, accounts) = (&file.path, &file.accounts);
        let wake = move || handle.wake();
        let worker = Worker::start(accounts.clone(), AccountsFile::new(path.clone()), wake)
            .map_err(|error| format!("cannot start hashing: {}", strerror(&error)))?;
        let backend = AccountsBackend::new(accounts.clone(), worker);
        let allows_registration = config.settings.allow_register.unwrap_or(false);
        let authenticator = Authenticator::new(Box::new(backend), allows_registration);
        event_loop.server_mut().set_accounts(authenticator);
        info!("accounts loaded from {}: {}", path.display(), accounts.read().len());
        file.warn_of_unfinished(file.unfinished_line);
        Ok(())
    }

    /// The listener at `place` of the configuration has been added to the loop as the last one.
    pub(super) fn attach(&self, place: usize, event_loop: &mut EventLoop) {
        let server = event_loop.server_mut();
        server.set_auth(server.listener_count() - 1, self.auth[place]);
    }

    /// Begins to read the file anew, on a thread of its own: a disk may be slow. Either all of it
    /// replaces the accounts there are or none does.
    pub(super) fn reload(&mut self) {
        let Some(file) = &mut self.file else { return };
        let Some(handle) = file.handle.clone() else { return };
        let (sender, receiver) = mpsc::channel();
        let (path, accounts) = (file.path.clone(), file.accounts.clone());
        let read = move || {
            let token = accounts.begin_reload();
            let result = AccountsFile::new(path).read().map(|parsed| {
                accounts.replace(parsed.accounts, token);
                (accounts.read().len(), parsed.unfinished_line)
            });
            let _ = sender.send(result);
            handle.wake();
        };
        match thread::Builder::new().name("mynah-accounts".to_owned()).spawn(read) {
            Ok(_) => file.reloading = Some(receiver),
            Err(error) => error!("accounts not reloaded: {}", strerror(&error)),
        }
    }

    /// Whether a reload has begun and is not over.
    #[cfg(feature = "systemd")]
    pub(super) fn is_reloading(&self) -> bool {
        self.file.as_ref().is_some_and(|file| file.reloading.is_some()) || self.is_due()
    }

    /// The loop was woken: a reload may be done.
    pub(super) fn on_wake(&mut self) {
        let Some(file) = &mut self.file else { return };
        match file.reloading.as_ref().map(Receiver::try_recv) {
            Some(Ok(result)) => file.reloaded = Some(result),
            Some(Err(TryRecvError::Empty)) | None => return,
            Some(Err(TryRecvError::Disconnected)) => error!("accounts not reloaded"),
        }
        file.reloading = None;
    }

    /// Whether the result of a reload is to be taken up.
    pub(super) fn is_due(&self) -> bool {
        self.file.as_ref().is_some_and(|file| file.reloaded.is_some())
    }

    pub(super) fn on_due(&mut self, server: &mut Server<SocketTransport>) {
        let Some(file) = &mut self.file else { return };
        match file.reloaded.take() {
            Some(Ok((count, unfinished_line))) => {
                server.sweep_accounts();
                info!("accounts reloaded: {count}");
                file.warn_of_unfinished(unfinished_line);
            }
            Some(Err(error)) => error!("{}; the accounts stay as they were", unusable(error)),
            None => {}
        }
    }
}

impl Loaded {
    fn warn_of_unfinished(&self, line: Option<usize>) {
        if let Some(line) = line {
            let path = self.path.display();
            warn!("{path}: line {line} is a registration that was not finished; it is skipped");
        }
    }
}

fn unusable(error: FileError) -> String {
    format!("cannot read accounts: {error}")
}
