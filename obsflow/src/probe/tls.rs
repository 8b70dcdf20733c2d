//! A TLS handshake that goes on whatever the certificate is, and says what the node thinks of it.

use std::cell::OnceCell;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use x509_cert::Certificate;
use x509_cert::der::Decode as _;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

use super::budget::{Budget, Spent};
use super::wire::{Stream, Watched, errno_name, escape};
use crate::model::exchange::Spoken;
use crate::model::expectation::Host;

/// Names of a certificate that are shown.
const MAX_NAMES: usize = 8;
/// Bytes of a name that are shown.
const MAX_TEXT: usize = 128;

/// What is wrong with a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Problem {
    /// Nobody this node trusts has signed it.
    UnknownIssuer,
    /// It is not valid any more.
    Expired,
    /// It is not valid yet.
    NotYetValid,
    /// It is for other names.
    WrongName,
    /// Something else.
    Other,
}

/// What the node thinks of a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Trust {
    /// As it should be.
    Good,
    /// What is wrong, and the verifier's words.
    Bad(Problem, String),
    /// This system has no certificates to check against.
    NoRoots,
}

/// What a handshake showed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Handshake {
    /// `TLS 1.3`
    pub(super) version: String,
    /// What the server chose.
    pub(super) alpn: Option<String>,
    /// The certificate in words.
    pub(super) certificate: String,
    /// Whether it holds.
    pub(super) trust: Trust,
    /// The server asked for a certificate, which a check does not have.
    pub(super) wants_client_certificate: bool,
}

/// Why there was none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum NoTls {
    /// The answer is no TLS.
    Speaks(Spoken),
    /// The server's alert, or what failed, in words.
    Failed {
        text: String,
        wants_client_certificate: bool,
    },
    /// No answer in time.
    Silent(Spent),
}

impl NoTls {
    pub(super) fn text(&self) -> String {
        match self {
            Self::Speaks(Spoken::Http1) => {
                "the server answers in plain HTTP/1.1: it does not speak TLS here".to_owned()
            }
            Self::Speaks(Spoken::Http2) => {
                "the server answers in plain HTTP/2 (gRPC): it does not speak TLS here".to_owned()
            }
            Self::Speaks(_) => "the answer is no TLS".to_owned(),
            Self::Failed { text, .. } => text.clone(),
            Self::Silent(spent) => spent.to_string(),
        }
    }
}

/// What is needed for handshakes.
pub(super) struct Tls {
    provider: Arc<CryptoProvider>,
    /// Knows the node's trusted certificates, which are read when the first handshake needs them.
    trusted: OnceCell<Option<Arc<WebPkiServerVerifier>>>,
}

impl Tls {
    pub(super) fn new() -> Self {
        Self {
            provider: Arc::new(ring::default_provider()),
            trusted: OnceCell::new(),
        }
    }

    #[cfg(test)]
    fn with(roots: RootCertStore) -> Self {
        let tls = Self::new();
        tls.trusted.set(tls.verifier(roots)).unwrap();
        tls
    }

    /// Without any trusted certificate there is none.
    fn verifier(&self, roots: RootCertStore) -> Option<Arc<WebPkiServerVerifier>> {
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&self.provider))
            .build()
            .ok()
    }

    fn trusted(&self) -> Option<Arc<WebPkiServerVerifier>> {
        let read = || {
            let mut roots = RootCertStore::empty();
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            self.verifier(roots)
        };
        self.trusted.get_or_init(read).clone()
    }

    /// Makes a handshake over a connection, offering these protocols.
    pub(super) async fn handshake<S: Stream>(
        &self,
        budget: &Budget,
        stream: S,
        host: &Host,
        alpn: &[&str],
    ) -> Result<(Handshake, TlsStream<Watched<S>>), NoTls> {
        let failed = |text: String| NoTls::Failed {
            text,
            wants_client_certificate: false,
        };
        let witness = Arc::new(Witness {
            provider: Arc::clone(&self.provider),
            trusted: self.trusted(),
            seen: Mutex::default(),
        });
        let name = match host {
            Host::Ip(ip) => ServerName::IpAddress((*ip).into()),
            Host::Name(name) => ServerName::try_from(name.to_string())
                .map_err(|_| failed("the name cannot stand in a TLS handshake".to_owned()))?,
        };
        let mut config = ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| failed(error.to_string()))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::clone(&witness) as Arc<dyn ServerCertVerifier>)
            .with_client_cert_resolver(Arc::clone(&witness) as Arc<dyn rustls::client::ResolvesClientCert>);
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        config.resumption = rustls::client::Resumption::disabled();
        let (stream, first) = Watched::new(stream);
        let connecting = TlsConnector::from(Arc::new(config)).connect(name, stream);
        match budget.within(budget.limits.exchange, connecting).await {
            Err(spent) => Err(NoTls::Silent(spent)),
            Ok(Ok(stream)) => {
                let session = stream.get_ref().1;
                let seen = witness.take();
                let handshake = Handshake {
                    version: session.protocol_version().map_or_else(String::new, version),
                    alpn: session
                        .alpn_protocol()
                        .map(|alpn| escape(&String::from_utf8_lossy(alpn))),
                    certificate: seen.certificate,
                    trust: seen.trust.unwrap_or(Trust::NoRoots),
                    wants_client_certificate: seen.wants_client_certificate,
                };
                Ok((handshake, stream))
            }
            Ok(Err(error)) => Err(match first.spoken() {
                spoken @ (Spoken::Http1 | Spoken::Http2 | Spoken::Unknown) => NoTls::Speaks(spoken),
                Spoken::Tls => NoTls::Failed {
                    text: reason(&error),
                    wants_client_certificate: witness.take().wants_client_certificate,
                },
                Spoken::Nothing => failed(format!(
                    "the server ends the connection without an answer ({})",
                    errno_name(&error)
                )),
            }),
        }
    }
}

