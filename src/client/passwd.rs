//! `passwd`: a change of an accounts file, and the password it takes: typed, or a line of standard
//! input.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::PathBuf;

use super::account::Attempt;
use super::error::ClientError;
use super::output::print_line;
use super::password::ask;
use crate::accounts::{AccountsFile, Change, Hasher, Password, parse_name};

const NO_TERMINAL: &str = "no terminal to ask for a password; - in its place reads standard input";

/// A change of an accounts file.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Passwd {
    pub(super) file: PathBuf,
    /// A valid name.
    pub(super) name: String,
    pub(super) change: PasswdChange,
}

/// The change of the account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PasswdChange {
    /// It is added, or gets another password, which is typed.
    FromTerminal,
    /// The same, with a line of standard input.
    FromStdin,
    /// It is deleted.
    Delete,
}

/// Makes the change and prints what was done.
pub(super) fn run(passwd: &Passwd) -> Result<(), ClientError> {
    let name = parse_name(&passwd.name).map_err(|error| failed(&error))?;
    let mut file = AccountsFile::new(passwd.file.clone());
    if passwd.change == PasswdChange::Delete {
        file.delete(&name).map_err(|error| failed(&error))?;
        return print_line(&format!("{} deleted", name.text()));
    }
    // Before anything is typed in vain.
    if passwd.file.exists() {
        file.read().map_err(|error| failed(&error))?;
    }
    let password = match passwd.change {
        PasswdChange::FromStdin => read_stdin()?,
        _ => ask(Attempt::Register, Some(name.text()), NO_TERMINAL)?,
    };
    let hash = Hasher::default().hash(&password).map_err(|error| failed(&error))?;
    match file.set(&name, &hash).map_err(|error| failed(&error))? {
        Change::Added => print_line(&format!("{} added", name.text())),
        Change::Changed(name) => print_line(&format!("{name} has a new password")),
    }
}

fn failed(error: &dyn std::error::Error) -> ClientError {
    ClientError::Passwd(error.to_string())
}

fn read_stdin() -> Result<Password, ClientError> {
    // Not `Stdin`, whose buffer would keep a copy.
    let input = io::stdin().as_fd().try_clone_to_owned();
    let mut input = File::from(input.map_err(|error| ClientError::input(&error))?);
    let password = Password::read_line(&mut input).map_err(|error| ClientError::input(&error))?;
    password.map_err(|error| failed(&error))
}
