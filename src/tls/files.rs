//! Certificates and keys from PEM files, with errors that name the file.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{CertificateError, Error, RootCertStore};
use x509_cert::Certificate;
use x509_cert::der::Decode;

use crate::strerror::strerror;

/// Largest PEM file that is read, in bytes: a file that was named by mistake is not read whole.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// A certificate or key that cannot be used.
#[derive(Debug)]
pub struct FileError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub problem: Problem,
}

/// What is wrong with a file.
#[derive(Debug)]
pub enum Problem {
    /// It cannot be read.
    Read(io::Error),
    /// It is larger than any PEM file.
    TooLarge,
    /// It is no PEM file, or broken.
    Pem(pem::Error),
    /// It holds no certificate.
    NoCertificate,
    /// It holds no private key.
    NoKey,
    /// Its private key is encrypted.
    EncryptedKey,
    /// A certificate in it is none, or of a kind that cannot be used.
    Certificate(Error),
    /// The key is none, or of a kind that cannot be used.
    Key(Error),
    /// The key is not that of the certificate in this file.
    KeyMismatch(PathBuf),
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        match &self.problem {
            Problem::Read(error) => write!(f, "cannot read {path}: {}", strerror(error)),
            Problem::TooLarge => write!(f, "{path} is too large for a PEM file"),
            Problem::Pem(error) => write!(f, "{path} is not valid PEM: {}", PemReason(error)),
            Problem::NoCertificate => write!(f, "{path} holds no certificate"),
            Problem::NoKey => write!(f, "{path} holds no private key"),
            Problem::EncryptedKey => write!(
                f,
                "{path} holds an encrypted private key; decrypt it with \
                 `openssl pkey -in {path} -out NEW.pem`"
            ),
            Problem::Certificate(error) => {
                write!(f, "{path}: bad certificate: {}", CertificateReason(error))
            }
            // rustls says of each that it cannot be parsed.
            Problem::Key(_) => write!(
                f,
                "{path}: unsupported private key: RSA (2048 to 4096 bits), ECDSA (P-256, P-384) \
                 and Ed25519 are supported"
            ),
            Problem::KeyMismatch(certificate) => {
                let certificate = certificate.display();
                write!(f, "{path} is not the key of the certificate in {certificate}")
            }
        }
    }
}

impl std::error::Error for FileError {}

/// A PEM error in words.
struct PemReason<'a>(&'a pem::Error);

impl fmt::Display for PemReason<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            pem::Error::MissingSectionEnd { .. } => f.write_str("a BEGIN line has no END line"),
            pem::Error::IllegalSectionStart { .. } => f.write_str("a BEGIN line is broken"),
            pem::Error::Base64Decode(_) => f.write_str("a line is not base64"),
            error => write!(f, "{error}"),
        }
    }
}

/// rustls' reason for refusing a certificate, without its "invalid peer certificate": it is ours.
struct CertificateReason<'a>(&'a Error);

impl fmt::Display for CertificateReason<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Error::InvalidCertificate(CertificateError::BadEncoding) => {
                f.write_str("it cannot be parsed")
            }
            Error::InvalidCertificate(error) => write!(f, "{error}"),
            error => write!(f, "{error}"),
        }
    }
}

fn read(path: &Path) -> Result<Vec<u8>, Problem> {
    let size = fs::metadata(path).map_err(Problem::Read)?.len();
    if size > FILE_BYTES_MAX {
        return Err(Problem::TooLarge);
    }
    fs::read(path).map_err(Problem::Read)
}

fn certificates_of(path: &Path) -> Result<Vec<CertificateDer<'static>>, Problem> {
    let text = read(path)?;
    let all = CertificateDer::pem_slice_iter(&text).collect::<Result<Vec<_>, _>>();
    let all = all.map_err(Problem::Pem)?;
    if all.is_empty() { Err(Problem::NoCertificate) } else { Ok(all) }
}

fn in_file<T>(path: &Path, result: Result<T, Problem>) -> Result<T, FileError> {
    result.map_err(|problem| FileError { path: path.to_owned(), problem })
}

/// The certificates of a file: the server's or client's own first, then those that lead to its
/// root.
///
/// # Errors
///
/// See [`Problem`].
pub(super) fn read_chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, FileError> {
    in_file(path, certificates_of(path))
}

/// The first private key of a file: PKCS #8, PKCS #1 or SEC1.
///
/// # Errors
///
/// See [`Problem`].
pub(super) fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, FileError> {
    let key = read(path).and_then(|text| match PrivateKeyDer::from_pem_slice(&text) {
        Err(_) if is_encrypted(&text) => Err(Problem::EncryptedKey),
        Err(pem::Error::NoItemsFound) => Err(Problem::NoKey),
        result => result.map_err(Problem::Pem),
    });
    in_file(path, key)
}

/// Whether a PEM file has an encrypted private key: PKCS #8, or the older form of RFC 1421.
fn is_encrypted(text: &[u8]) -> bool {
    let mut lines = text.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii);
    lines.any(|line| {
        line == b"-----BEGIN ENCRYPTED PRIVATE KEY-----" || line == b"Proc-Type: 4,ENCRYPTED"
    })
}

/// The certificates of a file as roots of trust.
///
/// # Errors
///
/// See [`Problem`].
pub(super) fn read_roots(path: &Path) -> Result<RootCertStore, FileError> {
    let roots = certificates_of(path).and_then(|certificates| {
        let mut roots = RootCertStore::empty();
        for certificate in certificates {
            roots.add(certificate).map_err(Problem::Certificate)?;
        }
        Ok(roots)
    });
    in_file(path, roots)
}

/// The certificate of one file with its chain, and its key of another.
///
/// # Errors
///
/// See [`Problem`].
pub(super) fn certified_key(
    cert: &Path,
    key: &Path,
    provider: &CryptoProvider,
) -> Result<CertifiedKey, FileError> {
    let chain = read_chain(cert)?;
    CertifiedKey::from_der(chain, read_key(key)?, provider).map_err(|error| {
        let (path, problem) = match error {
            Error::InconsistentKeys(_) => (key, Problem::KeyMismatch(cert.to_owned())),
            Error::InvalidCertificate(_) => (cert, Problem::Certificate(error)),
            error => (key, Problem::Key(error)),
        };
        FileError { path: path.to_owned(), problem }
    })
}

/// When a certificate expires, since the Unix epoch; `None` where it cannot be told.
pub(super) fn expires_at(certificate: &CertificateDer<'_>) -> Option<Duration> {
    validity(certificate).map(|(_, until)| until)
}

/// The first and the last moment at which a certificate is in force, since the Unix epoch; `None`
/// where they cannot be told.
pub(super) fn validity(certificate: &CertificateDer<'_>) -> Option<(Duration, Duration)> {
    let certificate = Certificate::from_der(certificate).ok()?;
    let validity = certificate.tbs_certificate().validity();
    Some((validity.not_before.to_unix_duration(), validity.not_after.to_unix_duration()))
}
