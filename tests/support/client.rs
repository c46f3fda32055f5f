//! A client whose every wait has a deadline, plain or over TLS, and frames of the `command`
//! protocol.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use super::PATIENCE;

/// After how long without progress a write counts as blocked by the peer.
const BLOCKED: Duration = Duration::from_millis(400);

/// A connection to the server. Every wait ends after [`PATIENCE`], with a panic.
#[derive(Debug)]
pub(crate) struct Client {
    stream: TcpStream,
    #[cfg(feature = "tls")]
    pub(crate) tls: Option<Box<rustls::ClientConnection>>,
}

impl Read for Client {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        #[cfg(feature = "tls")]
        if let Some(tls) = &mut self.tls {
            return rustls::Stream::new(&mut **tls, &mut self.stream).read(buf);
        }
        self.stream.read(buf)
    }
}

impl Write for Client {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        #[cfg(feature = "tls")]
        if let Some(tls) = &mut self.tls {
            return rustls::Stream::new(&mut **tls, &mut self.stream).write(buf);
        }
        self.stream.write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        #[cfg(feature = "tls")]
        if let Some(tls) = &mut self.tls {
            return rustls::Stream::new(&mut **tls, &mut self.stream).flush();
        }
        self.stream.flush()
    }
}

impl Client {
    #[track_caller]
    pub(crate) fn connect(addr: SocketAddr) -> Client {
        Client::new(TcpStream::connect_timeout(&addr, PATIENCE).unwrap())
    }

    /// A client that comes from `source`, an address of this machine.
    #[track_caller]
    pub(crate) fn connect_from(source: [u8; 4], addr: SocketAddr) -> Client {
        let socket = new_socket();
        socket.bind(&SocketAddr::from((source, 0)).into()).unwrap();
        socket.connect_timeout(&addr.into(), PATIENCE).unwrap();
        Client::new(socket.into())
    }

    /// A client of the Unix socket at `path`. std's stream is a descriptor, whatever its family.
    #[track_caller]
    pub(crate) fn unix(path: &str) -> Client {
        Client::over(OwnedFd::from(UnixStream::connect(path).unwrap()).into())
    }

    pub(super) fn new(stream: TcpStream) -> Client {
        stream.set_nodelay(true).unwrap();
        Client::over(stream)
    }

    fn over(stream: TcpStream) -> Client {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Client {
            stream,
            #[cfg(feature = "tls")]
            tls: None,
        }
    }

    /// The socket below.
    pub(crate) fn stream(&mut self) -> &mut TcpStream {
        &mut self.stream
    }

    pub(crate) fn local_port(&self) -> u16 {
        self.stream.local_addr().unwrap().port()
    }

    pub(crate) fn peer_addr(&self) -> SocketAddr {
        self.stream.peer_addr().unwrap()
    }

    /// A second handle of the same plain connection, to write while the first reads.
    pub(crate) fn twin(&self) -> Client {
        #[cfg(feature = "tls")]
        assert!(self.tls.is_none(), "a TLS connection is one state");
        Client::over(self.stream.try_clone().unwrap())
    }

