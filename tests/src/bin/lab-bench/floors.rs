//! What obsflow must reach, and whether it did in this run.

use crate::cluster::{CHANGES_PER_SECOND, Followed};
use crate::compare::Column;
use crate::diagnose::EXPORTERS;
use crate::flows::FLOWS;
use crate::report::Report;
use crate::table::{number, percent};

/// One of them.
pub(crate) struct Floor {
    /// What.
    pub(crate) what: String,
    /// How much.
    pub(crate) must: String,
    /// What came out.
    pub(crate) measured: String,
    /// Whether that is enough.
    pub(crate) met: bool,
    /// What the distance to the ideal consists of.
    pub(crate) why: String,
}

fn floor(what: &str, must: &str, measured: String, met: bool, why: String) -> Floor {
    Floor {
        what: what.into(),
        must: must.into(),
        measured,
        met,
        why,
    }
}

fn column<'a>(columns: &'a [Column], name: &str) -> Option<&'a Column> {
    columns.iter().find(|column| column.name == name)
}

fn ratio(columns: &[Column], name: &str, metric: usize) -> f64 {
    column(columns, name)
        .and_then(|column| column.ratios.get(metric))
        .copied()
        .unwrap_or(f64::NAN)
}

/// All of them.
pub(crate) fn floors(report: &Report) -> Vec<Floor> {
    let mut all = Vec::new();
    rates(report, &mut all);
    programs(report, &mut all);
    loss(report, &mut all);
    per_event(report, &mut all);
    diagnosed(report, &mut all);
    scraped(report, &mut all);
    kept(report, &mut all);
    if let Some(cluster) = &report.followed {
        followed(cluster, &mut all);
    }
    verdicts(report, &mut all);
    process(report, &mut all);
    all
}

fn rates(report: &Report, all: &mut Vec<Floor>) {
    let rows: [(&str, f64, &[Column], usize); 6] = [
        ("UDP, connected sockets", 0.94, &report.loops, 0),
        ("UDP, sockets not connected", 0.94, &report.loops, 1),
        ("TCP, small messages", 0.94, &report.loops, 2),
        ("connect and close", 0.92, &report.loops, 3),
        ("iperf3, on the clock", 0.99, &report.bulk, 0),
        ("iperf3, by CPU time", 0.99, &report.bulk, 1),
    ];
    for (what, must, columns, metric) in rows {
        if columns.is_empty() {
            continue;
        }
        let measured = ratio(columns, "obsflow", metric);
        let empty = ratio(columns, "empty programs", metric);
        all.push(floor(
            &format!("{what}, attached at the root"),
            &format!(">= {:.0} % of bare", must * 100.0),
            percent(measured),
            measured >= must,
            format!("empty programs alone leave {}", percent(empty)),
        ));
    }
    let elsewhere: Vec<f64> = (0..4)
        .map(|metric| ratio(&report.loops, "obsflow elsewhere", metric))
        .chain((0..2).map(|metric| ratio(&report.bulk, "obsflow elsewhere", metric)))
        .collect();
    let least = elsewhere.iter().copied().fold(f64::INFINITY, f64::min);
    if least.is_infinite() {
        return;
    }
    all.push(floor(
        "all of these, attached elsewhere",
        ">= 99 % of bare",
        format!("{} at least", percent(least)),
        least >= 0.99,
        format!(
            "{}; the TCP tracepoints are the host's, wherever the rest is attached",
            elsewhere
                .iter()
                .map(|r| percent(*r))
                .collect::<Vec<_>>()
                .join(", ")
        ),
    ));
}

