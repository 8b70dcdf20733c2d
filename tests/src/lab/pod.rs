//! Pods.

use std::ffi::OsStr;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use super::cgroup;
use super::netns::NetNs;
use crate::process::{self, Proc};

/// Who makes the cgroups.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Driver {
    /// Slices and scopes.
    #[default]
    Systemd,
    /// Plain folders.
    Cgroupfs,
}

/// Who runs the containers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Runtime {
    /// containerd.
    #[default]
    Containerd,
    /// CRI-O.
    Crio,
    /// Docker.
    Docker,
}

/// Quality-of-service class: it decides where the kubelet puts the pod's cgroup.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Qos {
    /// Directly below kubepods.
    Guaranteed,
    /// Below burstable.
    #[default]
    Burstable,
    /// Below besteffort.
    BestEffort,
}

/// What a pod shall be.
#[derive(Clone, Debug)]
pub struct PodSpec {
    pub(super) namespace: String,
    pub(super) app: String,
    pub(super) container: String,
    pub(super) driver: Driver,
    pub(super) runtime: Runtime,
    pub(super) qos: Qos,
    pub(super) host_network: bool,
    pub(super) dns_over_v6: bool,
    pub(super) resolv_options: String,
    pub(super) search: Option<String>,
    pub(super) node: u8,
    pub(super) host: Option<u16>,
}

impl PodSpec {
    /// A pod of a Deployment, `namespace/app`; without a slash the namespace is `apps`.
    #[must_use]
    pub fn new(name: &str) -> Self {
        let (namespace, app) = name.split_once('/').unwrap_or(("apps", name));
        Self {
            namespace: namespace.to_owned(),
            app: app.to_owned(),
            container: "app".to_owned(),
            driver: Driver::default(),
            runtime: Runtime::default(),
            qos: Qos::default(),
            host_network: false,
            dns_over_v6: false,
            resolv_options: "ndots:5".to_owned(),
            search: None,
            node: 0,
            host: None,
        }
    }

    /// Name of the container.
    #[must_use]
    pub fn container(mut self, name: &str) -> Self {
        name.clone_into(&mut self.container);
        self
    }

    /// How the kubelet and the runtime name cgroups.
    #[must_use]
    pub fn cgroups(mut self, driver: Driver, runtime: Runtime, qos: Qos) -> Self {
        (self.driver, self.runtime, self.qos) = (driver, runtime, qos);
        self
    }

    /// The pod lives in the node's network namespace.
    #[must_use]
    pub fn host_network(mut self) -> Self {
        self.host_network = true;
        self
    }

    /// The name server in resolv.conf is an IPv6 address.
    #[must_use]
    pub fn dns_over_v6(mut self) -> Self {
        self.dns_over_v6 = true;
        self
    }

    /// The `options` line of resolv.conf instead of the kubelet's `ndots:5`.
    #[must_use]
    pub fn resolv_options(mut self, options: &str) -> Self {
        options.clone_into(&mut self.resolv_options);
        self
    }

    /// The domains of resolv.conf's `search` line instead of the kubelet's four.
    #[must_use]
    pub fn search(mut self, domains: &str) -> Self {
        self.search = Some(domains.to_owned());
        self
    }

    /// Which node; obsflow watches node 0, servers live on node 1.
    #[must_use]
    pub fn node(mut self, index: u8) -> Self {
        self.node = index;
        self
    }

    /// A fixed number in the node's pod network.
    pub(crate) fn host(mut self, number: u16) -> Self {
        self.host = Some(number);
        self
    }

    /// Path of the container's cgroup below the node's, as this driver and runtime name it.
    pub(super) fn cgroup_path(&self, uid: &str, id: &str) -> PathBuf {
        let class = match self.qos {
            Qos::Guaranteed => None,
            Qos::Burstable => Some("burstable"),
            Qos::BestEffort => Some("besteffort"),
        };
        let mut path = PathBuf::new();
        match self.driver {
            Driver::Systemd => {
                let uid = uid.replace('-', "_");
                path.push("kubepods.slice");
                let mut prefix = "kubepods".to_owned();
                if let Some(class) = class {
                    prefix = format!("kubepods-{class}");
                    path.push(format!("{prefix}.slice"));
                }
                path.push(format!("{prefix}-pod{uid}.slice"));
                path.push(match self.runtime {
                    Runtime::Containerd => format!("cri-containerd-{id}.scope"),
                    Runtime::Crio => format!("crio-{id}.scope"),
                    Runtime::Docker => format!("docker-{id}.scope"),
                });
            }
            Driver::Cgroupfs => {
                path.push("kubepods");
                path.extend(class);
                path.push(format!("pod{uid}"));
                path.push(match self.runtime {
                    Runtime::Crio => format!("crio-{id}"),
                    Runtime::Containerd | Runtime::Docker => id.to_owned(),
                });
            }
        }
        path
    }
}

