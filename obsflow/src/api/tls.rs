//! TLS by a certificate and a key that may be replaced while the agent runs, as cert-manager does.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

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

/// When the files were written last.
type Written = [Option<SystemTime>; 3];

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
    written: Written,
    looked: Instant,
}

impl Tls {
    /// With what the files have now. What is wrong with them is said; until it is mended nobody gets a connection.
    pub(crate) fn new(files: TlsFiles) -> Self {
        let written = written(&files);
        let config = load(&files).unwrap_or_else(|error| {
            tracing::warn!(
                "{} is not served until this is mended: {error:#}",
                files.purpose.what
            );
            nothing()
        });
        Self {
            files,
            config,
            written,
            looked: Instant::now(),
        }
    }

    /// With what the files have by now. What was good stays when what replaces it is not.
    pub(crate) fn acceptor(&mut self) -> TlsAcceptor {
        if self.looked.elapsed() >= LOOK {
            self.looked = Instant::now();
            let written = written(&self.files);
            if written != self.written {
                self.written = written;
                match load(&self.files) {
                    Ok(config) => {
                        tracing::info!("the certificate of {} was read again", self.files.purpose.what);
                        self.config = config;
                    }
                    Err(error) => {
                        let what = self.files.purpose.what;
                        tracing::warn!("the certificate of {what} is used as it was: {error:#}");
                    }
                }
            }
        }
        TlsAcceptor::from(Arc::clone(&self.config))
    }
}

/// Through links: a volume of Kubernetes is one that points to another folder after a change.
fn written(files: &TlsFiles) -> Written {
    let at = |file: &Path| std::fs::metadata(file).and_then(|file| file.modified()).ok();
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
