//! Servers of TLS on rustls: certificates made for a test, a server whose connections the test
//! handles, and a proxy that puts TLS in front of a server without it.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd,
};
use rustls::crypto::cipher::{MessageEncrypter, OutboundPlainMessage};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::version::TLS13;
use rustls::{
    ConnectionTrafficSecrets, ContentType, HandshakeKind, ProtocolVersion, RootCertStore,
    ServerConfig, ServerConnection, StreamOwned, SupportedCipherSuite, SupportedProtocolVersion,
};

use super::support::{Folder, PATIENCE};

/// When a certificate is in force: from one year to another.
pub(crate) const NOW: (i32, i32) = (2020, 4000);

/// A CA, and the files that hold what it has issued.
pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: Folder,
    issued: AtomicUsize,
}

/// A certificate and its key, in files.
pub(crate) struct Issued {
    pub(crate) cert: String,
    pub(crate) key: String,
}

fn params(names: &[&str], years: (i32, i32)) -> CertificateParams {
    let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params.not_before = date_time_ymd(years.0, 1, 1);
    params.not_after = date_time_ymd(years.1, 1, 1);
    params
}

impl Authority {
    pub(crate) fn new() -> Authority {
        static MADE: AtomicUsize = AtomicUsize::new(0);
        Authority::named(&format!("CA {}", MADE.fetch_add(1, Ordering::Relaxed)))
    }

    pub(crate) fn named(name: &str) -> Authority {
        let mut params = params(&[], NOW);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        Authority { issuer, folder: Folder::new(), issued: AtomicUsize::new(0) }
    }

    /// The file with the CA's certificate.
    pub(crate) fn ca(&self) -> String {
        self.write("ca.pem", &self.issuer.pem())
    }

    /// A certificate for `names`.
    pub(crate) fn issue(&self, names: &[&str]) -> Issued {
        self.issue_for(names, NOW)
    }

    /// A certificate for `names` that is in force from one year to another.
    pub(crate) fn issue_for(&self, names: &[&str], years: (i32, i32)) -> Issued {
        let key = KeyPair::generate().unwrap();
        let cert = params(names, years).signed_by(&key, &self.issuer).unwrap();
        self.keep(&cert.pem(), &key)
    }

    /// A certificate that is its own CA, as `openssl req -x509` makes them.
    pub(crate) fn self_signed(&self, names: &[&str], years: (i32, i32)) -> Issued {
        let key = KeyPair::generate().unwrap();
        let mut params = params(names, years);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let cert = params.self_signed(&key).unwrap();
        self.keep(&cert.pem(), &key)
    }

    fn keep(&self, cert: &str, key: &KeyPair) -> Issued {
        let number = self.issued.fetch_add(1, Ordering::Relaxed);
        Issued {
            cert: self.write(&format!("{number}.pem"), cert),
            key: self.write(&format!("{number}.key"), &key.serialize_pem()),
        }
    }

    fn write(&self, name: &str, text: &str) -> String {
        let path = self.folder.path(name);
        std::fs::write(&path, text).unwrap();
        path.to_string()
    }

    /// The configuration of a server with a certificate for 127.0.0.1 and localhost.
    pub(crate) fn config(&self) -> Arc<ServerConfig> {
        config(&self.issue(&["127.0.0.1", "localhost"]), None, rustls::ALL_VERSIONS)
    }
}

/// The configuration of a server. With `client_ca`, it demands certificates.
pub(crate) fn config(
    issued: &Issued,
    client_ca: Option<&str>,
    versions: &[&'static SupportedProtocolVersion],
) -> Arc<ServerConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(versions)
        .unwrap();
    let builder = match client_ca {
        None => builder.with_no_client_auth(),
        Some(file) => {
            let mut roots = RootCertStore::empty();
            roots.add(CertificateDer::from_pem_file(file).unwrap()).unwrap();
            let verifier =
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
            builder.with_client_cert_verifier(verifier.unwrap())
        }
    };
    let chain = vec![CertificateDer::from_pem_file(&issued.cert).unwrap()];
    let key = PrivateKeyDer::from_pem_file(PathBuf::from(&issued.key)).unwrap();
    Arc::new(builder.with_single_cert(chain, key).unwrap())
}

