//! What came out, as one page: the machine, the floors, the tables.

use std::fmt::Write as _;
use std::fs;

use crate::cluster::Followed;
use crate::compare::Column;
use crate::diagnose::Diagnosed;
use crate::events::Sustained;
use crate::floors::{Floor, floors};
use crate::flows::Kept;
use crate::metrics::Scraped;
use crate::process::Process;
use crate::programs::Programs;
use crate::replay::Replayed;
use crate::table::{Table, number, percent};
use crate::traffic::LOOPS;
use crate::verdicts::Told;

/// Everything that was measured.
pub(crate) struct Report {
    /// Small messages and connections that nobody asked about.
    pub(crate) loops: Vec<Column>,
    /// iperf3.
    pub(crate) bulk: Vec<Column>,
    /// Cost of each program.
    pub(crate) programs: Programs,
    /// Cost of a DNS look-up.
    pub(crate) dns: Vec<Column>,
    /// Cost of a watched connection.
    pub(crate) connections: Vec<Column>,
    /// As fast as it goes.
    pub(crate) sustained: Vec<Sustained>,
    /// Replay.
    pub(crate) replayed: Vec<Replayed>,
    /// Diagnosis.
    pub(crate) diagnosed: Option<Diagnosed>,
    /// Metrics.
    pub(crate) scraped: Option<Scraped>,
    /// Flows.
    pub(crate) kept: Option<Kept>,
    /// A large cluster.
    pub(crate) followed: Option<Followed>,
    /// How long verdicts take.
    pub(crate) verdicts: Vec<Told>,
    /// The process.
    pub(crate) process: Process,
    /// How long all of it took, in seconds.
    pub(crate) took_s: f64,
    /// Fewer and shorter rounds.
    pub(crate) quick: bool,
    /// Whether obsflow was at the root of the cgroups.
    pub(crate) at_root: bool,
}

impl Report {
    /// The page.
    pub(crate) fn render(&self) -> String {
        let mut page = String::new();
        let mut say = |text: &str| {
            page.push_str(text);
            page.push('\n');
        };
        say(&machine());
        say(&format!(
            "One run of {:.0} s{}. Watchers take turns, round after round; numbers are medians, percentages are medians of the \
             ratio to the bare value of the same round. obsflow is the static release binary, attached at {}.\n",
            self.took_s,
            if self.quick {
                ", quick: fewer and shorter rounds"
            } else {
                ""
            },
            if self.at_root {
                "the root of cgroup2"
            } else {
                "the cgroup above the traffic's"
            },
        ));
        say("## Floors\n");
        say(&self.floors());
        say("## Traffic that nobody asked about\n");
        say(
            "Both ends in one thread on loopback. Rates are per second of that thread's CPU time, so that what else runs \
             on the machine does not count; iperf3 is also given on the clock.\n",
        );
        say(&self.traffic());
        say("## Programs, by call\n");
        say(
            "From the kernel's run-time statistics, which add about 50 ns to each call of every program. *Empty* is a \
             program of two instructions of the same type, at the same hook, on the same packets; *more* is what obsflow \
             costs beyond it, without the statistics.\n",
        );
        say(&self.by_call());
        say(&self.by_round());
        say("## Traffic that is watched\n");
        say(
            "CPU time in nanoseconds: of the thread that makes the traffic (the kernel side of a watcher is in it), of the \
             watcher's process, and of both. A look-up is two events, a connection three. *Seen* and *lost* are the watcher's \
             own count, in all rounds; tcpdump and dumpcap write to /dev/null.\n",
        );
        say(&watched("One DNS look-up", &self.dns));
        say(&watched("One connection to a telemetry port", &self.connections));
        say(
            "As fast as it goes: dnsperf against dnsmasq, and connections from a loop on each of two cores.\n",
        );
        say(&self.sustained());
        say("## Replay\n");
        say("Events in a second of CPU time, everything from reading the file to writing to /dev/null.\n");
        say(&self.replay());
        say("## The process\n");
        say(&self.process_table());
        for column in self.loops.iter().chain(&self.connections).chain(&self.dns) {
            if let Some(missing) = &column.missing {
                let line = missing.replace('\n', " ");
                say(&format!("Not measured here: {} ({line})", column.name));
            }
        }
        page
    }

    fn floors(&self) -> String {
        let mut table = Table::new(["what", "must reach", "measured", "", "what the limit is made of"]);
        for Floor {
            what,
            must,
            measured,
            met,
            why,
        } in floors(self)
        {
            let verdict = match met {
                _ if must.starts_with('(') => "",
                true => "met",
                false => "**not met**",
            };
            table.row(vec![what, must, measured, verdict.into(), why]);
        }
        table.render()
    }

    fn traffic(&self) -> String {
        let heads = std::iter::once(String::new()).chain(self.loops.iter().map(|column| column.name.clone()));
        let mut table = Table::with(heads.collect());
        for (index, (name, _)) in LOOPS.iter().enumerate() {
            table.row(line(name, &self.loops, index, |name| name));
        }
        let bulk = |name: &str| self.bulk.iter().find(|column| column.name == name);
        for (index, name) in ["iperf3: Gbit/s on the clock", "iperf3: GiB per CPU second"]
            .iter()
            .enumerate()
        {
            let cells = self.loops.iter().map(|column| match bulk(&column.name) {
                Some(found) => cell(found, index),
                None => "-".into(),
            });
            table.row(std::iter::once((*name).to_owned()).chain(cells).collect());
        }
        table.render()
    }

