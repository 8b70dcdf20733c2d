//! What the first process of a virtual machine is told, and what it says back.
//!
//! The host writes a [`Plan`] into the initial RAM disk; the guest writes one [`Report`] a line, as JSON, to its
//! second serial port.

use std::net::Ipv4Addr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Where the plan lies in the guest.
pub const PLAN_PATH: &str = "/plan.json";
/// Where the obsflow binary lies in the guest.
pub const OBSFLOW_PATH: &str = "/bin/obsflow";
/// Where the rule set that drops the black-holed connection lies in the guest.
pub const RULES_PATH: &str = "/etc/drop.nft";

/// The guest's name server, on port 53.
pub const NAME_SERVER: Ipv4Addr = Ipv4Addr::LOCALHOST;
/// Port with a listener.
pub const PORT_ESTABLISHED: u16 = 4317;
/// Port nobody listens on.
pub const PORT_REFUSED: u16 = 4318;
/// Port with a listener behind a rule that drops.
pub const PORT_DROPPED: u16 = 8428;
/// The name that does not exist.
pub const NAME_MISSING: &str = "collector.missing.test";
/// The name that resolves to 127.0.0.1.
pub const NAME_PRESENT: &str = "collector.telemetry.test";
/// Namespace, name and UID of the pod that makes the traffic: it exists as a cgroup and as a log folder.
pub const POD_NAMESPACE: &str = "shop";
/// See [`POD_NAMESPACE`].
pub const POD_NAME: &str = "checkout";
/// See [`POD_NAMESPACE`].
pub const POD_UID: &str = "0f6e2d3c-7a41-4b52-9c63-1d2e3f405162";
/// Id of the pod's only container.
pub const CONTAINER_ID: &str = "c0ffee00c0ffee00c0ffee00c0ffee00c0ffee00c0ffee00c0ffee00c0ffee00";

/// What the guest shall do.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Plan {
    /// Modules in the order in which they must be loaded.
    pub modules: Vec<PathBuf>,
    /// Whether there is an obsflow binary; without one only the traffic itself is tried.
    pub obsflow: bool,
}

/// One step of the scenario.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// A name that does not exist is looked up.
    Nxdomain,
    /// A name is looked up and its address connected to, bytes go both ways.
    Established,
    /// A port nobody listens on is connected to.
    Refused,
    /// A port behind a dropping rule is connected to, with a deadline.
    Dropped,
}

impl Step {
    /// All steps, in the order in which they run.
    pub const ALL: [Self; 4] = [Self::Nxdomain, Self::Established, Self::Refused, Self::Dropped];

    /// What the process in the guest must have seen, else the scenario itself is broken.
    #[must_use]
    pub fn expected(self) -> &'static str {
        match self {
            Self::Nxdomain => "no address",
            Self::Established => "echoed",
            Self::Refused => "ECONNREFUSED",
            Self::Dropped => "deadline",
        }
    }

    /// A name for people.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::Nxdomain => "look-up NXDOMAIN",
            Self::Established => "connect established",
            Self::Refused => "connect refused",
            Self::Dropped => "connect dropped",
        }
    }
}

/// What the guest says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "report", rename_all = "snake_case")]
pub enum Report {
    /// The first process runs.
    Started {
        /// `uname -r`.
        release: String,
        /// Since the kernel started, in milliseconds.
        uptime_ms: u64,
    },
    /// A module could not be loaded.
    ModuleFailed {
        /// Its path in the guest.
        module: PathBuf,
        /// Why.
        error: String,
    },
    /// A program of obsflow's ended.
    Ran {
        /// Its arguments.
        args: Vec<String>,
        /// Exit code; none when a signal ended it.
        code: Option<i32>,
        /// What it printed.
        stdout: String,
        /// What it printed as errors.
        stderr: String,
        /// How long it took, in milliseconds.
        took_ms: u64,
    },
    /// A step of the scenario, as the process that made it saw it.
    Step {
        /// Which.
        step: Step,
        /// What it saw; see [`Step::expected`].
        seen: String,
        /// How long it took, in milliseconds.
        took_ms: u64,
    },
    /// A line of `obsflow observe`.
    Observed {
        /// The line.
        line: String,
    },
    /// The guest could not go on.
    Failed {
        /// Why.
        error: String,
    },
    /// Everything was done.
    Finished {
        /// Since the kernel started, in milliseconds.
        uptime_ms: u64,
    },
}
