//! The commands of a script: one request and its answer, or broadcasts until the server goes.

use std::io::{self, Read};

use super::connection::{Connection, Partial, TEXT_LEN_MAX};
use super::error::ClientError;
use super::options::Endpoint;
use super::output::Output;
use super::print_error;
use super::request::{Request, Verb};

/// Asks once and prints the answer.
pub(super) fn ask(endpoint: &Endpoint, mut request: Request) -> Result<(), ClientError> {
    cut(&mut request, endpoint);
    run_once(&mut Connection::open(endpoint)?, &request, Output::stdout(), |_broadcast| {})
}

/// Asks and prints the answer; `on_broadcast` is told of the broadcasts before it.
pub(super) fn run_once(
    connection: &mut Connection,
    request: &Request,
    output: Output,
    on_broadcast: fn(&[u8]),
) -> Result<(), ClientError> {
    let mut answer = output.begin();
    let asked = connection.execute(request, &mut |what| match what {
        Partial::Broadcast(broadcast) => {
            on_broadcast(broadcast);
            Ok(())
        }
        Partial::Chunk(piece) => answer.piece(piece),
    });
    match asked {
        Ok(rest) => answer.end(&rest),
        Err(error) => {
            answer.abort();
            Err(error)
        }
    }
}

/// The same with the whole of standard input as the text.
pub(super) fn ask_stdin(endpoint: &Endpoint, verb: Verb) -> Result<(), ClientError> {
    let mut text = Vec::new();
    // One byte too many tells that there are too many.
    let bound = TEXT_LEN_MAX as u64 + 1;
    io::stdin()
        .lock()
        .take(bound)
        .read_to_end(&mut text)
        .map_err(|error| ClientError::input(&error))?;
    ask(endpoint, Request { verb, text })
}

/// Prints broadcasts until the server closes, which is a failure: whoever listens wants to go on.
pub(super) fn listen(endpoint: &Endpoint) -> Result<(), ClientError> {
    let mut connection = Connection::open(endpoint)?;
    let output = Output::stdout();
    loop {
        output.answer(&connection.next_broadcast()?)?;
    }
}

/// Cuts a text that the protocol cannot carry, with a warning.
pub(super) fn cut(request: &mut Request, endpoint: &Endpoint) {
    if let Some(was) = request.truncate_for(endpoint.protocol) {
        let now = request.text.len();
        print_error(format_args!("warning: the text has {was} bytes, only {now} are sent"));
    }
}
