//! TLS by a certificate and a key that may be replaced while the agent runs, as cert-manager does.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ResolvesServerCert, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};
use tokio_rustls::TlsAcceptor;
use x509_cert::Certificate;
use x509_cert::der::Decode as _;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

/// How often it is looked whether the files changed, at most.
const LOOK: Duration = Duration::from_secs(1);

/// What tells one state of a file from another. The time of its last modification is what whoever wrote it says: a copy may have
/// that of the file that it replaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct State {
    /// Device and inode.
    file: (u64, u64),
    bytes: u64,
    /// Seconds and nanoseconds.
    modified: (i64, i64),
    /// The same of its inode: owner and mode, too.
    changed: (i64, i64),
}

/// Of the files that there are.
type States = [Option<State>; 3];

/// Files in PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate and its chain.
    pub certificate: PathBuf,
    /// The key.
    pub key: PathBuf,
    /// Who has signed the certificates of clients; without it none is asked for.
    pub client_ca: Option<PathBuf>,
    /// What is served with it.
    pub purpose: &'static Purpose,
}

/// What a certificate is for.
#[derive(Debug, PartialEq, Eq)]
pub struct Purpose {
    /// What is served.
    what: &'static str,
    /// The flags that name the files.
    flags: [&'static str; 3],
    /// The protocol that is offered, if any has to be (ALPN).
    protocol: Option<&'static [u8]>,
}

/// `/metrics`.
pub const METRICS: Purpose = Purpose {
    what: "/metrics",
    flags: ["--metrics-tls-cert", "--metrics-tls-key", ""],
    protocol: None,
};

/// gRPC.
pub const GRPC: Purpose = Purpose {
    what: "gRPC with TLS",
    flags: ["--tls-cert", "--tls-key", "--tls-client-ca"],
    protocol: Some(b"h2"),
};

/// See the module.
#[derive(Debug)]
pub(crate) struct Tls {
    files: TlsFiles,
    config: Arc<ServerConfig>,
    /// Whether that is of files that were good.
    is_served: bool,
    states: States,
    /// What is wrong with the files as they are.
    wrong: Option<String>,
    looked: Instant,
}

impl Tls {
    /// With what the files have now. What is wrong with them is said; until it is mended nobody gets a connection.
    pub(crate) fn new(files: TlsFiles) -> Self {
        let mut tls = Self {
            config: nothing(),
            is_served: false,
            states: states(&files),
            wrong: None,
            looked: Instant::now(),
            files,
        };
        tls.read();
        tls
    }

    /// With what the files have by now. What was good stays when what replaces it is not.
    pub(crate) fn acceptor(&mut self) -> TlsAcceptor {
        if self.looked.elapsed() >= LOOK {
            self.looked = Instant::now();
            let states = states(&self.files);
            // What could not be read may be readable for a reason that no file shows.
            if states != self.states || self.wrong.is_some() {
                self.states = states;
                if self.read() {
                    tracing::info!("the certificate of {} was read again", self.files.purpose.what);
                }
            }
        }
        TlsAcceptor::from(Arc::clone(&self.config))
    }

