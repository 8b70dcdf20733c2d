use super::*;
use crate::model::Clock;
use crate::model::verdict::{Export, Report, RungState, Severity, VerdictId};
use crate::sinks::metrics::sinks::tests::export;

/// What a workload's exporter is said to be.
fn said(workload: &Arc<Workload>, verdict: VerdictId) -> Export {
    Export {
        workload: Arc::clone(workload),
        verdict,
        severity: Severity::Warning,
        ..export("otel.obs.svc", RungState::Ok)
    }
}

fn report(metrics: &mut Metrics, seconds: u64, exports: Vec<Export>) {
    let report = Report {
        at: at(seconds),
        exports,
        ..Report::default()
    };
    metrics.report(&report, Clock { offset_ns: 0 });
}

/// Workloads and their verdicts.
fn verdicts(scraper: &Scraper) -> Vec<(String, String)> {
    let value = |line: &str, label: &str| -> Option<String> {
        let (_, rest) = line.split_once(&format!("{label}=\""))?;
        Some(rest.split_once('"')?.0.to_owned())
    };
    scrape(scraper)
        .keys()
        .filter(|line| line.starts_with("obsflow_verdict{"))
        .map(|line| {
            (
                value(line, "workload").unwrap_or_default(),
                value(line, "verdict").unwrap_or_default(),
            )
        })
        .collect()
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs
        .iter()
        .map(|(workload, verdict)| ((*workload).to_owned(), (*verdict).to_owned()))
        .collect()
}

#[test]
fn a_verdict_stays_its_workloads_when_another_one_needs_room() {
    let (mut metrics, scraper) = metrics(Options {
        max_workloads: 2,
        ..Options::default()
    });
    let [one, two, three] =
        [("one", 1), ("two", 2), ("three", 3)].map(|(name, number)| container(Some(name), number, number));
    let nx = || lookup(LookupOutcome::NxDomain, Duration::from_millis(1));
    metrics.observe(&seen(&one, 1, 0, nx()));
    metrics.observe(&seen(&two, 2, 0, nx()));
    let exports = vec![said(&one, VerdictId::Silent), said(&three, VerdictId::Refused)];
    report(&mut metrics, 4000, exports);
    assert_eq!(
        verdicts(&scraper),
        pairs(&[("one", "silent"), ("three", "refused")])
    );
}

#[test]
fn who_is_reported_is_not_idle() {
    let (mut metrics, scraper) = metrics(Options {
        max_workloads: 1,
        ..Options::default()
    });
    let one = container(Some("one"), 1, 1);
    for seconds in [1, 4000] {
        report(&mut metrics, seconds, vec![said(&one, VerdictId::Silent)]);
    }
    let nx = lookup(LookupOutcome::NxDomain, Duration::from_millis(1));
    metrics.observe(&seen(&container(Some("two"), 2, 2), 4001, 0, nx));
    assert_eq!(verdicts(&scraper), pairs(&[("one", "silent")]));
}

/// One container of a pod has a name before the other has: in between their row is the pod's, and then somebody else's.
#[test]
fn a_verdict_follows_the_pod_to_its_name() {
    let (mut metrics, scraper) = metrics(Options::default());
    let exports = vec![
        said(&container(None, 1, 1), VerdictId::Silent),
        said(&container(Some("one"), 1, 2), VerdictId::Healthy),
        said(&container(Some("two"), 2, 3), VerdictId::Refused),
    ];
    report(&mut metrics, 1, exports);
    assert_eq!(
        verdicts(&scraper),
        pairs(&[("one", "healthy"), ("one", "silent"), ("two", "refused")])
    );
}