/// A TLS stream of a server.
pub(crate) type TlsPeer = StreamOwned<ServerConnection, TcpStream>;

/// A server with a thread for each of its connections.
pub(crate) struct TlsServer {
    pub(crate) addr: SocketAddr,
    handshakes: Arc<Mutex<Vec<HandshakeKind>>>,
}

impl TlsServer {
    /// `serve` is called with each connection whose handshake is over.
    pub(crate) fn new(
        config: Arc<ServerConfig>,
        serve: impl Fn(TlsPeer) + Send + Sync + 'static,
    ) -> TlsServer {
        let handshakes = Arc::<Mutex<Vec<_>>>::default();
        let kinds = Arc::clone(&handshakes);
        let addr = listen(move |mut socket| {
            let mut connection = ServerConnection::new(Arc::clone(&config)).unwrap();
            while connection.is_handshaking() {
                if connection.complete_io(&mut socket).is_err() {
                    return linger(&socket);
                }
            }
            kinds.lock().unwrap().extend(connection.handshake_kind());
            serve(StreamOwned::new(connection, socket));
        });
        TlsServer { addr, handshakes }
    }

    /// The handshakes so far.
    pub(crate) fn handshakes(&self) -> Vec<HandshakeKind> {
        self.handshakes.lock().unwrap().clone()
    }

    /// A server that puts TLS in front of `upstream`. With `is_trickling` it writes byte by byte.
    pub(crate) fn before(
        upstream: SocketAddr,
        config: Arc<ServerConfig>,
        is_trickling: bool,
    ) -> TlsServer {
        TlsServer::new(config, move |peer| {
            let upstream = TcpStream::connect(upstream).unwrap();
            upstream.set_nodelay(true).unwrap();
            let (mut connection, socket) = peer.into_parts();
            connection.set_buffer_limit(None);
            let proxy = Proxy { connection: connection.into(), socket, upstream, is_trickling };
            thread::scope(|scope| {
                scope.spawn(|| proxy.copy_down());
                proxy.copy_up();
            });
        })
    }

    pub(crate) fn url(&self, protocol: &str) -> String {
        format!("{protocol}+tls://{}", self.addr)
    }
}

/// Sends records that no server of TLS does. The handshake of its connection is over.
pub(crate) struct Forger {
    socket: TcpStream,
    encrypter: Box<dyn MessageEncrypter>,
    sequence: u64,
    has_read: bool,
}

impl Forger {
    /// Takes over a connection of TLS 1.3, whose configuration lets its keys be taken.
    pub(crate) fn new(peer: TlsPeer) -> Forger {
        let (mut connection, socket) = peer.into_parts();
        let has_read = connection.reader().read(&mut [0; 1 << 14]).is_ok();
        let suite = connection.negotiated_cipher_suite().unwrap();
        let SupportedCipherSuite::Tls13(suite) = suite else { panic!("{suite:?}") };
        let (sequence, secrets) = connection.dangerous_extract_secrets().unwrap().tx;
        let ConnectionTrafficSecrets::Aes128Gcm { key, iv } = secrets else { panic!() };
        let encrypter = suite.aead_alg.encrypter(key, iv);
        Forger { socket, encrypter, sequence, has_read }
    }

    /// Sends records, all at once; false if the client has closed.
    pub(crate) fn send(&mut self, records: &[(ContentType, &[u8])]) -> bool {
        let version = ProtocolVersion::TLSv1_2;
        let mut wire = Vec::new();
        for &(typ, payload) in records {
            let message = OutboundPlainMessage { typ, version, payload: payload.into() };
            wire.extend(self.encrypter.encrypt(message, self.sequence).unwrap().encode());
            self.sequence += 1;
        }
        self.socket.write_all(&wire).is_ok()
    }

    /// Waits for a record of the client, if none came with the handshake.
    pub(crate) fn wait(&mut self) {
        if !std::mem::take(&mut self.has_read) {
            let _ = self.socket.read(&mut [0; 1 << 14]);
        }
    }

