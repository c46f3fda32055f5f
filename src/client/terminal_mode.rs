//! The terminal's mode when a signal ends, or continues, the process. A line is typed in raw mode, a
//! password without echo; a shell would keep either, and sets a mode of its own for as long as the
//! process is stopped. The live screen of `--admin URL top` is left as well.

use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

#[cfg(feature = "accounts")]
use nix::sys::termios::{LocalFlags, SpecialCharacterIndices as Special};
use nix::sys::termios::{SetArg, Termios, tcgetattr, tcsetattr};
use nix::unistd::{getpgrp, tcgetpgrp, write};
use signal_hook::consts::{SIGCONT, SIGHUP, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;

use super::sigint::spawn_helper;

/// Ends the line being typed: bracketed paste off, then a new row.
const LEAVE_LINE: &[u8] = b"\x1b[?2004l\r\n";

/// Leaves the live screen: lines wrap again, and the cursor and the main screen are shown (private modes
/// of xterm).
pub(super) const LEAVE_SCREEN: &[u8] = b"\x1b[0m\x1b[?7h\x1b[?25h\x1b[?1049l";

/// Is called when the process continues in the foreground.
type OnContinue = Box<dyn FnMut() + Send>;

/// The one of [`guard`]; `None` before it.
static ON_CONTINUE: Mutex<Option<OnContinue>> = Mutex::new(None);

/// The thread that waits for signals runs.
static IS_GUARDED: Mutex<bool> = Mutex::new(false);

/// A password is being typed.
static IS_SILENT: AtomicBool = AtomicBool::new(false);

/// The live screen is shown.
static IS_FULL_SCREEN: AtomicBool = AtomicBool::new(false);

/// Makes SIGTERM and SIGHUP restore the mode of the terminal before they end the process with their
/// default action, and calls `on_continue` when the process was stopped and continues in the
/// foreground.
///
/// # Errors
///
/// There is no terminal, or the system has no descriptor or thread left.
pub(super) fn guard(on_continue: impl FnMut() + Send + 'static) -> io::Result<()> {
    *ON_CONTINUE.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(on_continue));
    start()
}

/// As [`guard`], for a password: when the process continues, it goes on without echo.
#[cfg(feature = "accounts")]
pub(super) fn guard_silence() -> io::Result<()> {
    start()
}

/// Says whether a password is being typed from now on.
#[cfg(feature = "accounts")]
pub(super) fn set_silent(is_silent: bool) {
    IS_SILENT.store(is_silent, Ordering::SeqCst);
}

/// Says whether the live screen is shown from now on; returns whether it was.
pub(super) fn set_full_screen(is_full_screen: bool) -> bool {
    IS_FULL_SCREEN.swap(is_full_screen, Ordering::SeqCst)
}

/// Whether the live screen is shown.
pub(super) fn is_full_screen() -> bool {
    IS_FULL_SCREEN.load(Ordering::SeqCst)
}

/// The mode in which a password is typed: a line, without echo. The characters that would interrupt
/// and suspend the process end the line.
#[cfg(feature = "accounts")]
pub(super) fn silent(initial: &Termios) -> Termios {
    let mut silent = initial.clone();
    silent.local_flags.remove(LocalFlags::ECHO | LocalFlags::ISIG);
    silent.local_flags.insert(LocalFlags::ICANON);
    silent.control_chars[Special::VEOL as usize] = initial.control_chars[Special::VINTR as usize];
    silent.control_chars[Special::VEOL2 as usize] = initial.control_chars[Special::VSUSP as usize];
    silent
}

#[cfg(not(feature = "accounts"))]
fn silent(initial: &Termios) -> Termios {
    initial.clone()
}

/// Starts the thread, once.
fn start() -> io::Result<()> {
    let mut is_guarded = IS_GUARDED.lock().unwrap_or_else(PoisonError::into_inner);
    if *is_guarded {
        return Ok(());
    }
    let terminal = terminal()?;
    let initial = tcgetattr(&terminal)?;
    let mut signals = Signals::new([SIGTERM, SIGHUP, SIGCONT])?;
    spawn_helper("signals", move || {
        for signal in signals.forever() {
            if signal != SIGCONT {
                restore(&terminal, &initial);
                let _ = emulate_default_handler(signal);
            } else if is_foreground(&terminal) {
                go_on(&terminal, &initial);
            }
        }
    })?;
    *is_guarded = true;
    Ok(())
}

/// Standard input, or the terminal of the process where that is something else.
pub(super) fn terminal() -> io::Result<File> {
    let stdin = io::stdin();
    if stdin.is_terminal() {
        return stdin.as_fd().try_clone_to_owned().map(File::from);
    }
    OpenOptions::new().read(true).write(true).open("/dev/tty")
}

/// True if the process may use the terminal. A background process that sets the mode is stopped
/// (SIGTTOU of tcsetattr(3)).
fn is_foreground(terminal: &File) -> bool {
    tcgetpgrp(terminal).is_ok_and(|group| group == getpgrp())
}

fn go_on(terminal: &File, initial: &Termios) {
    if IS_SILENT.load(Ordering::SeqCst) {
        let _ = tcsetattr(terminal, SetArg::TCSAFLUSH, &silent(initial));
    } else if let Some(on_continue) =
        &mut *ON_CONTINUE.lock().unwrap_or_else(PoisonError::into_inner)
    {
        on_continue();
    }
}

/// Restores the mode `initial`. Takes no lock and waits for nothing, so that a stopped or vanished
/// terminal does not keep the process from ending.
fn restore(terminal: &File, initial: &Termios) {
    if !is_foreground(terminal) || tcgetattr(terminal).is_ok_and(|mode| mode == *initial) {
        return;
    }
    if IS_SILENT.load(Ordering::SeqCst) {
        // Standard output may be a file.
        let _ = (&*terminal).write_all(b"\n");
    } else if set_full_screen(false) {
        let _ = write(io::stdout(), LEAVE_SCREEN);
    } else {
        // write(2) itself, because the main thread may hold the lock of `Stdout`.
        let _ = write(io::stdout(), LEAVE_LINE);
    }
    let _ = tcsetattr(terminal, SetArg::TCSANOW, initial);
}