fn programs(report: &Report, all: &mut Vec<Floor>) {
    // The filters: programs on traffic that nobody watches.
    let worst = report
        .programs
        .calls
        .iter()
        .filter(|call| !call.traffic.contains("watched") && !call.traffic.contains("DNS"))
        .filter_map(|call| Some((call.ns - call.empty_ns?, call)))
        .max_by(|a, b| a.0.total_cmp(&b.0));
    if let Some((more, call)) = worst {
        all.push(floor(
            "each filter beyond its empty program",
            "<= 10 ns",
            format!("{} ns", number(more)),
            more <= 10.0,
            format!("the most: {} on {}", call.program, call.traffic),
        ));
    }
    if report.programs.rounds.is_empty() {
        return;
    }
    let round = |name: &str| {
        report
            .programs
            .rounds
            .iter()
            .find(|round| round.traffic == name)
            .map_or(f64::NAN, |round| round.ns - round.empty_ns)
    };
    let event = round("DNS look-up") / 2.0;
    all.push(floor(
        "a DNS event in the kernel",
        "<= 250 ns",
        format!("{} ns", number(event)),
        event <= 250.0,
        "beyond empty programs; half of what a look-up costs, the server's side included; no wake-ups".into(),
    ));
    let connection = round("connect and close, watched");
    all.push(floor(
        "a watched connection over its life",
        "<= 1,500 ns",
        format!("{} ns", number(connection)),
        connection <= 1500.0,
        format!(
            "beyond empty programs, both ends on this node; one that nobody watches costs {} ns",
            number(round("connect and close"))
        ),
    ));
}

fn loss(report: &Report, all: &mut Vec<Floor>) {
    for (what, must) in [("look-ups", 90_000.0), ("connections", 20_000.0)] {
        for row in report.sustained.iter().filter(|row| row.what == what) {
            let enough = row.per_second >= must;
            all.push(floor(
                &format!("no event lost, {}", row.way),
                &format!("{} {what}/s", number(must)),
                format!(
                    "{} lost of {} at {}/s",
                    number(row.lost as f64),
                    number((row.seen + row.lost) as f64),
                    number(row.per_second)
                ),
                row.lost == 0,
                if enough {
                    "more than was asked for".into()
                } else {
                    format!(
                        "as fast as it goes here: {}/s bare, client, server and obsflow share the cores",
                        number(row.bare_per_second)
                    )
                },
            ));
        }
    }
}

fn per_event(report: &Report, all: &mut Vec<Floor>) {
    for (what, columns, events) in [
        ("look-up", &report.dns, 2.0),
        ("connection", &report.connections, 3.0),
    ] {
        if columns.is_empty() {
            continue;
        }
        let bare = column(columns, "bare")
            .and_then(|column| column.values.get(2))
            .copied();
        let more = |column: &Column| Some((column.values.get(2)? - bare?) / events);
        let ours: Vec<(f64, &str)> = columns
            .iter()
            .filter(|column| column.name.starts_with("obsflow"))
            .filter_map(|column| Some((more(column)?, column.name.as_str())))
            .collect();
        let peers: Vec<(f64, &str)> = columns
            .iter()
            .filter(|column| !column.name.starts_with("obsflow") && column.name != "bare")
            .filter_map(|column| Some((more(column)?, column.name.as_str())))
            .collect();
        let least = |all: &[(f64, &str)]| all.iter().map(|(ns, _)| *ns).fold(f64::INFINITY, f64::min);
        let list = |all: &[(f64, &str)]| {
            let parts: Vec<String> = all
                .iter()
                .map(|(ns, name)| format!("{name} {}", number(*ns)))
                .collect();
            parts.join(", ")
        };
        all.push(floor(
            &format!("CPU time for each event of a {what}"),
            "lower than every peer's",
            format!("{} ns", list(&ours)),
            least(&ours) < least(&peers),
            format!("{} ns (a {what} divided by the same {events:.0})", list(&peers)),
        ));
    }
}

