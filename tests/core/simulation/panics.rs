//! Handler panics on demand. Handlers log each message at debug; the logger of the simulation
//! panics at one of those lines, which is as good as a bug in the handler at that point.

use std::cell::Cell;
use std::panic;
use std::sync::Once;

use log::{Level, Record};

use crate::support::logger;

thread_local! {
    /// How many messages are handled before one panics.
    static COUNTDOWN: Cell<Option<usize>> = const { Cell::new(None) };
    /// Text of the line that panicked.
    static VICTIM: Cell<Option<u32>> = const { Cell::new(None) };
    static IS_REPLAY: Cell<bool> = const { Cell::new(false) };
}

/// What the server logs is printed from now on: one world is looked at.
pub fn print_log() {
    IS_REPLAY.set(true);
}

/// The next panic comes with the `messages`th message from now.
pub fn arm(messages: Option<usize>) {
    COUNTDOWN.set(messages);
    VICTIM.set(None);
}

/// The generation of the connection whose handler has panicked, once.
pub fn take_victim() -> Option<u32> {
    VICTIM.take()
}

/// Sets this thread's logger, and keeps panics on demand off the screen. May be called often.
pub fn install() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let loud = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if VICTIM.get().is_none() {
                loud(info);
            }
        }));
    });
    if IS_REPLAY.get() {
        logger::set_sink(Level::Error..=Level::Debug, |record| {
            println!("{} {}", record.level(), record.args());
            if record.level() == Level::Debug {
                count_down(record);
            }
        });
    } else {
        logger::set_sink(Level::Debug..=Level::Debug, count_down);
    }
}

fn count_down(record: &Record<'_>) {
    let Some(messages) = COUNTDOWN.get() else { return };
    COUNTDOWN.set(messages.checked_sub(1));
    if messages == 0 {
        // `#17 ECHO: …`
        let line = record.args().to_string();
        let generation = line.trim_start_matches('#').split(' ').next();
        VICTIM.set(generation.and_then(|digits| digits.parse().ok()));
        panic!("a handler panics on demand");
    }
}
