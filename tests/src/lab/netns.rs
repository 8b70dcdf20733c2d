//! Network namespaces that live as long as somebody holds them: no names, so nothing to clean up.

use std::fs::{self, File};
use std::io::Write;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::process::{Command, Stdio};
use std::sync::Arc;

use anyhow::{Context, Result, bail};

use crate::process;
use crate::wait;

/// A network namespace.
#[derive(Clone, Debug)]
pub struct NetNs {
    fd: Arc<OwnedFd>,
}

impl NetNs {
    /// Makes a namespace; `forward` makes it route between its interfaces, as a node does.
    ///
    /// # Errors
    /// Without CAP_SYS_ADMIN, or when the kernel has no more namespaces to give.
    pub fn new(forward: bool) -> Result<Self> {
        // A thread of its own: the namespace is a property of the thread that makes it.
        let made = std::thread::spawn(move || -> Result<OwnedFd> {
            // SAFETY: only changes the network namespace of this thread, which ends right after.
            unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNET) }
                .context("cannot make a network namespace (are you root?)")?;
            let set = |key: &str, value: &str| {
                fs::write(format!("/proc/sys/net/{key}"), value).with_context(|| format!("cannot set {key}"))
            };
            // Addresses must be usable at once.
            set("ipv6/conf/all/accept_dad", "0")?;
            set("ipv6/conf/default/accept_dad", "0")?;
            set("ipv6/conf/default/router_solicitations", "0")?;
            if forward {
                set("ipv4/ip_forward", "1")?;
                set("ipv6/conf/all/forwarding", "1")?;
            }
            Ok(File::open("/proc/thread-self/ns/net")?.into())
        });
        match made.join() {
            Ok(fd) => Ok(Self { fd: Arc::new(fd?) }),
            Err(_) => bail!("the thread that makes a network namespace died"),
        }
    }

    /// Waits until IPv6 is up on `eth0`. The kernel readies a new interface when it comes to it, up to a second later, and
    /// until then nobody's address is found from it: SYNs wait, and are not sent again.
    ///
    /// # Errors
    /// When that takes too long.
    pub fn ready(&self) -> Result<()> {
        self.within(|| {
            wait::until("a new interface to be ready", wait::SOON, || {
                // Its link-local address is made when it is.
                let addresses = fs::read_to_string("/proc/thread-self/net/if_inet6")?;
                let mut own = addresses.lines().filter(|line| line.ends_with(" eth0"));
                Ok(own.any(|line| line.starts_with("fe80")).then_some(()))
            })
        })
    }

    /// Does something in the namespace, on a thread of its own.
    ///
    /// # Errors
    /// Those of what is done.
    pub fn within<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        let entered = || {
            let network = Some(rustix::thread::LinkNameSpaceType::Network);
            rustix::thread::move_into_link_name_space(self.fd.as_fd(), network)?;
            work()
        };
        std::thread::scope(|scope| match scope.spawn(entered).join() {
            Ok(done) => done,
            Err(_) => bail!("the thread that works in a network namespace died"),
        })
    }

    /// A path that names the namespace for as long as this process holds it.
    #[must_use]
    pub fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.fd.as_raw_fd())
    }

    /// The namespace's inode number, as records of the kernel carry it.
    ///
    /// # Errors
    /// When the namespace cannot be looked at.
    pub fn inode(&self) -> Result<u64> {
        Ok(rustix::fs::fstat(&*self.fd)?.st_ino)
    }

    /// Runs a program in the namespace and gives what it printed.
    ///
    /// # Errors
    /// When it cannot be started or fails; its own words are part of the error.
    pub fn run(&self, program: &str, args: &[&str]) -> Result<String> {
        self.run_with(program, args, "")
    }

    /// Like [`NetNs::run`], with `input` on its standard input.
    ///
    /// # Errors
    /// When it cannot be started or fails; its own words are part of the error.
    pub fn run_with(&self, program: &str, args: &[&str], input: &str) -> Result<String> {
        let mut command = Command::new(program);
        command
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        process::enter(&mut command, Some(self), None, &[])?;
        let mut child = command
            .spawn()
            .with_context(|| format!("cannot start {program}"))?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(input.as_bytes())?;
        }
        let output = child.wait_with_output()?;
        if !output.status.success() {
            bail!(
                "{program} {}: {}",
                args.join(" "),
                String::from_utf8_lossy(&output.stderr).trim()
            );
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Runs the lines of `script` through one `ip -batch`.
    ///
    /// # Errors
    /// At the first line that `ip` refuses.
    pub fn ip(&self, script: &str) -> Result<()> {
        self.run_with("ip", &["-batch", "-"], script).map(drop)
    }
}

impl AsFd for NetNs {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
