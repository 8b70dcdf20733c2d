use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

use super::*;

/// Metric and label names (<https://prometheus.io/docs/concepts/data_model/>), with the practices for names beside them.
#[test]
fn names_are_prometheus_own_way() {
    let word = |name: &str| {
        name.bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
            && name.starts_with(|c: char| c.is_ascii_lowercase())
    };
    let mut seen = BTreeSet::new();
    for id in Id::ALL {
        let family = id.family();
        let name = family.name;
        assert!(seen.insert(name), "{name} twice");
        assert!(name.starts_with("obsflow_") && word(name), "{name}");
        assert_eq!(name.ends_with("_total"), family.kind == Kind::Counter, "{name}");
        assert_eq!(name.ends_with("_info"), family.kind == Kind::Info, "{name}");
        if let Some(unit) = family.unit {
            let rest = name.strip_suffix(family.kind.suffix()).unwrap();
            assert!(rest.ends_with(unit.name()), "{name} is in {}", unit.name());
        }
        for label in family.labels {
            assert!(
                word(label) && !["le", "quantile", "job", "instance"].contains(label),
                "{label}"
            );
        }
        if family.has_workload() {
            assert_eq!(&family.labels[..2], ["namespace", "workload"], "{name}");
        }
        assert!(
            !family.help.ends_with('.') && !family.help.contains(['\n', '\\', '"']),
            "{name}"
        );
    }
}

#[test]
fn a_stem_is_what_kind_and_unit_are_appended_to() {
    let stem = |id: Id| id.family().stem();
    assert_eq!(stem(Id::SinkSentBytes), "obsflow_sink_sent");
    assert_eq!(stem(Id::DnsQueries), "obsflow_dns_queries");
    assert_eq!(stem(Id::BuildInfo), "obsflow_build");
    assert_eq!(
        stem(Id::ExportLastSuccess),
        "obsflow_export_last_success_timestamp"
    );
    assert_eq!(stem(Id::Verdict), "obsflow_verdict");
}

/// `UPDATE_DOCS=1 cargo test -p obsflow docs` writes the page.
#[test]
fn docs_metrics_md_has_every_family() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/metrics.md");
    let mut wanted = String::from(HEAD);
    for (title, text, source) in [
        ("Exact", EXACT, Source::Exact),
        ("From events", EVENTS, Source::Events),
        ("What diagnosis says", REPORT, Source::Report),
    ] {
        let _ = write!(wanted, "\n## {title}\n\n{text}\n");
        for family in Id::ALL.iter().map(|id| id.family()) {
            if family.source == source {
                wanted.push_str(&entry(family));
            }
        }
    }
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, &wanted).unwrap();
    }
    assert_eq!(
        std::fs::read_to_string(&path).unwrap(),
        wanted,
        "run with UPDATE_DOCS=1"
    );
}

fn entry(family: &Family) -> String {
    let labels: Vec<String> = family.labels.iter().map(|label| format!("`{label}`")).collect();
    let labels = if labels.is_empty() {
        "no labels".to_owned()
    } else {
        labels.join(", ")
    };
    let unit = family
        .unit
        .map(|unit| format!(" in {}", unit.name()))
        .unwrap_or_default();
    let note = if family.note.is_empty() {
        String::new()
    } else {
        format!(" {}", family.note)
    };
    let kind = family.kind.name();
    format!(
        "\n### {}\n\n{kind}{unit}; {labels}\n\n{}.{note}\n",
        family.name, family.help
    )
}

const HEAD: &str = include_str!("page.md");
const EXACT: &str = "Counted where it happens, in the kernel's maps or by obsflow itself: nothing is missing, whatever the load. What \
    the kernel counts is read when a scrape asks for it.";
const EVENTS: &str = "Counted from events that travel through the ring buffer. When it overflows they miss what \
    `obsflow_events_lost_total` counts; the exact ones do not.";
const REPORT: &str = "What `obsflow doctor` says at this moment, as numbers.";
