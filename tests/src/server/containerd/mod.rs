//! A real containerd with real pods, on a node of the lab. The lab does what a kubelet does, by the same interface.
//!
//! Its files are in the lab's folder, its processes and its pods in the lab's cgroup; pods are on the node's network, which is
//! the lab's, so no CNI is needed. The image is made of `lab-tool` and the libraries that it is linked with.

mod cri;

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use prost::Message;
use rustix::process::Signal;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Channel, Endpoint};
use tonic_prost::ProstCodec;

use crate::lab::cgroup;
use crate::process::{self, Proc};
use crate::{Lab, tool, wait};

/// The image of pods and of their sandboxes.
const IMAGE: &str = "localhost/lab-tool:1";
/// How long the runtime may take for one answer: it unpacks images, and machines are slow.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running containerd; its pods end with it.
#[derive(Debug)]
pub struct Containerd {
    process: Proc,
    dir: PathBuf,
    /// Where the pods' cgroups are, below the mount.
    cgroups: PathBuf,
    /// Where the pods' cgroups are.
    node: PathBuf,
    runtime: tokio::runtime::Runtime,
    channel: Channel,
}

/// A pod in it.
#[derive(Clone, Debug)]
pub struct CriPod {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// UID.
    pub uid: String,
    sandbox: String,
    config: cri::SandboxConfig,
}

impl Containerd {
    /// Starts it on node 0 and gives it its image.
    ///
    /// # Errors
    /// When containerd, runc or buildah is missing, or it does not come up; its own words are part of the error.
    pub fn start(lab: &Lab) -> Result<Self> {
        let node = lab.node(0)?.cgroup.clone();
        let dir = lab.dir().join("containerd");
        fs::create_dir_all(&dir)?;
        fs::write(dir.join("config.toml"), configuration(&dir))?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let (process, channel) = launch(lab, &dir, &node, &runtime)?;
        let containerd = Self {
            process,
            dir,
            cgroups: Path::new("/").join(node.strip_prefix(cgroup::mount_point()?)?),
            node,
            runtime,
            channel,
        };
        containerd.is_ready()?;
        containerd.import()?;
        Ok(containerd)
    }

