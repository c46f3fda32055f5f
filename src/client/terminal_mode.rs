//! The terminal as it was found. A line is typed in raw mode, and who is killed meanwhile would leave
//! a shell in it that shows nothing of what is typed.

use std::io;
use std::thread;

use nix::sys::termios::{SetArg, Termios, tcgetattr, tcsetattr};
use nix::unistd::{getpgrp, tcgetpgrp, write};
use signal_hook::consts::{SIGHUP, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;

/// What leaves a line that is being typed: pasting is not marked any more, and what comes next has a
/// line of its own.
const LEAVE_LINE: &[u8] = b"\x1b[?2004l\r\n";

/// From now on SIGTERM and SIGHUP restore the terminal of standard input before they end the
/// process, which still dies of them.
///
/// # Errors
///
/// Standard input is no terminal, or the system has no descriptor or thread left.
pub(super) fn restore_when_killed() -> io::Result<()> {
    let found = tcgetattr(io::stdin())?;
    let mut signals = Signals::new([SIGTERM, SIGHUP])?;
    thread::Builder::new().name("signals".into()).spawn(move || {
        for signal in signals.forever() {
            restore(&found);
            let _ = emulate_default_handler(signal);
        }
    })?;
    Ok(())
}

/// Nothing is waited for here: a terminal that is held, or is gone, must not keep us from ending.
fn restore(found: &Termios) {
    // In the background the terminal is another's, and whoever sets it up is stopped (SIGTTOU).
    let is_ours = tcgetpgrp(io::stdin()).is_ok_and(|group| group == getpgrp());
    if !is_ours || tcgetattr(io::stdin()).is_ok_and(|now| now == *found) {
        return;
    }
    // The other thread may hold the lock of `Stdout`.
    let _ = write(io::stdout(), LEAVE_LINE);
    let _ = tcsetattr(io::stdin(), SetArg::TCSANOW, found);
}
