//! The commands of a script: one request and its answer, or broadcasts until the server goes.

use std::io::{self, Read};

use super::complain;
use super::exchange::{Exchange, Heard, TEXT_LEN_MAX};
use super::failure::Failure;
use super::options::Server;
use super::output::Output;
use super::request::{Request, Verb};

/// Asks once and prints the answer.
pub(super) fn ask(server: &Server, mut request: Request) -> Result<(), Failure> {
    cut(&mut request, server);
    converse(&mut Exchange::open(server)?, &request, Output::stdout(), |_broadcast| {})
}

/// Asks and prints the answer; `heard` is told of the broadcasts before it.
pub(super) fn converse(
    exchange: &mut Exchange,
    request: &Request,
    output: Output,
    heard: fn(&[u8]),
) -> Result<(), Failure> {
    let mut answer = output.begin();
    let asked = exchange.ask(request, &mut |what| match what {
        Heard::Broadcast(broadcast) => {
            heard(broadcast);
            Ok(())
        }
        Heard::Piece(piece) => answer.piece(piece),
    });
    match asked {
        Ok(rest) => answer.end(&rest),
        Err(failure) => {
            answer.break_off();
            Err(failure)
        }
    }
}

/// The same with the whole of standard input as the text.
pub(super) fn ask_stdin(server: &Server, verb: Verb) -> Result<(), Failure> {
    let mut text = Vec::new();
    // One byte too many tells that there are too many.
    let bound = TEXT_LEN_MAX as u64 + 1;
    io::stdin()
        .lock()
        .take(bound)
        .read_to_end(&mut text)
        .map_err(|error| Failure::input(&error))?;
    ask(server, Request { verb, text })
}

/// Prints broadcasts until the server closes, which is a failure: whoever listens wants to go on.
pub(super) fn listen(server: &Server) -> Result<(), Failure> {
    let mut exchange = Exchange::open(server)?;
    let output = Output::stdout();
    loop {
        output.answer(&exchange.next_broadcast()?)?;
    }
}

/// Cuts a text that the protocol cannot carry, with a warning.
pub(super) fn cut(request: &mut Request, server: &Server) {
    if let Some(was) = request.cut_for(server.protocol) {
        let now = request.text.len();
        complain(format_args!("warning: the text has {was} bytes, only {now} are sent"));
    }
}
