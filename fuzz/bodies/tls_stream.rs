//! Bytes into TLS: any before the handshake, and behind it those of a client whose records are
//! flipped, cut, repeated, put in another order and mixed with foreign ones. They go to the records
//! themselves, or to a whole server with one connection.

mod pipe;

use std::cell::RefCell;
use std::path::Path;
use std::sync::{Arc, LazyLock};

use mynah::internal::buffer::WireBuffer;
use mynah::internal::server::Layer;
use mynah::internal::tls::{Records, ServerFiles, ServerRecords, ServerTls};
use rustls::client::UnbufferedClientConnection;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::unbuffered::ConnectionState;
use rustls::{ClientConfig, DigitallySignedStruct, Error, ProtocolVersion, SignatureScheme};

use pipe::Piped;

/// Longest record of TLS 1.2, with its header (RFC 5246, 6.2.3).
const RECORD_BYTES_MAX: usize = 5 + 16_384 + 2_048;
/// More than all that TLS answers to one delivery: a flight, or an alert.
const ANSWER_BYTES_MAX: usize = 8_192;

static SERVER: LazyLock<ServerTls> = LazyLock::new(|| {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = if here.ends_with("fuzz") { here.join("..") } else { here.to_owned() };
    let folder = root.join("tests/core/simulation/layers");
    let files =
        ServerFiles { cert: folder.join("cert.pem"), key: folder.join("key.pem"), client_ca: None };
    ServerTls::load(&files).expect("the files are there")
});

/// TLS 1.3 and 1.2. Those of 1.2 go on with what the first of them has agreed on, which takes no
/// signature and no key exchange.
static CLIENTS: LazyLock<[Arc<ClientConfig>; 2]> = LazyLock::new(|| {
    [&rustls::version::TLS13, &rustls::version::TLS12].map(|version| {
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(&[version])
            .expect("ring has suites of both versions")
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Trusting))
            .with_no_client_auth();
        Arc::new(config)
    })
});

/// Takes every certificate for that of the server.
#[derive(Debug)]
struct Trusting;

impl ServerCertVerifier for Trusting {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }
}

type Client = Records<UnbufferedClientConnection>;

fn client(is_tls12: bool) -> Client {
    let name = ServerName::try_from("localhost").expect("a name");
    let config = Arc::clone(&CLIENTS[usize::from(is_tls12)]);
    Records::new(UnbufferedClientConnection::new(config, name).expect("a connection"))
}

thread_local! {
    /// A session with TLS 1.3 that nothing has gone wrong with yet: a handshake is dear.
    static INTACT: RefCell<Option<(Client, Direct)>> = const { RefCell::new(None) };
    /// The same with a whole server.
    static INTACT_PIPED: RefCell<Option<(Client, Piped)>> = const { RefCell::new(None) };
}

/// Where a client's bytes go.
trait Target {
    /// Whether data comes back as it was sent.
    const ECHOES: bool;

    /// Takes what the client sent.
    fn deliver(&mut self, bytes: &[u8]);

    /// The client shuts its side.
    fn shut(&mut self) {}

    /// Bytes the server sent.
    fn take_answer(&mut self) -> Vec<u8>;

    /// Bytes of data that the server opened, where that can be seen.
    fn opened(&self) -> usize;
}

/// The records of the server, and nothing else.
struct Direct {
    records: ServerRecords,
    /// The beginning of a record.
    input: Vec<u8>,
    answer: Vec<u8>,
    opened: usize,
    is_open: bool,
    has_failed: bool,
    has_ended: bool,
}

impl Direct {
    fn new() -> Self {
        Direct {
            records: <ServerRecords as Layer>::begin(&SERVER).expect("a connection"),
            input: Vec::new(),
            answer: Vec::new(),
            opened: 0,
            is_open: false,
            has_failed: false,
            has_ended: false,
        }
    }
}

impl Target for Direct {
    const ECHOES: bool = false;

    fn deliver(&mut self, bytes: &[u8]) {
        if self.has_ended || self.has_failed {
            return;
        }
        self.input.extend(bytes);
        let (mut plain, mut answer) = (Vec::new(), WireBuffer::default());
        let len = self.input.len();
        let result = self.records.receive(&mut self.input, &mut plain, &mut answer);
        assert!(plain.len() <= len, "more came out than went in");
        assert!(answer.len() <= ANSWER_BYTES_MAX, "an answer of {} bytes", answer.len());
        match result {
            Ok(received) => {
                assert!(self.is_open || plain.is_empty(), "data before the handshake was over");
                assert!(received.taken <= len);
                self.input.drain(..received.taken);
                self.has_ended = received.has_ended;
                self.is_open |= received.is_open;
                let kept_max = RECORD_BYTES_MAX + if self.is_open { 0 } else { 0x1_0000 };
                assert!(self.input.len() < kept_max, "{} bytes are kept", self.input.len());
            }
            Err(_) => {
                // rustls is not to be given anything after an error; that the server does not, and
                // seals nothing, is seen with a whole one.
                self.has_failed = true;
                self.input.clear();
            }
        }
        for byte in &plain {
            assert_eq!(*byte, said(self.opened), "not what was sealed, at {}", self.opened);
            self.opened += 1;
        }
        self.answer.extend(&answer[..]);
    }

