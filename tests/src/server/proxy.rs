//! A forward proxy, as `http_proxy` names one: tinyproxy, which takes both `CONNECT` and the absolute form.

use std::fs;
use std::net::SocketAddr;

use anyhow::{Context, Result};

use crate::Lab;
use crate::lab::pod::{Pod, PodSpec};
use crate::process::Proc;
use crate::{scenario, wait};

/// Where it listens.
pub const PORT: u16 = 3128;

/// A forward proxy in a pod on node 1, known to the name server.
#[derive(Debug)]
pub struct HttpProxy {
    server: Proc,
    /// Its name as a Service.
    pub name: String,
    /// Where it lives.
    pub pod: Pod,
}

impl HttpProxy {
    /// Starts it and gives it a name.
    ///
    /// # Errors
    /// When tinyproxy is missing or does not listen.
    pub fn start(lab: &Lab) -> Result<Self> {
        let pod = lab.pod(PodSpec::new("egress/web-proxy").node(1).container("tinyproxy"))?;
        let config = lab.dir().join("tinyproxy.conf");
        fs::write(
            &config,
            format!(
                "Port {PORT}\nListen 0.0.0.0\nListen ::\nTimeout 600\nMaxClients 64\nDisableViaHeader Yes\n"
            ),
        )?;
        let mut command = pod.command("/usr/bin/tinyproxy")?;
        command.arg("-d").arg("-c").arg(&config);
        let server = Proc::start(command).context("the lab needs tinyproxy")?;
        scenario::listens(&pod, SocketAddr::new(pod.v4.into(), PORT))
            .with_context(|| format!("tinyproxy: {}", server.err().all().join(" | ")))?;
        let name = "web-proxy.egress.svc.cluster.local".to_owned();
        lab.dns().add(&name, &pod.ips())?;
        Ok(Self { server, name, pod })
    }

    /// Its URL, as `http_proxy` and `https_proxy` take it.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}:{PORT}", self.name)
    }

    /// What it wrote down of requests so far, one line each.
    #[must_use]
    pub fn log(&self) -> Vec<String> {
        self.server.out().all()
    }

    /// Waits until it wrote down something.
    ///
    /// # Errors
    /// When the deadline passes first.
    pub fn wait_for(&self, what: &str) -> Result<()> {
        wait::until(format!("the proxy to see {what}"), wait::SOON, || {
            Ok(self.log().iter().any(|line| line.contains(what)).then_some(()))
        })
    }
}
