//! The interface to what knows accounts and hashes passwords: a thread with a file, or in tests
//! whatever answers.

use std::fmt;
use std::sync::Arc;

use super::job::{Busy, Job, JobResult};
use crate::address::AddressKey;
use crate::protocol::nickname::Nickname;

/// The accounts, and a queue of attempts that are worked on elsewhere. No call waits for a hash or a
/// disk.
pub trait Backend: fmt::Debug {
    /// The name, as it was registered, of the account whose name equals `name`.
    fn find(&self, name: &str) -> Option<Arc<str>>;

    /// Whether an account's name is the same as this one: equal, or confusable.
    fn is_taken(&self, name: &Nickname<'_>) -> bool;

    /// Queues an attempt. Its result comes with a later [`take_results`](Self::take_results), of
    /// which the loop is woken.
    ///
    /// # Errors
    ///
    /// The queue is full, or the address has an attempt that waits or is in work.
    fn submit(&mut self, job: Job<AddressKey>) -> Result<(), Busy>;

    /// Drops an attempt that has not begun. False if its result will come.
    fn cancel(&mut self, id: u64) -> bool;

    /// Takes the results there are.
    fn take_results(&mut self) -> Vec<JobResult<AddressKey>>;

    /// Others have taken its place. What is in work comes to its end somewhere else: no call waits.
    fn retire(self: Box<Self>) {}
}
