//! The terminal of the live screen: its mode, in which keys come at once, and its alternate screen. Both
//! are left at the end, by signals ([`terminal_mode`]), by a stop, and by a panic.

use std::fs::File;
use std::io::{self, IsTerminal};
use std::sync::mpsc::Sender;
use std::{panic, process, thread};

use nix::sys::termios::{
    LocalFlags, SetArg, SpecialCharacterIndices as Special, Termios, tcgetattr, tcsetattr,
};
use nix::unistd::write;
use signal_hook::consts::SIGTSTP;
use signal_hook::low_level::emulate_default_handler;

use super::Event;
use super::input::{self, Input};
use crate::client::error::ClientError;
use crate::client::output::is_dumb_terminal;
use crate::client::terminal_mode;

/// Alternate screen, no cursor, no wrapping (private modes of xterm): a frame for a terminal that has
/// just become narrower is cut at its edge.
const ENTER: &[u8] = b"\x1b[?1049h\x1b[?25l\x1b[?7l\x1b[2J";

/// The exit status of a Rust program that panicked.
const PANICKED: i32 = 101;

/// The screen while it is shown.
#[derive(Debug)]
pub(super) struct Screen {
    terminal: File,
    /// The mode before.
    initial: Termios,
}

/// Whether standard output is a terminal that can move its cursor.
pub(in crate::client) fn has_screen() -> bool {
    io::stdout().is_terminal() && !is_dumb_terminal()
}

impl Screen {
    /// Enters the screen; keys and signals go to `events`.
    pub(super) fn open(events: &Sender<Event>) -> Result<Self, ClientError> {
        let failed = |error: io::Error| ClientError::input(&error);
        let terminal = terminal_mode::terminal().map_err(failed)?;
        let initial = tcgetattr(&terminal).map_err(|errno| failed(errno.into()))?;
        let continued = events.clone();
        terminal_mode::guard(move || {
            let _ = continued.send(Event::Input(Input::Continued));
        })
        .map_err(failed)?;
        let screen = Screen { terminal, initial };
        screen.leave_at_panic().map_err(failed)?;
        screen.enter();
        input::start(screen.terminal.try_clone().map_err(failed)?, events)?;
        Ok(screen)
    }

    /// Sets the mode and clears the screen, at the start and when the process continues.
    pub(super) fn enter(&self) {
        let mut mode = self.initial.clone();
        mode.local_flags.remove(LocalFlags::ICANON | LocalFlags::ECHO);
        mode.control_chars[Special::VMIN as usize] = 1;
        mode.control_chars[Special::VTIME as usize] = 0;
        // A process in the background is stopped here until it is in the foreground (SIGTTOU).
        let _ = tcsetattr(&self.terminal, SetArg::TCSADRAIN, &mode);
        terminal_mode::set_full_screen(true);
        let _ = write_all(ENTER);
    }

    /// Stops the process as Ctrl-Z does; returns when it continues.
    pub(super) fn suspend(&self) {
        leave(&self.terminal, &self.initial);
        let _ = emulate_default_handler(SIGTSTP);
        self.enter();
    }

    /// Writes a frame at once.
    pub(super) fn draw(&self, frame: &str) -> Result<(), ClientError> {
        // A signal is about to end the process.
        if !terminal_mode::is_full_screen() {
            return Ok(());
        }
        write_all(frame.as_bytes()).map_err(|error| ClientError::output(&error))
    }

    /// Has a panic leave the screen before its message is printed.
    fn leave_at_panic(&self) -> io::Result<()> {
        let terminal = self.terminal.try_clone()?;
        // A hook is shared by threads, which `Termios` is not.
        let initial = libc::termios::from(self.initial.clone());
        let report = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            leave(&terminal, &Termios::from(initial));
            report(panic);
            // The main thread would go on without what this one does.
            if thread::current().name() != Some("main") {
                process::exit(PANICKED);
            }
        }));
        Ok(())
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        leave(&self.terminal, &self.initial);
    }
}

/// Leaves the screen and restores the mode; does nothing where that was done.
fn leave(terminal: &File, initial: &Termios) {
    if terminal_mode::set_full_screen(false) {
        let _ = write_all(terminal_mode::LEAVE_SCREEN);
        let _ = tcsetattr(terminal, SetArg::TCSADRAIN, initial);
    }
}

/// Writes with write(2) itself: one call a frame, and no lock that a signal's thread waits for.
fn write_all(mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match write(io::stdout(), bytes) {
            Ok(written) => bytes = &bytes[written..],
            Err(nix::errno::Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}
