//! obsflow: why is my telemetry not arriving?

use std::process::ExitCode;

fn main() -> ExitCode {
    obsflow::commands::run(obsflow::cli::parse())
}
