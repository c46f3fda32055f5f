//! The chat at a terminal: `[YOU]: ` and the line being typed at the bottom, everyone else above.
//!
//! The main thread owns the line; a second one reads the server and prints. What ends the chat from
//! the server's side is noted, and the line interrupted.

use std::io;
use std::net::{Shutdown, TcpStream};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use super::server_lines::{LineKind, LineReader, is_exit, send_line, unexpected_greeting};
use crate::client::connect::{Deadline, connect};
use crate::client::editor::{Editor, EditorInput, LinePrinter, interrupt};
use crate::client::error::ClientError;
use crate::client::options::Endpoint;
use crate::client::output::sanitize_line;
use crate::client::print;

/// What a message of one's own begins with, and so what it is typed behind.
const PROMPT: &str = "[YOU]: ";

/// How long the server has to take our last words.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// How often the thread that waits for something else looks whether Ctrl-C was pressed, and how
/// often one that is typing is interrupted until it notices.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

pub(super) fn run(
    endpoint: &Endpoint,
    nick: Option<String>,
    mut editor: Editor,
    printer: LinePrinter,
) -> Result<(), ClientError> {
    let stream = connect(endpoint)?;
    // Nobody has to wait for ever for a server that takes nothing.
    stream.set_write_timeout(endpoint.timeout).map_err(|error| ClientError::socket(&error))?;
    let lines = LineReader::new(stream.try_clone().map_err(|error| ClientError::socket(&error))?);
    editor.catch_interrupts()?;
    let end = Arc::new(End::default());
    let (replies, reply) = mpsc::channel();
    let (done, is_done) = mpsc::channel::<()>();
    let reader = Reader { lines, printer, replies: Some(replies), end: Arc::clone(&end) };
    thread::Builder::new()
        .name("reader".into())
        .spawn(move || {
            reader.run();
            drop(done);
        })
        .map_err(|error| ClientError::input(&error))?;

    let window = Window { endpoint, stream: &stream, reply, end: &end };
    let left = window.run_window(&mut editor, nick);
    drop(editor);
    if left.is_ok() && !end.is_known() {
        // The user leaves. Closing while something is unread would be a reset, and could destroy
        // what we said last; so the server closes, and the reader reads on until it does.
        end.leave();
        let _ = stream.shutdown(Shutdown::Write);
        let _ = is_done.recv_timeout(CLOSE_TIMEOUT);
    }
    left
}

/// The side of the user.
struct Window<'a> {
    endpoint: &'a Endpoint,
    stream: &'a TcpStream,
    /// The server's lines up to the one that lets us in.
    reply: Receiver<Vec<u8>>,
    end: &'a End,
}

