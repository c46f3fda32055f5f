//! The chat without a terminal: lines of standard input go to the room, lines of the room to
//! standard output.

use std::io::{self, BufRead, IsTerminal, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use super::hall::{Lines, Meaning, is_farewell, no_welcome, say};
use crate::client::complain;
use crate::client::connect::connect;
use crate::client::failure::Failure;
use crate::client::options::Server;
use crate::client::output::Output;

/// Joins, and copies lines both ways until one side ends.
pub(super) fn run(server: &Server, nick: Option<String>) -> Result<(), Failure> {
    let stream = connect(server)?;
    let mut lines = Lines::new(stream.try_clone().map_err(|error| Failure::broken(&error))?);
    let output = Output::stdout();
    if !join(server, &stream, &mut lines, nick, output)? {
        return Ok(());
    }
    let leaving = Arc::new(AtomicBool::new(false));
    let typist = Arc::clone(&leaving);
    thread::Builder::new()
        .name("stdin".into())
        .spawn(move || copy_input(&stream, &typist))
        .map_err(|error| Failure::input(&error))?;
    loop {
        match lines.next() {
            Ok(Some(line)) => {
                output.answer(&line)?;
                if Meaning::of(&line) == Meaning::ShutDown {
                    return Ok(());
                }
            }
            // However it ends, we had no more to say.
            _ if leaving.load(Ordering::SeqCst) => return Ok(()),
            Ok(None) => return Err(Failure::Gone),
            Err(error) => return Err(Failure::broken(&error)),
        }
    }
}

/// Has a nickname accepted; false where the user or the server leaves before that.
///
/// Where the input is a pipe, a nickname that was given and is refused ends it: the lines in the
/// pipe are messages, and none of them is to become a nickname.
fn join(
    server: &Server,
    stream: &TcpStream,
    lines: &mut Lines,
    nick: Option<String>,
    output: Output,
) -> Result<bool, Failure> {
    let asks = nick.is_none() || io::stdin().is_terminal();
    let mut given = nick.map(String::into_bytes);
    loop {
        let nick = match given.take() {
            Some(nick) => nick,
            None if asks => match read_nickname()? {
                Some(nick) if is_farewell(&nick) => return Ok(false),
                Some(nick) => nick,
                None => return Err(Failure::NoNickname),
            },
            None => return Err(Failure::NoNickname),
        };
        if nick.trim_ascii().is_empty() {
            continue;
        }
        // A server that has gone has perhaps said why.
        let _ = say(stream, &nick);
        let verdict = next_in_time(server, stream, lines)?;
        match Meaning::of(&verdict) {
            Meaning::ShutDown => return output.answer(&verdict).map(|()| false),
            Meaning::Info => return output.answer(&verdict).map(|()| true),
            Meaning::Other => return Err(no_welcome(&verdict)),
            Meaning::Refusal => {
                let why = Failure::Refused(String::from_utf8_lossy(&verdict).into_owned());
                if !asks {
                    return Err(why);
                }
                complain(why);
            }
        }
    }
}

/// The first line of standard input that is left. Somebody at a terminal is asked for it; the
/// question is no answer, so it goes to standard error.
fn read_nickname() -> Result<Option<Vec<u8>>, Failure> {
    if io::stdin().is_terminal() {
        let _ = write!(io::stderr(), "Nickname: ");
    }
    read_line(&mut io::stdin().lock()).map_err(|error| Failure::input(&error))
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
    server: &Server,
    stream: &TcpStream,
    lines: &mut Lines,
) -> Result<Vec<u8>, Failure> {
    stream.set_read_timeout(server.timeout).map_err(|error| Failure::broken(&error))?;
    let line = lines.next();
    stream.set_read_timeout(None).map_err(|error| Failure::broken(&error))?;
    match line {
        Ok(Some(line)) => Ok(line),
        Ok(None) => Err(Failure::Gone),
        Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock) => {
            Err(Failure::Timeout(server.timeout.unwrap_or_default()))
        }
        Err(error) => Err(Failure::broken(&error)),
    }
}

/// Sends lines of standard input up to its end or a farewell, and then shuts our side: the server
/// answers what it has and closes.
fn copy_input(stream: &TcpStream, leaving: &AtomicBool) {
    let mut input = io::stdin().lock();
    loop {
        match read_line(&mut input) {
            Ok(Some(line)) => {
                let farewell = is_farewell(&line);
                if farewell {
                    leaving.store(true, Ordering::SeqCst);
                }
                if say(stream, &line).is_err() || farewell {
                    break;
                }
            }
            Ok(None) => {
                leaving.store(true, Ordering::SeqCst);
                break;
            }
            Err(error) => {
                complain(Failure::input(&error));
                leaving.store(true, Ordering::SeqCst);
                break;
            }
        }
    }
    let _ = stream.shutdown(Shutdown::Write);
}