impl From<&str> for PodSpec {
    fn from(name: &str) -> Self {
        Self::new(name)
    }
}

/// A pod with one container.
#[derive(Debug)]
pub struct Pod {
    /// Kubernetes namespace.
    pub namespace: String,
    /// The app's name with a random suffix, as a ReplicaSet names its pods.
    pub name: String,
    /// UID in the hyphenated form.
    pub uid: String,
    /// Name of the container.
    pub container: String,
    /// Container id, 64 hexadecimal digits.
    pub container_id: String,
    /// Network namespace; the node's with host network.
    pub netns: NetNs,
    /// The container's cgroup.
    pub cgroup: PathBuf,
    /// The node's end of the pod's `eth0`; with host network there is none.
    pub device: Option<String>,
    /// IPv4 address.
    pub v4: Ipv4Addr,
    /// IPv6 address.
    pub v6: Ipv6Addr,
    /// Its folder below the node's `/var/log/pods`.
    pub(super) logs: PathBuf,
    /// `resolv.conf`, `hosts` and `nsswitch.conf` of the container.
    pub(super) etc: PathBuf,
}

impl Pod {
    /// `namespace/name`, as obsflow's filters take it.
    #[must_use]
    pub fn path(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }

    /// Both addresses, IPv4 first.
    #[must_use]
    pub fn ips(&self) -> [IpAddr; 2] {
        [self.v4.into(), self.v6.into()]
    }

    /// A command that will run in the pod, with an empty environment but for PATH and HOME.
    ///
    /// # Errors
    /// When the pod's cgroup is gone.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Result<Command> {
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("HOME", "/");
        let files = ["resolv.conf", "hosts", "nsswitch.conf"]
            .map(|name| (self.etc.join(name), PathBuf::from("/etc").join(name)));
        let binds: Vec<_> = files
            .iter()
            .map(|(from, to)| (from.as_path(), to.as_path()))
            .collect();
        process::enter(&mut command, Some(&self.netns), Some(&self.cgroup), &binds)?;
        Ok(command)
    }

    /// Another container of the same pod: its own cgroup, everything else shared.
    ///
    /// # Errors
    /// When the cgroup cannot be made.
    pub fn add_container(&self, name: &str) -> Result<Self> {
        let container_id = super::hex(&super::random()?);
        let own = self.cgroup.file_name().unwrap_or_default().to_string_lossy();
        let cgroup = self
            .cgroup
            .with_file_name(own.replace(&self.container_id, &container_id));
        // In the kubelet's order: the log folder is there before the container is.
        fs::create_dir_all(self.logs.join(name))?;
        fs::write(self.logs.join(name).join("0.log"), "")?;
        fs::create_dir_all(&cgroup)?;
        Ok(Self {
            namespace: self.namespace.clone(),
            name: self.name.clone(),
            uid: self.uid.clone(),
            container: name.to_owned(),
            container_id,
            netns: self.netns.clone(),
            cgroup,
            device: self.device.clone(),
            v4: self.v4,
            v6: self.v6,
            logs: self.logs.clone(),
            etc: self.etc.clone(),
        })
    }

    /// Deletes the pod as a kubelet does: processes, cgroup, logs; with the last handle its network, too.
    ///
    /// # Errors
    /// When something of it cannot be removed.
    pub fn delete(self) -> Result<()> {
        cgroup::remove(&self.cgroup)?;
        // The pod's own cgroup, above the container's.
        if let Some(parent) = self.cgroup.parent() {
            cgroup::remove(parent)?;
        }
        fs::remove_dir_all(&self.logs)?;
        Ok(fs::remove_dir_all(&self.etc)?)
    }

    /// Adds lines to the container's `/etc/hosts`.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn add_host(&self, ip: IpAddr, name: &str) -> Result<()> {
        let path = self.etc.join("hosts");
        let mut text = fs::read_to_string(&path)?;
        text += &format!("{ip} {name}\n");
        Ok(fs::write(path, text)?)
    }

    /// Starts one of `lab-tool`'s small programs in the pod.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn tool<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Result<Proc> {
        let mut command = self.command(crate::tool::binary("lab-tool")?)?;
        command.args(args);
        Proc::start(command)
    }
}
