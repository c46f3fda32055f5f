//! One conversation of requests and answers, over `command`, `prefixed` or `raw`. Knows nothing of
//! who asks and where the answers go.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use super::connect::{Deadline, connect};
use super::error::ClientError;
use super::options::Endpoint;
use super::request::Request;
use crate::cli::ProtocolName;
use crate::codec::Decoder;
use crate::codec::command::{Command, CommandDecoder, Frame};
use crate::codec::prefixed::{self, PrefixedDecoder};
use crate::limits::FRAME_LEN_LIMIT;

/// Longest text of a request, in bytes: what any server can be told to accept.
pub(super) const TEXT_LEN_MAX: usize = FRAME_LEN_LIMIT as usize;

/// Bytes asked for in one read: at least, and at most.
const READ_LEN: usize = 1 << 16;
const READ_LEN_MAX: usize = 1 << 20;

/// How long something may lag behind an answer that ought to have come before it.
const GRACE_PERIOD: Duration = Duration::from_millis(50);

/// What comes before an answer is complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Partial<'a> {
    /// Somebody's broadcast.
    Broadcast(&'a [u8]),
    /// A piece of a raw answer. That may be of any length, so it is not gathered.
    Chunk(&'a [u8]),
}

/// Who is told of it.
pub(super) type OnPartial<'a> = &'a mut dyn FnMut(Partial<'_>) -> Result<(), ClientError>;

/// A connection on which requests are answered in turn.
#[derive(Debug)]
pub(super) struct Connection {
    endpoint: Endpoint,
    stream: TcpStream,
    /// What has been read behind the last whole frame.
    input: Vec<u8>,
    /// Nothing more can be asked here.
    is_finished: bool,
}

impl Connection {
    pub(super) fn open(endpoint: &Endpoint) -> Result<Self, ClientError> {
        let stream = connect(endpoint)?;
        Ok(Connection { endpoint: endpoint.clone(), stream, input: Vec::new(), is_finished: false })
    }

    /// Asks, and waits for the end of the answer; returns what `on_partial` has not been told of it.
    pub(super) fn execute(
        &mut self,
        request: &Request,
        on_partial: OnPartial<'_>,
    ) -> Result<Vec<u8>, ClientError> {
        if request.text.len() > TEXT_LEN_MAX {
            return Err(ClientError::TooLong { max: TEXT_LEN_MAX });
        }
        let deadline = Deadline::new(self.endpoint.timeout);
        let written = self.write(self.encode(request))?;
        let answer = match self.endpoint.protocol {
            ProtocolName::Command => self.read_reply(&deadline, on_partial),
            ProtocolName::Prefixed => self.read_message(&deadline),
            _ => self.read_to_end(&deadline, !request.text.is_empty(), on_partial),
        };
        // A write that goes on behind the answer is one that the server does not take.
        let written = matches!(written.recv_timeout(GRACE_PERIOD), Ok(Ok(())));
        self.is_finished |= match answer {
            Ok(_) => !written || self.endpoint.protocol == ProtocolName::Raw,
            // It may have been the server's last word.
            Err(ClientError::Refused(_)) => !written || self.closes_within(GRACE_PERIOD),
            Err(_) => true,
        };
        if self.is_finished {
            let _ = self.stream.shutdown(Shutdown::Both);
        }
        answer
    }

    fn encode(&self, request: &Request) -> Vec<u8> {
        let mut wire = Vec::new();
        match request.verb.command() {
            Some(command) => Frame { command, payload: &request.text }.encode(&mut wire),
            None if self.endpoint.protocol == ProtocolName::Prefixed => {
                prefixed::encode(&request.text, &mut wire);
            }
            None => wire.clone_from(&request.text),
        }
        wire
    }

    /// Writes `wire` while the answer is read: a server may answer before it has taken everything,
    /// with an error or, over raw, with what it has. How it went is told on the channel, unless
    /// the connection ends first.
    fn write(&self, wire: Vec<u8>) -> Result<Receiver<io::Result<()>>, ClientError> {
        let stream = self.stream.try_clone().map_err(|error| ClientError::socket(&error))?;
        let raw = self.endpoint.protocol == ProtocolName::Raw;
        let (sender, receiver) = mpsc::sync_channel(1);
        let write = move || {
            let mut result = (&stream).write_all(&wire);
            if raw && result.is_ok() {
                // Nothing else says where a raw message ends.
                result = stream.shutdown(Shutdown::Write);
            }
            let _ = sender.send(result);
        };
        let spawned = thread::Builder::new().name("write".into()).spawn(write);
        spawned.map(|_| receiver).map_err(|error| ClientError::socket(&error))
    }

    /// Takes leave, and waits a moment for the server to close.
    pub(super) fn quit(mut self) {
        let mut wire = Vec::new();
        Frame { command: Command::Quit, payload: b"" }.encode(&mut wire);
        if self.endpoint.protocol == ProtocolName::Command && self.stream.write_all(&wire).is_ok() {
            let deadline = Deadline::new(Some(Duration::from_secs(1)));
            while self.read_some(1, &deadline).is_ok_and(|n| n > 0) {
                self.input.clear();
            }
        }
    }

    /// The next broadcast, however long it takes.
    pub(super) fn next_broadcast(&mut self) -> Result<Vec<u8>, ClientError> {
        let frame = self.read_frame(&Deadline::new(None));
        let (command, payload) = frame.map_err(|error| match error {
            ClientError::Closed { is_partial: false } => ClientError::Disconnected,
            error => error,
        })?;
        match command {
            Command::Broadcast => Ok(payload),
            Command::Error => Err(refused(&payload)),
            command => {
                Err(ClientError::UnexpectedReply(format!("{command}, which nobody asked for")))
            }
        }
    }

    /// Whether the server has closed, or nothing more can be asked for another reason.
    pub(super) fn is_closed(&mut self) -> bool {
        self.is_finished = self.is_finished || self.closes_within(Duration::ZERO);
        self.is_finished
    }

    /// Whether the connection ends within `time`; not if something else comes first.
    fn closes_within(&mut self, time: Duration) -> bool {
        let peeked = if time.is_zero() {
            let blocking = |blocking: bool| self.stream.set_nonblocking(!blocking);
            blocking(false).and_then(|()| {
                let peeked = self.stream.peek(&mut [0]);
                blocking(true).and(peeked)
            })
        } else {
            self.stream.set_read_timeout(Some(time)).and_then(|()| self.stream.peek(&mut [0]))
        };
        match peeked {
            Ok(n) => n == 0,
            Err(error) => !is_timeout(&error),
        }
    }

    /// The reply to the last request.
    fn read_reply(
        &mut self,
        deadline: &Deadline,
        on_partial: OnPartial<'_>,
    ) -> Result<Vec<u8>, ClientError> {
        loop {
            let (command, payload) = self.read_frame(deadline)?;
            match command {
                Command::Broadcast => on_partial(Partial::Broadcast(&payload))?,
                Command::Echo => return Ok(payload),
                Command::Error => return Err(refused(&payload)),
                command => return Err(ClientError::UnexpectedReply(command.to_string())),
            }
        }
    }

    /// The next frame of the `command` protocol.
    fn read_frame(&mut self, deadline: &Deadline) -> Result<(Command, Vec<u8>), ClientError> {
        let mut decoder = CommandDecoder::new(FRAME_LEN_LIMIT);
        loop {
            match decoder.decode(&self.input) {
                Ok(Some((Frame { command, payload }, len))) => {
                    let found = (command, payload.to_vec());
                    self.input.drain(..len);
                    return Ok(found);
                }
                Ok(None) => self.read_at_least(decoder.missing(&self.input), deadline)?,
                Err(error) => return Err(ClientError::UnexpectedReply(error.to_string())),
            }
        }
    }

    /// The next message of the `prefixed` protocol.
    fn read_message(&mut self, deadline: &Deadline) -> Result<Vec<u8>, ClientError> {
        loop {
            let Ok(found) = PrefixedDecoder.decode(&self.input);
            if let Some((message, len)) = found {
                let message = message.to_vec();
                self.input.drain(..len);
                return Ok(message);
            }
            self.read_at_least(PrefixedDecoder.missing(&self.input), deadline)?;
        }
    }

    /// Everything up to the end of the stream, piece by piece.
    fn read_to_end(
        &mut self,
        deadline: &Deadline,
        expected: bool,
        on_partial: OnPartial<'_>,
    ) -> Result<Vec<u8>, ClientError> {
        let mut has_begun = false;
        loop {
            match self.read_some(READ_LEN, deadline) {
                Ok(0) if expected && !has_begun => {
                    return Err(ClientError::Closed { is_partial: false });
                }
                Ok(0) => return Ok(Vec::new()),
                Ok(_) => on_partial(Partial::Chunk(&self.input))?,
                Err(ClientError::Timeout(after)) if has_begun => {
                    return Err(ClientError::PartialTimeout(after));
                }
                Err(error) => return Err(error),
            }
            has_begun = true;
            self.input.clear();
        }
    }

    /// Reads until there are `missing` bytes more; perhaps more than those.
    fn read_at_least(&mut self, missing: usize, deadline: &Deadline) -> Result<(), ClientError> {
        let mut missing = missing;
        while missing > 0 {
            match self.read_some(missing, deadline)? {
                0 => return Err(ClientError::Closed { is_partial: !self.input.is_empty() }),
                n => missing = missing.saturating_sub(n),
            }
        }
        Ok(())
    }

    /// One read of about `wanted` bytes; how many have come, 0 at the end of the stream.
    fn read_some(&mut self, wanted: usize, deadline: &Deadline) -> Result<usize, ClientError> {
        let kept = self.input.len();
        loop {
            let left = deadline.remaining();
            if deadline.is_expired() {
                let after = deadline.timeout.unwrap_or_default();
                let has_begun = !self.input.is_empty();
                return Err(if has_begun {
                    ClientError::PartialTimeout
                } else {
                    ClientError::Timeout
                }(after));
            }
            self.stream.set_read_timeout(left).map_err(|error| ClientError::socket(&error))?;
            self.input.resize(kept + wanted.clamp(READ_LEN, READ_LEN_MAX), 0);
            let read = self.stream.read(&mut self.input[kept..]);
            self.input.truncate(kept + read.as_ref().copied().unwrap_or(0));
            match read {
                Ok(n) => return Ok(n),
                Err(error) if error.kind() == ErrorKind::Interrupted || is_timeout(&error) => {}
                Err(error) => return Err(ClientError::socket(&error)),
            }
        }
    }
}

/// How read(2) says that its time is over.
fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

fn refused(payload: &[u8]) -> ClientError {
    ClientError::Refused(String::from_utf8_lossy(payload).into_owned())
}