    #[track_caller]
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.write_all(bytes).unwrap();
        self.flush().unwrap();
    }

    /// Sends what the peer may be past taking.
    pub(crate) fn try_send(&mut self, bytes: &[u8]) {
        let _ = self.write_all(bytes).and_then(|()| self.flush());
    }

    /// Sends until the peer has taken nothing for a while; how many bytes it took.
    #[track_caller]
    pub(crate) fn send_until_blocked(&mut self, bytes: &[u8]) -> usize {
        self.stream.set_write_timeout(Some(BLOCKED)).unwrap();
        let mut sent = 0;
        while sent < bytes.len() {
            match self.write(&bytes[sent..]) {
                Ok(n) => sent += n,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => panic!("after {sent} bytes: {error}"),
            }
        }
        self.stream.set_write_timeout(Some(PATIENCE)).unwrap();
        sent
    }

    /// The socket, for who reads many at once.
    pub(crate) fn into_stream(self) -> TcpStream {
        self.stream
    }

    /// Closes with a reset, whatever is under way.
    pub(crate) fn abort(mut self) {
        self.set_abortive();
    }

    /// Its end will be a reset.
    pub(crate) fn set_abortive(&mut self) {
        socket2::SockRef::from(&self.stream).set_linger(Some(Duration::ZERO)).unwrap();
    }

    /// Shuts the writing side; over TLS, says so with a close_notify and leaves TCP open.
    #[track_caller]
    pub(crate) fn half_close(&mut self) {
        #[cfg(feature = "tls")]
        if let Some(tls) = &mut self.tls {
            tls.send_close_notify();
            return self.flush().unwrap();
        }
        self.shut_tcp();
    }

    /// Shuts the writing side of the socket, whatever lies over it.
    #[track_caller]
    pub(crate) fn shut_tcp(&mut self) {
        self.stream.shutdown(Shutdown::Write).unwrap();
    }

    #[track_caller]
    pub(crate) fn read_exactly(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        if let Err(error) = self.read_exact(&mut bytes) {
            panic!("while reading {len} bytes: {error}");
        }
        bytes
    }

    /// Reads as many bytes as `expected` has, which they must equal.
    #[track_caller]
    pub(crate) fn expect(&mut self, expected: &[u8]) {
        for (number, chunk) in expected.chunks(1 << 16).enumerate() {
            let got = self.read_exactly(chunk.len());
            assert!(
                got == chunk,
                "expected {}, got {} at {}",
                excerpt(chunk),
                excerpt(&got),
                number << 16
            );
        }
    }

    /// The next line, without its `\n`.
    #[track_caller]
    pub(crate) fn read_line(&mut self) -> String {
        let mut line = Vec::new();
        loop {
            let mut byte = [0];
            match self.read(&mut byte) {
                // Tests of signals run in the same process.
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Ok(1) if byte != *b"\n" => line.push(byte[0]),
                Ok(1) => return String::from_utf8(line).unwrap(),
                Ok(_) => panic!("the end came after {}", excerpt(&line)),
                Err(error) => panic!("after {}: {error}", excerpt(&line)),
            }
        }
    }

    /// The next frame of the `command` protocol.
    #[track_caller]
    pub(crate) fn read_frame(&mut self) -> (u8, Vec<u8>) {
        let header = self.read_exactly(5);
        let len = u32::from_be_bytes(header[1..].try_into().unwrap());
        (header[0], self.read_exactly(len as usize))
    }

    /// The next frame, which must carry `code` and `text`.
    #[track_caller]
    pub(crate) fn expect_frame(&mut self, code: u8, text: &str) {
        let (got, payload) = self.read_frame();
        let payload = String::from_utf8_lossy(&payload);
        assert_eq!((got, &*payload), (code, text));
    }

    /// Sends one frame and reads one.
    #[track_caller]
    pub(crate) fn ask(&mut self, code: u8, payload: &[u8]) -> (u8, Vec<u8>) {
        self.send(&frame(code, payload));
        self.read_frame()
    }

    /// The connection answers an ECHO, with nothing else before it.
    #[track_caller]
    pub(crate) fn expect_alive(&mut self) {
        self.send(b"\x01\0\0\0\x05alive");
        self.expect(b"\x01\0\0\0\x05alive");
    }

    #[track_caller]
    pub(crate) fn status(&mut self) -> Status {
        let (code, json) = self.ask(7, b"");
        assert_eq!(code, 1);
        Status(String::from_utf8(json).unwrap())
    }

    /// Everything up to the end of file, which must come in order: a reset is a failure.
    #[track_caller]
    pub(crate) fn read_to_end(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        if let Err(error) = Read::read_to_end(self, &mut bytes) {
            panic!("instead of the end, after {} bytes: {error}", bytes.len());
        }
        bytes
    }

    /// The end of file is next.
    #[track_caller]
    pub(crate) fn expect_eof(&mut self) {
        let rest = self.read_to_end();
        assert!(rest.is_empty(), "before the end came {}", excerpt(&rest));
    }

    /// Reads what still comes until the connection ends, in whatever way.
    #[track_caller]
    pub(crate) fn read_until_cut(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        match Read::read_to_end(self, &mut bytes) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => panic!("it goes on"),
            _ => bytes,
        }
    }

    /// Reads to the end and keeps nothing.
    pub(crate) fn discard_to_end(&mut self) {
        let _ = io::copy(self, &mut io::sink());
    }

    /// The server has nothing to say for so long, and does not close.
    #[track_caller]
    pub(crate) fn expect_silence(&mut self, time: Duration) {
        assert!(self.is_quiet_for(time), "the server has something to say");
    }

    /// Whether nothing is to be read for so long, the end of file included. Reads nothing but what
    /// TLS says for itself.
    pub(crate) fn is_quiet_for(&mut self, time: Duration) -> bool {
        self.stream.set_read_timeout(Some(time)).unwrap();
        let peeked = self.peek();
        self.stream.set_read_timeout(Some(PATIENCE)).unwrap();
        peeked.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
    }

    fn peek(&mut self) -> io::Result<()> {
        #[cfg(feature = "tls")]
        if let Some(tls) = &mut self.tls {
            return super::tls::peek(tls, &mut self.stream);
        }
        self.stream.peek(&mut [0]).map(|_| ())
    }
}

pub(super) fn new_socket() -> socket2::Socket {
    socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap()
}

/// A frame of the `command` protocol.
pub(crate) fn frame(code: u8, payload: &[u8]) -> Vec<u8> {
    let len = u32::try_from(payload.len()).unwrap();
    let mut frame = vec![code];
    frame.extend(len.to_be_bytes());
    frame.extend(payload);
    frame
}

/// An ERROR frame.
pub(crate) fn error(text: &str) -> Vec<u8> {
    frame(255, text.as_bytes())
}

fn excerpt(bytes: &[u8]) -> String {
    let shown = bytes.len().min(100);
    let text = bytes[..shown].escape_ascii();
    format!("{} bytes \"{text}\"", bytes.len())
}

/// The answer to STATUS.
#[derive(Debug)]
pub(crate) struct Status(pub(crate) String);

impl Status {
    #[track_caller]
    pub(crate) fn get(&self, key: &str) -> u64 {
        let (_, after) = self.0.split_once(&format!("\"{key}\":")).unwrap();
        let digits = after.split([',', '}']).next().unwrap();
        digits.parse().unwrap()
    }
}
