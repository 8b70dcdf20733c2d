//! `cargo xtask bench`, once everything is built.
//!
//! `lab-bench [--quick] [--below-root] [--write FILE] [PART ...]` measures and prints the report; parts are `loops`, `bulk`,
//! `programs`, `dns`, `connections`, `sustained`, `replay`, `diagnose`, `metrics`, `flows`, `cluster`, `verdicts` and `process`,
//! all of them without any. `lab-bench load ...` is one traffic loop and `lab-bench cluster FOLDER ...` an API server, which it starts itself.

mod cluster;
mod compare;
mod diagnose;
mod empty;
mod events;
mod floors;
mod flows;
mod load;
mod metrics;
mod place;
mod process;
mod programs;
mod replay;
mod report;
mod table;
mod traffic;
mod verdicts;
mod watcher;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::load::Kind;
use crate::place::Place;
use crate::programs::Programs;
use crate::report::Report;

const PARTS: [&str; 13] = [
    "loops",
    "bulk",
    "programs",
    "dns",
    "connections",
    "sustained",
    "replay",
    "diagnose",
    "metrics",
    "flows",
    "cluster",
    "verdicts",
    "process",
];

/// What was asked for.
#[derive(Default)]
struct Options {
    quick: bool,
    below_root: bool,
    write: Option<PathBuf>,
    parts: Vec<String>,
}

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.split_first() {
        Some((first, rest)) if first == "load" => return load::run(rest),
        // A part by this name has no more arguments than others.
        Some((first, rest @ [folder, ..])) if first == "cluster" && folder.starts_with('/') => {
            return cluster::serve(rest);
        }
        _ => {}
    }
    let options = parse(&args)?;
    let report = measure(&options)?.render();
    println!("{report}");
    if let Some(path) = &options.write {
        let page = format!("{HEAD}\n{report}");
        std::fs::write(path, page).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

/// The beginning of the page in `docs/`.
const HEAD: &str = "# What obsflow costs\n\n\
Written by `cargo xtask bench --write-docs`; run it on your own machine, its numbers are what counts there. Traffic runs in a \
network namespace of its own.\n";

fn parse(args: &[String]) -> Result<Options> {
    let mut options = Options::default();
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--quick" => options.quick = true,
            "--below-root" => options.below_root = true,
            "--write" => options.write = Some(args.next().context("--write needs a file")?.into()),
            part if PARTS.contains(&part) => options.parts.push(part.into()),
            other => bail!("no such part: {other:?}; one of {}", PARTS.join(", ")),
        }
    }
    Ok(options)
}

fn measure(options: &Options) -> Result<Report> {
    let began = Instant::now();
    let quick = options.quick;
    let at_root = !options.below_root;
    let choose = |quickly: u64, else_: u64| if quick { quickly } else { else_ };
    let rounds = if quick { 3 } else { 5 };
    let wanted = |part: &str| {
        let yes = options.parts.is_empty() || options.parts.iter().any(|p| p == part);
        if yes {
            eprintln!("bench: {part} ({:.0} s so far)", began.elapsed().as_secs_f64());
        }
        yes
    };
    let place = Place::new()?;
    let ms = choose(150, 250);
    let mut report = Report {
        loops: Vec::new(),
        bulk: Vec::new(),
        programs: Programs::default(),
        dns: Vec::new(),
        connections: Vec::new(),
        sustained: Vec::new(),
        replayed: Vec::new(),
        diagnosed: None,
        scraped: None,
        kept: None,
        followed: None,
        verdicts: Vec::new(),
        process: process::Process::default(),
        took_s: 0.0,
        quick,
        at_root,
    };
    if wanted("loops") {
        report.loops = traffic::loops(&place, at_root, ms, rounds)?;
    }
    if wanted("bulk") {
        report.bulk = traffic::bulk(&place, at_root, 1, rounds)?;
    }
    if wanted("programs") {
        report.programs = programs::measure(&place, ms, rounds)?;
    }
    if wanted("dns") {
        report.dns = events::cost(&place, Kind::Dns, 2 * ms, 3)?;
    }
    if wanted("connections") {
        report.connections = events::cost(&place, Kind::Connect, 2 * ms, 3)?;
    }
    if wanted("sustained") {
        report.sustained = events::sustained(&place, choose(1, 2), choose(1, 3) as usize)?;
    }
    if wanted("replay") {
        report.replayed = replay::measure(&place, choose(200_000, 500_000), 2000, 3)?;
    }
    if wanted("diagnose") {
        report.diagnosed = Some(diagnose::measure(choose(200_000, 500_000), rounds)?);
    }
    if wanted("metrics") {
        report.scraped = Some(metrics::measure(choose(5, 20))?);
    }
    if wanted("flows") {
        report.kept = Some(flows::measure(choose(3, 10))?);
    }
    if wanted("cluster") {
        report.followed = Some(cluster::measure(&place, at_root, choose(5, 20))?);
    }
    if wanted("verdicts") {
        report.verdicts = verdicts::measure(choose(1, 5) as usize)?;
    }
    if wanted("process") {
        let idle = Duration::from_secs(choose(5, 15));
        report.process = process::measure(&place, rounds, idle)?;
    }
    report.took_s = began.elapsed().as_secs_f64();
    Ok(report)
}