fn version(version: rustls::ProtocolVersion) -> String {
    match version {
        rustls::ProtocolVersion::TLSv1_2 => "TLS 1.2".to_owned(),
        rustls::ProtocolVersion::TLSv1_3 => "TLS 1.3".to_owned(),
        other => format!("{other:?}"),
    }
}

/// rustls's error inside of tokio's.
fn reason(error: &std::io::Error) -> String {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
        Some(Error::AlertReceived(alert)) => format!("the server refuses with TLS alert {alert:?}"),
        Some(error) => escape(&error.to_string()),
        None => format!("the server ends the handshake ({})", errno_name(error)),
    }
}

/// What a handshake let slip.
#[derive(Debug, Default)]
struct Seen {
    certificate: String,
    trust: Option<Trust>,
    wants_client_certificate: bool,
}

/// Lets every certificate pass and remembers what the real verifier said.
#[derive(Debug)]
struct Witness {
    provider: Arc<CryptoProvider>,
    trusted: Option<Arc<WebPkiServerVerifier>>,
    seen: Mutex<Seen>,
}

impl Witness {
    fn take(&self) -> Seen {
        std::mem::take(&mut *self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl ServerCertVerifier for Witness {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let trust = match &self.trusted {
            None => Trust::NoRoots,
            Some(real) => {
                match real.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
                    Ok(_) => Trust::Good,
                    Err(error) => Trust::Bad(problem(&error), escape(&error.to_string())),
                }
            }
        };
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.trust = Some(trust);
        seen.certificate = describe(end_entity);
        // Nothing secret is sent over this connection: an empty export, that is all.
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(
            message,
            cert,
            dss,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(
            message,
            cert,
            dss,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

impl rustls::client::ResolvesClientCert for Witness {
    /// Called when the server asks for one.
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.wants_client_certificate = true;
        None
    }

    fn has_certs(&self) -> bool {
        false
    }
}

fn problem(error: &Error) -> Problem {
    match error {
        Error::InvalidCertificate(error) => match error {
            CertificateError::UnknownIssuer => Problem::UnknownIssuer,
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => Problem::Expired,
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                Problem::NotYetValid
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                Problem::WrongName
            }
            _ => Problem::Other,
        },
        _ => Problem::Other,
    }
}

/// A certificate in one line.
fn describe(der: &CertificateDer<'_>) -> String {
    let Ok(certificate) = Certificate::from_der(der) else {
        return "a certificate that cannot be read".to_owned();
    };
    let certificate = certificate.tbs_certificate();
    let names = match certificate.get_extension::<SubjectAltName>() {
        Ok(Some((_, names))) => names.0.iter().filter_map(alternative).take(MAX_NAMES).collect(),
        _ => Vec::new(),
    };
    let validity = certificate.validity();
    format!(
        "certificate of {} for {}, issued by {}, valid from {} to {}",
        cut(&certificate.subject().to_string(), "nobody"),
        cut(&names.join(" "), "no name"),
        cut(&certificate.issuer().to_string(), "nobody"),
        validity.not_before,
        validity.not_after,
    )
}

fn alternative(name: &GeneralName) -> Option<String> {
    match name {
        GeneralName::DnsName(name) => Some(name.as_str().to_owned()),
        GeneralName::IpAddress(bytes) => {
            let bytes = bytes.as_bytes();
            let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
            let v6 = <[u8; 16]>::try_from(bytes).map(IpAddr::from);
            v4.or(v6).ok().map(|ip| ip.to_string())
        }
        _ => None,
    }
}

/// Text from outside: escaped, and not longer than a line holds.
fn cut(text: &str, empty: &str) -> String {
    if text.is_empty() {
        return empty.to_owned();
    }
    let mut end = text.len().min(MAX_TEXT);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let (kept, rest) = text.split_at(end);
    let more = if rest.is_empty() { "" } else { "..." };
    format!("{}{more}", escape(kept))
}

#[cfg(test)]
#[path = "tls_tests.rs"]
mod tests;
