//! `passwd`: a change of an accounts file, and the password it takes: typed twice without echo, or a
//! line of standard input.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::path::PathBuf;

use nix::sys::termios::{LocalFlags, SetArg, Termios, tcgetattr, tcsetattr};
use signal_hook::consts::{SIGCONT, SIGHUP, SIGINT, SIGTERM, SIGTSTP};
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;

use super::error::ClientError;
use super::output::print_line;
use crate::accounts::{AccountsFile, Change, Hasher, Password, parse_name};
use crate::strerror::strerror;

/// A change of an accounts file.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Passwd {
    pub(super) file: PathBuf,
    /// A valid name.
    pub(super) name: String,
    pub(super) change: PasswdChange,
}

/// What becomes of the account.
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
        _ => ask_twice(name.text())?,
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

/// Asks for a new password at the terminal, until both are typed or one is not valid.
fn ask_twice(name: &str) -> Result<Password, ClientError> {
    let mut terminal = SilentTerminal::open()?;
    let password = terminal.ask(&format!("New password for {name}: "))?;
    let password = password.map_err(|error| failed(&error))?;
    match terminal.ask("Once more: ")? {
        Ok(again) if again == password => Ok(password),
        _ => Err(ClientError::Passwd("the passwords differ, nothing is changed".to_owned())),
    }
}

/// The terminal of the process with its echo off. The mode is restored when it is dropped, and when
/// a signal ends or stops the process.
struct SilentTerminal {
    terminal: File,
    initial: Termios,
}

impl SilentTerminal {
    fn open() -> Result<Self, ClientError> {
        let opened = OpenOptions::new().read(true).write(true).open("/dev/tty");
        let terminal = opened.map_err(|_| {
            let hint = "no terminal to ask for a password; - in its place reads standard input";
            ClientError::Passwd(hint.to_owned())
        })?;
        Self::silence(terminal).map_err(|error| {
            ClientError::Passwd(format!("cannot turn the echo off: {}", strerror(&error)))
        })
    }

    fn silence(terminal: File) -> io::Result<Self> {
        let initial = tcgetattr(&terminal)?;
        let mut silent = initial.clone();
        silent.local_flags.remove(LocalFlags::ECHO);
        restore_on_signals(terminal.try_clone()?, initial.clone(), silent.clone())?;
        // What was typed ahead was shown, so it is dropped.
        tcsetattr(&terminal, SetArg::TCSAFLUSH, &silent)?;
        Ok(SilentTerminal { terminal, initial })
    }

    fn ask(
        &mut self,
        prompt: &str,
    ) -> Result<Result<Password, crate::accounts::PasswordError>, ClientError> {
        let asked = self.terminal.write_all(prompt.as_bytes());
        let read = asked.and_then(|()| Password::read_line(&mut self.terminal));
        // The one that was typed is not shown either.
        let _ = self.terminal.write_all(b"\n");
        read.map_err(|error| {
            ClientError::Passwd(format!("cannot read the terminal: {}", strerror(&error)))
        })
    }
}

impl Drop for SilentTerminal {
    fn drop(&mut self) {
        let _ = tcsetattr(&self.terminal, SetArg::TCSADRAIN, &self.initial);
    }
}

/// Starts a thread that restores the mode before a signal ends or stops the process, and turns the
/// echo off again when it continues.
fn restore_on_signals(terminal: File, initial: Termios, silent: Termios) -> io::Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP, SIGTSTP, SIGCONT])?;
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        for signal in signals.forever() {
            if signal == SIGCONT {
                let _ = tcsetattr(&terminal, SetArg::TCSAFLUSH, &silent);
                continue;
            }
            let _ = tcsetattr(&terminal, SetArg::TCSANOW, &initial);
            let _ = (&terminal).write_all(b"\n");
            let _ = emulate_default_handler(signal);
        }
    })?;
    Ok(())
}
