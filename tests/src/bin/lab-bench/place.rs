//! Where it is measured: a network namespace with loopback only, and three cgroups - for the traffic, for a workload that
//! has nothing to do with it, and for what watches.

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};
use obsflow_tests::lab::cgroup;
use obsflow_tests::lab::netns::NetNs;
use obsflow_tests::process::enter;
use rustix::process::{Signal, set_parent_process_death_signal};

use crate::load::{Done, Kind};

const PREFIX: &str = "obsflow-bench-";

/// A port that nobody watches.
pub(crate) const PLAIN_PORT: u16 = 7000;
/// A port that telemetry is sent to.
pub(crate) const WATCHED_PORT: u16 = 4317;
/// Name servers' port.
pub(crate) const DNS_PORT: u16 = 53;

/// The place; everything in it ends with it.
pub(crate) struct Place {
    /// Loopback only.
    pub(crate) netns: NetNs,
    /// The cgroup above the others.
    pub(crate) cgroup: PathBuf,
    /// A folder for files.
    pub(crate) dir: PathBuf,
    mount: PathBuf,
}

/// A cgroup of the place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Group {
    /// Runs the traffic.
    Load,
    /// Runs nothing.
    Elsewhere,
    /// Runs what watches.
    Watch,
}

impl Place {
    /// Makes it, and removes what a killed run left.
    pub(crate) fn new() -> Result<Self> {
        let mount = cgroup::mount_point()?;
        sweep(&mount)?;
        let name = format!("{PREFIX}{}", std::process::id());
        let place = Self {
            netns: NetNs::new(false)?,
            cgroup: mount.join(&name),
            dir: std::env::temp_dir().join(&name),
            mount,
        };
        for group in [Group::Load, Group::Elsewhere, Group::Watch] {
            fs::create_dir_all(place.group(group)).context("cannot make cgroups (are you root?)")?;
        }
        fs::create_dir_all(&place.dir)?;
        place.netns.ip("link set lo up\n")?;
        Ok(place)
    }

    /// The directory of a cgroup.
    pub(crate) fn group(&self, group: Group) -> PathBuf {
        self.cgroup.join(match group {
            Group::Load => "load",
            Group::Elsewhere => "elsewhere",
            Group::Watch => "watch",
        })
    }

    /// A cgroup as a path below the mount.
    pub(crate) fn below_mount(&self, path: &Path) -> Result<PathBuf> {
        Ok(Path::new("/").join(path.strip_prefix(&self.mount)?))
    }

    /// CPU time that a cgroup has used, in microseconds.
    pub(crate) fn cpu_us(&self, group: Group) -> Result<u64> {
        fs::read_to_string(self.group(group).join("cpu.stat"))?
            .lines()
            .find_map(|line| line.strip_prefix("usage_usec "))
            .and_then(|number| number.parse().ok())
            .context("cpu.stat has no usage_usec")
    }

    /// A command that will run in the namespace, in a cgroup, with nothing on its standard streams.
    pub(crate) fn command(&self, program: impl AsRef<std::ffi::OsStr>, group: Group) -> Result<Command> {
        let mut command = Command::new(program);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        enter(&mut command, Some(&self.netns), Some(&self.group(group)), &[])?;
        let die_with_me = || Ok(set_parent_process_death_signal(Some(Signal::KILL))?);
        // SAFETY: one system call between fork and exec; nothing allocates.
        unsafe { command.pre_exec(die_with_me) };
        Ok(command)
    }

    /// Runs to the end and gives what it printed.
    pub(crate) fn output(&self, program: &str, args: &[String], group: Group) -> Result<String> {
        let done = self
            .command(program, group)?
            .args(args)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .output()
            .with_context(|| format!("cannot run {program}"))?;
        if !done.status.success() {
            let last = String::from_utf8_lossy(&done.stderr);
            bail!("{program} {}: {}", args.join(" "), last.trim());
        }
        Ok(String::from_utf8_lossy(&done.stdout).into_owned())
    }

    /// Runs one of the traffic loops.
    pub(crate) fn load(&self, kind: Kind, ms: u64, port: u16, rate: Option<u64>) -> Result<Done> {
        let me = std::env::current_exe()?;
        let mut args = vec![
            "load".to_owned(),
            kind.name().to_owned(),
            ms.to_string(),
            port.to_string(),
        ];
        args.extend(rate.map(|rate| rate.to_string()));
        Done::parse(&self.output(&me.to_string_lossy(), &args, Group::Load)?)
    }

    /// Starts something that runs until the guard goes.
    pub(crate) fn start(&self, mut command: Command) -> Result<Running> {
        let name = command.get_program().to_string_lossy().into_owned();
        let child = command.spawn().with_context(|| format!("cannot start {name}"))?;
        Ok(Running(child))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let cleaned = cgroup::remove(&self.cgroup).and_then(|()| Ok(fs::remove_dir_all(&self.dir)?));
        if let Err(error) = cleaned {
            eprintln!("{error:#}; the next run tries again");
        }
    }
}

/// Removes the cgroups and folders of runs whose process is gone.
fn sweep(mount: &Path) -> Result<()> {
    for base in [mount.to_owned(), std::env::temp_dir()] {
        for entry in fs::read_dir(base)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let Some(pid) = name.strip_prefix(PREFIX) else {
                continue;
            };
            if Path::new("/proc").join(pid).exists() {
                continue;
            }
            if entry.path().join("cgroup.procs").exists() {
                cgroup::remove(&entry.path())?;
            } else {
                fs::remove_dir_all(entry.path())?;
            }
        }
    }
    Ok(())
}

/// A process that ends with this.
pub(crate) struct Running(pub(crate) Child);

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail only when it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
