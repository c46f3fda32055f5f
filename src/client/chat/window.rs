//! The chat at a terminal: the line being typed at the bottom, behind `[YOU]: `, and the server's
//! lines above it.
//!
//! The main thread owns the line being typed. The reader thread reads the server and prints above
//! it; when the server ends the chat, it sets the [`Ending`] and interrupts the line.

use std::net::Shutdown;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::Duration;

use super::ending::{EndReason, Ending};
use super::login::log_in;
use super::server_lines::{
    FIRST_QUESTION, LineKind, LineReader, next_question, unexpected_greeting,
};
use super::user_lines::{is_private, send_line, typed_exit};
use crate::client::account::Unfinished;
use crate::client::connect::connect;
use crate::client::editor::{Editor, EditorInput, LinePrinter};
use crate::client::endpoint::Endpoint;
use crate::client::error::ClientError;
use crate::client::login::warn_if_exposed;
use crate::client::output::{print_error, print_line, sanitize_line_bytes};
use crate::client::password::ask;
use crate::client::sigint::spawn_helper;
use crate::client::stream::Stream;
use crate::client::timeout::{Deadline, is_timeout};

/// The prompt of a message, which is how the user's own messages look on the screen.
const PROMPT: &str = "[YOU]: ";

/// How long the server has to take the last message and close.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// How often a thread looks for Ctrl-C while it waits for a reply, and how often the line being typed
/// is interrupted until its thread notices.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// Joins and chats until the user or the server ends it.
pub(super) fn run(
    endpoint: &Endpoint,
    nick: Option<String>,
    mut editor: Editor,
    printer: LinePrinter,
) -> Result<(), ClientError> {
    let stream = connect(endpoint)?;
    // A server that reads nothing must not block the window for ever.
    stream.set_write_timeout(endpoint.timeout);
    print_line(&super::connected_line(endpoint))?;
    let lines = LineReader::new(stream.try_clone().map_err(|error| ClientError::socket(&error))?);
    editor.catch_interrupts()?;
    let ending = Arc::new(Ending::default());
    let (reply_sender, join_replies) = mpsc::channel();
    let (done_sender, done) = mpsc::channel::<()>();
    let reader =
        Reader { lines, printer, join_replies: Some(reply_sender), ending: Arc::clone(&ending) };
    spawn_helper("reader", move || {
        reader.run();
        drop(done_sender);
    })
    .map_err(|error| ClientError::input(&error))?;

    let window = Window { endpoint, stream: &stream, join_replies, ending: &ending };
    let result = window.run_window(&mut editor, nick);
    drop(editor);
    if result.is_ok() && !ending.is_set() {
        // The user leaves. Closing with unread input would be a reset, which may destroy the last
        // message on its way (RFC 1122, 4.2.2.13): the server closes first, and the reader goes on
        // reading until then.
        ending.set_left();
        let _ = stream.shutdown(Shutdown::Write);
        let _ = done.recv_timeout(CLOSE_TIMEOUT);
    }
    result
}

/// The main thread's part: reads lines of the user and sends them.
struct Window<'a> {
    endpoint: &'a Endpoint,
    stream: &'a Stream,
    /// The server's lines up to and including the welcome.
    join_replies: Receiver<Vec<u8>>,
    ending: &'a Ending,
}

