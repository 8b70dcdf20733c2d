//! First process of the virtual machines of `cargo xtask vm`.
//!
//! It makes of a bare kernel what obsflow and the scenario need, runs both, says to the host what it saw, and
//! switches the machine off. Nothing else runs in the guest.

mod machine;
mod names;
mod obsflow;
mod serial;
mod traffic;

use anyhow::Context as _;
use obsflow_vm_guest::{PLAN_PATH, Plan, Report};

use crate::serial::Serial;

fn main() -> anyhow::Result<()> {
    if std::env::args().nth(1).as_deref() == Some(traffic::ARGUMENT) {
        return traffic::run();
    }
    machine::mount_all()?;
    let mut serial = Serial::open()?;
    let report = match guest(&mut serial) {
        Ok(()) => Report::Finished {
            uptime_ms: machine::uptime_ms(),
        },
        Err(error) => Report::Failed {
            error: format!("{error:#}"),
        },
    };
    serial.say(&report)?;
    machine::power_off()
}

fn guest(serial: &mut Serial) -> anyhow::Result<()> {
    serial.say(&Report::Started {
        release: machine::release(),
        uptime_ms: machine::uptime_ms(),
    })?;
    let plan = std::fs::read(PLAN_PATH).context("reading the plan")?;
    let plan: Plan = serde_json::from_slice(&plan).context("reading the plan")?;
    for module in plan.modules {
        if let Err(error) = machine::load_module(&module) {
            serial.say(&Report::ModuleFailed {
                module,
                error: format!("{error:#}"),
            })?;
        }
    }
    machine::loopback_up()?;
    machine::make_pod()?;
    machine::drop_rule()?;
    names::serve()?;
    traffic::listen()?;
    if plan.obsflow {
        obsflow::status(serial)?;
        obsflow::observe(serial)
    } else {
        traffic::run_in_pod(|report| serial.say(&report))
    }
}
