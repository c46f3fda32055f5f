//! The real binary, spoken to over real sockets: the contract as its users meet it.
//!
//! Every test starts its own server on ports the system picks, and waits for what it expects with
//! a deadline, so that a rule that does not hold fails and nothing hangs.

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test fails by panicking, and then shows the server's log"
)]

mod it {
    mod chat;
    mod command;
    mod failure_modes;
    mod hostile;
    mod limits;
    mod logging;
    mod options;
    #[cfg(feature = "plugins")]
    mod plugin;
    mod prefixed;
    mod pushback;
    mod raw;
    mod signals;
    mod support;
}
