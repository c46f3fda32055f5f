//! `reload`, `drain` and `undrain`.

use serde_json::Value;

use super::exchange::{Exchange, parse};
use super::reports::Reloaded;
use crate::client::error::ClientError;
use crate::client::output::{print_error, print_line, sanitize_line};

/// Status of a reload that did not fit, and changed nothing.
const UNPROCESSABLE: u16 = 422;

/// Whether new clients are accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    Drain,
    Undrain,
}

/// Has the server accept no more clients, or accept them again.
pub(super) fn run(exchange: &mut Exchange, change: Change) -> Result<(), ClientError> {
    let (target, line) = match change {
        Change::Drain => ("/drain", "draining: new clients are not accepted"),
        Change::Undrain => ("/undrain", "new clients are accepted"),
    };
    let _: Value = exchange.change("POST", target)?;
    print_line(line)
}

/// Has the server read its configuration anew, and prints what has changed, or why nothing has.
pub(super) fn reload(exchange: &mut Exchange) -> Result<(), ClientError> {
    let response = exchange.send("POST", "/reload")?;
    if response.status == UNPROCESSABLE {
        let Reloaded { errors, .. } = parse(&response.body)?;
        print_error("not reloaded, all is as it was:");
        errors.iter().for_each(|line| print_error(sanitize_line(line)));
        return Err(ClientError::LinesFailed);
    }
    let Reloaded { changes, .. } = parse(&exchange.accepted(response)?)?;
    if changes.is_empty() {
        return print_line("reloaded, nothing has changed");
    }
    changes.iter().try_for_each(|line| print_line(&sanitize_line(line)))
}