    /// Where it listens.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.dir.join("containerd.sock")
    }

    /// Runs a pod, without a container so far, on the node's network.
    ///
    /// # Errors
    /// When containerd refuses; its words are part of the error.
    pub fn pod(&self, namespace: &str, name: &str, uid: &str) -> Result<CriPod> {
        // The kubelet makes the pod's cgroup, the runtime what is in it.
        let below = Path::new("kubepods/burstable").join(format!("pod{uid}"));
        fs::create_dir_all(self.node.join(&below))?;
        let config = cri::SandboxConfig {
            metadata: Some(cri::SandboxMetadata {
                name: name.to_owned(),
                uid: uid.to_owned(),
                namespace: namespace.to_owned(),
                attempt: 0,
            }),
            log_directory: self.dir.join("logs").join(uid).display().to_string(),
            labels: HashMap::new(),
            linux: Some(cri::LinuxSandbox {
                cgroup_parent: self.cgroups.join(&below).display().to_string(),
                security_context: Some(cri::SandboxSecurity {
                    namespaces: Some(cri::Namespaces {
                        network: cri::NODE,
                        pid: cri::CONTAINER,
                    }),
                }),
            }),
        };
        let request = cri::RunPodSandboxRequest {
            config: Some(config.clone()),
        };
        let cri::Id { id } = self.call("RunPodSandbox", request)?;
        Ok(CriPod {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            uid: uid.to_owned(),
            sandbox: id,
            config,
        })
    }

    /// Starts `lab-tool` with these arguments as a container of the pod; its id. `attempt` counts its restarts.
    ///
    /// # Errors
    /// When containerd refuses; its words are part of the error.
    pub fn container(&self, pod: &CriPod, name: &str, attempt: u32, args: &[&str]) -> Result<String> {
        let config = cri::ContainerConfig {
            metadata: Some(cri::ContainerMetadata {
                name: name.to_owned(),
                attempt,
            }),
            image: Some(cri::Image {
                image: IMAGE.to_owned(),
            }),
            args: args.iter().map(|&arg| arg.to_owned()).collect(),
            log_path: format!("{name}-{attempt}.log"),
            linux: Some(cri::LinuxContainer {
                security_context: Some(cri::ContainerSecurity {
                    namespaces: Some(cri::Namespaces {
                        network: cri::NODE,
                        pid: cri::CONTAINER,
                    }),
                }),
            }),
        };
        let request = cri::CreateContainerRequest {
            pod_sandbox_id: pod.sandbox.clone(),
            config: Some(config),
            sandbox_config: Some(pod.config.clone()),
        };
        let made: cri::Id = self.call("CreateContainer", request)?;
        let _: cri::Empty = self.call("StartContainer", made.clone())?;
        Ok(made.id)
    }

    /// What a container printed so far.
    #[must_use]
    pub fn log(&self, pod: &CriPod, name: &str, attempt: u32) -> String {
        let path = self.dir.join("logs").join(&pod.uid);
        fs::read_to_string(path.join(format!("{name}-{attempt}.log"))).unwrap_or_default()
    }

    /// Ends a container at once.
    ///
    /// # Errors
    /// When containerd refuses.
    pub fn stop(&self, id: &str) -> Result<()> {
        let request = cri::Id { id: id.to_owned() };
        let _: cri::Empty = self.call("StopContainer", request)?;
        Ok(())
    }

    /// Ends it, as a crash would; its pods live on.
    ///
    /// # Errors
    /// When it has ended already.
    pub fn crash(&mut self) -> Result<()> {
        self.process.signal(Signal::KILL)?;
        self.process.wait(wait::SOON).map(drop)
    }

    /// Starts it again after a crash, with the pods that it had.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn restart(&mut self, lab: &Lab) -> Result<()> {
        (self.process, self.channel) = launch(lab, &self.dir, &self.node, &self.runtime)?;
        self.is_ready()
    }

    /// Waits until it takes pods: it listens before it has looked at those that it had.
    fn is_ready(&self) -> Result<()> {
        wait::until("containerd to be initialised", wait::SOON, || {
            let status: Result<cri::Empty> = self.call("Status", cri::Empty {});
            Ok(status.ok().map(drop))
        })
    }

    /// Makes the image and gives it to containerd.
    fn import(&self) -> Result<()> {
        let archive = self.dir.join("image.tar");
        image(&self.dir.join("buildah"), &archive)?;
        let done = Command::new("ctr")
            .arg("--address")
            .arg(self.socket())
            .args([
                "--namespace",
                "k8s.io",
                "images",
                "import",
                "--snapshotter",
                "native",
            ])
            .arg(&archive)
            .output()
            .context("the lab needs ctr, of containerd")?;
        if !done.status.success() {
            bail!("ctr images import: {}", String::from_utf8_lossy(&done.stderr));
        }
        Ok(())
    }

    fn list(&self) -> Result<Vec<String>> {
        let all: cri::ListPodSandboxResponse = self.call("ListPodSandbox", cri::Empty {})?;
        Ok(all.items.into_iter().map(|sandbox| sandbox.id).collect())
    }

    fn call<Q, A>(&self, method: &str, request: Q) -> Result<A>
    where
        Q: Message + 'static,
        A: Message + Default + 'static,
    {
        let path = PathAndQuery::try_from(format!("/runtime.v1.RuntimeService/{method}"))?;
        let mut grpc = Grpc::new(self.channel.clone());
        let answer = self.runtime.block_on(async {
            grpc.ready().await?;
            let codec = ProstCodec::default();
            let answer = grpc.unary(tonic::Request::new(request), path, codec).await;
            anyhow::Ok(answer.map_err(|status| anyhow::anyhow!("{}", status.message()))?)
        });
        Ok(answer
            .with_context(|| format!("containerd: {method}"))?
            .into_inner())
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        // Its shims are children of nobody: each ends with its pod. What is left dies with the lab's cgroup.
        for id in self.list().unwrap_or_default() {
            for method in ["StopPodSandbox", "RemovePodSandbox"] {
                let _: Result<cri::Empty> = self.call(method, cri::Id { id: id.clone() });
            }
        }
    }
}

