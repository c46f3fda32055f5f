//! Accounts: names with password hashes in one file, checked off the loop.
//!
//! The [`Backend`](crate::protocol::login::Backend) of the protocols' logins: [`SharedAccounts`] has
//! who has an account, the [`Worker`] hashes and writes the file. Knows no sockets, protocols'
//! states or clocks. What names, passwords and attempts are is said in `protocol/login/`.
//!
//! | module | job |
//! |---|---|
//! | `backend` | what the protocols ask |
//! | `hash` | argon2id: hashing, checking, PHC strings |
//! | `store` | the accounts in memory, found by name |
//! | `file` | the text of the file: reading, changing |
//! | `disk` | the operations on files that writing takes |
//! | `write` | the file on disk: safe against crashes and other writers |
//! | `worker` | the thread that hashes |

mod backend;
mod disk;
mod file;
mod hash;
#[cfg(test)]
mod memory_disk;
mod store;
mod worker;
mod write;

pub use backend::AccountsBackend;
pub use disk::{Disk, Meta, SystemDisk};
pub use file::{FILE_LEN_MAX, FileError, FileProblem, LINE_LEN_MAX, Parsed, parse};
pub use hash::{Cost, HashError, Hasher, PasswordHash, RandomError};
pub use store::{ACCOUNTS_MAX, Accounts, FileVersion, ReloadToken, SharedAccounts};
pub use worker::{QUEUE_LEN_MAX, Worker};
pub use write::{AccountsFile, Change, WriteError};

pub use crate::protocol::login::{NameError, Password, PasswordError, parse_name};
