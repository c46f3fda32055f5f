//! TLS over a socket that blocks. One thread may read while another writes: neither holds the
//! records while it waits for the socket.

use std::io::{self, ErrorKind, Write};
use std::mem;
use std::net::Shutdown;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::net::{RecvFlags, SendFlags};
use socket2::Socket;

use super::timeout::{Deadline, is_timeout, set_read_timeout, set_write_timeout};
use crate::buffer::WireBuffer;
use crate::tls::client::{ClientSession, ClientTls, Failure};

/// Bytes of one read, and most that are sealed at a time.
const READ_LEN: usize = 1 << 14;
const SEAL_LEN: usize = 1 << 16;

/// Most bytes that wait for the server to read them, of what TLS itself answers.
const ANSWER_BYTES_MAX: usize = 1 << 16;

/// Most reads in which [`TlsStream::ends_within`] looks for the end without waiting.
const READS_MAX: usize = 64;

/// A TLS stream; clones are handles on the same one. The last to be dropped tells the server that no
/// more will come.
#[derive(Debug, Clone)]
pub(super) struct TlsStream(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    socket: Socket,
    tls: ClientTls,
    /// The server's URL without `+tls`, for errors.
    plain_url: String,
    state: Mutex<State>,
    /// Held while the socket is written to: records leave in the order in which they are sealed.
    writer: Mutex<()>,
    read_timeout: Mutex<Option<Duration>>,
}

#[derive(Debug)]
struct State {
    session: ClientSession,
    /// Received bytes that are no whole record, or handshake message, yet.
    wire: Vec<u8>,
    /// Decrypted bytes, and how many of them have been handed out.
    plain: Vec<u8>,
    taken: usize,
    has_answered: bool,
    /// Sealed bytes that have not been written.
    sealed: Vec<u8>,
    /// The server has said that no more will come.
    has_ended: bool,
    failure: Option<Failure>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl TlsStream {
    /// Shakes hands over `socket`, which is connected, within `deadline`.
    ///
    /// # Errors
    ///
    /// That of a timeout is told by [`is_timeout`]; any other says what happened.
    pub(super) fn connect(
        socket: Socket,
        tls: &ClientTls,
        plain_url: String,
        deadline: &Deadline,
    ) -> io::Result<TlsStream> {
        let session = tls.begin().map_err(|failure| to_error(&failure, &plain_url))?;
        let state = State {
            session,
            wire: Vec::new(),
            plain: Vec::new(),
            taken: 0,
            has_answered: false,
            sealed: Vec::new(),
            has_ended: false,
            failure: None,
        };
        let stream = TlsStream(Arc::new(Shared {
            socket,
            tls: tls.clone(),
            plain_url,
            state: Mutex::new(state),
            writer: Mutex::new(()),
            read_timeout: Mutex::new(None),
        }));
        stream.shake_hands(deadline)?;
        Ok(stream)
    }

    fn shake_hands(&self, deadline: &Deadline) -> io::Result<()> {
        let shared = &*self.0;
        lock(&shared.state).receive(&shared.tls, &[]);
        loop {
            let writer = lock(&shared.writer);
            let (sealed, is_over) = {
                let mut state = lock(&shared.state);
                (mem::take(&mut state.sealed), state.session.is_open() || state.failure.is_some())
            };
            set_write_timeout(&shared.socket, remaining(deadline)?);
            let written = (&shared.socket).write_all(&sealed);
            drop(writer);
            // A server that refuses may have closed: it is read what it says.
            if let Err(error) = written
                && is_timeout(&error)
            {
                return Err(error);
            }
            if is_over {
                set_write_timeout(&shared.socket, None);
                return shared.failure().map_or(Ok(()), Err);
            }
            set_read_timeout(&shared.socket, remaining(deadline)?);
            shared.fill(RecvFlags::empty())?;
        }
    }

    /// The socket under the stream.
    pub(super) fn socket(&self) -> &Socket {
        &self.0.socket
    }

    /// Limits the time of each read: until data comes, whatever else does.
    pub(super) fn set_read_timeout(&self, timeout: Option<Duration>) {
        *lock(&self.0.read_timeout) = timeout;
    }

    /// Reads decrypted bytes; 0 at the end that the server has told.
    pub(super) fn read(&self, bytes: &mut [u8]) -> io::Result<usize> {
        let shared = &*self.0;
        let deadline = Deadline::new(*lock(&shared.read_timeout));
        loop {
            {
                let mut state = lock(&shared.state);
                if state.has_plain() {
                    return Ok(state.take_plain(bytes));
                }
                if let Some(failure) = &state.failure {
                    return Err(to_error(failure, &shared.plain_url));
                }
                if state.has_ended {
                    return Ok(0);
                }
            }
            set_read_timeout(&shared.socket, remaining(&deadline)?);
            shared.fill(RecvFlags::empty())?;
        }
    }

    /// Seals the beginning of `bytes` and writes it; returns how many they were.
    pub(super) fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        let shared = &*self.0;
        let writer = lock(&shared.writer);
        let bytes = &bytes[..bytes.len().min(SEAL_LEN)];
        let sealed = {
            let mut state = lock(&shared.state);
            let sealed = state.seal(bytes);
            sealed.map_err(|failure| to_error(&failure, &shared.plain_url))?
        };
        (&shared.socket).write_all(&sealed)?;
        drop(writer);
        // What a reader has had to answer meanwhile.
        shared.write_answers();
        Ok(bytes.len())
    }