    fn by_call(&self) -> String {
        let mut table = Table::new([
            "traffic",
            "program",
            "calls a round",
            "ns",
            "empty, ns",
            "more, ns",
        ]);
        for call in &self.programs.calls {
            let empty = call.empty_ns.unwrap_or(f64::NAN);
            table.row(vec![
                call.traffic.into(),
                call.program.clone(),
                number(call.calls),
                number(call.ns),
                number(empty),
                number(call.ns - empty),
            ]);
        }
        table.render()
    }

    fn by_round(&self) -> String {
        let mut table = Table::new(["one round of", "all programs, ns", "empty, ns", "more, ns"]);
        for round in &self.programs.rounds {
            table.row(vec![
                round.traffic.into(),
                number(round.ns),
                number(round.empty_ns),
                number(round.ns - round.empty_ns),
            ]);
        }
        table.render()
    }

    fn sustained(&self) -> String {
        let mut table = Table::new([
            "",
            "obsflow",
            "a second",
            "bare",
            "of bare",
            "events a second",
            "seen",
            "lost",
        ]);
        for row in &self.sustained {
            let events = if row.what == "look-ups" { 2.0 } else { 3.0 };
            table.row(vec![
                row.what.clone(),
                row.way.clone(),
                number(row.per_second),
                number(row.bare_per_second),
                percent(row.per_second / row.bare_per_second),
                number(row.per_second * events),
                number(row.seen as f64),
                number(row.lost as f64),
            ]);
        }
        table.render()
    }

    fn replay(&self) -> String {
        let mut table = Table::new([
            "capture",
            "events",
            "-o json",
            "-o compact",
            "a filter that nothing passes",
            "peak RSS, MiB",
        ]);
        for row in &self.replayed {
            table.row(vec![
                row.what.clone(),
                number(row.events as f64),
                number(row.json),
                number(row.compact),
                number(row.nothing),
                number(row.peak_kib as f64 / 1024.0),
            ]);
        }
        table.render()
    }

    fn process_table(&self) -> String {
        let process = &self.process;
        let mut table = Table::new(["", "value"]);
        let mut row = |what: &str, value: String| table.row(vec![what.into(), value]);
        row("start to attached, ms", number(process.attach_ms.0));
        row("the slowest start, ms", number(process.attach_ms.1));
        row("CPU time of a start, ms", number(process.attach_cpu_ms));
        row(
            "resident on a bare node, MiB",
            number(process.resident_kib.0 as f64 / 1024.0),
        );
        row(
            "at its peak, while starting, MiB",
            number(process.resident_kib.1 as f64 / 1024.0),
        );
        row("idle, % of a core", number(process.idle_percent));
        table.render()
    }
}

fn cell(column: &Column, index: usize) -> String {
    match (column.values.get(index), column.ratios.get(index)) {
        (Some(value), Some(ratio)) if *ratio == 1.0 && column.name == "bare" => number(*value),
        (Some(value), Some(ratio)) => format!("{} ({})", number(*value), percent(*ratio)),
        _ => "-".into(),
    }
}

fn line(name: &str, columns: &[Column], index: usize, as_shown: impl Fn(&str) -> &str) -> Vec<String> {
    std::iter::once(as_shown(name).to_owned())
        .chain(columns.iter().map(|column| cell(column, index)))
        .collect()
}

fn watched(what: &str, columns: &[Column]) -> String {
    let mut table = Table::new([
        what,
        "traffic",
        "watcher",
        "both",
        "more than bare",
        "seen",
        "lost",
    ]);
    let bare = columns.first().and_then(|column| column.values.get(2)).copied();
    for column in columns {
        let Some([traffic, watcher, both]) = column.values.get(..3) else {
            continue;
        };
        let count = |count: Option<u64>| count.map_or_else(|| "-".into(), |count| number(count as f64));
        table.row(vec![
            column.name.clone(),
            number(*traffic),
            number(*watcher),
            number(*both),
            number(both - bare.unwrap_or(f64::NAN)),
            count(column.counts.map(|(seen, _)| seen)),
            count(column.counts.map(|(_, lost)| lost)),
        ]);
    }
    table.render()
}

/// The machine, in one sentence.
fn machine() -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let cpuinfo = read("/proc/cpuinfo");
    let field = |name: &str| {
        cpuinfo
            .lines()
            .find_map(|line| line.strip_prefix(name)?.split_once(':'))
            .map(|(_, value)| value.trim().to_owned())
            .unwrap_or_default()
    };
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let memory = read("/proc/meminfo")
        .lines()
        .find_map(|line| {
            line.strip_prefix("MemTotal:")?
                .trim()
                .strip_suffix(" kB")?
                .parse::<f64>()
                .ok()
        })
        .unwrap_or(0.0);
    let virtualised = if field("flags").split(' ').any(|flag| flag == "hypervisor") {
        "a virtual machine"
    } else {
        "no virtual machine"
    };
    let load = read("/proc/loadavg");
    let mut text = String::new();
    let _ = writeln!(
        text,
        "Machine: {cores} cores of {}, {:.0} GiB, {virtualised}, Linux {}. Load average at the end: {}.",
        field("model name"),
        memory / 1024.0 / 1024.0,
        read("/proc/sys/kernel/osrelease").trim(),
        load.split(' ').next().unwrap_or_default(),
    );
    text
}
