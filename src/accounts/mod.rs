//! Accounts: names with password hashes in one file, checked off the loop.
//!
//! The loop asks [`SharedAccounts`] who has an account, [`Throttle`] whether an address may try, and
//! hands [`Job`]s to the [`Worker`], which hashes and writes the file. Knows no sockets, protocols'
//! states or clocks.
//!
//! | module | job |
//! |---|---|
//! | `name`, `password` | what either may be |
//! | `attempt`, `credentials` | logging in or registering; name and password in a request |
//! | `hash` | argon2id: hashing, checking, PHC strings |
//! | `store` | the accounts in memory, found by name |
//! | `file` | the text of the file: reading, changing |
//! | `disk` | the operations on files that writing takes |
//! | `write` | the file on disk: safe against crashes and other writers |
//! | `worker` | the thread that hashes |
//! | `throttle` | failed attempts by address |
//! | `messages` | refusals and notices, as the protocols word them |

mod attempt;
mod credentials;
mod disk;
mod file;
mod hash;
#[cfg(test)]
mod memory_disk;
mod messages;
mod name;
mod password;
mod store;
mod throttle;
mod worker;
mod write;

pub use attempt::Attempt;
pub use credentials::{parse_credentials, parse_name_and_password};
pub use disk::{Disk, Meta, SystemDisk};
pub use file::{FILE_LEN_MAX, FileError, FileProblem, LINE_LEN_MAX, Parsed, parse};
pub use hash::{Cost, HashError, Hasher, PasswordHash, RandomError};
pub use messages::{Notice, Refusal};
pub use name::{NameError, parse_name};
pub use password::{PASSWORD_LEN_MAX, PASSWORD_LEN_MIN, Password, PasswordError};
pub use store::{ACCOUNTS_MAX, Accounts, FileVersion, ReloadToken, SharedAccounts};
pub use throttle::Throttle;
pub use worker::{Busy, Job, JobResult, Outcome, QUEUE_LEN_MAX, Worker};
pub use write::{AccountsFile, Change, WriteError};
