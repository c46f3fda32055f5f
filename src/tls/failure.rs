//! Why a client's TLS connection failed, in a word for counting and in a sentence that says the next
//! step.

use std::fmt;

use chrono::DateTime;
use rustls::pki_types::{ServerName, UnixTime};
use rustls::{AlertDescription, CertificateError, Error, InvalidMessage, PeerIncompatible};

use super::records::HELD_BYTES_MAX;

/// Why a TLS connection failed.
#[derive(Debug, Clone, PartialEq)]
pub enum Failure {
    /// The server's first bytes are not TLS.
    NotTls,
    /// The server ended the connection in the handshake.
    EndedInHandshake,
    /// The handshake was not over in time.
    TimedOut,
    /// The server ended the connection without saying so: what came before may be a part.
    Cut,
    /// The server's handshake messages are too long, or begun and not ended.
    TooLong,
    /// The server asks for answers and does not read them.
    NotRead,
    /// The server demands a client certificate, and there is none.
    CertificateDemanded,
    /// The server does not accept the client's certificate.
    CertificateRefused(AlertDescription),
    /// Any other.
    Tls(Error),
}

impl Failure {
    /// `error` of a connection; `was_asked` says that the server has asked for a client certificate,
    /// `has_certificate` that it was given one.
    pub(super) fn new(error: Error, was_asked: bool, has_certificate: bool) -> Self {
        use AlertDescription as Alert;
        match error {
            Error::AlertReceived(Alert::CertificateRequired) => Failure::CertificateDemanded,
            // TLS 1.2 has no alert for it.
            Error::AlertReceived(Alert::HandshakeFailure | Alert::BadCertificate)
                if was_asked && !has_certificate =>
            {
                Failure::CertificateDemanded
            }
            Error::AlertReceived(alert) if was_asked && has_certificate => match alert {
                Alert::BadCertificate
                | Alert::UnsupportedCertificate
                | Alert::CertificateRevoked
                | Alert::CertificateExpired
                | Alert::CertificateUnknown
                | Alert::UnknownCA
                | Alert::AccessDenied
                | Alert::DecryptError => Failure::CertificateRefused(alert),
                alert => Failure::Tls(Error::AlertReceived(alert)),
            },
            error => Failure::Tls(error),
        }
    }

    /// A word for it, for counts by name: `TLS:UnknownIssuer`.
    #[must_use]
    pub fn name(&self) -> String {
        let debug = match self {
            Failure::CertificateRefused(alert) | Failure::Tls(Error::AlertReceived(alert)) => {
                format!("alert:{alert:?}")
            }
            Failure::Tls(Error::InvalidCertificate(CertificateError::Other(error))) => {
                error.to_string()
            }
            Failure::Tls(Error::InvalidCertificate(error)) => variant(error),
            Failure::Tls(error @ Error::PeerMisbehaved(_)) => format!("{error:?}"),
            Failure::Tls(error @ Error::PeerIncompatible(_)) => format!("{error:?}"),
            Failure::Tls(error @ Error::InvalidMessage(_)) => format!("{error:?}"),
            Failure::Tls(error) => variant(error),
            failure => variant(failure),
        };
        format!("TLS:{}", debug.trim_end_matches("Context"))
    }

    /// The cause and what would help, as the rest of an error. `plain_url` is the server's
    /// without `+tls`.
    #[must_use]
    pub fn explain(&self, plain_url: &str) -> String {
        match self {
            Failure::NotTls => {
                format!("the server does not speak TLS: use {plain_url}, without +tls")
            }
            Failure::EndedInHandshake => format!(
                "the server ended the connection in the TLS handshake; if it does not speak TLS: \
                 use {plain_url}, without +tls"
            ),
            Failure::TimedOut => format!(
                "no TLS handshake in time; if the server does not speak TLS: use {plain_url}, \
                 without +tls"
            ),
            Failure::Cut => {
                "the connection was cut: it ended without the close_notify of TLS".to_owned()
            }
            Failure::TooLong => {
                format!("the server's TLS handshake is over {HELD_BYTES_MAX} bytes")
            }
            Failure::NotRead => "the server asks for TLS answers and does not read them".to_owned(),
            Failure::CertificateDemanded => {
                "the server demands a client certificate: --cert FILE --key FILE".to_owned()
            }
            Failure::CertificateRefused(alert) => {
                format!("the server does not accept the certificate of --cert ({})", words(alert))
            }
            Failure::Tls(error) => explain(error),
        }
    }
}

