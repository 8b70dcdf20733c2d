//! The name server: unbound, with a cluster.local zone and zones for every way a look-up can end.

use std::fmt::Write as _;
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result, bail};
use rustix::process::Signal;

use crate::lab::pod::Pod;
use crate::process::Proc;
use crate::wait;

/// Names below this zone are answered SERVFAIL.
pub const SERVFAIL: &str = "servfail.example";
/// Names below this zone are answered REFUSED.
pub const REFUSED: &str = "refused.example";
/// Names below this zone are never answered.
pub const SILENT: &str = "silent.example";
/// Names below this zone exist and have no address.
pub const NODATA: &str = "nodata.example";
/// A name with so many addresses that a response over UDP is truncated.
pub const WIDE: &str = "wide.example";
/// Addresses of [`WIDE`].
pub const WIDE_ADDRESSES: u8 = 60;

/// The name server of the lab. Everything that it does not know is NXDOMAIN.
#[derive(Debug)]
pub struct Dns {
    server: Mutex<Option<Proc>>,
    config: PathBuf,
    /// Where it lives.
    pub pod: Pod,
}

impl Dns {
    /// Starts a name server in a pod; its files go to `dir`.
    ///
    /// # Errors
    /// When unbound does not come up.
    pub fn start(pod: Pod, dir: &Path) -> Result<Self> {
        fs::create_dir_all(dir)?;
        let config = dir.join("unbound.conf");
        fs::write(&config, configuration(dir)?)?;
        let dns = Self {
            server: Mutex::new(None),
            config,
            pod,
        };
        dns.restart()?;
        Ok(dns)
    }

    fn server(&self) -> MutexGuard<'_, Option<Proc>> {
        self.server.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives a name addresses. Answers from before that the name does not exist are not cached by anybody.
    ///
    /// # Errors
    /// When the server does not run.
    pub fn add(&self, name: &str, ips: &[IpAddr]) -> Result<()> {
        for ip in ips {
            let kind = if ip.is_ipv4() { "A" } else { "AAAA" };
            self.control(&["local_data", name, "30", "IN", kind, &ip.to_string()])?;
        }
        Ok(())
    }

    /// Gives a name other addresses than it had.
    ///
    /// # Errors
    /// When the server does not run.
    pub fn set(&self, name: &str, ips: &[IpAddr]) -> Result<()> {
        self.control(&["local_data_remove", name])?;
        self.add(name, ips)
    }

    fn control(&self, args: &[&str]) -> Result<()> {
        let output = Command::new("unbound-control")
            .arg("-c")
            .arg(&self.config)
            .args(args)
            .output()
            .context("cannot run unbound-control (is unbound installed?)")?;
        if !output.status.success() {
            let why = String::from_utf8_lossy(&output.stderr);
            bail!("unbound refuses {}: {}", args.join(" "), why.trim());
        }
        Ok(())
    }

    /// Ends the server: queries are answered by ICMP from now on.
    pub fn stop(&self) {
        self.server().take();
    }

    /// Starts it again, without the names that were added.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn restart(&self) -> Result<()> {
        let mut server = self.server();
        server.take();
        let mut command = self.pod.command("/usr/sbin/unbound")?;
        command.arg("-d").arg("-c").arg(&self.config);
        let started = Proc::start(command).context("the lab needs unbound")?;
        if started
            .err()
            .find(wait::SOON, |line| line.contains("start of service").then_some(()))
            .is_none()
        {
            bail!("unbound did not start: {}", started.err().all().join(" | "));
        }
        *server = Some(started);
        Ok(())
    }

    /// Stops it in its tracks: queries arrive and nobody reads them.
    ///
    /// # Errors
    /// When it does not run.
    pub fn pause(&self) -> Result<()> {
        self.server()
            .as_ref()
            .context("the name server does not run")?
            .signal(Signal::STOP)
    }

    /// Lets it go on; it then answers what piled up.
    ///
    /// # Errors
    /// When it does not run.
    pub fn resume(&self) -> Result<()> {
        self.server()
            .as_ref()
            .context("the name server does not run")?
            .signal(Signal::CONT)
    }
}

fn configuration(dir: &Path) -> Result<String> {
    let dir = dir.display();
    let mut text = format!(
        "server:\n\
         \x20 interface: 0.0.0.0\n  interface: ::0\n\
         \x20 access-control: 0.0.0.0/0 allow\n  access-control: ::0/0 allow\n\
         \x20 username: \"\"\n  chroot: \"\"\n  directory: \"{dir}\"\n  pidfile: \"\"\n\
         \x20 do-daemonize: no\n  use-syslog: no\n  logfile: \"\"\n  verbosity: 1\n\
         \x20 module-config: \"iterator\"\n  num-threads: 1\n  so-reuseport: no\n\
         \x20 outgoing-range: 16\n  msg-cache-size: 1m\n  rrset-cache-size: 1m\n\
         \x20 minimal-responses: yes\n\
         \x20 local-zone: \".\" static\n\
         \x20 local-zone: \"cluster.local.\" static\n\
         \x20 local-zone: \"{SERVFAIL}.\" transparent\n\
         \x20 local-zone: \"{REFUSED}.\" always_refuse\n\
         \x20 local-zone: \"{SILENT}.\" always_deny\n\
         \x20 local-zone: \"{NODATA}.\" always_nodata\n"
    );
    for last in 1..=WIDE_ADDRESSES {
        writeln!(text, "  local-data: \"{WIDE}. 30 IN A 192.0.2.{last}\"")?;
    }
    // Forwarding to itself is what unbound refuses to do: SERVFAIL at once.
    write!(
        text,
        "forward-zone:\n  name: \"{SERVFAIL}.\"\n  forward-addr: 127.0.0.1@1\n\
         remote-control:\n  control-enable: yes\n  control-interface: \"{dir}/control\"\n  control-use-cert: no\n"
    )?;
    Ok(text)
}
