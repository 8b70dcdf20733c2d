//! A flood that the ring cannot hold: what is lost is counted, to the last record, and the counters that do not pass
//! through the ring stay exact.

use std::collections::BTreeMap;
use std::io;
use std::ops::ControlFlow;
use std::os::unix::fs::MetadataExt as _;

use anyhow::{Result, bail};
use bytes::Bytes;
use jiff::Timestamp;
use obsflow::config::{Command, Live};
use obsflow::model::Observation;
use obsflow::session::{Purpose, Session, Sink, Stop};
use obsflow_ebpf::abi::conn::outcome;
use obsflow_ebpf::abi::count::dns_count;
use obsflow_ebpf::abi::record::{Header, kind};
use obsflow_tests::Lab;
use obsflow_tests::lab::cgroup;
use obsflow_tests::scenario::{Echo, says};
use zerocopy::FromBytes as _;

const PORT: u16 = 4318;
/// Queries, each answered: two records of 256 bytes, where the ring has 64 KiB.
const QUERIES: u64 = 2000;
/// Connects that are refused: an attempt and an end each.
const CONNECTS: u64 = 40;

/// What `obsflow observe` would watch with a small ring.
fn live(lab: &Lab) -> Result<Live> {
    let node = lab.node(0)?;
    let attach = node
        .cgroup
        .strip_prefix(cgroup::mount_point()?)?
        .display()
        .to_string();
    let logs = node.pod_logs.display().to_string();
    let args = [
        "obsflow",
        "observe",
        "--follow",
        "--ring-bytes",
        "65536",
        "--attach",
        &attach,
        "--pod-logs",
        &logs,
    ];
    match obsflow::cli::parse_from(args, Timestamp::now())? {
        Command::Observe(observe) => Ok(observe.live),
        other => bail!("not observe: {other:?}"),
    }
}

/// Counts records by kind.
#[derive(Default)]
struct Counting(BTreeMap<u16, u64>);

impl Sink for Counting {
    fn wants_records(&self) -> bool {
        true
    }

    fn records(&mut self, records: &[Bytes]) -> io::Result<()> {
        for record in records {
            let (header, _) = Header::read_from_prefix(record).map_err(|_| io::ErrorKind::InvalidData)?;
            *self.0.entry(header.kind).or_default() += 1;
        }
        Ok(())
    }

    fn observations(&mut self, _: &[Observation]) -> io::Result<ControlFlow<()>> {
        Ok(ControlFlow::Continue(()))
    }
}

#[test]
fn what_is_seen_and_what_is_lost_is_what_was_made() -> Result<()> {
    let lab = Lab::new()?;
    let mut echo = Echo::start(&lab, PORT)?;
    let pod = lab.pod("flood")?;
    let to = echo.v4().to_string();
    echo.stop();
    let mut session = Session::open(&live(&lab)?, Purpose::Watch)?;

    // Nobody drains the ring meanwhile.
    let server = format!("{}:53", lab.dns().pod.v4);
    let said = says(
        &pod,
        &[
            "query",
            &server,
            "collector.example",
            "A",
            "--burst",
            &QUERIES.to_string(),
        ],
    )?;
    assert_eq!(
        (said["sent"].as_u64(), said["answered"].as_u64()),
        (Some(QUERIES), Some(QUERIES)),
        "{said}"
    );
    for _ in 0..CONNECTS {
        assert_eq!(says(&pod, &["connect", &to])?["result"], "failed");
    }

    let stop = Stop::default();
    stop.stop();
    let mut seen = Counting::default();
    session.run(&stop, &mut seen)?;
    let stats = session.stats();

    // Kinds that only the kernel side makes. Other labs may be at work: TCP is seen on the whole machine.
    for kind in [
        kind::ATTEMPT,
        kind::ESTABLISHED,
        kind::CLOSE,
        kind::DNS,
        kind::EXEC,
        kind::EXIT,
    ] {
        let of = |counts: &BTreeMap<u16, u64>| counts.get(&kind).copied().unwrap_or(0);
        assert_eq!(
            of(&seen.0) + of(&stats.lost),
            of(&stats.made),
            "kind {kind}: {stats:?}"
        );
    }
    assert!(stats.lost[&kind::DNS] > 0, "the ring held everything: {stats:?}");
    assert_eq!(stats.made[&kind::DNS], 2 * QUERIES, "{stats:?}");
    // What users are told is the same number.
    assert_eq!(
        session.pipeline().counters().lost,
        stats.lost_total() + session.recursion_misses()
    );

    let dns = session.counters().dns();
    let count = |rcode: u32| {
        dns.iter()
            .filter(|((_, r), _)| *r == rcode)
            .map(|(_, n)| n)
            .sum::<u64>()
    };
    assert_eq!(count(dns_count::QUERY), QUERIES, "{dns:?}");
    assert_eq!((0..16).map(count).sum::<u64>(), QUERIES, "{dns:?}");

    let id = std::fs::metadata(&pod.cgroup)?.ino();
    let connections = session.counters().connections();
    let mine = |wanted: u16| {
        connections
            .iter()
            .filter(|((cgroup, port, outcome), _)| *cgroup == id && *port == PORT && *outcome == wanted)
            .map(|(_, n)| n)
            .sum::<u64>()
    };
    for wanted in [outcome::ASKED, outcome::ATTEMPT, outcome::REFUSED] {
        assert_eq!(mine(wanted), CONNECTS, "outcome {wanted}: {connections:?}");
    }
    Ok(())
}
