//! Receivers behind TLS: Caddy in front of a Collector, so that it is Go's TLS that answers, as with most receivers, and
//! certificates of an authority that nobody knows.

use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::Lab;
use crate::process::Proc;
use crate::scenario;
use crate::server::otlp::{Collector, GRPC, HTTP, Setup};
use crate::wait::SOON;

/// Where the receivers behind the front listen, on its loopback.
const BEHIND: (u16, u16) = (14_318, 14_317);

/// A certificate and its key, as PEM files.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The certificate.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

/// A certificate authority.
#[derive(Clone, Debug)]
pub struct Authority {
    dir: PathBuf,
    /// Its own certificate, which clients may trust.
    pub identity: Identity,
}

impl Authority {
    /// Makes one in the lab's folder.
    ///
    /// # Errors
    /// When openssl is missing or refuses.
    pub fn new(lab: &Lab, name: &str) -> Result<Self> {
        let dir = lab.dir().join(name);
        fs::create_dir_all(&dir)?;
        let identity = make(&dir, "ca", &["-subj", "/CN=the lab's authority"])?;
        Ok(Self { dir, identity })
    }

    /// A certificate for a server of this name, or a client.
    ///
    /// # Errors
    /// When openssl refuses.
    pub fn issue(&self, name: &str) -> Result<Identity> {
        let ca = &self.identity;
        let (subject, names) = (format!("/CN={name}"), format!("subjectAltName=DNS:{name}"));
        let by: Vec<&str> = [("-CA", &ca.certificate), ("-CAkey", &ca.key)]
            .iter()
            .flat_map(|(option, path)| [*option, path.to_str().unwrap_or_default()])
            .collect();
        let more = ["-addext", &names, "-addext", "basicConstraints=critical,CA:FALSE"];
        // A common name holds 64 bytes at most.
        let subject = ["-subj", subject.get(..64).unwrap_or(&subject)];
        make(&self.dir, name, &[&subject[..], &more, &by].concat())
    }
}

fn make(dir: &Path, name: &str, more: &[&str]) -> Result<Identity> {
    let identity = Identity {
        certificate: dir.join(format!("{name}.crt")),
        key: dir.join(format!("{name}.key")),
    };
    let output = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
        ])
        .args(["-nodes", "-days", "2"])
        .arg("-keyout")
        .arg(&identity.key)
        .arg("-out")
        .arg(&identity.certificate)
        .args(more)
        .output()
        .context("the lab needs openssl")?;
    if !output.status.success() {
        bail!(
            "openssl makes no {name}: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(identity)
}

/// A Collector whose ports speak TLS.
#[derive(Debug)]
pub struct TlsCollector {
    front: Proc,
    /// The receivers, and the name and pod they are known by.
    pub collector: Collector,
}

impl TlsCollector {
    /// Starts it on node 1, with a certificate for its name; with `clients` it asks clients for theirs, of this authority.
    ///
    /// # Errors
    /// When caddy is missing or does not listen.
    pub fn start(lab: &Lab, app: &str, authority: &Authority, clients: Option<&Authority>) -> Result<Self> {
        let collector = Collector::start_as(lab, "observability", app, Setup::on(BEHIND.0, BEHIND.1))?;
        let front = front(lab, &collector, authority, clients)?;
        Ok(Self { front, collector })
    }

    /// Takes the place of a Collector without TLS.
    ///
    /// # Errors
    /// When caddy is missing or does not listen.
    pub fn instead_of(lab: &Lab, plain: Collector, authority: &Authority) -> Result<Self> {
        let collector = plain.replaced(lab, Setup::on(BEHIND.0, BEHIND.1))?;
        let front = front(lab, &collector, authority, None)?;
        Ok(Self { front, collector })
    }

    /// Ends the front and starts it with a certificate of another authority, and with other demands on clients.
    ///
    /// # Errors
    /// When caddy does not listen again.
    pub fn change(&mut self, lab: &Lab, authority: &Authority, clients: Option<&Authority>) -> Result<()> {
        self.front.stop(SOON)?;
        self.front = front(lab, &self.collector, authority, clients)?;
        Ok(())
    }

    /// A Collector without TLS takes its place.
    ///
    /// # Errors
    /// When its receivers do not listen.
    pub fn without_tls(self, lab: &Lab) -> Result<Collector> {
        drop(self.front);
        self.collector.replaced(lab, Setup::default())
    }
}

/// Caddy before the receivers of a Collector.
fn front(
    lab: &Lab,
    collector: &Collector,
    authority: &Authority,
    clients: Option<&Authority>,
) -> Result<Proc> {
    let own = authority.issue(&collector.name)?;
    let dir = lab.dir().join(format!("{}.caddy", collector.pod.uid));
    fs::create_dir_all(&dir)?;
    let mut text = format!(
        "{{\n admin off\n auto_https off\n storage file_system {}\n}}\n",
        dir.display()
    );
    for (port, behind) in [
        (HTTP, format!("127.0.0.1:{}", BEHIND.0)),
        (GRPC, format!("h2c://127.0.0.1:{}", BEHIND.1)),
    ] {
        let (certificate, key) = (own.certificate.display(), own.key.display());
        write!(text, "https://:{port} {{\n tls {certificate} {key} {{\n")?;
        if let Some(clients) = clients {
            write!(
                text,
                "  client_auth {{\n   mode require_and_verify\n   trusted_ca_cert_file {}\n  }}\n",
                clients.identity.certificate.display()
            )?;
        }
        write!(text, " }}\n reverse_proxy {behind}\n}}\n")?;
    }
    let config = dir.join("Caddyfile");
    fs::write(&config, text)?;
    let mut command = collector.pod.command("/usr/bin/caddy")?;
    command
        .args(["run", "--adapter", "caddyfile", "--config"])
        .arg(&config)
        .env("HOME", &dir);
    let front = Proc::start(command).context("the lab needs caddy")?;
    for port in [HTTP, GRPC] {
        let address = SocketAddr::new(collector.pod.v4.into(), port);
        scenario::listens(&collector.pod, address)
            .with_context(|| format!("caddy: {}", front.err().all().join(" | ")))?;
    }
    Ok(front)
}
