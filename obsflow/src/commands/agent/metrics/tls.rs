//! TLS by a certificate and a key that may be replaced while the agent runs, as cert-manager does.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, Result};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::ResolvesServerCert;
use tokio_rustls::TlsAcceptor;

use crate::config::TlsFiles;

/// How often it is looked whether the files changed, at most.
const LOOK: Duration = Duration::from_secs(1);

/// When both files were written last.
type Written = [Option<SystemTime>; 2];

/// See the module.
#[derive(Debug)]
pub(super) struct Tls {
    files: TlsFiles,
    config: Arc<ServerConfig>,
    written: Written,
    looked: Instant,
}

impl Tls {
    /// With what the files have now. What is wrong with them is said; until it is mended nobody gets a connection.
    pub(super) fn new(files: TlsFiles) -> Self {
        let written = written(&files);
        let config = load(&files).unwrap_or_else(|error| {
            tracing::warn!("/metrics is not served until this is mended: {error:#}");
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
    pub(super) fn acceptor(&mut self) -> TlsAcceptor {
        if self.looked.elapsed() >= LOOK {
            self.looked = Instant::now();
            let written = written(&self.files);
            if written != self.written {
                self.written = written;
                match load(&self.files) {
                    Ok(config) => {
                        tracing::info!("the certificate of /metrics was read again");
                        self.config = config;
                    }
                    Err(error) => tracing::warn!("the certificate of /metrics is used as it was: {error:#}"),
                }
            }
        }
        TlsAcceptor::from(Arc::clone(&self.config))
    }
}

/// Through links: a volume of Kubernetes is one that points to another folder after a change.
fn written(files: &TlsFiles) -> Written {
    [&files.certificate, &files.key].map(|file| std::fs::metadata(file).and_then(|file| file.modified()).ok())
}

fn load(files: &TlsFiles) -> Result<Arc<ServerConfig>> {
    let read = |file: &Path, flag: &str| {
        std::fs::read(file).with_context(|| format!("cannot read {} ({flag})", file.display()))
    };
    let pem = read(&files.certificate, "--metrics-tls-cert")?;
    let certificates: Vec<CertificateDer<'_>> = CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<_, _>>()
        .with_context(|| format!("{} (--metrics-tls-cert) is not PEM", files.certificate.display()))?;
    anyhow::ensure!(
        !certificates.is_empty(),
        "{} (--metrics-tls-cert) has no certificate",
        files.certificate.display()
    );
    let key = PrivateKeyDer::from_pem_slice(&read(&files.key, "--metrics-tls-key")?)
        .with_context(|| format!("{} (--metrics-tls-key) has no private key", files.key.display()))?;
    let config = builder()
        .with_single_cert(
            certificates.into_iter().map(CertificateDer::into_owned).collect(),
            key,
        )
        .with_context(|| {
            let path = |path: &PathBuf| path.display().to_string();
            format!(
                "the key of {} does not fit the certificate of {}",
                path(&files.key),
                path(&files.certificate)
            )
        })?;
    Ok(Arc::new(config))
}

fn builder() -> rustls::ConfigBuilder<ServerConfig, rustls::server::WantsServerCert> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    match ServerConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions() {
        Ok(builder) => builder.with_no_client_auth(),
        // It has both versions.
        Err(_) => ServerConfig::builder().with_no_client_auth(),
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
    Arc::new(builder().with_cert_resolver(Arc::new(Nothing)))
}

#[cfg(test)]
#[path = "tls_tests.rs"]
mod tests;
