//! What containers are supposed to export, and where: from the environment of their processes, their arguments, the
//! build information of Go programs, OpenTelemetry's configuration files, annotations that ask for injection, and obsflow's
//! own configuration.
//!
//! [`Expectations`] follows processes and reads `/proc`, a bounded part of it at a time; everything else here is pure.
//! What is read is a closed list, said in `docs/privacy.md`. Nothing of an environment is kept beyond what comes of it.

mod arguments;
mod containers;
mod endpoint;
mod environment;
mod go;
mod injection;
mod otel_config;
mod profile;
mod proxy;
mod reader;
mod rules;
mod sdk;
mod tracked;

use std::path::PathBuf;
use std::time::Duration;

pub use containers::{Expectations, Stats};
pub use environment::OTHER_VARIABLES;
pub use go::{GoBuild, GoExporter};
pub use profile::{Process, Profile, ReadFile, profile};
pub use rules::{Pattern, Rule, RuleError};

use crate::kernel::cgroupfs::CgroupFs;
use crate::kernel::process;

/// What a program is written in, as far as exporters differ by it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Language {
    /// Go, by its build information.
    Go,
    /// Java or another language of its machine.
    Java,
    /// Python.
    Python,
    /// Node.js.
    Node,
    /// .NET.
    DotNet,
    /// Any other.
    #[default]
    Unknown,
}

impl Language {
    /// Whether its gRPC exporters take the port of a URL without one from its scheme.
    fn takes_ports_from_urls(self) -> bool {
        !matches!(self, Self::Go | Self::Python | Self::Node)
    }
}

/// Sources and limits of [`Expectations`].
#[derive(Clone, Debug)]
pub struct Config {
    /// Where processes are looked up.
    pub proc: PathBuf,
    /// Whether pids in `proc` are those that the kernel side reports. Without, nothing is read by pid.
    pub host_pids: bool,
    /// Where cgroup2 is mounted; tells whether a container still has processes.
    pub cgroups: Option<PathBuf>,
    /// Exporters of obsflow's own configuration.
    pub rules: Vec<Rule>,
    /// Containers followed.
    pub max_containers: usize,
    /// Processes read in one call of [`Expectations::work`].
    pub max_reads: usize,
    /// Time spent in one call of [`Expectations::work`], about.
    pub max_time: Duration,
}

impl Default for Config {
    /// This machine, without rules.
    fn default() -> Self {
        let proc = PathBuf::from("/proc");
        Self {
            host_pids: process::sees_host_pids(&proc),
            cgroups: CgroupFs::find(&proc.join("self/mounts"))
                .ok()
                .map(|fs| fs.path().to_owned()),
            proc,
            rules: Vec::new(),
            max_containers: 16_384,
            max_reads: 128,
            max_time: Duration::from_millis(10),
        }
    }
}
