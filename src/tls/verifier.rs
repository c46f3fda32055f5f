//! Which server certificates a client accepts.

use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, SignatureScheme};

use super::files::validity;

/// The certificates that are accepted.
#[derive(Debug)]
pub(super) enum Trust {
    /// Those that lead to a root, and `listed`: the certificates of `--cacert` themselves. A
    /// self-signed certificate is its own CA, which webpki refuses as a server's.
    Roots { webpki: Arc<WebPkiServerVerifier>, listed: Vec<CertificateDer<'static>> },
    /// Any.
    Anyone,
}

/// Checks a server's certificate as its [`Trust`] says, and its signature always: it must have the
/// key of the certificate that it shows.
#[derive(Debug)]
pub(super) struct Verifier {
    pub(super) trust: Trust,
    pub(super) provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match &self.trust {
            Trust::Anyone => Ok(ServerCertVerified::assertion()),
            Trust::Roots { listed, .. } if listed.iter().any(|one| one == certificate) => {
                check_listed(certificate, name, now)
            }
            Trust::Roots { webpki, .. } => {
                webpki.verify_server_cert(certificate, chain, name, ocsp, now)
            }
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// Checks a certificate that is trusted for itself: nobody has to have signed it, but it must be in
/// force, and for this name.
fn check_listed(
    certificate: &CertificateDer<'_>,
    name: &ServerName<'_>,
    now: UnixTime,
) -> Result<ServerCertVerified, Error> {
    let Some((from, until)) = validity(certificate) else {
        return Err(CertificateError::BadEncoding.into());
    };
    let at = UnixTime::since_unix_epoch;
    if now < at(from) {
        let (time, not_before) = (now, at(from));
        return Err(CertificateError::NotValidYetContext { time, not_before }.into());
    }
    if now > at(until) {
        let (time, not_after) = (now, at(until));
        return Err(CertificateError::ExpiredContext { time, not_after }.into());
    }
    let parsed = ParsedCertificate::try_from(certificate)?;
    rustls::client::verify_server_name(&parsed, name)?;
    Ok(ServerCertVerified::assertion())
}