#[cfg(feature = "cluster")]
impl Failure {
    /// The failure, in words of the engine that joins nodes, which `it` is.
    pub(crate) fn explain_engine(&self) -> String {
        match self {
            Failure::NotTls => "it does not speak TLS, redis:// is without".to_owned(),
            Failure::EndedInHandshake => "it ended the connection in the TLS handshake".to_owned(),
            Failure::TimedOut => "no TLS handshake in time, redis:// is without".to_owned(),
            Failure::Cut => "the connection was cut".to_owned(),
            Failure::TooLong => format!("its TLS handshake is over {HELD_BYTES_MAX} bytes"),
            Failure::NotRead => "it asks for TLS answers and does not read them".to_owned(),
            Failure::CertificateDemanded | Failure::CertificateRefused(_) => {
                "it demands a client certificate, which nodes do not have".to_owned()
            }
            Failure::Tls(Error::InvalidCertificate(error)) => match error {
                CertificateError::NotValidForNameContext { expected, presented } => {
                    let names: Vec<&str> = presented.iter().map(|name| bare_name(name)).collect();
                    let expected = expected.to_str();
                    format!("its certificate is for {}, not for {expected}", names.join(", "))
                }
                CertificateError::UnknownIssuer
                | CertificateError::BadSignature
                | CertificateError::Other(_) => "nobody trusted here has issued its certificate: \
                     name its CA with ca=FILE"
                    .to_owned(),
                error => explain_certificate(error),
            },
            Failure::Tls(error) => explain(error),
        }
    }
}

fn explain(error: &Error) -> String {
    match error {
        Error::InvalidCertificate(error) => explain_certificate(error),
        Error::AlertReceived(AlertDescription::ProtocolVersion)
        | Error::PeerIncompatible(
            PeerIncompatible::ServerDoesNotSupportTls12Or13
            | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig,
        ) => "no TLS version in common: this program speaks 1.2 and 1.3".to_owned(),
        Error::AlertReceived(AlertDescription::UnrecognisedName) => {
            "the server does not have that name: give its own with --server-name NAME".to_owned()
        }
        Error::AlertReceived(alert) => {
            format!("the server ended TLS with the alert '{}'", words(alert))
        }
        Error::InvalidMessage(InvalidMessage::InvalidContentType) => {
            "the server sent bytes that are not TLS".to_owned()
        }
        error => format!("the connection failed in TLS: {error}"),
    }
}

fn explain_certificate(error: &CertificateError) -> String {
    match error {
        CertificateError::UnknownIssuer => untrusted(""),
        // A CA that was made anew, under its old name.
        CertificateError::BadSignature => untrusted(" (a CA of that name is, with another key)"),
        CertificateError::Other(error) => match error.to_string().as_str() {
            // webpki's name of it; it checks this before it looks for the issuer.
            "CaUsedAsEndEntity" => untrusted(" (it is a CA's own)"),
            error => untrusted(&format!(" ({error})")),
        },
        CertificateError::NotValidForNameContext { expected, presented } => {
            explain_name(expected, presented)
        }
        CertificateError::ExpiredContext { not_after, .. } => {
            format!("the server's certificate expired on {}", date(*not_after))
        }
        CertificateError::NotValidYetContext { not_before, .. } => format!(
            "the server's certificate is valid from {} only: check this machine's clock",
            date(*not_before)
        ),
        error => format!("the server's certificate is not valid: {error}"),
    }
}

fn untrusted(reason: &str) -> String {
    format!(
        "nobody trusted here has issued the server's certificate{reason}: name its CA, or the \
         certificate itself, with --cacert FILE"
    )
}