    /// As [`Stream::shutdown`](super::stream::Stream::shutdown).
    pub(super) fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        let shared = &*self.0;
        match how {
            Shutdown::Read => {}
            Shutdown::Write => {
                let _writer = lock(&shared.writer);
                let sealed = lock(&shared.state).take_end();
                (&shared.socket).write_all(&sealed)?;
            }
            Shutdown::Both => shared.write_end(),
        }
        shared.socket.shutdown(how)
    }

    /// As [`Stream::ends_within`](super::stream::Stream::ends_within). The end may stand behind records
    /// that hold no data.
    pub(super) fn ends_within(&self, time: Duration) -> bool {
        let shared = &*self.0;
        let deadline = Deadline::new(Some(time));
        for _ in 0..READS_MAX {
            {
                let state = lock(&shared.state);
                if state.has_plain() || state.has_ended || state.failure.is_some() {
                    return !state.has_plain();
                }
            }
            let flags = match remaining(&deadline) {
                Ok(remaining) => {
                    set_read_timeout(&shared.socket, remaining);
                    RecvFlags::empty()
                }
                Err(_) => RecvFlags::DONTWAIT,
            };
            if let Err(error) = shared.fill(flags) {
                return !is_timeout(&error);
            }
        }
        false
    }
}

impl Shared {
    /// Reads from the socket once, and takes what has come.
    fn fill(&self, flags: RecvFlags) -> io::Result<()> {
        let mut bytes = [0; READ_LEN];
        let read = match rustix::net::recv(&self.socket, &mut bytes, flags) {
            Ok((read, _)) => read,
            Err(error) => {
                let error = io::Error::from(error);
                return match error.kind() {
                    ErrorKind::Interrupted => Ok(()),
                    ErrorKind::ConnectionReset => Err(self.reset_error(error)),
                    _ => Err(error),
                };
            }
        };
        let mut state = lock(&self.state);
        if read == 0 {
            // A server that wants a certificate may close without an alert.
            let demand = self.tls.reset_failure().filter(|_| !state.has_answered);
            let is_open = state.session.is_open();
            let end = if is_open { Failure::Cut } else { Failure::EndedInHandshake };
            let failure = demand.unwrap_or(end);
            state.failure.get_or_insert(failure);
            return Ok(());
        }
        state.receive(&self.tls, &bytes[..read]);
        let is_open = state.session.is_open();
        drop(state);
        if is_open {
            self.write_answers();
        }
        Ok(())
    }

