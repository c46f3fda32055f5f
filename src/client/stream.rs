//! The stream under a connection: a socket, or TLS over one. Both directions may be used at once, by
//! two threads.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Shutdown};
use std::time::Duration;

use rustix::net::{RecvFlags, recv};
use socket2::Socket;

use super::timeout::{is_timeout, set_read_timeout, set_write_timeout};
#[cfg(feature = "tls")]
use super::tls_stream::TlsStream;

/// A stream to a server.
#[derive(Debug)]
pub(super) enum Stream {
    Plain(Socket),
    #[cfg(feature = "tls")]
    Tls(TlsStream),
}

impl Stream {
    /// Another handle on the same stream.
    pub(super) fn try_clone(&self) -> io::Result<Stream> {
        match self {
            Stream::Plain(socket) => socket.try_clone().map(Stream::Plain),
            #[cfg(feature = "tls")]
            Stream::Tls(stream) => Ok(Stream::Tls(stream.clone())),
        }
    }

    /// The address to which bytes go unencrypted over a network; `None` if they do not.
    pub(super) fn exposed_to(&self) -> Option<IpAddr> {
        match self {
            Stream::Plain(socket) => {
                let ip = socket.peer_addr().ok()?.as_socket()?.ip().to_canonical();
                (!ip.is_loopback()).then_some(ip)
            }
            #[cfg(feature = "tls")]
            Stream::Tls(_) => None,
        }
    }

    /// Ends one direction, or both. The server is told that no more will come; with [`Shutdown::Both`]
    /// only if that does not block.
    pub(super) fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        match self {
            Stream::Plain(socket) => socket.shutdown(how),
            #[cfg(feature = "tls")]
            Stream::Tls(stream) => stream.shutdown(how),
        }
    }

    /// Limits the time of each read, as [`set_read_timeout`] does.
    pub(super) fn set_read_timeout(&self, timeout: Option<Duration>) {
        match self {
            Stream::Plain(socket) => set_read_timeout(socket, timeout),
            #[cfg(feature = "tls")]
            Stream::Tls(stream) => stream.set_read_timeout(timeout),
        }
    }

    /// Limits the time of each write, as [`set_write_timeout`] does.
    pub(super) fn set_write_timeout(&self, timeout: Option<Duration>) {
        match self {
            Stream::Plain(socket) => set_write_timeout(socket, timeout),
            #[cfg(feature = "tls")]
            Stream::Tls(stream) => set_write_timeout(stream.socket(), timeout),
        }
    }

    /// True if the stream ends within `time` and no byte arrives before its end.
    pub(super) fn ends_within(&self, time: Duration) -> bool {
        match self {
            Stream::Plain(socket) => ends_within(socket, time),
            #[cfg(feature = "tls")]
            Stream::Tls(stream) => stream.ends_within(time),
        }
    }
}

fn ends_within(socket: &Socket, time: Duration) -> bool {
    let flags = if time.is_zero() {
        RecvFlags::PEEK | RecvFlags::DONTWAIT
    } else {
        set_read_timeout(socket, Some(time));
        RecvFlags::PEEK
    };
    match recv(socket, &mut [0], flags) {
        Ok((read, _)) => read == 0,
        Err(error) => !is_timeout(&error.into()),
    }
}

impl Read for &Stream {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Plain(socket) => (&*socket).read(bytes),
            #[cfg(feature = "tls")]
            Stream::Tls(stream) => stream.read(bytes),
        }
    }
}

impl Write for &Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Plain(socket) => (&*socket).write(bytes),
            #[cfg(feature = "tls")]
            Stream::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