    /// Reads the files; whether they are good. What is wrong is said once.
    fn read(&mut self) -> bool {
        let what = self.files.purpose.what;
        match load(&self.files) {
            Ok(config) => {
                self.config = config;
                self.is_served = true;
                self.wrong = None;
            }
            Err(error) => {
                let error = format!("{error:#}");
                if self.wrong.as_ref() != Some(&error) {
                    if self.is_served {
                        tracing::warn!("the certificate of {what} is used as it was: {error}");
                    } else {
                        tracing::warn!("{what} is not served until this is mended: {error}");
                    }
                    self.wrong = Some(error);
                }
            }
        }
        self.wrong.is_none()
    }
}

/// Through links: a volume of Kubernetes is one that points to another folder after a change.
fn states(files: &TlsFiles) -> States {
    let at = |file: &Path| {
        let file = std::fs::metadata(file).ok()?;
        Some(State {
            file: (file.dev(), file.ino()),
            bytes: file.size(),
            modified: (file.mtime(), file.mtime_nsec()),
            changed: (file.ctime(), file.ctime_nsec()),
        })
    };
    [
        at(&files.certificate),
        at(&files.key),
        files.client_ca.as_deref().and_then(at),
    ]
}

/// The first DNS name that the certificate in these files has.
pub(crate) fn certificate_name(files: &TlsFiles) -> Option<String> {
    let certificate = certificates(&files.certificate, files.purpose.flags[0]).ok()?;
    let certificate = Certificate::from_der(certificate.first()?).ok()?;
    let (_, names) = certificate
        .tbs_certificate()
        .get_extension::<SubjectAltName>()
        .ok()??;
    names.0.iter().find_map(|name| match name {
        GeneralName::DnsName(name) => Some(name.to_string()),
        _ => None,
    })
}

/// What a node is called that has a certificate with this name: of one that begins with `*.` the node's name below it.
pub(crate) fn server_name(certificate: &str, node: &str) -> String {
    match certificate.strip_prefix("*.") {
        // A star stands for one label.
        Some(domain) => format!("{}.{domain}", node.replace('.', "-")),
        None => certificate.to_owned(),
    }
}

fn read(file: &Path, flag: &str) -> Result<Vec<u8>> {
    std::fs::read(file).with_context(|| format!("cannot read {} ({flag})", file.display()))
}

fn certificates(file: &Path, flag: &str) -> Result<Vec<CertificateDer<'static>>> {
    let pem = read(file, flag)?;
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<_, _>>()
        .with_context(|| format!("{} ({flag}) is not PEM", file.display()))?;
    anyhow::ensure!(
        !certificates.is_empty(),
        "{} ({flag}) has no certificate",
        file.display()
    );
    Ok(certificates)
}

fn load(files: &TlsFiles) -> Result<Arc<ServerConfig>> {
    let [certificate_flag, key_flag, ca_flag] = files.purpose.flags;
    let chain = certificates(&files.certificate, certificate_flag)?;
    let key = PrivateKeyDer::from_pem_slice(&read(&files.key, key_flag)?)
        .with_context(|| format!("{} ({key_flag}) has no private key", files.key.display()))?;
    let builder = match &files.client_ca {
        None => builder(None),
        Some(file) => builder(Some(verifier(file, ca_flag)?)),
    };
    let mut config = builder.with_single_cert(chain, key).with_context(|| {
        format!(
            "the key of {} does not fit the certificate of {}",
            files.key.display(),
            files.certificate.display()
        )
    })?;
    config
        .alpn_protocols
        .extend(files.purpose.protocol.map(<[u8]>::to_vec));
    Ok(Arc::new(config))
}

/// Asks clients for a certificate that one of these has signed.
fn verifier(file: &Path, flag: &str) -> Result<Arc<dyn ClientCertVerifier>> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(file, flag)? {
        roots
            .add(certificate)
            .with_context(|| format!("{} ({flag}) has a certificate that can sign none", file.display()))?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
        .build()
        .with_context(|| format!("{} ({flag}) cannot verify clients", file.display()))
}

fn builder(
    clients: Option<Arc<dyn ClientCertVerifier>>,
) -> rustls::ConfigBuilder<ServerConfig, rustls::server::WantsServerCert> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = match ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions() {
        Ok(builder) => builder,
        // It has both versions.
        Err(_) => ServerConfig::builder(),
    };
    match clients {
        Some(clients) => builder.with_client_cert_verifier(clients),
        None => builder.with_no_client_auth(),
    }
}

/// A configuration by which every handshake fails.
fn nothing() -> Arc<ServerConfig> {
    #[derive(Debug)]
    struct Nothing;
    impl ResolvesServerCert for Nothing {
        fn resolve(&self, _: rustls::server::ClientHello<'_>) -> Option<Arc<rustls::sign::CertifiedKey>> {
            None
        }
    }
    Arc::new(builder(None).with_cert_resolver(Arc::new(Nothing)))
}

#[cfg(test)]
#[path = "tls_tests.rs"]
mod tests;