fn explain_name(expected: &ServerName<'_>, presented: &[String]) -> String {
    // `DnsName("localhost")`, as rustls shows them.
    let names: Vec<&str> = presented.iter().map(|name| bare_name(name)).collect();
    let expected = expected.to_str();
    let Some(first) = names.iter().find(|name| !name.contains('*')).or(names.first()) else {
        return format!(
            "the server's certificate is for no name, so not for {expected}: it has no \
             subjectAltName"
        );
    };
    format!(
        "the server's certificate is for {}, not for {expected}: if it is the right server, \
         --server-name {}",
        names.join(", "),
        first.replace('*', "NAME")
    )
}

fn bare_name(name: &str) -> &str {
    let inner = name.split_once('(').map_or(name, |(_, inner)| inner);
    inner.trim_end_matches(')').trim_matches('"')
}

fn date(time: UnixTime) -> String {
    let secs = i64::try_from(time.as_secs()).ok();
    let date = secs.and_then(|secs| DateTime::from_timestamp(secs, 0));
    date.map_or_else(
        || "a day far off".to_owned(),
        |date| date.format("%Y-%m-%d at %H:%M UTC").to_string(),
    )
}

/// The name of an enum's variant, without what is in it.
fn variant(value: &impl fmt::Debug) -> String {
    let debug = format!("{value:?}");
    debug.split([' ', '(', '{']).next().unwrap_or_default().to_owned()
}

/// An alert as words: `bad certificate`.
fn words(alert: &AlertDescription) -> String {
    let mut words = String::new();
    let mut was_lower = false;
    for c in format!("{alert:?}").chars() {
        if c.is_uppercase() && was_lower {
            words.push(' ');
        }
        was_lower = c.is_lowercase();
        words.extend(c.to_lowercase());
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_is_one_word() {
        use CertificateError::{Expired, UnknownIssuer};
        let expired = CertificateError::ExpiredContext {
            time: UnixTime::since_unix_epoch(std::time::Duration::from_secs(2)),
            not_after: UnixTime::since_unix_epoch(std::time::Duration::from_secs(1)),
        };
        for (failure, name) in [
            (Failure::NotTls, "TLS:NotTls"),
            (Failure::Cut, "TLS:Cut"),
            (Failure::Tls(UnknownIssuer.into()), "TLS:UnknownIssuer"),
            (Failure::Tls(Expired.into()), "TLS:Expired"),
            (Failure::Tls(expired.into()), "TLS:Expired"),
            (Failure::Tls(Error::DecryptError), "TLS:DecryptError"),
            (
                Failure::Tls(Error::AlertReceived(AlertDescription::HandshakeFailure)),
                "TLS:alert:HandshakeFailure",
            ),
            (
                Failure::Tls(InvalidMessage::InvalidContentType.into()),
                "TLS:InvalidMessage(InvalidContentType)",
            ),
        ] {
            assert_eq!(failure.name(), name);
        }
    }

    #[test]
    fn certificate_of_another_name_says_whose_it_is() {
        let expected = ServerName::try_from("h").unwrap();
        let reason = |names: &[&str]| {
            explain_name(&expected, &names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>())
        };
        assert_eq!(
            reason(&["DnsName(\"*.a\")", "DnsName(\"b\")", "IpAddress(::1)"]),
            "the server's certificate is for *.a, b, ::1, not for h: if it is the right server, \
             --server-name b"
        );
        assert!(reason(&["DnsName(\"*.a\")"]).ends_with("--server-name NAME.a"));
        assert!(reason(&[]).ends_with("it has no subjectAltName"));
    }

    #[test]
    fn date_is_a_day_and_a_time() {
        let day = UnixTime::since_unix_epoch(std::time::Duration::from_secs(86_400));
        assert_eq!(date(day), "1970-01-02 at 00:00 UTC");
        let far = UnixTime::since_unix_epoch(std::time::Duration::from_secs(u64::MAX));
        assert_eq!(date(far), "a day far off");
    }

    #[test]
    fn alert_is_shown_in_words() {
        assert_eq!(words(&AlertDescription::BadCertificate), "bad certificate");
        assert_eq!(words(&AlertDescription::UnknownCA), "unknown ca");
    }
}
