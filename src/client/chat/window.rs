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

use super::hall::{Lines, Meaning, is_farewell, no_welcome, say};
use crate::client::connect::{Deadline, connect};
use crate::client::editor::{Above, Editor, Typed, interrupt};
use crate::client::failure::Failure;
use crate::client::options::Server;
use crate::client::output::harmless_line;
use crate::client::print;

/// What a message of one's own begins with, and so what it is typed behind.
const PROMPT: &str = "[YOU]: ";

/// How long the server has to take our last words.
const FAREWELL: Duration = Duration::from_secs(1);

/// How often the thread that waits for something else looks whether Ctrl-C was pressed, and how
/// often one that is typing is interrupted until it notices.
const GLANCE: Duration = Duration::from_millis(20);

pub(super) fn run(
    server: &Server,
    nick: Option<String>,
    mut editor: Editor,
    above: Above,
) -> Result<(), Failure> {
    let stream = connect(server)?;
    // Nobody has to wait for ever for a server that takes nothing.
    stream.set_write_timeout(server.timeout).map_err(|error| Failure::broken(&error))?;
    let lines = Lines::new(stream.try_clone().map_err(|error| Failure::broken(&error))?);
    editor.catch_interrupts()?;
    let end = Arc::new(End::default());
    let (verdicts, verdict) = mpsc::channel();
    let (done, is_done) = mpsc::channel::<()>();
    let reader = Reader { lines, above, verdicts: Some(verdicts), end: Arc::clone(&end) };
    thread::Builder::new()
        .name("reader".into())
        .spawn(move || {
            reader.run();
            drop(done);
        })
        .map_err(|error| Failure::input(&error))?;

    let window = Window { server, stream: &stream, verdict, end: &end };
    let left = window.converse(&mut editor, nick);
    drop(editor);
    if left.is_ok() && !end.is_known() {
        // The user leaves. Closing while something is unread would be a reset, and could destroy
        // what we said last; so the server closes, and the reader reads on until it does.
        end.leave();
        let _ = stream.shutdown(Shutdown::Write);
        let _ = is_done.recv_timeout(FAREWELL);
    }
    left
}

/// The side of the user.
struct Window<'a> {
    server: &'a Server,
    stream: &'a TcpStream,
    /// The server's lines up to the one that lets us in.
    verdict: Receiver<Vec<u8>>,
    end: &'a End,
}

impl Window<'_> {
    fn converse(&self, editor: &mut Editor, nick: Option<String>) -> Result<(), Failure> {
        if !self.join(editor, nick)? {
            return Ok(());
        }
        while let Some(typed) = self.read(editor, PROMPT)? {
            if !typed.trim().is_empty() {
                editor.remember(&typed);
            }
            // What was pasted may be several messages.
            for line in typed.lines().filter(|line| !line.trim().is_empty()) {
                let said = say(self.stream, line.as_bytes());
                if is_farewell(line.as_bytes()) {
                    return Ok(());
                }
                match said {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        return Err(Failure::Timeout(self.server.timeout.unwrap_or_default()));
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
    fn join(&self, editor: &mut Editor, mut nick: Option<String>) -> Result<bool, Failure> {
        loop {
            let typed = match nick.take() {
                Some(nick) => Some(nick),
                None => self.read(editor, "Nickname: ")?,
            };
            let Some(nick) = typed.filter(|nick| !is_farewell(nick.as_bytes())) else {
                return Ok(false);
            };
            let nick = nick.trim();
            if nick.is_empty() {
                continue;
            }
            // A server that has gone has perhaps said why.
            let _ = say(self.stream, nick.as_bytes());
            let Some(verdict) = self.hear_verdict(editor)? else { return Ok(false) };
            let meaning = Meaning::of(&verdict);
            if meaning == Meaning::Other {
                return Err(no_welcome(&verdict));
            }
            print(&shown(&verdict))?;
            if meaning == Meaning::Info {
                return Ok(true);
            }
        }
    }

    /// What the server says to the nickname; `None` when the user leaves instead.
    fn hear_verdict(&self, editor: &Editor) -> Result<Option<Vec<u8>>, Failure> {
        let deadline = Deadline::new(self.server.timeout);
        loop {
            match self.verdict.recv_timeout(GLANCE) {
                Ok(line) => return Ok(Some(line)),
                Err(RecvTimeoutError::Disconnected) => {
                    return self.end.look().unwrap_or(Err(Failure::Gone)).map(|()| None);
                }
                Err(RecvTimeoutError::Timeout) if editor.is_interrupted() => {
                    return self.end.look().unwrap_or(Ok(())).map(|()| None);
                }
                Err(RecvTimeoutError::Timeout) if deadline.is_over() => {
                    return Err(Failure::Timeout(deadline.after.unwrap_or_default()));
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }

    /// What is typed next; `None` when the user or the server leaves.
    fn read(&self, editor: &mut Editor, prompt: &str) -> Result<Option<String>, Failure> {
        let typed = if self.end.is_known() { Typed::End } else { editor.read(prompt)? };
        if let Some(ended) = self.end.look() {
            return ended.map(|()| None);
        }
        match typed {
            Typed::Line(line) => Ok(Some(line)),
            Typed::Interrupt | Typed::End => Ok(None),
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
    Lost(Failure),
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
    fn look(&self) -> Option<Result<(), Failure>> {
        let mut state = self.state();
        let ending = state.ending.clone()?;
        let tell = !std::mem::replace(&mut state.is_told, true);
        drop(state);
        self.changed.notify_all();
        Some(match ending {
            Ending::Left => Ok(()),
            Ending::ShutDown(words) if tell => print(&words),
            Ending::ShutDown(_) => Ok(()),
            Ending::Lost(failure) => Err(failure),
        })
    }

    /// Interrupts the line being typed until its thread has looked.
    fn insist(&self) {
        let mut state = self.state();
        while !state.is_told {
            interrupt();
            let waited = self.changed.wait_timeout(state, GLANCE);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// The side of the server.
struct Reader {
    lines: Lines,
    above: Above,
    /// Where lines go until the one that lets us in.
    verdicts: Option<Sender<Vec<u8>>>,
    end: Arc<End>,
}

impl Reader {
    /// Reads to the end.
    fn run(mut self) {
        let ending = loop {
            match self.lines.next() {
                Ok(Some(line)) => {
                    if Meaning::of(&line) == Meaning::ShutDown {
                        break Ending::ShutDown(shown(&line));
                    }
                    self.pass_on(line);
                }
                Ok(None) => break Ending::Lost(Failure::Gone),
                Err(error) => break Ending::Lost(Failure::broken(&error)),
            }
        };
        if self.verdicts.is_none() {
            // What was said comes before what ended it.
            self.above.settle();
        }
        self.end.note(ending);
        // Whoever waits for a verdict waits in vain.
        self.verdicts = None;
        self.end.insist();
    }

    fn pass_on(&mut self, line: Vec<u8>) {
        let Some(verdicts) = &self.verdicts else {
            self.above.print(&shown(&line));
            return;
        };
        let refuses = Meaning::of(&line) == Meaning::Refusal;
        let _ = verdicts.send(line);
        if !refuses {
            self.verdicts = None;
        }
    }
}

fn shown(line: &[u8]) -> String {
    harmless_line(&String::from_utf8_lossy(line))
}
