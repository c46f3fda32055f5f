//! A blocking connection that carries requests and replies over `command`, `prefixed`, `raw` or
//! `plugin`. Knows neither where requests come from nor where replies are printed.

use std::io::{self, Write};
use std::net::Shutdown;
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use super::connect::connect;
use super::endpoint::Endpoint;
use super::error::ClientError;
use super::receive::{READ_LEN, read_some};
use super::request::{Request, Verb};
use super::server_guess::{Excerpt, GUESS_LEN, ServerGuess, is_alert};
use super::sigint::spawn_helper;
use super::stream::Stream;
use super::timeout::Deadline;
use crate::codec::Decoder;
use crate::codec::command::{Command, CommandDecoder, Frame};
use crate::codec::prefixed::{self, PrefixedDecoder};
use crate::limits::FRAME_LEN_LIMIT;
use crate::protocol::ProtocolName;

/// Longest text of a request, in bytes: the highest `--max-frame` of any server.
pub(super) const TEXT_LEN_MAX: usize = FRAME_LEN_LIMIT as usize;

/// How long the end of a write, or of the connection, may lag behind the reply.
const GRACE_PERIOD: Duration = Duration::from_millis(50);

/// How long [`Connection::quit`] waits for the server to close.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// Received bytes that are handed out before the reply is complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Partial<'a> {
    /// Another client's broadcast.
    Broadcast(&'a [u8]),
    /// The next bytes of a raw reply. It may be of any length, so it is not buffered.
    Chunk(&'a [u8]),
}

/// Is called with each [`Partial`], in order; an error ends the request.
pub(super) type OnPartial<'a> = &'a mut dyn FnMut(Partial<'_>) -> Result<(), ClientError>;

/// A connection that carries one request at a time.
#[derive(Debug)]
pub(super) struct Connection {
    endpoint: Endpoint,
    stream: Stream,
    /// Bytes received after the last complete frame.
    input: Vec<u8>,
    /// No further request can be sent.
    is_finished: bool,
}

impl Connection {
    pub(super) fn open(endpoint: &Endpoint) -> Result<Self, ClientError> {
        let stream = connect(endpoint)?;
        Ok(Connection { endpoint: endpoint.clone(), stream, input: Vec::new(), is_finished: false })
    }

    pub(super) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    pub(super) fn stream(&self) -> &Stream {
        &self.stream
    }

    /// As [`execute`](Self::execute), for a request with a password: no error quotes the reply, which
    /// may be the request.
    pub(super) fn execute_secret(
        &mut self,
        request: &Request,
        on_partial: OnPartial<'_>,
    ) -> Result<Vec<u8>, ClientError> {
        self.execute(request, on_partial).map_err(|error| match error {
            ClientError::UnexpectedReply(_) => {
                let sent = self.encode(request);
                let guess = ServerGuess::from_exchange(&self.input, &sent);
                let other = guess.filter(|g| *g != ServerGuess::Mynah(self.endpoint.protocol));
                ClientError::UnexpectedReply(other.map_or_else(
                    || "not a reply to a password".to_owned(),
                    |guess| guess.hint(&self.endpoint),
                ))
            }
            error => error,
        })
    }

    /// Sends `request` and waits for the end of its reply; returns what `on_partial` has not been
    /// called with.
    pub(super) fn execute(
        &mut self,
        request: &Request,
        on_partial: OnPartial<'_>,
    ) -> Result<Vec<u8>, ClientError> {
        if request.text.len() > TEXT_LEN_MAX {
            return Err(ClientError::TextTooLong { len_max: TEXT_LEN_MAX });
        }
        let deadline = Deadline::new(self.endpoint.timeout);
        let bytes = self.encode(request);
        let sent = bytes[..bytes.len().min(GUESS_LEN)].to_vec();
        let write_result = self.start_write(bytes)?;
        let reply = match self.endpoint.protocol {
            ProtocolName::Command => self.read_reply(request, &deadline, on_partial),
            ProtocolName::Prefixed => self.read_message(sent.first().copied(), &deadline),
            _ => self.read_to_eof(&deadline, &sent, on_partial),
        };
        let reply = reply.map_err(|error| self.explain(error, &sent));
        // A write still unfinished after the reply is one that the server does not take.
        let is_written = matches!(write_result.recv_timeout(GRACE_PERIOD), Ok(Ok(())));
        self.is_finished |= match reply {
            Ok(_) => !is_written || self.endpoint.is_unframed(),
            // Some refusals are followed by the end of the connection.
            Err(ClientError::Refused(_)) => !is_written || self.closes_within(GRACE_PERIOD),
            Err(_) => true,
        };
        if self.is_finished {
            let _ = self.stream.shutdown(Shutdown::Both);
        }
        reply
    }

    fn encode(&self, request: &Request) -> Vec<u8> {
        let mut bytes = Vec::new();
        match request.verb.command() {
            Some(command) => Frame { command, payload: &request.text }.encode(&mut bytes),
            None if self.endpoint.protocol == ProtocolName::Prefixed => {
                prefixed::encode(&request.text, &mut bytes);
            }
            None => bytes.clone_from(&request.text),
        }
        bytes
    }

    /// Writes `bytes` on a thread while the reply is read, and sends the result to the channel.
    ///
    /// A server may reply before it has taken everything: with an error, or over raw with what it
    /// has received. The end of an unframed message is that of the data.
    fn start_write(&self, bytes: Vec<u8>) -> Result<Receiver<io::Result<()>>, ClientError> {
        let stream = self.stream.try_clone().map_err(|error| ClientError::socket(&error))?;
        let is_unframed = self.endpoint.is_unframed();
        let (sender, receiver) = mpsc::sync_channel(1);
        let write = move || {
            let mut result = (&stream).write_all(&bytes);
            if is_unframed && result.is_ok() {
                result = stream.shutdown(Shutdown::Write);
            }
            let _ = sender.send(result);
        };
        spawn_helper("write", write).map(|_| receiver).map_err(|error| ClientError::socket(&error))
    }

    /// Sends QUIT where the protocol has it, and waits up to [`CLOSE_TIMEOUT`] for the end of file.
    pub(super) fn quit(mut self) {
        let mut bytes = Vec::new();
        Frame { command: Command::Quit, payload: b"" }.encode(&mut bytes);
        if self.endpoint.protocol == ProtocolName::Command
            && (&self.stream).write_all(&bytes).is_ok()
        {
            let deadline = Deadline::new(Some(CLOSE_TIMEOUT));
            while self.read_some(1, &deadline).is_ok_and(|n| n > 0) {
                self.input.clear();
            }
        }
    }

    /// Waits for the next broadcast, without a timeout.
    pub(super) fn next_broadcast(&mut self) -> Result<Vec<u8>, ClientError> {
        let frame = self.read_frame(Command::Echo, &Deadline::new(None));
        let (command, payload) = frame.map_err(|error| match error {
            ClientError::Closed { is_partial: false } => ClientError::Disconnected,
            error => self.explain(error, b""),
        })?;
        match command {
            Command::Broadcast => Ok(payload),
            Command::Error => Err(refusal(&payload)),
            command => {
                Err(ClientError::UnexpectedReply(format!("{command}, which nobody asked for")))
            }
        }
    }

    /// True if no further request can be sent: the server has closed, or a request has failed.
    pub(super) fn is_closed(&mut self) -> bool {
        self.is_finished = self.is_finished || self.closes_within(Duration::ZERO);
        self.is_finished
    }

    /// True if the connection ends within `time` and no byte arrives before its end.
    fn closes_within(&mut self, time: Duration) -> bool {
        self.stream.ends_within(time)
    }

    /// Reads frames up to the reply of `request`.
    fn read_reply(
        &mut self,
        request: &Request,
        deadline: &Deadline,
        on_partial: OnPartial<'_>,
    ) -> Result<Vec<u8>, ClientError> {
        let asked = request.verb.command().unwrap_or(Command::Echo);
        loop {
            let (command, payload) = match self.read_frame(asked, deadline) {
                // The end of the connection is what QUIT asks for.
                Err(ClientError::Closed { is_partial: false } | ClientError::Cut(_))
                    if asked == Command::Quit && self.input.is_empty() =>
                {
                    return Ok(Vec::new());
                }
                frame => frame?,
            };
            match command {
                Command::Broadcast => on_partial(Partial::Broadcast(&payload))?,
                Command::Error => return Err(refusal(&payload)),
                Command::Echo if request.verb == Verb::Echo && payload != request.text => {
                    let reason = format!("{} is not what was sent", Excerpt(&payload));
                    self.restore_frame(command, &payload);
                    return Err(ClientError::UnexpectedReply(reason));
                }
                _ => return Ok(payload),
            }
        }
    }

    /// Puts the beginning of a frame back into the input, for [`explain`](Self::explain).
    fn restore_frame(&mut self, command: Command, payload: &[u8]) {
        let payload = &payload[..payload.len().min(GUESS_LEN)];
        self.input.clear();
        Frame { command, payload }.encode(&mut self.input);
    }

    /// Reads the next frame of the `command` protocol; `asked` is the command of the request.
    fn read_frame(
        &mut self,
        asked: Command,
        deadline: &Deadline,
    ) -> Result<(Command, Vec<u8>), ClientError> {
        let mut decoder = CommandDecoder::new(FRAME_LEN_LIMIT);
        loop {
            let first = self.input.first().map(|&code| Command::from(code));
            if let Some(command) = first.filter(|&command| !is_reply_to(asked, command)) {
                return Err(self.not_a_reply(command));
            }
            match decoder.decode(&self.input) {
                Ok(Some((Frame { command, payload }, len))) => {
                    let found = (command, payload.to_vec());
                    self.input.drain(..len);
                    return Ok(found);
                }
                Ok(None) => self.read_more(decoder.bytes_needed(&self.input), deadline)?,
                Err(error) => return Err(ClientError::UnexpectedReply(error.to_string())),
            }
        }
    }

    /// The error of a reply whose first byte is not the command of one. What follows within
    /// [`GRACE_PERIOD`] is read too: it may tell what the server is.
    fn not_a_reply(&mut self, command: Command) -> ClientError {
        let deadline = Deadline::new(Some(GRACE_PERIOD));
        while self.input.len() < GUESS_LEN && self.read_some(1, &deadline).is_ok_and(|n| n > 0) {}
        ClientError::UnexpectedReply(match command {
            Command::Unknown(code) if code.is_ascii_graphic() => Excerpt(&self.input).to_string(),
            command => command.to_string(),
        })
    }

    /// Adds to an error what the bytes in the input tell about the server; `sent` is the beginning of
    /// the request.
    fn explain(&self, error: ClientError, sent: &[u8]) -> ClientError {
        let reason = match &error {
            ClientError::UnexpectedReply(reason) => reason.clone(),
            ClientError::PartialTimeout(_) | ClientError::Closed { is_partial: true } => {
                error.to_string()
            }
            _ => return error,
        };
        match ServerGuess::from_exchange(&self.input, sent) {
            Some(guess) if guess != ServerGuess::Mynah(self.endpoint.protocol) => {
                let hint = guess.hint(&self.endpoint);
                ClientError::UnexpectedReply(format!("{reason}; {hint}"))
            }
            _ => error,
        }
    }

    /// Reads the next message of the `prefixed` protocol, the reply to one of `sent_len` bytes.
    fn read_message(
        &mut self,
        sent_len: Option<u8>,
        deadline: &Deadline,
    ) -> Result<Vec<u8>, ClientError> {
        loop {
            let Ok(found) = PrefixedDecoder.decode(&self.input);
            if let Some((message, len)) = found {
                let message = message.to_vec();
                self.input.drain(..len);
                return Ok(message);
            }
            // A text may declare more bytes than will ever come, so it is not waited for.
            let first = self.input.first().copied();
            if first.is_some() && first != sent_len && ServerGuess::from_text(&self.input).is_some()
            {
                return Err(ClientError::UnexpectedReply(Excerpt(&self.input).to_string()));
            }
            self.read_more(PrefixedDecoder.bytes_needed(&self.input), deadline)?;
        }
    }

    /// Reads a raw reply up to the end of file and hands out each chunk. An empty reply is an error
    /// `sent` has bytes. A TLS alert is an error unless `sent` begins with one.
    fn read_to_eof(
        &mut self,
        deadline: &Deadline,
        sent: &[u8],
        on_partial: OnPartial<'_>,
    ) -> Result<Vec<u8>, ClientError> {
        let mut has_begun = false;
        loop {
            match self.read_some(READ_LEN, deadline) {
                Ok(0) if !sent.is_empty() && !has_begun => {
                    return Err(ClientError::Closed { is_partial: false });
                }
                Ok(0) => return Ok(Vec::new()),
                Ok(_) if !has_begun && is_alert(&self.input) && !is_alert(sent) => {
                    return Err(ClientError::UnexpectedReply("a TLS alert".to_owned()));
                }
                Ok(_) => on_partial(Partial::Chunk(&self.input))?,
                Err(ClientError::Timeout(timeout)) if has_begun => {
                    return Err(ClientError::PartialTimeout(timeout));
                }
                Err(error) => return Err(error),
            }
            has_begun = true;
            self.input.clear();
        }
    }

    /// Reads once into `input`, with a buffer for the `needed` bytes; the end of file is an error.
    fn read_more(&mut self, needed: usize, deadline: &Deadline) -> Result<(), ClientError> {
        match self.read_some(needed, deadline)? {
            0 => Err(ClientError::Closed { is_partial: !self.input.is_empty() }),
            _ => Ok(()),
        }
    }

    /// Reads once into `input`, with a buffer of about `wanted` bytes; returns the number of bytes, 0
    /// at the end of file.
    fn read_some(&mut self, wanted: usize, deadline: &Deadline) -> Result<usize, ClientError> {
        read_some(&self.stream, &mut self.input, wanted, deadline)
    }
}

/// True if a frame of `command` may follow a request of `asked`. Replies carry ECHO; those of plugins
/// the request's own command, which has no name.
fn is_reply_to(asked: Command, command: Command) -> bool {
    match command {
        Command::Echo | Command::Broadcast | Command::Error => true,
        Command::Unknown(_) => command == asked,
        _ => false,
    }
}

/// The error of an ERROR frame.
fn refusal(payload: &[u8]) -> ClientError {
    ClientError::Refused(String::from_utf8_lossy(payload).into_owned())
}
