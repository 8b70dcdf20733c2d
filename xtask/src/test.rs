//! `cargo xtask test`: set-up, then every check there is, each a named stage. The first stage that fails ends it.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use crate::{build, setup, sh};

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
    /// The static release binary.
    Build,
    /// Tests that need no lab.
    Unit,
    /// Examples in documentation.
    Doctest,
    /// The scenarios, on this machine's kernel.
    Lab,
}

struct Stage {
    name: Name,
    work: fn(&mut Count) -> Result<()>,
}

const STAGES: &[Stage] = &[
    Stage {
        name: Name::Setup,
        work: |_| setup::run(),
    },
    Stage {
        name: Name::Fmt,
        work: |_| sh::run(sh::cargo().args(["fmt", "--all", "--check"])),
    },
    Stage {
        name: Name::Clippy,
        work: |_| clippy(),
    },
    Stage {
        name: Name::ClippyEbpf,
        work: |_| clippy_ebpf(),
    },
    Stage {
        name: Name::Doc,
        work: |_| doc(),
    },
    Stage {
        name: Name::Deny,
        work: |_| deny(),
    },
    Stage {
        name: Name::Build,
        work: |_| build::run(),
    },
    Stage {
        name: Name::Unit,
        work: unit,
    },
    Stage {
        name: Name::Doctest,
        work: doctest,
    },
    Stage {
        name: Name::Lab,
        work: lab,
    },
];

/// Runs the gate.
///
/// # Errors
/// The first stage that fails.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let began = Instant::now();
    let mut count = Count::default();
    let mut took: Vec<(Name, Duration)> = Vec::new();
    for stage in STAGES
        .iter()
        .filter(|s| arguments.only.is_empty() || arguments.only.contains(&s.name))
    {
        let name = label(stage.name);
        println!("== {name}");
        let began = Instant::now();
        let done = (stage.work)(&mut count);
        let took_now = began.elapsed();
        if let Err(error) = done {
            println!("== {name}: FAILED after {:.0} s", took_now.as_secs_f64());
            summary(&took);
            println!("{count}");
            return Err(error).with_context(|| format!("stage {name}"));
        }
        println!("== {name}: ok, {:.0} s", took_now.as_secs_f64());
        took.push((stage.name, took_now));
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
    use clap::ValueEnum as _;
    name.to_possible_value()
        .map(|value| value.get_name().to_owned())
        .unwrap_or_default()
}

fn clippy() -> Result<()> {
    let lints = ["--", "-D", "warnings"];
    sh::run(
        sh::cargo()
            .args(["clippy", "--locked", "--workspace", "--all-targets"])
            .args(lints),
    )
}

/// The programs, for their own target; the unstable flag is for this child only.
fn clippy_ebpf() -> Result<()> {
    sh::run(
        sh::cargo()
            .args([
                "clippy",
                "--locked",
                "--package",
                "obsflow-ebpf",
                "--features",
                "programs",
            ])
            .args([
                "--target",
                "bpfel-unknown-none",
                "-Z",
                "build-std=core",
                "--",
                "-D",
                "warnings",
            ])
            .env("RUSTC_BOOTSTRAP", "1")
            .env("CARGO_TARGET_DIR", sh::target().join("clippy-ebpf")),
    )
}

fn doc() -> Result<()> {
    sh::run(
        sh::cargo()
            .args([
                "doc",
                "--locked",
                "--workspace",
                "--no-deps",
                "--document-private-items",
            ])
            .env("RUSTDOCFLAGS", "-D warnings"),
    )
}

/// The advisory database would have to be fetched: the gate must mean the same tomorrow, and without a network.
fn deny() -> Result<()> {
    println!("advisories are not checked here: `cargo deny check advisories` does, with a network");
    let checks = ["licenses", "bans", "sources"];
    sh::run(
        sh::cargo()
            .args(["deny", "--locked", "--offline", "check", "--hide-inclusion-graph"])
            .args(checks),
    )
}

const LAB: &str = "package(obsflow-tests)";

fn nextest(filter: &str, count: &mut Count) -> Result<()> {
    sh::watch(
        sh::cargo()
            .args([
                "nextest",
                "run",
                "--locked",
                "--workspace",
                "--no-tests=pass",
                "--filterset",
                filter,
            ])
            .env("INSTA_UPDATE", "no"),
        |line| count.nextest(line),
    )
}

fn unit(count: &mut Count) -> Result<()> {
    nextest(&format!("not {LAB}"), count)
}

fn doctest(count: &mut Count) -> Result<()> {
    sh::watch(
        sh::cargo().args(["test", "--locked", "--workspace", "--doc"]),
        |line| count.libtest(line),
    )
}

fn lab(count: &mut Count) -> Result<()> {
    if !sh::is_root()? {
        anyhow::bail!("the lab makes namespaces and loads programs: run this as root");
    }
    let _turn = setup::machine_lock("lab")?;
    nextest(LAB, count)
}
