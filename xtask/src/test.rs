//! `cargo xtask test`: set-up, then every check there is, each a named stage. The first stage that fails ends it.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use clap::ValueEnum as _;

use crate::{build, fuzz, image, setup, sh, vm};

mod count;

use count::Count;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Run these stages only, in the gate's order.
    #[arg(long, value_delimiter = ',', value_name = "STAGES")]
    only: Vec<Name>,
}

/// The stages, cheapest first.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
enum Name {
    /// Tools and packages.
    Setup,
    /// rustfmt.
    Fmt,
    /// clippy on the user side.
    Clippy,
    /// clippy on the kernel side.
    ClippyEbpf,
    /// rustdoc.
    Doc,
    /// Licences, sources and duplicates of the dependencies.
    Deny,
    /// Tests that need no lab.
    Unit,
    /// Examples in documentation.
    Doctest,
    /// The static release binary.
    Build,
    /// The container image of that binary.
    Image,
    /// The scenarios, on this machine's kernel.
    Lab,
    /// Ten seconds of each fuzz target; `cargo xtask fuzz` gives them more.
    Fuzz,
    /// The smoke scenario on other kernels.
    Vm,
}

impl Name {
    fn run(self, count: &mut Count) -> Result<()> {
        match self {
            Self::Setup => setup::run().and_then(|()| vm::prepare()),
            Self::Fmt => sh::run(sh::cargo().args(["fmt", "--all", "--check"])),
            Self::Clippy => clippy(),
            Self::ClippyEbpf => clippy_ebpf(),
            Self::Doc => doc(),
            Self::Deny => deny(),
            Self::Build => build::run(),
            Self::Image => image::here().map(drop),
            Self::Unit => unit(count),
            Self::Doctest => doctest(count),
            Self::Lab => lab(count),
            Self::Fuzz => fuzz::run(&fuzz::Arguments {
                seconds: 10,
                profile: "dev".to_owned(),
                target: None,
            }),
            Self::Vm => vm::run(&vm::Arguments::default()),
        }
    }
}

/// Runs the gate.
///
/// # Errors
/// The first stage that fails.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let began = Instant::now();
    let mut count = Count::default();
    let mut took: Vec<(Name, Duration)> = Vec::new();
    let wanted = |stage: &Name| arguments.only.is_empty() || arguments.only.contains(stage);
    let mut ahead = None;
    for stage in Name::value_variants().iter().filter(|stage| wanted(stage)) {
        let name = label(*stage);
        println!("== {name}");
        let began = Instant::now();
        match stage {
            // The link alone keeps one processor busy for minutes; what comes before it has work for the others.
            Name::Clippy if wanted(&Name::Build) => ahead = Some(build::ahead()?),
            Name::Build => ahead.take().into_iter().for_each(build::Ahead::wait),
            _ => {}
        }
        let done = stage.run(&mut count);
        let took_now = began.elapsed();
        if let Err(error) = done {
            println!("== {name}: FAILED after {:.0} s", took_now.as_secs_f64());
            summary(&took);
            println!("{count}");
            return Err(error).with_context(|| format!("stage {name}"));
        }
        println!("== {name}: ok, {:.0} s", took_now.as_secs_f64());
        took.push((*stage, took_now));
    }
    summary(&took);
    println!(
        "{} stages ok in {:.0} s",
        took.len(),
        began.elapsed().as_secs_f64()
    );
    println!("{count}");
    Ok(())
}

fn summary(took: &[(Name, Duration)]) {
    println!();
    for (name, took) in took {
        println!("{:12} ok {:>6.0} s", label(*name), took.as_secs_f64());
    }
}

/// The stage's name as `--only` takes it.
fn label(name: Name) -> String {
    name.to_possible_value()
        .map(|value| value.get_name().to_owned())
        .unwrap_or_default()
}

/// A cargo command line as one would type it.
fn cargo(line: &str) -> Command {
    let mut cargo = sh::cargo();
    cargo.args(line.split(' '));
    cargo
}

fn clippy() -> Result<()> {
    sh::run(&mut cargo(
        "clippy --locked --workspace --all-targets -- -D warnings",
    ))
}

/// The programs, for their own target; the unstable flags are for this child only.
fn clippy_ebpf() -> Result<()> {
    let line = "clippy --locked --package obsflow-ebpf --features programs --target bpfel-unknown-none \
                -Z build-std=core -- -D warnings";
    sh::run(
        cargo(line)
            .env("RUSTC_BOOTSTRAP", "1")
            .env("CARGO_TARGET_DIR", sh::target().join("clippy-ebpf")),
    )
}

fn doc() -> Result<()> {
    sh::run(
        cargo("doc --locked --workspace --no-deps --document-private-items")
            .env("RUSTDOCFLAGS", "-D warnings"),
    )
}

/// The advisory database would have to be fetched: the gate must mean the same tomorrow, and without a network.
fn deny() -> Result<()> {
    println!("known vulnerabilities are not part of the gate: `cargo deny check advisories` asks a database");
    sh::run(&mut cargo(
        "deny --locked --offline check --hide-inclusion-graph licenses bans sources",
    ))
}

const LAB: &str = "package(obsflow-tests)";

fn nextest(profile: &str, filter: &str, more: &[(&str, &Path)], count: &mut Count) -> Result<()> {
    sh::watch(
        cargo("nextest run --locked --workspace --no-tests=pass --profile")
            .args([profile, "--filterset", filter])
            .envs(more.iter().copied())
            // A snapshot that differs is a failure, not a file to look at later.
            .env("INSTA_UPDATE", "no"),
        |line| count.nextest(line),
    )
}

fn unit(count: &mut Count) -> Result<()> {
    nextest("default", &format!("not {LAB}"), &[], count)
}

fn doctest(count: &mut Count) -> Result<()> {
    sh::watch(&mut cargo("test --locked --workspace --doc"), |line| {
        count.libtest(line)
    })
}

fn lab(count: &mut Count) -> Result<()> {
    if !sh::is_root()? {
        bail!("the lab makes namespaces and loads programs: run this as root");
    }
    let binary = build::release()?;
    let image = image::here()?;
    // Two floods on one machine would be load for each other.
    let _turn = setup::machine_lock("lab")?;
    nextest(
        "lab",
        LAB,
        &[("OBSFLOW_BIN", &binary), ("OBSFLOW_IMAGE", &image)],
        count,
    )
}
