//! What the first process of a virtual machine is told, and what it says back.
//!
//! The host writes a [`Plan`] into the initial RAM disk; the guest writes one [`Report`] a line, as JSON, to its
//! second serial port.

pub mod scenario;

use std::net::Ipv4Addr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use scenario::Step;

/// Where the plan lies in the guest.
pub const PLAN_PATH: &str = "/plan.json";
/// Where the obsflow binary lies in the guest.
pub const OBSFLOW_PATH: &str = "/bin/obsflow";
/// Where the rule set that drops the black-holed connection lies in the guest.
pub const RULES_PATH: &str = "/etc/drop.nft";
/// The guest's name server, on port 53.
pub const NAME_SERVER: Ipv4Addr = Ipv4Addr::LOCALHOST;

/// What the guest shall do.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Plan {
    /// Modules in the order in which they must be loaded.
    pub modules: Vec<PathBuf>,
    /// Whether there is an obsflow binary; without one only the traffic itself is tried.
    pub obsflow: bool,
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
    /// A run of obsflow ended.
    Ran {
        /// Its command.
        command: String,
        /// Exit code; none when a signal ended it.
        code: Option<i32>,
        /// What it printed; of `observe`, nothing: see [`Report::Observed`].
        stdout: String,
        /// What it printed as errors.
        stderr: String,
        /// How long it took, in milliseconds.
        took_ms: u64,
    },
    /// `obsflow observe` said that its hooks are attached.
    Attached {
        /// Since it was started, in milliseconds.
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
