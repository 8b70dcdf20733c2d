//! Reaching a server of Hubble's API: an agent of obsflow or of Cilium, or a relay.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;
use tonic::transport::Channel;

use super::super::client::causes;
use super::super::once;
use crate::api::address::{Address, AddressError};

/// What may be on its way at a time: many small messages.
const WINDOW: u32 = 4 << 20;

/// Where a server listens, and how it is to be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerAddress {
    place: Place,
    /// TLS, if it is used.
    pub tls: Option<Tls>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    Unix(PathBuf),
    Tcp { host: String, port: u16 },
}

/// How a server is to be trusted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// Files with certificates of authorities; without any, those this machine trusts.
    pub ca_files: Vec<PathBuf>,
    /// Certificate and key to show.
    pub client: Option<(PathBuf, PathBuf)>,
    /// Name that the server's certificate must have, when it is not the host's.
    pub server_name: Option<String>,
    /// Take whatever certificate it shows.
    pub allow_insecure: bool,
}

/// Not where a server listens. Each message says what to write.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ServerAddressError {
    /// No scheme that is known, or none at all and no port.
    #[error(
        "{0:?} is no address of a server: write unix:///PATH, HOST:PORT, tcp://HOST:PORT or tls://HOST:PORT"
    )]
    Scheme(String),
    /// Not a path of a socket.
    #[error(transparent)]
    Unix(#[from] AddressError),
    /// No host.
    #[error("{0:?} names no host: write HOST:PORT, an IPv6 address in brackets")]
    Host(String),
    /// No port, or none that there is.
    #[error(
        "{0:?}: after the host comes a port from 1 to 65535, such as {0}:4244 of an agent or {0}:4245 of a relay"
    )]
    NoPort(String),
    /// A number that is no port.
    #[error("{port:?} in {address:?} is no port: write a number from 1 to 65535")]
    Port {
        /// As written.
        address: String,
        /// What stands for the port.
        port: String,
    },
}

impl ServerAddress {
    /// Reads `unix:///path`, `host:port`, `tcp://host:port` or `tls://host:port`.
    ///
    /// # Errors
    /// When it is something else.
    pub fn parse(text: &str) -> Result<Self, ServerAddressError> {
        if text.starts_with("unix:") {
            let path = match text.strip_prefix("unix:/") {
                Some(rest) if !rest.starts_with('/') => format!("unix:///{rest}"),
                _ => text.to_owned(),
            };
            return match Address::parse(&path)? {
                Address::Unix(path) => Ok(Self::unix(path)),
                // `unix:` is never one of these.
                _ => Err(ServerAddressError::Scheme(text.to_owned())),
            };
        }
        let (tls, rest) = match text.split_once("://") {
            None => (None, text),
            Some(("tcp", rest)) => (None, rest),
            Some(("tls", rest)) => (Some(Tls::default()), rest),
            Some(_) => return Err(ServerAddressError::Scheme(text.to_owned())),
        };
        if rest.contains(['/', '?', '#', '@']) || rest.chars().any(char::is_whitespace) {
            return Err(ServerAddressError::Scheme(text.to_owned()));
        }
        let (host, port) = match rest.strip_prefix('[') {
            Some(rest) => {
                let (host, after) = rest
                    .split_once(']')
                    .ok_or_else(|| ServerAddressError::Host(text.to_owned()))?;
                (host, after.strip_prefix(':'))
            }
            // More than one colon is an IPv6 address that lacks its brackets.
            None if rest.matches(':').count() > 1 => return Err(ServerAddressError::Host(text.to_owned())),
            None => match rest.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (rest, None),
            },
        };
        if host.is_empty() {
            return Err(ServerAddressError::Host(text.to_owned()));
        }
        let port = port.ok_or_else(|| ServerAddressError::NoPort(text.to_owned()))?;
        let number = port.parse().ok().filter(|port: &u16| *port != 0);
        Ok(Self {
            place: Place::Tcp {
                host: host.to_owned(),
                port: number.ok_or_else(|| ServerAddressError::Port {
                    address: text.to_owned(),
                    port: port.to_owned(),
                })?,
            },
            tls,
        })
    }

    /// The socket at a path.
    #[must_use]
    pub fn unix(path: PathBuf) -> Self {
        Self {
            place: Place::Unix(path),
            tls: None,
        }
    }

    /// Whether it is a socket of this machine's file system.
    #[must_use]
    pub fn is_unix(&self) -> bool {
        matches!(self.place, Place::Unix(_))
    }
}

impl fmt::Display for ServerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place::Unix(path) => write!(f, "unix://{}", path.display()),
            Place::Tcp { host, port } => {
                let scheme = if self.tls.is_some() { "tls" } else { "tcp" };
                if host.contains(':') {
                    write!(f, "{scheme}://[{host}]:{port}")
                } else {
                    write!(f, "{scheme}://{host}:{port}")
                }
            }
        }
    }
}

