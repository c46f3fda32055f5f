//! Listening sockets that another process opened and passed to this one. Knows neither who passed
//! them nor how.

use std::fmt;
use std::io;
use std::os::fd::OwnedFd;

use socket2::{Domain, Socket, Type};

use super::socket::SocketAcceptor;
use super::tcp::{SocketOptions, TcpAcceptor};
#[cfg(feature = "unix")]
use super::unix::UnixAcceptor;
#[cfg(not(feature = "unix"))]
use crate::setting::SettingError;
use crate::strerror::strerror;

/// Why a descriptor cannot be a listener.
#[derive(Debug)]
pub enum PassedSocketError {
    /// It is no socket.
    NotASocket,
    /// It is a socket, but no stream socket, or it does not listen.
    NotListening,
    /// It is neither a TCP nor a Unix socket.
    UnknownFamily,
    /// It is a Unix socket, and this build has none.
    #[cfg(not(feature = "unix"))]
    NotBuilt,
    /// The system refuses.
    Io(io::Error),
}

impl fmt::Display for PassedSocketError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PassedSocketError::NotASocket => f.write_str("it is not a socket"),
            PassedSocketError::NotListening => f.write_str("it is not a listening stream socket"),
            PassedSocketError::UnknownFamily => {
                f.write_str("it is neither a TCP nor a Unix socket")
            }
            #[cfg(not(feature = "unix"))]
            PassedSocketError::NotBuilt => write!(f, "{}", SettingError::NO_UNIX),
            PassedSocketError::Io(error) => write!(f, "{}", strerror(error)),
        }
    }
}

impl std::error::Error for PassedSocketError {}

impl From<io::Error> for PassedSocketError {
    fn from(error: io::Error) -> Self {
        match error.raw_os_error() {
            Some(libc::ENOTSOCK) => PassedSocketError::NotASocket,
            _ => PassedSocketError::Io(error),
        }
    }
}

impl SocketAcceptor {
    /// Takes over a listening TCP or Unix stream socket, whose backlog may hold connections already.
    /// It is made non-blocking, which is so for all who have it, and is closed by execve(2). The
    /// file of a Unix socket stays when it is dropped.
    ///
    /// # Errors
    ///
    /// See [`PassedSocketError`].
    pub fn adopt(socket: OwnedFd, options: SocketOptions) -> Result<Self, PassedSocketError> {
        let socket = Socket::from(socket);
        if socket.r#type()? != Type::STREAM || !is_listening(&socket)? {
            return Err(PassedSocketError::NotListening);
        }
        socket.set_nonblocking(true)?;
        socket.set_cloexec(true)?;
        match socket.local_addr()?.domain() {
            Domain::IPV4 | Domain::IPV6 => Ok(TcpAcceptor::adopt(socket, options)?.into()),
            #[cfg(feature = "unix")]
            Domain::UNIX => Ok(UnixAcceptor::adopt(socket).into()),
            #[cfg(not(feature = "unix"))]
            Domain::UNIX => Err(PassedSocketError::NotBuilt),
            _ => Err(PassedSocketError::UnknownFamily),
        }
    }
}

#[cfg(target_os = "linux")]
fn is_listening(socket: &Socket) -> io::Result<bool> {
    socket.is_listener()
}

/// Other systems tell with the first accept(2).
#[cfg(not(target_os = "linux"))]
fn is_listening(_: &Socket) -> io::Result<bool> {
    Ok(true)
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::net::{TcpListener, TcpStream, UdpSocket};
    #[cfg(target_os = "linux")]
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[track_caller]
    fn refused(socket: impl Into<OwnedFd>, why: &str) {
        let error = SocketAcceptor::adopt(socket.into(), SocketOptions::default()).unwrap_err();
        assert_eq!(error.to_string(), why);
    }

    #[test]
    fn what_does_not_listen_is_refused() {
        let not_listening = "it is not a listening stream socket";
        refused(File::open("/dev/null").unwrap(), "it is not a socket");
        refused(UdpSocket::bind("127.0.0.1:0").unwrap(), not_listening);
        refused(UnixStream::pair().unwrap().0, not_listening);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        refused(TcpStream::connect(listener.local_addr().unwrap()).unwrap(), not_listening);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn passed_socket_neither_blocks_nor_is_inherited() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let copy = rustix::io::dup(&listener).unwrap();
        let fdinfo = format!("/proc/self/fdinfo/{}", copy.as_raw_fd());
        let is_set = |flag: i32| {
            let text = std::fs::read_to_string(&fdinfo).unwrap();
            let flags = text.lines().find_map(|line| line.strip_prefix("flags:")).unwrap();
            i32::from_str_radix(flags.trim(), 8).unwrap() & flag != 0
        };
        assert!(!is_set(libc::O_CLOEXEC) && !is_set(libc::O_NONBLOCK));
        let acceptor = SocketAcceptor::adopt(copy, SocketOptions::default()).unwrap();
        assert!(is_set(libc::O_CLOEXEC) && is_set(libc::O_NONBLOCK));
        match acceptor {
            SocketAcceptor::Tcp(acceptor) => {
                assert_eq!(acceptor.local_addr().unwrap(), listener.local_addr().unwrap());
                assert!(acceptor.is_passed());
            }
            #[cfg(feature = "unix")]
            SocketAcceptor::Unix(_) => panic!("{acceptor:?}"),
        }
    }

    #[cfg(feature = "unix")]
    #[test]
    fn file_of_a_passed_socket_stays() {
        let path = std::env::temp_dir().join(format!("mynah-passed-{}", std::process::id()));
        let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let acceptor = SocketAcceptor::adopt(listener.into(), SocketOptions::default()).unwrap();
        let SocketAcceptor::Unix(acceptor) = acceptor else { panic!("{acceptor:?}") };
        assert_eq!(acceptor.path().as_deref(), Some(&*path));
        drop(acceptor);
        std::fs::remove_file(&path).unwrap();
    }
}
