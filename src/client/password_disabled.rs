//! Stand-in for `password` in a build without accounts.

use super::account::{Account, Attempt, Password};
use super::error::ClientError;

pub(super) fn account_of_user(name: &str) -> Result<Account, ClientError> {
    ask_account(Attempt::Login, name)
}

pub(super) fn ask_account(attempt: Attempt, name: &str) -> Result<Account, ClientError> {
    Account::new(attempt, name, b"").map_err(ClientError::Password)
}

pub(super) fn ask(_: Attempt, _: Option<&str>, no_terminal: &str) -> Result<Password, ClientError> {
    Err(ClientError::Password(no_terminal.to_owned()))
}