    fn take_answer(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.answer)
    }

    fn opened(&self) -> usize {
        self.opened
    }
}

/// The byte that a client says at some place: what it has said is known by how much it is.
fn said(at: usize) -> u8 {
    (at % 251) as u8
}

/// Takes fuzzer input apart and checks it: a byte for what is tried, then bytes for the server, or
/// steps.
///
/// # Panics
///
/// When something other than what was sealed is opened, an error is not final, or a bound is
/// broken.
pub fn run(data: &[u8]) {
    let Some((&kind, rest)) = data.split_first() else { return };
    let is_tls12 = kind & 1 != 0;
    match kind >> 1 & 3 {
        0 => before(&mut Direct::new(), is_tls12, kind & 8 != 0, rest),
        1 => before(&mut Piped::new(&SERVER), is_tls12, kind & 8 != 0, rest),
        2 => {
            let kept = INTACT.take().filter(|_| !is_tls12);
            let (client, direct) = kept.unwrap_or_else(|| handshake(Direct::new(), is_tls12));
            let mut session = Session::new(client, direct);
            session.run(rest);
            let is_intact = session.is_intact();
            let Session { client, mut target, .. } = session;
            if is_intact && !is_tls12 && !target.has_failed && !target.has_ended {
                // What has been said begins anew.
                target.opened = 0;
                INTACT.set(Some((client, target)));
            }
        }
        _ => {
            let kept = INTACT_PIPED.take().filter(|_| !is_tls12);
            let (client, piped) = kept.unwrap_or_else(|| handshake(Piped::new(&SERVER), is_tls12));
            let mut session = Session::new(client, piped);
            session.run(rest);
            let is_intact = session.is_intact();
            let Session { client, mut target, .. } = session;
            if is_intact && !is_tls12 && kind & 8 == 0 {
                INTACT_PIPED.set(Some((client, target)));
            } else {
                target.finish();
            }
        }
    }
}

/// Bytes in place of the handshake, or behind a hello, in pieces.
fn before(target: &mut impl Target, is_tls12: bool, has_hello: bool, rest: &[u8]) {
    if has_hello {
        let mut hello = WireBuffer::default();
        let begun = client(is_tls12).receive(&mut [], &mut Vec::new(), &mut hello);
        begun.expect("nothing has come that could be wrong");
        target.deliver(&hello);
    }
    let Some((&len, rest)) = rest.split_first() else { return };
    for piece in rest.chunks(usize::from(len).max(1)) {
        target.deliver(piece);
    }
    target.shut();
    assert_eq!(target.opened(), 0, "data without a handshake");
}

fn handshake<T: Target>(mut target: T, is_tls12: bool) -> (Client, T) {
    let mut client = client(is_tls12);
    let mut input = Vec::new();
    for _ in 0..4 {
        let mut wire = WireBuffer::default();
        let received = client.receive(&mut input, &mut Vec::new(), &mut wire).expect("a flight");
        input.drain(..received.taken);
        target.deliver(&wire);
        input.extend(target.take_answer());
        if received.is_open && input.is_empty() {
            break;
        }
    }
    assert!(input.is_empty(), "the handshake does not end");
    (client, target)
}

/// An open connection, and what is on its way to the server.
struct Session<T> {
    client: Client,
    target: T,
    /// Records in the order of their sending.
    pending: Vec<Vec<u8>>,
    /// Data sealed so far.
    said: usize,
    /// Data that has come back.
    heard: usize,
    /// The server's side is over: it has said so, or why.
    is_over: bool,
    input: Vec<u8>,
    /// New keys come with the next data. rustls can promise them once.
    updates: bool,
    /// Nothing on the way has been changed.
    is_genuine: bool,
    has_ended: bool,
}

impl<T: Target> Session<T> {
    fn new(client: Client, target: T) -> Self {
        Session {
            client,
            target,
            pending: Vec::new(),
            said: 0,
            heard: 0,
            is_over: false,
            input: Vec::new(),
            updates: false,
            is_genuine: true,
            has_ended: false,
        }
    }