/// A server cannot be reached. Each message says what to do.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// No socket.
    #[error(
        "nobody listens at {0}: start an agent with `obsflow agent`, or name another server with --server"
    )]
    NoSocket(Box<ServerAddress>),
    /// A socket that nobody listens at, or a closed port.
    #[error("{0} refuses connections: nobody listens there")]
    Refused(Box<ServerAddress>),
    /// The socket is for root and its group.
    #[error("no permission to ask the agent at {0}: run as root, or as a member of the socket's group")]
    Permission(Box<ServerAddress>),
    /// Connecting failed otherwise.
    #[error("cannot connect to {server}: {source}")]
    Connect {
        /// Where.
        server: Box<ServerAddress>,
        /// Why.
        source: io::Error,
    },
    /// It took too long.
    #[error("{server} did not answer within {limit:?} (--timeout)")]
    Late {
        /// Where.
        server: Box<ServerAddress>,
        /// How long it had.
        limit: Duration,
    },
    /// A file of certificates or keys.
    #[error("{flag} {path}: {reason}")]
    File {
        /// The flag.
        flag: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// This machine trusts nobody.
    #[error("this machine has no certificates of authorities: name some with --tls-ca-cert-files")]
    NoAuthorities,
    /// Not a name.
    #[error("--tls-server-name: {0:?} is no DNS name and no address")]
    ServerName(String),
    /// Certificate and key do not fit, or the like.
    #[error("the client certificate cannot be used: {0}")]
    ClientCertificate(rustls::Error),
    /// The certificate is not one to trust.
    #[error("the certificate of {server} is not accepted: {reason}")]
    Certificate {
        /// Where.
        server: Box<ServerAddress>,
        /// Why, and what to do.
        reason: String,
    },
    /// The handshake failed otherwise.
    #[error("no TLS with {server}: {reason}")]
    Handshake {
        /// Where.
        server: Box<ServerAddress>,
        /// Why.
        reason: String,
    },
    /// It speaks something else.
    #[error("what listens at {server} is no server of flows: {reason}{}", hint(.server))]
    NotGrpc {
        /// Where.
        server: Box<ServerAddress>,
        /// What went wrong.
        reason: String,
    },
}

/// What it may be instead.
pub(super) fn hint(server: &ServerAddress) -> &'static str {
    match (&server.place, &server.tls) {
        (Place::Tcp { .. }, None) => "; if it serves TLS, write tls:// or --tls",
        _ => "",
    }
}

impl DialError {
    /// Whether there simply is nobody, so that a command may watch by itself.
    #[must_use]
    pub fn is_absent(&self) -> bool {
        matches!(self, Self::NoSocket(_) | Self::Refused(_))
    }
}

/// Connects within `limit`. When the connection breaks later it is not made again: whoever reads must hear of it.
pub(super) async fn dial(server: &ServerAddress, limit: Duration) -> Result<Channel, DialError> {
    let late = || DialError::Late {
        server: Box::new(server.clone()),
        limit,
    };
    match tokio::time::timeout(limit, connect(server)).await {
        Ok(connected) => connected,
        Err(_) => Err(late()),
    }
}

async fn connect(server: &ServerAddress) -> Result<Channel, DialError> {
    match &server.place {
        Place::Unix(path) => {
            let stream = UnixStream::connect(path)
                .await
                .map_err(|error| not_connected(server, error))?;
            speak(server, stream).await
        }
        Place::Tcp { host, port } => {
            let stream = TcpStream::connect((host.as_str(), *port))
                .await
                .map_err(|error| not_connected(server, error))?;
            // Requests are small, and whoever waits for an answer waits for them.
            let _ = stream.set_nodelay(true);
            let Some(tls) = &server.tls else {
                return speak(server, stream).await;
            };
            let name = tls.server_name.as_deref().unwrap_or(host);
            let name =
                ServerName::try_from(name.to_owned()).map_err(|_| DialError::ServerName(name.to_owned()))?;
            let connector = TlsConnector::from(Arc::new(config(tls)?));
            let stream = connector
                .connect(name, stream)
                .await
                .map_err(|error| no_tls(server, &error))?;
            speak(server, stream).await
        }
    }
}

async fn speak<S>(server: &ServerAddress, stream: S) -> Result<Channel, DialError>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin + 'static,
{
    let not_grpc = |error: &tonic::transport::Error| DialError::NotGrpc {
        server: Box::new(server.clone()),
        reason: causes(error),
    };
    once::channel(stream, WINDOW)
        .await
        .map_err(|error| not_grpc(&error))
}

fn not_connected(server: &ServerAddress, error: io::Error) -> DialError {
    let server = Box::new(server.clone());
    match error.kind() {
        io::ErrorKind::NotFound if server.is_unix() => DialError::NoSocket(server),
        io::ErrorKind::ConnectionRefused => DialError::Refused(server),
        io::ErrorKind::PermissionDenied => DialError::Permission(server),
        _ => DialError::Connect {
            server,
            source: error,
        },
    }
}

