//! `cargo xtask vm`: does obsflow load and tell the truth on the kernels people have?
//!
//! Boots Debian's cloud kernels in qemu with the static binary in an initial RAM disk, shows which hooks each of them
//! carries, and checks a small scenario on each.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, ensure};
use clap::Args;

use crate::setup::{self, apt, rust::MUSL};
use crate::{build, sh};

mod docs;
mod initrd;
mod machine;
mod modules;
mod packages;
mod result;
mod table;

use result::Outcome;

/// What the machines need beyond what building and testing need.
const PACKAGES: &[apt::Package] = &[
    ("qemu-system-x86", "qemu-system-x86_64"),
    ("xz-utils", "xz"),
    ("nftables", "nft"),
];

/// Modules of hooks (traffic control, tunnels, sock_diag) and of the scenario (nftables).
const MODULES: &[&str] = &[
    "vxlan",
    "geneve",
    "sch_ingress",
    "cls_bpf",
    "inet_diag",
    "tcp_diag",
    "udp_diag",
    "nf_tables",
    "nft_reject_inet",
];

/// Machines at the same time: each is one busy processor.
const JOBS: usize = 2;
/// How long one boot may take, on a busy machine.
const LIMIT: Duration = Duration::from_secs(180);

/// Arguments of `cargo xtask vm`.
#[derive(Args, Clone, Debug)]
pub(crate) struct Arguments {
    /// Only this kernel: 5.10, 6.1, 6.12 or newest; may be given more than once.
    #[arg(long = "kernel", value_name = "SERIES")]
    kernels: Vec<Series>,
    /// Fetch the package lists even when they are new.
    #[arg(long)]
    update: bool,
    /// Debian mirror that holds the kernels, ending in /debian; default is this machine's own.
    #[arg(long, value_name = "URI")]
    mirror: Option<String>,
    /// A static obsflow binary; default is a new release build.
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
    /// Leave obsflow out: is the scenario itself sound on this kernel?
    #[arg(long, conflicts_with = "binary")]
    traffic_only: bool,
    /// Machines at the same time.
    #[arg(long, value_name = "COUNT", default_value_t = JOBS)]
    jobs: usize,
    /// Write the tables into docs/kernels.md.
    #[arg(long)]
    write_docs: bool,
}

impl Default for Arguments {
    fn default() -> Self {
        Self {
            kernels: Vec::new(),
            update: false,
            mirror: None,
            binary: None,
            traffic_only: false,
            jobs: JOBS,
            write_docs: false,
        }
    }
}

/// A line of kernels, of which the newest is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Series {
    /// Debian 11.
    #[value(name = "5.10")]
    V5_10,
    /// Debian 12.
    #[value(name = "6.1")]
    V6_1,
    /// Debian 13.
    #[value(name = "6.12")]
    V6_12,
    /// The newest that Debian has.
    #[value(name = "newest")]
    Newest,
}

impl Series {
    const ALL: [Self; 4] = [Self::V5_10, Self::V6_1, Self::V6_12, Self::Newest];

    fn name(self) -> &'static str {
        match self {
            Self::V5_10 => "5.10",
            Self::V6_1 => "6.1",
            Self::V6_12 => "6.12",
            Self::Newest => "newest",
        }
    }

    /// Whether a package of this version belongs to it.
    fn holds(self, version: &str) -> bool {
        match self {
            Self::Newest => true,
            _ => version
                .strip_prefix(self.name())
                .is_some_and(|rest| rest.starts_with('.')),
        }
    }
}