impl Window<'_> {
    fn run_window(&self, editor: &mut Editor, nick: Option<String>) -> Result<(), ClientError> {
        if !self.join(editor, nick)? {
            return Ok(());
        }
        while let Some(typed) = self.read(editor, PROMPT)? {
            if !typed.trim().is_empty() {
                editor.add_history(&typed);
            }
            // What was pasted may be several messages.
            for line in typed.lines().filter(|line| !line.trim().is_empty()) {
                let said = send_line(self.stream, line.as_bytes());
                if is_exit(line.as_bytes()) {
                    return Ok(());
                }
                match said {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        return Err(ClientError::Timeout(
                            self.endpoint.timeout.unwrap_or_default(),
                        ));
                    }
                    // The server has gone. The reader comes to know that too, and perhaps why; it
                    // speaks up while the next line is typed.
                    _ => {}
                }
            }
        }
        Ok(())
    }

    /// Has a nickname accepted; false when the user leaves instead.
    fn join(&self, editor: &mut Editor, mut nick: Option<String>) -> Result<bool, ClientError> {
        loop {
            let typed = match nick.take() {
                Some(nick) => Some(nick),
                None => self.read(editor, "Nickname: ")?,
            };
            let Some(nick) = typed.filter(|nick| !is_exit(nick.as_bytes())) else {
                return Ok(false);
            };
            let nick = nick.trim();
            if nick.is_empty() {
                continue;
            }
            // A server that has gone has perhaps said why.
            let _ = send_line(self.stream, nick.as_bytes());
            let Some(reply) = self.wait_for_reply(editor)? else { return Ok(false) };
            let kind = LineKind::of(&reply);
            if kind == LineKind::Other {
                return Err(unexpected_greeting(&reply));
            }
            print(&shown(&reply))?;
            if kind == LineKind::Info {
                return Ok(true);
            }
        }
    }

    /// What the server says to the nickname; `None` when the user leaves instead.
    fn wait_for_reply(&self, editor: &Editor) -> Result<Option<Vec<u8>>, ClientError> {
        let deadline = Deadline::new(self.endpoint.timeout);
        loop {
            match self.reply.recv_timeout(POLL_INTERVAL) {
                Ok(line) => return Ok(Some(line)),
                Err(RecvTimeoutError::Disconnected) => {
                    return self
                        .end
                        .look()
                        .unwrap_or(Err(ClientError::Disconnected))
                        .map(|()| None);
                }
                Err(RecvTimeoutError::Timeout) if editor.is_interrupted() => {
                    return self.end.look().unwrap_or(Ok(())).map(|()| None);
                }
                Err(RecvTimeoutError::Timeout) if deadline.is_expired() => {
                    return Err(ClientError::Timeout(deadline.timeout.unwrap_or_default()));
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }

    /// What is typed next; `None` when the user or the server leaves.
    fn read(&self, editor: &mut Editor, prompt: &str) -> Result<Option<String>, ClientError> {
        let typed = if self.end.is_known() { EditorInput::Eof } else { editor.read(prompt)? };
        if let Some(ended) = self.end.look() {
            return ended.map(|()| None);
        }
        match typed {
            EditorInput::Line(line) => Ok(Some(line)),
            EditorInput::Interrupt | EditorInput::Eof => Ok(None),
        }
    }
}

/// How the chat ended.
#[derive(Debug, Clone)]
enum Ending {
    /// By the user's will.
    Left,
    /// By the server's, with its last words.
    ShutDown(String),
    /// Against everyone's.
    Lost(ClientError),
}

/// What the two threads know of the end.
#[derive(Debug, Default)]
struct End {
    state: Mutex<EndState>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct EndState {
    ending: Option<Ending>,
    /// The user has been told.
    is_told: bool,
}

impl End {
    fn state(&self) -> MutexGuard<'_, EndState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_known(&self) -> bool {
        self.state().ending.is_some()
    }

    /// Notes how it ended; the first to say so is right.
    fn note(&self, ending: Ending) {
        self.state().ending.get_or_insert(ending);
    }

    /// Notes that the user leaves, who need not be told.
    fn leave(&self) {
        self.note(Ending::Left);
        self.state().is_told = true;
        self.changed.notify_all();
    }

    /// If it has ended, tells the user of it, once, and says what to make of it.
    fn look(&self) -> Option<Result<(), ClientError>> {
        let mut state = self.state();
        let ending = state.ending.clone()?;
        let tell = !std::mem::replace(&mut state.is_told, true);
        drop(state);
        self.changed.notify_all();
        Some(match ending {
            Ending::Left => Ok(()),
            Ending::ShutDown(words) if tell => print(&words),
            Ending::ShutDown(_) => Ok(()),
            Ending::Lost(error) => Err(error),
        })
    }

    /// Interrupts the line being typed until its thread has looked.
    fn interrupt_until_seen(&self) {
        let mut state = self.state();
        while !state.is_told {
            interrupt();
            let waited = self.changed.wait_timeout(state, POLL_INTERVAL);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// The side of the server.
struct Reader {
    lines: LineReader,
    printer: LinePrinter,
    /// Where lines go until the one that lets us in.
    replies: Option<Sender<Vec<u8>>>,
    end: Arc<End>,
}

impl Reader {
    /// Reads to the end.
    fn run(mut self) {
        let ending = loop {
            match self.lines.next() {
                Ok(Some(line)) => {
                    if LineKind::of(&line) == LineKind::ShutDown {
                        break Ending::ShutDown(shown(&line));
                    }
                    self.pass_on(line);
                }
                Ok(None) => break Ending::Lost(ClientError::Disconnected),
                Err(error) => break Ending::Lost(ClientError::socket(&error)),
            }
        };
        if self.replies.is_none() {
            // What was said comes before what ended it.
            self.printer.flush();
        }
        self.end.note(ending);
        // Whoever waits for a reply waits in vain.
        self.replies = None;
        self.end.interrupt_until_seen();
    }

    fn pass_on(&mut self, line: Vec<u8>) {
        let Some(replies) = &self.replies else {
            self.printer.print(&shown(&line));
            return;
        };
        let refuses = LineKind::of(&line) == LineKind::Refusal;
        let _ = replies.send(line);
        if !refuses {
            self.replies = None;
        }
    }
}

fn shown(line: &[u8]) -> String {
    sanitize_line(&String::from_utf8_lossy(line))
}