fn no_tls(server: &ServerAddress, error: &io::Error) -> DialError {
    let server = Box::new(server.clone());
    let Some(reason) = error
        .get_ref()
        .and_then(|error| error.downcast_ref::<rustls::Error>())
    else {
        let reason = if error.kind() == io::ErrorKind::UnexpectedEof {
            "the connection was closed; it may not speak TLS".to_owned()
        } else {
            error.to_string()
        };
        return DialError::Handshake { server, reason };
    };
    match reason {
        rustls::Error::InvalidCertificate(reason) => DialError::Certificate {
            server,
            reason: distrust(reason),
        },
        rustls::Error::InvalidMessage(_) => DialError::Handshake {
            server,
            reason: "it does not speak TLS; write tcp:// and leave --tls out".to_owned(),
        },
        other => DialError::Handshake {
            server,
            reason: other.to_string(),
        },
    }
}

fn distrust(error: &CertificateError) -> String {
    match error {
        CertificateError::UnknownIssuer => {
            "nobody signed it whom this machine trusts; name the authority with --tls-ca-cert-files"
                .to_owned()
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "it is for other names; name the one it has with --tls-server-name".to_owned()
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "it is not valid any more".to_owned()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "it is not valid yet".to_owned()
        }
        // The authority's name, and another key.
        CertificateError::BadSignature => {
            "whom it names as its authority did not sign it; name the authority with --tls-ca-cert-files"
                .to_owned()
        }
        other => other.to_string(),
    }
}

fn unreadable(flag: &'static str, path: &Path, reason: impl fmt::Display) -> DialError {
    DialError::File {
        flag,
        path: path.to_owned(),
        reason: reason.to_string(),
    }
}

fn certificates(flag: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, DialError> {
    let text = std::fs::read(path).map_err(|error| unreadable(flag, path, error))?;
    let certificates = CertificateDer::pem_slice_iter(&text)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| unreadable(flag, path, error))?;
    if certificates.is_empty() {
        return Err(unreadable(flag, path, "no certificate is in it (PEM)"));
    }
    Ok(certificates)
}

fn config(tls: &Tls) -> Result<ClientConfig, DialError> {
    const CA: &str = "--tls-ca-cert-files";
    const CERT: &str = "--tls-client-cert-file";
    const KEY: &str = "--tls-client-key-file";
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(DialError::ClientCertificate)?;
    let builder = if tls.allow_insecure {
        builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Anybody(provider)))
    } else {
        let mut roots = RootCertStore::empty();
        for path in &tls.ca_files {
            for certificate in certificates(CA, path)? {
                roots
                    .add(certificate)
                    .map_err(|error| unreadable(CA, path, error))?;
            }
        }
        if tls.ca_files.is_empty() {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
        if roots.is_empty() {
            return Err(DialError::NoAuthorities);
        }
        builder.with_root_certificates(roots)
    };
    let mut config = match &tls.client {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let text = std::fs::read(key).map_err(|error| unreadable(KEY, key, error))?;
            let private = PrivateKeyDer::from_pem_slice(&text)
                .map_err(|_| unreadable(KEY, key, "no private key is in it (PEM)"))?;
            builder
                .with_client_auth_cert(certificates(CERT, certificate)?, private)
                .map_err(DialError::ClientCertificate)?
        }
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}

/// Takes every certificate: `--tls-allow-insecure`.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(
            message,
            certificate,
            signature,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(
            message,
            certificate,
            signature,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_written_as_for_hubble() {
        for (text, shown) in [
            (
                "unix:///var/run/obsflow/obsflow.sock",
                "unix:///var/run/obsflow/obsflow.sock",
            ),
            ("unix:/run/x.sock", "unix:///run/x.sock"),
            ("localhost:4245", "tcp://localhost:4245"),
            ("tcp://10.0.0.1:4244", "tcp://10.0.0.1:4244"),
            (
                "tls://relay.kube-system.svc:443",
                "tls://relay.kube-system.svc:443",
            ),
            ("[::1]:4244", "tcp://[::1]:4244"),
            ("tls://[2001:db8::1]:4244", "tls://[2001:db8::1]:4244"),
        ] {
            let server = ServerAddress::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(server.to_string(), shown);
            assert_eq!(server.tls.is_some(), text.starts_with("tls://"));
            assert_eq!(ServerAddress::parse(shown), Ok(server));
        }
    }

    #[test]
    fn each_mistake_says_what_to_write() {
        for (text, part) in [
            ("", "names no host"),
            ("localhost", "after the host comes a port"),
            ("localhost:", "\"\" in \"localhost:\" is no port"),
            ("localhost:http", "\"http\" in \"localhost:http\" is no port"),
            ("localhost:99999", "is no port"),
            ("localhost:0", "is no port"),
            (":4244", "names no host"),
            ("::1:4244", "an IPv6 address in brackets"),
            ("[::1:4244", "an IPv6 address in brackets"),
            ("http://localhost:4244", "is no address of a server"),
            ("tcp://localhost:4244/x", "is no address of a server"),
            ("a b:1", "is no address of a server"),
            ("unix://relative", "three slashes"),
            ("unix:///", "names no file"),
        ] {
            let error = ServerAddress::parse(text).unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
            assert_eq!(error.lines().count(), 1, "{text}: {error}");
        }
    }
}
