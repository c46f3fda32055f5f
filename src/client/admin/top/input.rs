//! Keys and signals, each from a thread of its own.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::sync::mpsc::Sender;

use signal_hook::consts::{SIGINT, SIGTSTP, SIGWINCH};
use signal_hook::iterator::Signals;

use super::Event;
use crate::client::error::ClientError;
use crate::client::sigint::spawn_helper;

/// An action of the user or the terminal.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Input {
    /// Bytes of keys that came at once.
    Keys(Vec<u8>),
    /// The terminal has another size.
    Resized,
    /// Ctrl-C.
    Interrupted,
    /// Ctrl-Z.
    Suspended,
    /// The process was stopped and continues in the foreground.
    Continued,
    /// The terminal is gone.
    Closed,
}

/// Starts the threads, which send to `events`.
pub(super) fn start(terminal: File, events: &Sender<Event>) -> Result<(), ClientError> {
    let failed = |error: std::io::Error| ClientError::input(&error);
    let signals = Signals::new([SIGINT, SIGTSTP, SIGWINCH]).map_err(failed)?;
    let (of_keys, of_signals) = (events.clone(), events.clone());
    spawn_helper("keys", move || read_keys(terminal, &of_keys)).map_err(failed)?;
    spawn_helper("screen", move || read_signals(signals, &of_signals)).map_err(failed)?;
    Ok(())
}

fn read_keys(mut terminal: File, events: &Sender<Event>) {
    let mut bytes = [0; 256];
    loop {
        let input = match terminal.read(&mut bytes) {
            Ok(read @ 1..) => Input::Keys(bytes[..read].to_vec()),
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Ok(_) | Err(_) => Input::Closed,
        };
        let is_closed = input == Input::Closed;
        if events.send(Event::Input(input)).is_err() || is_closed {
            return;
        }
    }
}

fn read_signals(mut signals: Signals, events: &Sender<Event>) {
    for signal in signals.forever() {
        let input = match signal {
            SIGINT => Input::Interrupted,
            SIGTSTP => Input::Suspended,
            _ => Input::Resized,
        };
        if events.send(Event::Input(input)).is_err() {
            return;
        }
    }
}
