//! The commands of a script: one request and its reply, the status again and again, or broadcasts until
//! the server closes.

use std::io::{self, Read};
use std::thread;
use std::time::Duration;

use super::connection::{Connection, Partial, TEXT_LEN_MAX};
use super::endpoint::Endpoint;
use super::error::ClientError;
use super::login::open;
use super::output::{Output, print_error};
use super::request::{Request, Verb};
use super::server_guess::Excerpt;
use super::status::table;

/// The time between two requests of `status --watch`.
const WATCH_INTERVAL: Duration = Duration::from_secs(1);

/// Sends one request over a connection of its own and prints the reply.
pub(super) fn request(endpoint: &Endpoint, mut request: Request) -> Result<(), ClientError> {
    truncate_text(&mut request, endpoint);
    let mut connection = open(endpoint, &mut |_broadcast| Ok(()))?;
    run_once(&mut connection, &request, Output::stdout(), |_broadcast| {})
}

/// As [`request`], with the whole of standard input as the text.
pub(super) fn request_from_stdin(endpoint: &Endpoint, verb: Verb) -> Result<(), ClientError> {
    let mut text = Vec::new();
    // One byte over the limit tells that the text is too long.
    let limit = TEXT_LEN_MAX as u64 + 1;
    io::stdin()
        .lock()
        .take(limit)
        .read_to_end(&mut text)
        .map_err(|error| ClientError::input(&error))?;
    request(endpoint, Request { verb, text })
}

/// Sends one request and prints the reply; `on_broadcast` is called with each broadcast before it.
pub(super) fn run_once(
    connection: &mut Connection,
    request: &Request,
    output: Output,
    on_broadcast: fn(&[u8]),
) -> Result<(), ClientError> {
    let mut reply = output.start_reply();
    let result = connection.execute(request, &mut |partial| match partial {
        Partial::Broadcast(broadcast) => {
            on_broadcast(broadcast);
            Ok(())
        }
        Partial::Chunk(chunk) => reply.write_chunk(chunk),
    });
    match result {
        Ok(rest) if request.verb == Verb::Status && output.is_terminal() => {
            output.print_reply(status_table(&rest)?.as_bytes())
        }
        Ok(rest) => reply.finish(&rest),
        Err(error) => {
            reply.abort();
            Err(error)
        }
    }
}

/// Prints the status: a table on a terminal unless it `is_json`, JSON elsewhere. With `is_watch` again
/// every second, on a terminal in place of the last one, until a request fails.
pub(super) fn status(
    endpoint: &Endpoint,
    is_json: bool,
    is_watch: bool,
) -> Result<(), ClientError> {
    let mut connection = open(endpoint, &mut |_broadcast| Ok(()))?;
    let output = Output::stdout();
    let mut shown_lines = 0;
    loop {
        let request = Request { verb: Verb::Status, text: Vec::new() };
        let reply = connection.execute(&request, &mut |_broadcast| Ok(()))?;
        if is_json || !output.is_terminal() {
            output.print_reply(&reply)?;
        } else {
            let table = status_table(&reply)?;
            output.reprint_lines(&table, shown_lines)?;
            shown_lines = table.lines().count();
        }
        if !is_watch {
            return Ok(());
        }
        thread::sleep(WATCH_INTERVAL);
    }
}

fn status_table(reply: &[u8]) -> Result<String, ClientError> {
    let reason = || format!("{} is not a JSON object", Excerpt(reply));
    table(reply).ok_or_else(|| ClientError::UnexpectedReply(reason()))
}

/// Prints broadcasts until the server closes, which is an error: `listen` has no end of its own.
pub(super) fn listen(endpoint: &Endpoint) -> Result<(), ClientError> {
    let output = Output::stdout();
    let mut connection = open(endpoint, &mut |partial| match partial {
        Partial::Broadcast(broadcast) => output.print_reply(broadcast),
        Partial::Chunk(_) => Ok(()),
    })?;
    loop {
        output.print_reply(&connection.next_broadcast()?)?;
    }
}

/// Truncates a text that the protocol cannot carry, with a warning.
pub(super) fn truncate_text(request: &mut Request, endpoint: &Endpoint) {
    if let Some(old_len) = request.truncate_for(endpoint.protocol) {
        let len = request.text.len();
        print_error(format_args!("warning: the text has {old_len} bytes, only {len} are sent"));
    }
}
