//! Jobs of the hashing thread, one an attempt, and their outcomes.

use std::sync::Arc;

use super::attempt::Attempt;
use super::password::Password;

/// An attempt to log in or to register, to be hashed.
#[derive(Debug)]
pub struct Job<A> {
    /// The owner's token, which comes back with the result.
    pub id: u64,
    /// The address it is counted for.
    pub address: A,
    /// The kind of attempt.
    pub attempt: Attempt,
    /// A name that [`parse_name`](super::parse_name) accepts.
    pub name: Box<str>,
    /// The password.
    pub password: Password,
}

/// The end of a job.
#[derive(Debug, PartialEq, Eq)]
pub struct JobResult<A> {
    /// The job's token.
    pub id: u64,
    /// Its address, to which a failure is charged.
    pub address: A,
    /// The outcome.
    pub outcome: Outcome,
}

/// The outcome of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The password is right. The name as it was registered. The account may have been deleted by a
    /// reload since: who takes the result looks whether it is still there.
    LoggedIn(Arc<str>),
    /// There is no such account, or its password is another. Counts as a failed attempt.
    LoginFailed,
    /// The account is on disk.
    Registered(Arc<str>),
    /// The account was not added: the name is taken.
    Taken,
    /// The account was not added: there are as many as there may be.
    Full,
    /// The account was not added for this reason, which is for the log.
    RegistrationFailed(String),
}

/// The queue is full, or the address has a job in it: the answer is `busy, try again`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Busy;