    /// Reads until the client closes.
    pub(crate) fn linger(&self) {
        linger(&self.socket);
    }
}

/// The configuration of a server for a [`Forger`].
pub(crate) fn forger_config(authority: &Authority) -> Arc<ServerConfig> {
    let issued = authority.issue(&["127.0.0.1"]);
    let mut config = Arc::unwrap_or_clone(config(&issued, None, &[&TLS13]));
    config.enable_secret_extraction = true;
    config.ignore_client_order = false;
    Arc::new(config)
}

/// An address at which `serve` gets each connection in a thread of its own.
pub(crate) fn listen(serve: impl Fn(TcpStream) + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let serve = Arc::new(serve);
    thread::spawn(move || {
        while let Ok((socket, _)) = listener.accept() {
            socket.set_read_timeout(Some(PATIENCE)).unwrap();
            socket.set_write_timeout(Some(PATIENCE)).unwrap();
            socket.set_nodelay(true).unwrap();
            let serve = Arc::clone(&serve);
            thread::spawn(move || serve(socket));
        }
    });
    addr
}

/// Closes in order: reads what still comes, so that the last bytes are not lost in a reset.
pub(crate) fn linger(mut socket: &TcpStream) {
    let _ = socket.shutdown(Shutdown::Write);
    let _ = io::copy(&mut socket, &mut io::sink());
}

/// Both ends of one connection of a proxy.
struct Proxy {
    connection: Mutex<ServerConnection>,
    socket: TcpStream,
    upstream: TcpStream,
    is_trickling: bool,
}

impl Proxy {
    /// From the client to the server behind.
    fn copy_up(&self) {
        let mut bytes = vec![0; 1 << 16];
        loop {
            let (mut plain, mut has_ended) = (Vec::new(), false);
            {
                let mut connection = self.connection.lock().unwrap();
                // What the handshake has left.
                has_ended |= take(&mut connection, &mut plain);
                self.flush(&mut connection);
            }
            if plain.is_empty() && !has_ended {
                let read = (&self.socket).read(&mut bytes).unwrap_or(0);
                let mut connection = self.connection.lock().unwrap();
                let mut wire = &bytes[..read];
                has_ended = read == 0;
                while !wire.is_empty() && !has_ended {
                    connection.read_tls(&mut wire).unwrap();
                    has_ended |= connection.process_new_packets().is_err();
                    has_ended |= take(&mut connection, &mut plain);
                }
                self.flush(&mut connection);
            }
            let _ = (&self.upstream).write_all(&plain);
            if has_ended {
                let _ = self.upstream.shutdown(Shutdown::Write);
                return;
            }
        }
    }

    /// From the server behind to the client.
    fn copy_down(&self) {
        let mut bytes = vec![0; 1 << 16];
        loop {
            let read = (&self.upstream).read(&mut bytes).unwrap_or(0);
            let mut connection = self.connection.lock().unwrap();
            match read {
                0 => connection.send_close_notify(),
                _ => connection.writer().write_all(&bytes[..read]).unwrap(),
            }
            self.flush(&mut connection);
            if read == 0 {
                let _ = self.socket.shutdown(Shutdown::Write);
                return;
            }
        }
    }

    fn flush(&self, connection: &mut ServerConnection) {
        let mut wire = Vec::new();
        while connection.wants_write() {
            connection.write_tls(&mut wire).unwrap();
        }
        for bytes in wire.chunks(if self.is_trickling { 1 } else { wire.len().max(1) }) {
            let _ = (&self.socket).write_all(bytes);
        }
    }
}

/// Takes the decrypted bytes; true at the end that the client has told.
fn take(connection: &mut ServerConnection, plain: &mut Vec<u8>) -> bool {
    let mut bytes = [0; 1 << 14];
    loop {
        match connection.reader().read(&mut bytes) {
            Ok(0) => return true,
            Ok(read) => plain.extend_from_slice(&bytes[..read]),
            Err(_) => return false,
        }
    }
}