impl Window<'_> {
    fn run_window(&self, editor: &mut Editor, nick: Option<String>) -> Result<(), ClientError> {
        if !self.join(editor, nick)? {
            return Ok(());
        }
        while let Some(input) = self.read(editor, PROMPT)? {
            if !input.trim().is_empty() && !input.lines().any(is_private) {
                editor.add_history(&input);
            }
            // Pasted input may be several messages.
            for line in input.lines().filter(|line| !line.trim().is_empty()) {
                if let Some(exit) = typed_exit(line.as_bytes()) {
                    let _ = send_line(self.stream, exit);
                    return Ok(());
                }
                let Some(line) = self.with_password(line)? else { continue };
                let sent = send_line(self.stream, &line);
                // Other errors mean that the server has closed. The reader finds that too, perhaps
                // with the reason, and interrupts the next line.
                if sent.is_err_and(|error| is_timeout(&error)) {
                    return Err(ClientError::Timeout(self.endpoint.timeout.unwrap_or_default()));
                }
            }
        }
        Ok(())
    }

    /// Sends nicknames until one is accepted; false if the user leaves or the server stops.
    fn join(&self, editor: &mut Editor, mut nick: Option<String>) -> Result<bool, ClientError> {
        if let Some(account) = &self.endpoint.account {
            warn_if_exposed(self.stream, self.endpoint);
            let welcome = log_in(self.endpoint, account, |line| {
                let _ = send_line(self.stream, line);
                self.wait_for_join_reply(editor)
            })?;
            let Some(welcome) = welcome else { return Ok(false) };
            print_line(&sanitize_line_bytes(&welcome))?;
            return Ok(true);
        }
        let mut question = FIRST_QUESTION;
        loop {
            let input = match nick.take() {
                Some(nick) => Some(nick),
                None => self.read(editor, question)?,
            };
            let Some(nick) = input.filter(|nick| typed_exit(nick.as_bytes()).is_none()) else {
                return Ok(false);
            };
            let nick = nick.trim();
            if nick.is_empty() {
                continue;
            }
            let Some(line) = self.with_password(nick)? else { continue };
            // If the server has closed, its last line may say why, so it is waited for all the same.
            let _ = send_line(self.stream, &line);
            let Some(reply) = self.wait_for_join_reply(editor)? else { return Ok(false) };
            let kind = LineKind::of(&reply);
            if kind == LineKind::Other {
                return Err(unexpected_greeting(&reply, self.endpoint));
            }
            print_line(&sanitize_line_bytes(&reply))?;
            if kind == LineKind::Info {
                return Ok(true);
            }
            question = next_question(&reply, nick.as_bytes());
        }
    }

    /// The line to send for one that was typed: where it lacks a password, with one that is asked for.
    /// `None` if there is none.
    fn with_password(&self, line: &str) -> Result<Option<Vec<u8>>, ClientError> {
        if !is_private(line) {
            return Ok(Some(line.as_bytes().to_vec()));
        }
        warn_if_exposed(self.stream, self.endpoint);
        let Some(unfinished) = Unfinished::parse(line) else {
            return Ok(Some(line.as_bytes().to_vec()));
        };
        let asked = ask(unfinished.attempt, unfinished.name(), "no terminal to ask for a password");
        let finish = |password| unfinished.finish(&password).map_err(ClientError::Password);
        match asked.and_then(finish) {
            Ok(line) => Ok(Some(line)),
            Err(ClientError::PasswordInterrupted) => Ok(None),
            Err(error) => {
                print_error(error);
                Ok(None)
            }
        }
    }

    /// Waits for the reply to a nickname; `None` if the user leaves or the server stops.
    fn wait_for_join_reply(&self, editor: &Editor) -> Result<Option<Vec<u8>>, ClientError> {
        let deadline = Deadline::new(self.endpoint.timeout);
        loop {
            match self.join_replies.recv_timeout(POLL_INTERVAL) {
                Ok(line) => return Ok(Some(line)),
                Err(RecvTimeoutError::Disconnected) => {
                    let result = self.ending.result();
                    return result.unwrap_or(Err(ClientError::Disconnected)).map(|()| None);
                }
                Err(RecvTimeoutError::Timeout) if editor.is_interrupted() => {
                    return self.ending.result().unwrap_or(Ok(())).map(|()| None);
                }
                Err(RecvTimeoutError::Timeout) if deadline.is_expired() => {
                    return Err(ClientError::Timeout(deadline.timeout.unwrap_or_default()));
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }

    /// Reads the next input; `None` if the user leaves or the server stops.
    fn read(&self, editor: &mut Editor, prompt: &str) -> Result<Option<String>, ClientError> {
        let input = if self.ending.is_set() { EditorInput::Eof } else { editor.read(prompt)? };
        if let Some(result) = self.ending.result() {
            return result.map(|()| None);
        }
        match input {
            EditorInput::Line(line) => Ok(Some(line)),
            EditorInput::Interrupt | EditorInput::Eof => Ok(None),
        }
    }
}

/// The reader thread's part: reads lines of the server and prints them.
struct Reader {
    lines: LineReader,
    printer: LinePrinter,
    /// The channel to the window, which gets the lines up to and including the welcome; `None` after it.
    join_replies: Option<Sender<Vec<u8>>>,
    ending: Arc<Ending>,
}

impl Reader {
    /// Reads up to the end of the chat and reports it to the window.
    fn run(mut self) {
        let reason = loop {
            match self.lines.read_line() {
                Ok(Some(line)) => {
                    if LineKind::of(&line) == LineKind::ShutDown {
                        break EndReason::ShutDown(sanitize_line_bytes(&line));
                    }
                    self.forward(line);
                }
                Ok(None) => break EndReason::Lost(ClientError::Disconnected),
                Err(error) => break EndReason::Lost(ClientError::socket(&error)),
            }
        };
        if self.join_replies.is_none() {
            // Messages that arrived before the end are shown before it.
            self.printer.flush();
        }
        self.ending.set(reason);
        // Wakes a window that waits for a reply to its nickname.
        self.join_replies = None;
        self.ending.interrupt_until_seen(POLL_INTERVAL);
    }

    /// Gives `line` to the window before the welcome, and prints it after.
    fn forward(&mut self, line: Vec<u8>) {
        let Some(join_replies) = &self.join_replies else {
            self.printer.print(&sanitize_line_bytes(&line));
            return;
        };
        let is_refusal = LineKind::of(&line) == LineKind::Refusal;
        let _ = join_replies.send(line);
        if !is_refusal {
            self.lines.set_joined();
            self.join_replies = None;
        }
    }
}
