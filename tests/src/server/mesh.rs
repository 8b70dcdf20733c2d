//! A mesh sidecar: haproxy in a container of its own in the pod, behind rules that send what the pod sends to it, as
//! istio-init makes them. It accepts the application's connection itself and then connects to where it was meant to go.
//!
//! haproxy asks the kernel for the original destination over IPv4 only: so only IPv4 is captured.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::Lab;
use crate::fault::{self, Broken, Fault};
use crate::lab::pod::Pod;
use crate::process::Proc;
use crate::wait;

/// Where the sidecar listens.
pub const PORT: u16 = 15_001;
/// The user it runs as: what this user sends is let through.
pub const UID: u32 = 1337;

/// What the sidecar understands of what it forwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Bytes: when the upstream connect fails it hangs up.
    Tcp,
    /// HTTP/1.1: when the upstream connect fails it answers 503, as Envoy does.
    Http,
}

/// A sidecar of a pod; the rules stay until it is dropped, whether the proxy runs or not.
#[derive(Debug)]
pub struct Sidecar {
    server: Option<Proc>,
    config: PathBuf,
    socket: PathBuf,
    _rules: Broken,
    /// Its container: the pod's addresses, a cgroup of its own.
    pub container: Pod,
}

impl Sidecar {
    /// Adds the container and the rules for these destination ports; the proxy itself does not run yet.
    ///
    /// # Errors
    /// When nftables refuses.
    pub fn inject(lab: &Lab, pod: &Pod, ports: &[u16], level: Level) -> Result<Self> {
        let container = pod.add_container("mesh-proxy")?;
        let config = lab.dir().join(format!("{}.haproxy", pod.uid));
        let socket = lab.dir().join(format!("{}.sock", &pod.uid[..8]));
        let mode = match level {
            Level::Tcp => "tcp",
            Level::Http => "http",
        };
        let mut text = format!(
            "global\n  uid {UID}\n  gid {UID}\n  maxconn 200\n  nbthread 1\n  stats socket {}\n\
             defaults\n  mode {mode}\n  retries 0\n  timeout connect 5s\n  timeout client 1h\n  timeout server 1h\n",
            socket.display()
        );
        // A server at `*` is wherever the client wanted to go (SO_ORIGINAL_DST).
        write!(
            text,
            "frontend outbound\n  bind 0.0.0.0:{PORT}\n  default_backend original\n\
             backend original\n  server original *\n"
        )?;
        fs::write(&config, text)?;
        let rules = fault::apply(
            &pod.netns,
            Fault::Capture {
                ports: ports.to_vec(),
                to: PORT,
                but: UID,
            },
        )?;
        Ok(Self {
            server: None,
            config,
            socket,
            _rules: rules,
            container,
        })
    }

    /// Starts the proxy (again).
    ///
    /// # Errors
    /// When haproxy is missing or does not listen.
    pub fn start(&mut self) -> Result<()> {
        self.server = None;
        let mut command = self.container.command("/usr/sbin/haproxy")?;
        command.args(["-db", "-q", "-f"]).arg(&self.config);
        let server = Proc::start(command).context("the lab needs haproxy")?;
        wait::until("the sidecar to listen", wait::SOON, || {
            Ok(UnixStream::connect(&self.socket).ok().map(drop))
        })
        .with_context(|| format!("haproxy: {}", server.err().all().join(" | ")))?;
        self.server = Some(server);
        Ok(())
    }

    /// Ends the proxy; the rules stay: what the pod sends is refused by itself.
    pub fn stop(&mut self) {
        self.server = None;
    }
}