impl fmt::Display for Series {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Fetches what the machines need; quick when it is there. The demo does without, so it is no part of its set-up.
///
/// # Errors
/// When packages or kernels cannot be fetched.
pub(crate) fn prepare() -> Result<()> {
    setup::step("machines", || apt::ensure(PACKAGES))?;
    setup::step("kernels", || {
        let kernels = fetch(&Series::ALL, &Arguments::default())?;
        Ok(setup::Step::There(
            kernels
                .iter()
                .map(|kernel| kernel.version.as_str())
                .collect::<Vec<_>>()
                .join(", "),
        ))
    })
}

fn fetch(series: &[Series], arguments: &Arguments) -> Result<Vec<packages::Kernel>> {
    // The cache belongs to every clone of this user.
    let _turn = setup::machine_lock("vm")?;
    packages::fetch(series, arguments.mirror.as_deref(), arguments.update)
}

/// Boots every kernel asked for and prints what was found.
///
/// # Errors
/// When something needed is missing, a machine does not come through, or obsflow called a step wrong.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let began = Instant::now();
    setup::step("machines", || apt::ensure(PACKAGES))?;
    let series = if arguments.kernels.is_empty() {
        Series::ALL.to_vec()
    } else {
        arguments.kernels.clone()
    };
    let kernels = fetch(&series, arguments)?;
    let init = guest()?;
    let obsflow = match &arguments.binary {
        _ if arguments.traffic_only => None,
        Some(binary) => Some(binary.clone()),
        None => Some(build::release()?),
    };
    let queue: Vec<_> = series.iter().copied().zip(kernels).collect();
    let mut rows = boot_all(&queue, arguments.jobs, &init, obsflow.as_deref())?;
    rows.sort_by_key(|(series, _, _)| Series::ALL.iter().position(|known| known == series));
    let rows: Vec<table::Row> = rows
        .into_iter()
        .map(|(_, kernel, outcome)| (kernel, outcome))
        .collect();

    let tables = table::all(&rows);
    println!("\n{tables}");
    let mut problems = 0;
    for (_, outcome) in &rows {
        for problem in &outcome.problems {
            println!("{}: {problem}", outcome.release);
        }
        problems += outcome.problems.len();
    }
    ensure!(problems == 0, "{problems} problems on {} kernels", rows.len());
    println!(
        "{} kernels, every step called right ({:.0} s)",
        rows.len(),
        began.elapsed().as_secs_f64()
    );
    if arguments.write_docs {
        ensure!(
            rows.len() == Series::ALL.len(),
            "the documentation shows every kernel: leave --kernel out"
        );
        docs::write(&tables)?;
    }
    Ok(())
}

type Booted = (Series, packages::Kernel, Outcome);

/// Boots the machines, `jobs` of them at a time.
fn boot_all(
    queue: &[(Series, packages::Kernel)],
    jobs: usize,
    init: &Path,
    obsflow: Option<&Path>,
) -> Result<Vec<Booted>> {
    let waiting = Mutex::new(queue.iter());
    thread::scope(|scope| {
        let work = || -> Result<Vec<Booted>> {
            let mut done = Vec::new();
            while let Some((series, kernel)) = next(&waiting) {
                let session =
                    boot(*series, kernel, init, obsflow).with_context(|| format!("kernel {series}"))?;
                println!(
                    "vm: {series} ({}): {:.1} s",
                    kernel.version,
                    session.took.as_secs_f64()
                );
                done.push((*series, kernel.clone(), Outcome::of(&session, obsflow.is_some())));
            }
            Ok(done)
        };
        let workers: Vec<_> = (0..jobs.max(1)).map(|_| scope.spawn(work)).collect();
        let mut all = Vec::new();
        for worker in workers {
            all.extend(worker.join().map_err(|_| anyhow!("a worker panicked"))??);
        }
        Ok(all)
    })
}

fn next<T>(queue: &Mutex<impl Iterator<Item = T>>) -> Option<T> {
    queue
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
        .next()
}

/// The guest's first process, static.
fn guest() -> Result<PathBuf> {
    sh::run(sh::cargo().args([
        "build",
        "--quiet",
        "--release",
        "--locked",
        "--package",
        "obsflow-vm-guest",
        "--target",
        MUSL,
    ]))?;
    Ok(sh::target().join(MUSL).join("release/vm-init"))
}

fn boot(
    series: Series,
    kernel: &packages::Kernel,
    init: &Path,
    obsflow: Option<&Path>,
) -> Result<machine::Session> {
    let modules = modules::closure(&kernel.modules, MODULES)?;
    let disk = initrd::pack(&initrd::Content {
        init,
        obsflow,
        modules: &modules,
    })?;
    let folder = sh::target().join("vm").join(series.name());
    let session = machine::boot(&kernel.image, &disk, &folder, LIMIT)?;
    ensure!(
        !session.reports.is_empty(),
        "the guest said nothing; the kernel's messages are in {}",
        session.console.display()
    );
    Ok(session)
}