fn diagnosed(report: &Report, all: &mut Vec<Floor>) {
    let Some(diagnosed) = report.diagnosed else {
        return;
    };
    all.push(floor(
        "diagnosis of an event",
        "<= 2,000 ns",
        format!("{} ns", number(diagnosed.event_ns)),
        diagnosed.event_ns <= 2000.0,
        format!(
            "{} exporters, three of eight failing; a tick, once a second, costs {} ns for each of them, a report {} ns",
            number(EXPORTERS as f64),
            number(diagnosed.tick_ns),
            number(diagnosed.report_ns)
        ),
    ));
    let mib = diagnosed.state_kib / 1024.0;
    all.push(floor(
        "5,000 exporters",
        "<= 64 MiB",
        format!("{} MiB", number(mib)),
        mib <= 64.0,
        "the state of diagnosis alone, with what was said of those that fail".into(),
    ));
}

fn scraped(report: &Report, all: &mut Vec<Floor>) {
    let Some(scraped) = report.scraped else {
        return;
    };
    let slowest = scraped.open_ms.max(scraped.text_ms);
    all.push(floor(
        &format!("a scrape of {} series", number(scraped.series)),
        "<= 100 ms",
        format!("{slowest:.1} ms"),
        slowest <= 100.0,
        format!(
            "writing them down, on a thread of its own, the slowest round: OpenMetrics {:.1} ms, text {:.1} ms",
            scraped.open_ms, scraped.text_ms
        ),
    ));
    all.push(floor(
        "a scrape, of the pipeline's time",
        "<= 1 % of a second",
        format!("{:.2} ms", scraped.pipeline_ms),
        scraped.pipeline_ms <= 10.0,
        format!(
            "adding what the kernel counted for 4,000 cgroups; an observation costs metrics {} ns",
            number(scraped.observe_ns)
        ),
    ));
}

fn followed(cluster: &Followed, all: &mut Vec<Floor>) {
    let mib = |kib: u64| kib as f64 / 1024.0;
    let (pods, services, endpoints) = cluster.known;
    let (listed, most, peak) = cluster.resident_kib;
    all.push(floor(
        &format!(
            "resident with {pods} pods, {} Services, {} endpoints",
            number(services as f64),
            number(endpoints as f64)
        ),
        "<= 96 MiB",
        format!("{} MiB", number(mib(most.max(listed)))),
        mib(most.max(listed)) <= 96.0,
        format!(
            "the whole agent with metrics, every pod with an exporter, the most while pods change; {} MiB once listed, {} MiB \
             for a moment while it lists",
            number(mib(listed)),
            number(mib(peak))
        ),
    ));
    all.push(floor(
        "the longest pause at a snapshot's swap",
        "<= 5 ms",
        format!("{} ms", number(cluster.pause_ms.0)),
        cluster.pause_ms.0 <= 5.0,
        format!(
            "CPU time of the pipeline's thread, naming {pods} containers anew included, over {} snapshots; {} ms on the clock, \
             with the API server on the same cores",
            number(cluster.snapshots),
            number(cluster.pause_ms.1)
        ),
    ));
    // A snapshot is published every 150 ms, and less often where making one takes long.
    let (worst, last) = cluster.behind_ms;
    all.push(floor(
        &format!(
            "{} changes of pods a second, followed",
            number(CHANGES_PER_SECOND.into())
        ),
        "<= 1,000 ms behind",
        format!("{} ms at worst", number(worst)),
        worst <= 1000.0,
        format!(
            "over {} changes; the last one was known {} ms after it; the whole cluster was listed in {} ms",
            number(cluster.changes as f64),
            number(last),
            number(cluster.listed_ms)
        ),
    ));
}