/// Starts containerd on node 0 and waits until it listens.
fn launch(
    lab: &Lab,
    dir: &Path,
    node_cgroup: &Path,
    runtime: &tokio::runtime::Runtime,
) -> Result<(Proc, Channel)> {
    let own = node_cgroup.join("runtime");
    fs::create_dir_all(&own)?;
    let mut command = Command::new("containerd");
    command
        .arg("--config")
        .arg(dir.join("config.toml"))
        .current_dir(dir);
    process::enter(&mut command, Some(&lab.node(0)?.netns), Some(&own), &[])?;
    let process = Proc::start(command).context("the lab needs containerd")?;
    let address = format!("unix://{}", dir.join("containerd.sock").display());
    let connected = wait::until("containerd to listen", wait::SOON, || {
        let endpoint = Endpoint::from_shared(address.clone())?.timeout(PATIENCE);
        Ok(runtime.block_on(endpoint.connect()).ok())
    });
    let channel = connected
        .with_context(|| format!("containerd did not come up: {}", process.err().all().join(" | ")))?;
    Ok((process, channel))
}

fn configuration(dir: &Path) -> String {
    let dir = dir.display();
    // A lab may not lower scores of the OOM killer, and its folder need not be on a file system that overlayfs takes.
    format!(
        r#"version = 2
root = "{dir}/root"
state = "{dir}/state"
[grpc]
  address = "{dir}/containerd.sock"
[ttrpc]
  address = "{dir}/containerd.sock.ttrpc"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{IMAGE}"
  restrict_oom_score_adj = true
  disable_tcp_service = true
  stream_server_address = "127.0.0.1"
  stream_server_port = "0"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "native"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{dir}/cni/bin"
    conf_dir = "{dir}/cni/net.d"
"#
    )
}

/// Makes an image of `lab-tool` from scratch; it waits for ever when it is not told what to do, as a sandbox does.
fn image(storage: &Path, archive: &Path) -> Result<()> {
    let lab_tool = tool::binary("lab-tool")?;
    let buildah = |args: &[&str]| -> Result<String> {
        let done = Command::new("buildah")
            .arg("--root")
            .arg(storage.join("root"))
            .arg("--runroot")
            .arg(storage.join("run"))
            .args(["--storage-driver", "vfs"])
            .args(args)
            .output()
            .context("the lab needs buildah")?;
        if !done.status.success() {
            bail!(
                "buildah {}: {}",
                args.join(" "),
                String::from_utf8_lossy(&done.stderr)
            );
        }
        Ok(String::from_utf8_lossy(&done.stdout).trim().to_owned())
    };
    let container = buildah(&["from", "scratch"])?;
    for library in libraries(&lab_tool)? {
        buildah(&["copy", "--quiet", &container, library, library])?;
    }
    let from = lab_tool.display().to_string();
    buildah(&["copy", "--quiet", &container, &from, "/lab-tool"])?;
    buildah(&[
        "config",
        "--entrypoint",
        r#"["/lab-tool"]"#,
        "--cmd",
        "pause",
        &container,
    ])?;
    let to = format!("oci-archive:{}:{IMAGE}", archive.display());
    buildah(&["commit", "--quiet", &container, &to])?;
    Ok(())
}

/// The files that a program is loaded with, by `ldd`.
fn libraries(program: &Path) -> Result<&'static [String]> {
    static KNOWN: OnceLock<Vec<String>> = OnceLock::new();
    if let Some(known) = KNOWN.get() {
        return Ok(known);
    }
    let done = Command::new("ldd")
        .arg(program)
        .output()
        .context("the lab needs ldd")?;
    let text = String::from_utf8_lossy(&done.stdout).into_owned();
    let path = |line: &str| {
        let mut words = line.split_whitespace();
        words.find(|word| word.starts_with('/')).map(str::to_owned)
    };
    Ok(KNOWN.get_or_init(|| text.lines().filter_map(path).collect()))
}
