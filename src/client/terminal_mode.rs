//! The terminal's mode when a signal ends, or continues, the process. A line is typed in raw mode; a
//! shell in raw mode does not show what is typed, and sets a mode of its own for as long as the
//! process is stopped.

use std::io;

use nix::sys::termios::{SetArg, Termios, tcgetattr, tcsetattr};
use nix::unistd::{getpgrp, tcgetpgrp, write};
use signal_hook::consts::{SIGCONT, SIGHUP, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;

use super::sigint::spawn_helper;

/// Ends the line being typed: bracketed paste off, then a new row.
const LEAVE_LINE: &[u8] = b"\x1b[?2004l\r\n";

/// Makes SIGTERM and SIGHUP restore the mode of standard input before they end the process with
/// their default action, and calls `on_continue` when the process was stopped and continues in the
/// foreground.
///
/// # Errors
///
/// Standard input is not a terminal, or the system has no descriptor or thread left.
pub(super) fn guard(mut on_continue: impl FnMut() + Send + 'static) -> io::Result<()> {
    let initial = tcgetattr(io::stdin())?;
    let mut signals = Signals::new([SIGTERM, SIGHUP, SIGCONT])?;
    spawn_helper("signals", move || {
        for signal in signals.forever() {
            if signal != SIGCONT {
                restore(&initial);
                let _ = emulate_default_handler(signal);
            } else if is_foreground() {
                on_continue();
            }
        }
    })?;
    Ok(())
}

/// True if the process may use the terminal. A background process that sets the mode is stopped
/// (SIGTTOU of tcsetattr(3)).
fn is_foreground() -> bool {
    tcgetpgrp(io::stdin()).is_ok_and(|group| group == getpgrp())
}

/// Restores the mode `initial`. Takes no lock and waits for nothing, so that a stopped or vanished
/// terminal does not keep the process from ending.
fn restore(initial: &Termios) {
    if !is_foreground() || tcgetattr(io::stdin()).is_ok_and(|mode| mode == *initial) {
        return;
    }
    // write(2) itself, because the main thread may hold the lock of `Stdout`.
    let _ = write(io::stdout(), LEAVE_LINE);
    let _ = tcsetattr(io::stdin(), SetArg::TCSANOW, initial);
}