fn kept(report: &Report, all: &mut Vec<Floor>) {
    let Some(kept) = report.kept else {
        return;
    };
    all.push(floor(
        "keeping a flow",
        "<= 300 ns",
        format!("{} ns", number(kept.write_ns)),
        kept.write_ns <= 300.0,
        "CPU time of the pipeline's thread: a search over five names, a connect, a request and the end"
            .into(),
    ));
    all.push(floor(
        &format!("{} flows in memory", number(FLOWS as f64)),
        "<= 24 MiB",
        format!("{:.1} MiB", kept.kib / 1024.0),
        kept.kib <= 24.0 * 1024.0,
        "the same traffic, what is resident once three times as many were seen".into(),
    ));
    let slowest = kept.by_port_ms.max(kept.by_name_ms).max(kept.newest_ms);
    all.push(floor(
        "a filter over all of them",
        "< 20 ms",
        format!("{slowest:.1} ms"),
        slowest < 20.0,
        format!(
            "CPU time of the thread that serves, the slowest round: by port {:.1} ms, by a regular expression on names {:.1} ms, \
             the newest 20 of a pod {:.1} ms",
            kept.by_port_ms, kept.by_name_ms, kept.newest_ms
        ),
    ));
    all.push(floor(
        "a follower of everything, at 5,000 flows a second",
        "< 5 % of a core",
        format!("{:.1} %", kept.one),
        kept.one < 5.0,
        "the thread that serves, over a unix socket".into(),
    ));
    all.push(floor(
        "ten followers with narrow filters",
        "< 10 % of a core",
        format!("{:.1} %", kept.ten),
        kept.ten < 10.0,
        "the same, each of one pod in a hundred".into(),
    ));
    all.push(floor(
        "twenty readers that never read",
        "flat: <= 2 MiB more",
        format!("{:.1} MiB", kept.slow_kib / 1024.0),
        kept.slow_kib <= 2.0 * 1024.0,
        "what is resident more after 200,000 flows, once every buffer between them and the agent was full"
            .into(),
    ));
}

fn verdicts(report: &Report, all: &mut Vec<Floor>) {
    for told in &report.verdicts {
        all.push(floor(
            &format!("the verdict {}", told.verdict),
            &format!("<= {:.0} s after {}", told.must_s, told.since),
            format!("{:.1} s, {:.1} s at worst", told.took_s, told.worst_s),
            told.worst_s <= told.must_s,
            "from the packet, as tcpdump saw it, to doctor's report; nine exporters at once on two cores"
                .into(),
        ));
    }
}

fn process(report: &Report, all: &mut Vec<Floor>) {
    if let Some(made) = report.replayed.first() {
        let best = made.compact.max(made.nothing);
        all.push(floor(
            "replay on one core",
            ">= 500,000 events/s",
            format!("{} events/s", number(made.compact)),
            made.compact >= 500_000.0,
            format!(
                "{} without printing; as JSON {}, where text is the limit: 1.4 kB for each event",
                number(best),
                number(made.json)
            ),
        ));
        let mib = made.peak_kib as f64 / 1024.0;
        all.push(floor(
            "resident with 500 workloads and 10,000 flows",
            "(told, no floor)",
            format!("{} MiB", number(mib)),
            true,
            "a replay that ends with that many open connections".into(),
        ));
    }
    let process = &report.process;
    if process.attach_cpu_ms == 0.0 {
        return;
    }
    let resident = process.resident_kib.0 as f64 / 1024.0;
    all.push(floor(
        "resident on a bare node",
        "<= 32 MiB",
        format!("{} MiB", number(resident)),
        resident <= 32.0,
        format!(
            "{} MiB for a moment at the start, while the kernel's types are read",
            number(process.resident_kib.1 as f64 / 1024.0)
        ),
    ));
    all.push(floor(
        "idle",
        "<= 0.1 % of a core",
        format!("{} %", number(process.idle_percent)),
        process.idle_percent <= 0.1,
        "20 looks at the ring in a second; programs started and ended elsewhere on the machine are in it"
            .into(),
    ));
    all.push(floor(
        "start to attached",
        "<= 500 ms",
        format!("{} ms", number(process.attach_ms.0)),
        process.attach_ms.0 <= 500.0,
        format!(
            "{} ms of CPU: the verifier, and reading the kernel's types",
            number(process.attach_cpu_ms)
        ),
    ));
}
