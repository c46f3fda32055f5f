//! The chat without a terminal: lines of standard input go to the room, lines of the room to
//! standard output.

use std::io::{self, BufRead, IsTerminal, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use super::server_lines::{LineKind, LineReader, is_exit, send_line, unexpected_greeting};
use crate::client::connect::connect;
use crate::client::error::ClientError;
use crate::client::options::Endpoint;
use crate::client::output::Output;
use crate::client::print_error;

/// Joins, and copies lines both ways until one side ends.
pub(super) fn run(endpoint: &Endpoint, nick: Option<String>) -> Result<(), ClientError> {
    let stream = connect(endpoint)?;
    let mut lines =
        LineReader::new(stream.try_clone().map_err(|error| ClientError::socket(&error))?);
    let output = Output::stdout();
    if !join(endpoint, &stream, &mut lines, nick, output)? {
        return Ok(());
    }
    let leaving = Arc::new(AtomicBool::new(false));
    let typist = Arc::clone(&leaving);
    thread::Builder::new()
        .name("stdin".into())
        .spawn(move || copy_input(&stream, &typist))
        .map_err(|error| ClientError::input(&error))?;
    loop {
        match lines.next() {
            Ok(Some(line)) => {
                output.answer(&line)?;
                if LineKind::of(&line) == LineKind::ShutDown {
                    return Ok(());
                }
            }
            // However it ends, we had no more to say.
            _ if leaving.load(Ordering::SeqCst) => return Ok(()),
            Ok(None) => return Err(ClientError::Disconnected),
            Err(error) => return Err(ClientError::socket(&error)),
        }
    }
}

/// Has a nickname accepted; false where the user or the server leaves before that.
///
/// Where the input is a pipe, a nickname that was given and is refused ends it: the lines in the
/// pipe are messages, and none of them is to become a nickname.
fn join(
    endpoint: &Endpoint,
    stream: &TcpStream,
    lines: &mut LineReader,
    nick: Option<String>,
    output: Output,
) -> Result<bool, ClientError> {
    let asks = nick.is_none() || io::stdin().is_terminal();
    let mut given = nick.map(String::into_bytes);
    loop {
        let nick = match given.take() {
            Some(nick) => nick,
            None if asks => match read_nickname()? {
                Some(nick) if is_exit(&nick) => return Ok(false),
                Some(nick) => nick,
                None => return Err(ClientError::NoNickname),
            },
            None => return Err(ClientError::NoNickname),
        };
        if nick.trim_ascii().is_empty() {
            continue;
        }
        // A server that has gone has perhaps said why.
        let _ = send_line(stream, &nick);
        let reply = next_in_time(endpoint, stream, lines)?;
        match LineKind::of(&reply) {
            LineKind::ShutDown => return output.answer(&reply).map(|()| false),
            LineKind::Info => return output.answer(&reply).map(|()| true),
            LineKind::Other => return Err(unexpected_greeting(&reply)),
            LineKind::Refusal => {
                let reason = ClientError::Refused(String::from_utf8_lossy(&reply).into_owned());
                if !asks {
                    return Err(reason);
                }
                print_error(reason);
            }
        }
    }
}

/// The first line of standard input that is left. Somebody at a terminal is asked for it; the
/// question is no answer, so it goes to standard error.
fn read_nickname() -> Result<Option<Vec<u8>>, ClientError> {
    if io::stdin().is_terminal() {
        let _ = write!(io::stderr(), "Nickname: ");
    }
    read_line(&mut io::stdin().lock()).map_err(|error| ClientError::input(&error))
}

/// A line without its end; `None` where there are no more.
fn read_line(input: &mut impl BufRead) -> io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    if input.read_until(b'\n', &mut line)? == 0 {
        return Ok(None);
    }
    if line.ends_with(b"\n") {
        line.pop();
    }
    Ok(Some(line))
}

/// The server's next line, which must come within its time.
fn next_in_time(
    endpoint: &Endpoint,
    stream: &TcpStream,
    lines: &mut LineReader,
) -> Result<Vec<u8>, ClientError> {
    stream.set_read_timeout(endpoint.timeout).map_err(|error| ClientError::socket(&error))?;
    let line = lines.next();
    stream.set_read_timeout(None).map_err(|error| ClientError::socket(&error))?;
    match line {
        Ok(Some(line)) => Ok(line),
        Ok(None) => Err(ClientError::Disconnected),
        Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock) => {
            Err(ClientError::Timeout(endpoint.timeout.unwrap_or_default()))
        }
        Err(error) => Err(ClientError::socket(&error)),
    }
}

/// Sends lines of standard input up to its end or a farewell, and then shuts our side: the server
/// answers what it has and closes.
fn copy_input(stream: &TcpStream, leaving: &AtomicBool) {
    let mut input = io::stdin().lock();
    loop {
        match read_line(&mut input) {
            Ok(Some(line)) => {
                let farewell = is_exit(&line);
                if farewell {
                    leaving.store(true, Ordering::SeqCst);
                }
                if send_line(stream, &line).is_err() || farewell {
                    break;
                }
            }
            Ok(None) => {
                leaving.store(true, Ordering::SeqCst);
                break;
            }
            Err(error) => {
                print_error(ClientError::input(&error));
                leaving.store(true, Ordering::SeqCst);
                break;
            }
        }
    }
    let _ = stream.shutdown(Shutdown::Write);
}
