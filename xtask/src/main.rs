//! The project's own tasks, one file each: `cargo xtask <task>`.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod bench;
mod build;
mod demo;
mod fuzz;
mod image;
mod manifests;
mod setup;
mod sh;
mod test;
mod vm;

/// Tasks of the obsflow workspace.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Install what building and testing need; quick when everything is there.
    Setup,
    /// Set up, then run the whole quality gate.
    Test(test::Arguments),
    /// Build the static release binary.
    Build,
    /// Measure what obsflow costs on this machine, beside nothing, empty programs and other tools.
    Bench(bench::Arguments),
    /// Show obsflow at work on a small lab on this machine.
    Demo,
    /// Write the files of deploy/ that are made from others: install.yaml, the dashboard, the Operator's rules.
    Manifests,
    /// Run the fuzz targets.
    Fuzz(fuzz::Arguments),
    /// Build the container image, with its bill of materials and licence notices.
    Image(image::Arguments),
    /// Boot Debian's kernels in qemu and check a small scenario on each.
    Vm(vm::Arguments),
}

fn main() -> ExitCode {
    let done = match Arguments::parse().task {
        Task::Setup => setup::run().and_then(|()| vm::prepare()),
        Task::Test(arguments) => test::run(&arguments),
        Task::Build => build::run(),
        Task::Bench(arguments) => bench::run(&arguments),
        Task::Demo => demo::run(),
        Task::Manifests => manifests::run(),
        Task::Fuzz(arguments) => fuzz::run(&arguments),
        Task::Image(arguments) => image::run(&arguments),
        Task::Vm(arguments) => vm::run(&arguments),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
