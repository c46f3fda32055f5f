//! The accounts as the protocols ask for them: those in memory, and the worker.

use std::sync::Arc;
use std::thread;

use super::store::SharedAccounts;
use super::worker::Worker;
use crate::address::AddressKey;
use crate::protocol::login::{Backend, Busy, Job, JobResult};
use crate::protocol::nickname::Nickname;

/// Accounts of a file, and the thread that works on attempts.
#[derive(Debug)]
pub struct AccountsBackend {
    accounts: SharedAccounts,
    worker: Worker<AddressKey>,
}

impl AccountsBackend {
    /// The accounts that `worker` knows, too.
    #[must_use]
    pub fn new(accounts: SharedAccounts, worker: Worker<AddressKey>) -> Self {
        AccountsBackend { accounts, worker }
    }
}

impl Backend for AccountsBackend {
    fn find(&self, name: &str) -> Option<Arc<str>> {
        self.accounts.find(name)
    }

    fn is_taken(&self, name: &Nickname<'_>) -> bool {
        self.accounts.is_taken(name)
    }

    fn submit(&mut self, job: Job<AddressKey>) -> Result<(), Busy> {
        self.worker.submit(job)
    }

    fn cancel(&mut self, id: u64) -> bool {
        self.worker.cancel(id)
    }

    fn take_results(&mut self) -> Vec<JobResult<AddressKey>> {
        self.worker.take_results()
    }

    fn retire(self: Box<Self>) {
        // Where there is no thread, it is dropped here, and the job in work is waited for.
        let _ = thread::Builder::new().spawn(move || drop(self));
    }
}