    /// The error of a connection that the server has reset: its last alert may be lost.
    fn reset_error(&self, error: io::Error) -> io::Error {
        let has_answered = lock(&self.state).has_answered;
        match self.tls.reset_failure().filter(|_| !has_answered) {
            Some(failure) => to_error(&failure, &self.plain_url),
            None => error,
        }
    }

    fn failure(&self) -> Option<io::Error> {
        lock(&self.state).failure.as_ref().map(|failure| to_error(failure, &self.plain_url))
    }

    /// Writes what TLS has to answer, as far as the socket takes it now. A reader must not wait for a
    /// server that waits for a reader; a thread that is writing takes the rest with it.
    fn write_answers(&self) {
        let Ok(_writer) = self.writer.try_lock() else { return };
        let mut state = lock(&self.state);
        while !state.sealed.is_empty() {
            match rustix::net::send(&self.socket, &state.sealed, SendFlags::DONTWAIT) {
                Ok(sent) => drop(state.sealed.drain(..sent)),
                Err(rustix::io::Errno::INTR) => {}
                // The rest waits, and an error comes back at the next read or write.
                Err(_) => return,
            }
        }
    }

    /// Tells the server that no more will come, if that does not block.
    fn write_end(&self) {
        if let Ok(_writer) = self.writer.try_lock() {
            let sealed = lock(&self.state).take_end();
            let _ = rustix::net::send(&self.socket, &sealed, SendFlags::DONTWAIT);
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.write_end();
    }
}

impl State {
    /// Takes bytes that have come from the socket.
    fn receive(&mut self, tls: &ClientTls, bytes: &[u8]) {
        if self.failure.is_some() {
            return;
        }
        if !self.has_plain() {
            self.plain.clear();
            self.taken = 0;
        }
        self.wire.extend_from_slice(bytes);
        let mut answer = WireBuffer::default();
        match self.session.receive(tls, &mut self.wire, &mut self.plain, &mut answer) {
            Ok(received) => {
                self.wire.drain(..received.taken);
                self.has_ended |= received.has_ended;
            }
            Err(failure) => self.failure = Some(failure),
        }
        self.has_answered |= self.has_plain();
        self.sealed.extend_from_slice(&answer);
        if self.sealed.len() > ANSWER_BYTES_MAX {
            self.failure.get_or_insert(Failure::NotRead);
        }
    }

    fn has_plain(&self) -> bool {
        self.taken < self.plain.len()
    }

    fn take_plain(&mut self, bytes: &mut [u8]) -> usize {
        let plain = &self.plain[self.taken..];
        let len = plain.len().min(bytes.len());
        bytes[..len].copy_from_slice(&plain[..len]);
        self.taken += len;
        len
    }

    /// Records for `bytes`, behind those that had to be written before them.
    fn seal(&mut self, bytes: &[u8]) -> Result<Vec<u8>, Failure> {
        if let Some(failure) = &self.failure {
            return Err(failure.clone());
        }
        let mut wire = WireBuffer::default();
        self.session.seal(bytes, &mut wire)?;
        self.sealed.extend_from_slice(&wire);
        Ok(mem::take(&mut self.sealed))
    }

    /// The same for the end of the client's data.
    fn take_end(&mut self) -> Vec<u8> {
        let mut wire = WireBuffer::default();
        self.session.seal_end(&mut wire);
        self.sealed.extend_from_slice(&wire);
        mem::take(&mut self.sealed)
    }
}

/// The time that is left, for a timeout of the socket.
fn remaining(deadline: &Deadline) -> io::Result<Option<Duration>> {
    match deadline.remaining() {
        Some(remaining) if remaining.is_zero() => Err(ErrorKind::WouldBlock.into()),
        remaining => Ok(remaining),
    }
}

fn to_error(failure: &Failure, plain_url: &str) -> io::Error {
    let kind = match failure {
        Failure::Cut => ErrorKind::UnexpectedEof,
        _ => ErrorKind::InvalidData,
    };
    io::Error::new(kind, failure.explain(plain_url))
}
