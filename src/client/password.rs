//! Passwords of the user: from the environment, or typed at the terminal without echo.

use std::env;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStringExt;

use nix::sys::signal::{SigSet, Signal};
use nix::sys::termios::{
    SetArg, SpecialCharacterIndices as Special, Termios, tcgetattr, tcsetattr,
};
use signal_hook::consts::SIGTSTP;
use signal_hook::low_level::emulate_default_handler;

use super::account::{Account, Attempt, check_name};
use super::error::ClientError;
use super::terminal_mode;
use crate::accounts::Password;
use crate::strerror::strerror;

/// The variable that holds the password of `--user`.
const VARIABLE: &str = "MYNAH_PASSWORD";

/// The account of `--user`, with the password of [`VARIABLE`] or of the terminal.
pub(super) fn account_of_user(name: &str) -> Result<Account, ClientError> {
    match env::var_os(VARIABLE) {
        Some(password) => Account::new(Attempt::Login, name, &password.into_vec())
            .map_err(|reason| ClientError::Password(format!("{VARIABLE}: {reason}"))),
        None => ask_account(Attempt::Login, name),
    }
}

/// The account `name`, with a password that is typed; twice to register.
pub(super) fn ask_account(attempt: Attempt, name: &str) -> Result<Account, ClientError> {
    check_name(name).map_err(ClientError::Password)?;
    let hint = format!("no terminal to ask for a password, and {VARIABLE} is not set");
    let password = ask(attempt, Some(name), &hint)?;
    Account::new(attempt, name, password.as_bytes()).map_err(ClientError::Password)
}

/// Asks for the password of `name`; for a new one twice. `no_terminal` is the error where there is
/// no terminal.
pub(super) fn ask(
    attempt: Attempt,
    name: Option<&str>,
    no_terminal: &str,
) -> Result<Password, ClientError> {
    let mut terminal = SilentTerminal::open(no_terminal)?;
    let new = if attempt == Attempt::Login { "Password" } else { "New password" };
    let password = terminal.ask(&match name {
        Some(name) => format!("{new} for {name}: "),
        None => format!("{new}: "),
    })?;
    if attempt == Attempt::Register && terminal.ask("Once more: ")? != password {
        return Err(ClientError::Password("the passwords differ, nothing is changed".to_owned()));
    }
    Ok(password)
}

/// The terminal of the process with its echo off. The mode is restored when it is dropped, and when
/// a signal ends the process ([`terminal_mode`]).
///
/// Its line editor stays on. The keys that would interrupt or stop the process end the line instead,
/// so that the caller decides: at the prompt, Ctrl-C cancels the password and not the program.
struct SilentTerminal {
    terminal: File,
    initial: Termios,
    silent: Termios,
    /// The signal mask without a blocked SIGINT, which waits until the mode is restored.
    initial_mask: SigSet,
}

/// Why a line was not read to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Key {
    Interrupt,
    Suspend,
    Eof,
}

impl SilentTerminal {
    fn open(no_terminal: &str) -> Result<Self, ClientError> {
        let opened = OpenOptions::new().read(true).write(true).open("/dev/tty");
        let terminal = opened.map_err(|_| ClientError::Password(no_terminal.to_owned()))?;
        Self::silence(terminal).map_err(|error| {
            ClientError::Password(format!("cannot turn the echo off: {}", strerror(&error)))
        })
    }

    fn silence(terminal: File) -> io::Result<Self> {
        terminal_mode::guard_silence()?;
        let initial = tcgetattr(&terminal)?;
        let silent = terminal_mode::silent(&initial);
        let initial_mask = SigSet::thread_get_mask()?;
        SigSet::from(Signal::SIGINT).thread_block()?;
        let terminal = SilentTerminal { terminal, initial, silent, initial_mask };
        terminal.set_silent()?;
        Ok(terminal)
    }

    fn set_silent(&self) -> io::Result<()> {
        terminal_mode::set_silent(true);
        // What was typed ahead was shown, so it is dropped.
        Ok(tcsetattr(&self.terminal, SetArg::TCSAFLUSH, &self.silent)?)
    }

    fn restore(&self) {
        let _ = tcsetattr(&self.terminal, SetArg::TCSADRAIN, &self.initial);
        terminal_mode::set_silent(false);
    }

    /// Asks until a line is typed.
    fn ask(&mut self, question: &str) -> Result<Password, ClientError> {
        loop {
            let (read, key) = self.read_line(question);
            let failed = |error: &io::Error| {
                ClientError::Password(format!("cannot read the terminal: {}", strerror(error)))
            };
            match key {
                Some(Key::Interrupt) => return Err(ClientError::PasswordInterrupted),
                Some(Key::Eof) => {
                    return Err(ClientError::Password("no password was typed".to_owned()));
                }
                Some(Key::Suspend) => {
                    self.restore();
                    let _ = emulate_default_handler(SIGTSTP);
                    self.set_silent().map_err(|error| failed(&error))?;
                }
                None => {
                    let password = read.map_err(|error| failed(&error))?;
                    return password.map_err(|error| ClientError::Password(error.to_string()));
                }
            }
        }
    }

    fn read_line(&mut self, question: &str) -> (io::Result<TypedPassword>, Option<Key>) {
        let keys =
            [Special::VEOL, Special::VEOL2].map(|key| self.silent.control_chars[key as usize]);
        let mut line = TypedLine { terminal: &self.terminal, keys, is_empty: true, key: None };
        let asked = (&self.terminal).write_all(question.as_bytes());
        let read = asked.and_then(|()| Password::read_line(&mut line));
        let key = line.key;
        // The one that was typed is not shown either.
        let _ = (&self.terminal).write_all(b"\n");
        (read, key)
    }
}

/// A line as a password.
type TypedPassword = Result<Password, crate::accounts::PasswordError>;

impl Drop for SilentTerminal {
    fn drop(&mut self) {
        self.restore();
        let _ = self.initial_mask.thread_set_mask();
    }
}

/// A line being typed, up to a key that ends it early.
struct TypedLine<'a> {
    terminal: &'a File,
    /// The characters of the keys that interrupt and suspend; 0 is none.
    keys: [u8; 2],
    is_empty: bool,
    key: Option<Key>,
}

impl Read for TypedLine<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let n = self.terminal.read(bytes)?;
        let byte = bytes.first().copied().filter(|_| n > 0);
        self.key = match byte {
            None if self.is_empty => Some(Key::Eof),
            Some(byte) if byte != 0 && byte == self.keys[0] => Some(Key::Interrupt),
            Some(byte) if byte != 0 && byte == self.keys[1] => Some(Key::Suspend),
            _ => None,
        };
        self.is_empty &= byte.is_none();
        if self.key.is_some() { Ok(0) } else { Ok(n) }
    }
}