    fn is_intact(&self) -> bool {
        self.is_genuine && !self.has_ended && !self.updates && self.input.is_empty()
    }

    fn run(&mut self, mut steps: &[u8]) {
        while let [step, argument, rest @ ..] = steps {
            steps = rest;
            let argument = usize::from(*argument);
            match step % 16 {
                0..4 => self.seal(argument << (step % 4 * 2)),
                4 => self.update_keys(),
                5 => self.end(),
                6 => self.change(argument, |record, at| {
                    let len = record.len();
                    record[at % len] ^= 1 << (at % 8);
                }),
                7 => self.change(argument, |record, at| record.truncate(at % record.len())),
                8 => {
                    if let Some(record) = self.pending.get(argument % self.pending.len().max(1)) {
                        self.pending.push(record.clone());
                        self.is_genuine = false;
                    }
                }
                9 => {
                    let len = self.pending.len();
                    if len > 1 && argument % len + 1 < len {
                        self.pending.swap(argument % len, argument % len + 1);
                        self.is_genuine = false;
                    }
                }
                10 => {
                    let (foreign, rest) = rest.split_at(argument.min(rest.len()));
                    self.pending.push(foreign.to_vec());
                    self.is_genuine &= foreign.is_empty();
                    steps = rest;
                }
                11 => self.change(argument, |record, _| record.clear()),
                _ => self.deliver(argument),
            }
        }
        self.deliver(0);
    }

    fn seal(&mut self, len: usize) {
        if self.has_ended || self.is_over || len == 0 {
            return;
        }
        self.updates = false;
        let plain: Vec<u8> = (self.said..self.said + len).map(said).collect();
        self.said += len;
        let mut wire = WireBuffer::default();
        self.client.seal(&plain, &mut wire).expect("the connection is open");
        self.pending.push(wire.to_vec());
    }

    fn update_keys(&mut self) {
        let is_tls12 =
            self.client.connection().protocol_version() == Some(ProtocolVersion::TLSv1_2);
        if self.has_ended || self.is_over || is_tls12 || self.updates {
            return;
        }
        self.updates = true;
        let status = self.client.connection_mut().process_tls_records(&mut []);
        if let Ok(ConnectionState::WriteTraffic(traffic)) = status.state {
            traffic.refresh_traffic_keys().expect("the keys can be changed");
        }
    }

    fn end(&mut self) {
        if !self.is_over && !std::mem::replace(&mut self.has_ended, true) {
            let mut wire = WireBuffer::default();
            self.client.seal_end(&mut wire);
            self.pending.push(wire.to_vec());
        }
    }

    fn change(&mut self, at: usize, change: impl FnOnce(&mut Vec<u8>, usize)) {
        let len = self.pending.len();
        if let Some(record) = self.pending.get_mut(at % len.max(1))
            && !record.is_empty()
        {
            change(record, at);
            self.is_genuine = false;
        }
    }

    /// Sends what is on its way, in pieces of so many bytes or in one.
    fn deliver(&mut self, piece: usize) {
        let bytes = self.pending.concat();
        self.pending.clear();
        // Not so many pieces that an input takes long.
        let piece = if piece == 0 { bytes.len().max(1) } else { piece + bytes.len() / 50 };
        for piece in bytes.chunks(piece) {
            self.target.deliver(piece);
        }
        self.hear();
        let opened = if T::ECHOES { self.heard } else { self.target.opened() };
        assert!(opened <= self.said, "more was opened than was sealed");
        if self.is_genuine {
            assert_eq!(opened, self.said, "not all was opened");
        }
    }

    /// Takes what the server sent.
    fn hear(&mut self) {
        self.input.extend(self.target.take_answer());
        assert!(!self.is_over || self.input.is_empty(), "something behind the last word");
        let (mut plain, mut answer) = (Vec::new(), WireBuffer::default());
        match self.client.receive(&mut self.input, &mut plain, &mut answer) {
            Ok(received) => {
                self.input.drain(..received.taken);
                self.is_over |= received.has_ended;
                assert!(self.input.is_empty(), "a part of a record");
            }
            Err(Error::AlertReceived(_)) if !self.is_genuine => {
                self.is_over = true;
                self.input.clear();
            }
            Err(error) => panic!("the server sent what cannot be opened: {error}"),
        }
        if !answer.is_empty() {
            self.pending.push(answer.to_vec());
        }
        assert!(T::ECHOES || plain.is_empty(), "data that nobody sent");
        for byte in &plain {
            assert_eq!(*byte, said(self.heard), "not what was sealed, at {}", self.heard);
            self.heard += 1;
        }
    }
}
