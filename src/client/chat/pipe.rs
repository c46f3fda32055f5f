//! The chat without a terminal: lines of standard input are sent, lines of the server go to standard
//! output.

use std::io::{self, ErrorKind, IsTerminal, Write};
use std::net::Shutdown;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::login::log_in;
use super::server_lines::{
    FIRST_QUESTION, LineKind, LineReader, next_question, unexpected_greeting,
};
use super::user_lines::{is_exit, send_line, typed_exit};
use crate::client::connect::connect;
use crate::client::endpoint::Endpoint;
use crate::client::error::ClientError;
use crate::client::input_lines::InputLines;
use crate::client::login::warn_if_exposed;
use crate::client::output::{Output, print_error};
use crate::client::sigint::spawn_helper;
use crate::client::stream::Stream;

/// Joins, and copies lines both ways until either side ends.
pub(super) fn run(endpoint: &Endpoint, nick: Option<String>) -> Result<(), ClientError> {
    let stream = connect(endpoint)?;
    let mut reader =
        LineReader::new(stream.try_clone().map_err(|error| ClientError::socket(&error))?);
    let output = Output::stdout();
    if io::stdin().is_terminal() {
        // Not a reply, so not on standard output.
        let _ = writeln!(io::stderr(), "{}", super::connected_line(endpoint));
    }
    let mut input = InputLines::default();
    if !join(endpoint, &stream, &mut reader, &mut input, nick)? {
        return Ok(());
    }
    let is_leaving = Arc::new(AtomicBool::new(false));
    let set_leaving = Arc::clone(&is_leaving);
    spawn_helper("stdin", move || copy_input(&mut input, &stream, &set_leaving))
        .map_err(|error| ClientError::input(&error))?;
    loop {
        match reader.read_line() {
            Ok(Some(line)) => {
                output.print_reply(&line)?;
                if LineKind::of(&line) == LineKind::ShutDown {
                    return Ok(());
                }
            }
            // Lines may be missing.
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
                return Err(ClientError::socket(&error));
            }
            // All input is sent, so any other end of the connection is in order.
            _ if is_leaving.load(Ordering::SeqCst) => return Ok(()),
            Ok(None) => return Err(ClientError::Disconnected),
            Err(error) => return Err(ClientError::socket(&error)),
        }
    }
}

/// Sends nicknames until one is accepted; false if the user or the server leaves before that.
///
/// With a nickname on the command line and a pipe for input a refusal is an error: the lines of the
/// pipe are messages, and none of them must become a nickname.
fn join(
    endpoint: &Endpoint,
    stream: &Stream,
    reader: &mut LineReader,
    input: &mut InputLines,
    nick: Option<String>,
) -> Result<bool, ClientError> {
    let output = Output::stdout();
    if let Some(account) = &endpoint.account {
        warn_if_exposed(stream, endpoint);
        let welcome = log_in(endpoint, account, |line| {
            let _ = send_line(stream, line);
            reader.read_line_within(endpoint.timeout).map(Some)
        })?;
        let Some(welcome) = welcome else { return Ok(false) };
        reader.set_joined();
        output.print_reply(&welcome)?;
        return Ok(LineKind::of(&welcome) == LineKind::Info);
    }
    let reads_nick = nick.is_none() || io::stdin().is_terminal();
    let mut given = nick.map(String::into_bytes);
    let mut question = FIRST_QUESTION;
    loop {
        let nick = match given.take() {
            Some(nick) => nick,
            None if reads_nick => match read_nickname(input, question)? {
                Some(nick) if exit_of(&nick).is_some() => return Ok(false),
                Some(nick) => nick,
                // Ctrl-D leaves.
                None if io::stdin().is_terminal() => return Ok(false),
                None => return Err(ClientError::NoNickname),
            },
            None => return Err(ClientError::NoNickname),
        };
        if nick.trim_ascii().is_empty() {
            continue;
        }
        // If the server has closed, its last line may say why, so it is read all the same.
        let _ = send_line(stream, &nick);
        let reply = reader.read_line_within(endpoint.timeout)?;
        match LineKind::of(&reply) {
            LineKind::ShutDown => return output.print_reply(&reply).map(|()| false),
            LineKind::Info => {
                reader.set_joined();
                return output.print_reply(&reply).map(|()| true);
            }
            LineKind::Other => return Err(unexpected_greeting(&reply, endpoint)),
            LineKind::Refusal => {
                question = next_question(&reply, &nick);
                let refusal = ClientError::Refused(String::from_utf8_lossy(&reply).into_owned());
                if !reads_nick {
                    return Err(refusal);
                }
                print_error(refusal);
            }
        }
    }
}

/// Reads a line of standard input as a nickname; `None` at the end of input. A terminal shows the
/// question, on standard error because it is not a reply.
fn read_nickname(input: &mut InputLines, question: &str) -> Result<Option<Vec<u8>>, ClientError> {
    let is_terminal = io::stdin().is_terminal();
    if is_terminal {
        let _ = write!(io::stderr(), "{question}");
    }
    let line = input.next()?;
    if is_terminal && line.is_none() {
        // A terminal shows nothing for Ctrl-D.
        let _ = writeln!(io::stderr());
    }
    Ok(line)
}

/// Sends lines of standard input up to its end or to an exit line, sets `is_leaving` and shuts the
/// writing side; the server replies to what it has received and closes.
fn copy_input(input: &mut InputLines, stream: &Stream, is_leaving: &AtomicBool) {
    loop {
        let line = input.next().unwrap_or_else(|error| {
            print_error(error);
            None
        });
        let exit = line.as_deref().and_then(exit_of);
        let is_last = line.is_none() || exit.is_some();
        // Set before the line is sent, because the server closes when it has read it.
        is_leaving.fetch_or(is_last, Ordering::SeqCst);
        let line = exit.or(line.as_deref());
        let is_sent = line.is_some_and(|line| send_line(stream, line).is_ok());
        if is_last || !is_sent {
            break;
        }
    }
    let _ = stream.shutdown(Shutdown::Write);
}

/// The line to send for one of standard input that leaves the chat.
fn exit_of(line: &[u8]) -> Option<&[u8]> {
    if io::stdin().is_terminal() { typed_exit(line) } else { is_exit(line).then_some(line) }
}
