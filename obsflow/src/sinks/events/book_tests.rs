use proptest::prelude::*;

use super::*;
use crate::model::exchange::Signal;
use crate::model::expectation::{ContainerKey, Endpoint, Host, Source, Transport};
use crate::model::verdict::{Evidence, Leg, Rungs};

fn at(seconds: u64) -> Mono {
    Mono(0).after(Duration::from_secs(1000 + seconds))
}

const CLOCK: Clock = Clock {
    offset_ns: 1_764_000_000_000_000_000,
};

fn export(id: &str, verdict: VerdictId, signal: Signal) -> Export {
    Export {
        id: id.into(),
        container: ContainerKey("c".into()),
        workload: Arc::new(Workload {
            namespace: Some("apps".into()),
            pod: Some("checkout-7d9c6b5f4d-x2xkq".into()),
            pod_uid: Some("uid".into()),
            container: Some("app".into()),
            ..Workload::default()
        }),
        pid: None,
        proxy: None,
        signal: Some(signal),
        endpoint: Some(Endpoint {
            host: Host::Name("otel.obs".into()),
            port: 4318,
            tls: Some(false),
            path: None,
            transport: Transport::HttpProtobuf,
        }),
        written: "http://otel.obs:4318".into(),
        source: Source::Config,
        leg: Leg::Direct,
        rungs: Rungs::default(),
        verdict,
        reason: None,
        severity: if verdict.is_failure() {
            Severity::Critical
        } else {
            Severity::Ok
        },
        since: at(0),
        flaps: 0,
        evidence: vec![Evidence {
            kind: "connect",
            text: "10.0.0.1:4318: refused (RST), ECONNREFUSED".into(),
            count: 2,
            last: None,
        }],
        advice: vec!["See whether the receiver runs.".into()],
        last_success: None,
        cause: None,
        node: None,
    }
}

fn refused(id: &str) -> Export {
    export(id, VerdictId::Refused, Signal::Traces)
}

/// A book, and what was written by it.
struct Scene {
    book: Book,
    report: Report,
    orders: Vec<(u64, Order)>,
    room: bool,
}

impl Scene {
    fn new() -> Self {
        Self {
            book: Book::new("node-1".to_owned()),
            report: Report::default(),
            orders: Vec::new(),
            room: true,
        }
    }

    fn turn(&mut self, second: u64, export: &Export, opened: bool) {
        self.book.on(&Transition {
            at: at(second),
            export: export.clone(),
            opened,
        });
    }

    fn opens(&mut self, second: u64, export: &Export) {
        self.turn(second, export, true);
        self.pass(second);
    }

    fn closes(&mut self, second: u64, export: &Export) {
        self.turn(second, export, false);
        self.pass(second);
    }

    fn pass(&mut self, second: u64) {
        let (orders, room) = (&mut self.orders, self.room);
        self.book.due(&self.report, CLOCK, at(second), |order| {
            if room {
                orders.push((second, order));
            }
            room
        });
    }

    fn until(&mut self, from: u64, to: u64) {
        for second in from..to {
            self.pass(second);
        }
    }

    /// When, type and how often by then.
    fn told(&self) -> Vec<(u64, &'static str, u32)> {
        self.orders
            .iter()
            .map(|(second, order)| (*second, order.event.kind_of, order.again.unwrap_or(1)))
            .collect()
    }
}

#[test]
fn one_event_for_a_pod_and_a_verdict_that_names_every_signal() {
    let mut scene = Scene::new();
    let metrics = export("b", VerdictId::Refused, Signal::Metrics);
    scene.turn(0, &refused("a"), true);
    scene.turn(0, &metrics, true);
    scene.pass(0);
    scene.closes(5, &metrics);
    scene.opens(9, &metrics);
    let [(0, order)] = &scene.orders[..] else {
        panic!("{:?}", scene.orders);
    };
    insta::assert_snapshot!(serde_json::to_string_pretty(&order.event).unwrap(), @r#"
    {
      "apiVersion": "events.k8s.io/v1",
      "kind": "Event",
      "metadata": {
        "name": "checkout-7d9c6b5f4d-x2xkq.436d8cc2ac8d2b38",
        "namespace": "apps"
      },
      "eventTime": "2025-11-24T16:16:40.000000Z",
      "type": "Warning",
      "reason": "TelemetryRefused",
      "action": "Diagnose",
      "note": "refused: traces, metrics to http://otel.obs:4318: 10.0.0.1:4318: refused (RST), ECONNREFUSED. To do: See whether the receiver runs.",
      "regarding": {
        "apiVersion": "v1",
        "kind": "Pod",
        "namespace": "apps",
        "name": "checkout-7d9c6b5f4d-x2xkq",
        "uid": "uid",
        "fieldPath": "spec.containers{app}"
      },
      "reportingController": "obsflow",
      "reportingInstance": "obsflow-node-1"
    }
    "#);
}

#[test]
fn flapping_is_one_event_in_ten_minutes() {
    let mut scene = Scene::new();
    scene.report.exports = vec![export("a", VerdictId::Healthy, Signal::Traces)];
    for second in 0..1500 {
        match second % 20 {
            0 => scene.opens(second, &refused("a")),
            10 => scene.closes(second, &refused("a")),
            _ => scene.pass(second),
        }
    }
    assert_eq!(
        scene.told(),
        [(0, "Warning", 1), (600, "Warning", 31), (1200, "Warning", 61)]
    );
    // The same Event each time.
    let names: Vec<&Arc<str>> = scene
        .orders
        .iter()
        .map(|(_, order)| &order.event.metadata.name)
        .collect();
    assert!(names.iter().all(|name| *name == names[0]));
}

#[test]
fn what_holds_for_long_is_said_again_before_the_server_forgets_it() {
    let mut scene = Scene::new();
    scene.opens(0, &refused("a"));
    scene.until(1, 4000);
    assert_eq!(
        scene.told(),
        [(0, "Warning", 1), (1800, "Warning", 2), (3600, "Warning", 3)]
    );
}

#[test]
fn an_end_is_said_once_when_it_has_been_over_for_a_minute() {
    let mut scene = Scene::new();
    scene.opens(0, &refused("a"));
    scene.closes(30, &refused("a"));
    scene.report.exports = vec![export("a", VerdictId::Healthy, Signal::Traces)];
    scene.until(31, 900);
    assert_eq!(scene.told(), [(0, "Warning", 1), (90, "Normal", 1)]);
    let end = &scene.orders[1].1;
    assert_eq!(end.event.reason, "TelemetryRecovered");
    assert_eq!(end.event.note, "refused is over: traces to http://otel.obs:4318");
    assert_eq!(end.ends.as_ref(), Some(&scene.orders[0].1.event.metadata.name));
    assert_eq!(scene.book.entries.len(), 0);
    // Later it is another one.
    let later = Export {
        since: at(950),
        ..refused("a")
    };
    scene.opens(950, &later);
    assert_eq!(scene.told().last(), Some(&(950, "Warning", 1)));
    assert_ne!(
        scene.orders[2].1.event.metadata.name,
        scene.orders[0].1.event.metadata.name
    );
}

#[test]
fn no_end_is_said_of_a_pod_that_ended_or_fails_in_another_way() {
    for left in [vec![], vec![export("a", VerdictId::Blackholed, Signal::Traces)]] {
        let mut scene = Scene::new();
        scene.opens(0, &refused("a"));
        scene.closes(30, &refused("a"));
        scene.report.exports = left;
        scene.until(31, 700);
        assert_eq!(scene.told(), [(0, "Warning", 1)]);
    }
}

#[test]
fn nothing_is_said_of_what_starts_nor_of_what_has_no_pod() {
    let mut scene = Scene::new();
    let starting = Export {
        severity: Severity::Starting,
        ..refused("a")
    };
    scene.opens(0, &starting);
    let unit = Export {
        workload: Arc::default(),
        ..refused("b")
    };
    scene.opens(1, &unit);
    scene.closes(2, &unit);
    scene.until(3, 100);
    assert_eq!(scene.told(), []);
}

#[test]
fn a_pod_whose_name_comes_late_is_told_of_late() {
    let mut scene = Scene::new();
    let unnamed = Export {
        workload: Arc::new(Workload {
            pod_uid: Some("uid".into()),
            ..Workload::default()
        }),
        ..refused("a")
    };
    scene.opens(0, &unnamed);
    scene.until(1, 50);
    assert_eq!(scene.told(), []);
    scene.report.exports = vec![refused("a")];
    scene.until(50, 60);
    assert_eq!(scene.told(), [(50, "Warning", 1)]);
}

#[test]
fn what_finds_no_room_is_tried_again() {
    let mut scene = Scene::new();
    scene.room = false;
    scene.opens(0, &refused("a"));
    scene.room = true;
    scene.until(1, 100);
    assert_eq!(scene.told(), [(60, "Warning", 1)]);
}

#[test]
fn a_run_after_a_restart_goes_on_with_the_same_event() {
    let mut names = Vec::new();
    for began in [0, 5] {
        let mut scene = Scene::new();
        scene.opens(began, &refused("a"));
        names.push(Arc::clone(&scene.orders[0].1.event.metadata.name));
    }
    assert_eq!(names[0], names[1]);
}

#[test]
fn hostile_names_are_escaped_and_notes_are_short_enough() {
    let mut hostile = refused("a");
    hostile.endpoint = None;
    hostile.written = format!("http://\u{1b}[2Jx\u{202e}y\nz{}", "ä".repeat(2000)).into();
    hostile.evidence[0].text = "\u{7}".repeat(4000).into();
    hostile.advice = vec!["\r\n".repeat(900).into()];
    hostile.reason = Some("a\tb".into());
    let mut scene = Scene::new();
    scene.opens(0, &hostile);
    let note = &scene.orders[0].1.event.note;
    assert!(note.len() <= words::MAX_NOTE, "{}", note.len());
    assert!(!note.chars().any(escape_is_needed), "{note}");
    assert!(
        note.starts_with("refused (a\\tb): traces to http://\\u{1b}[2Jx\\u{202e}y\\nzä"),
        "{note}"
    );
}

fn escape_is_needed(c: char) -> bool {
    c.is_control() || matches!(c, '\u{202a}'..='\u{202e}')
}

#[test]
fn a_book_is_bounded() {
    let mut scene = Scene::new();
    for pod in 0..MAX_ENTRIES + 3 {
        let mut export = refused("a");
        Arc::make_mut(&mut export.workload).pod_uid = Some(format!("{pod}").into());
        scene.turn(0, &export, true);
    }
    assert_eq!((scene.book.entries.len(), scene.book.forgotten), (MAX_ENTRIES, 3));
}

#[test]
fn reasons_are_made_of_ids() {
    assert_eq!(words::reason(VerdictId::DnsNxdomain), "TelemetryDnsNxdomain");
    assert_eq!(
        words::reason(VerdictId::InjectionMissing),
        "TelemetryInjectionMissing"
    );
    for id in VerdictId::ALL {
        assert!(words::reason(*id).bytes().all(|b| b.is_ascii_alphanumeric()));
    }
}

proptest! {
    /// However exporters of a pod come and go, and whether there is room or not.
    #[test]
    fn never_two_warnings_in_ten_minutes(steps in prop::collection::vec(
        (0u64..400, 0usize..3, any::<bool>(), any::<bool>()), 0..60,
    )) {
        let mut scene = Scene::new();
        let ids = ["a", "b", "c"];
        let mut open = [false; 3];
        let mut second = 0;
        for (after, index, opened, room) in steps {
            scene.until(second, second + after);
            second += after;
            scene.room = room;
            if open[index] != opened {
                open[index] = opened;
                scene.turn(second, &refused(ids[index]), opened);
            }
            scene.report.exports = ids
                .iter()
                .zip(open)
                .map(|(id, open)| {
                    export(id, if open { VerdictId::Refused } else { VerdictId::Healthy }, Signal::Traces)
                })
                .collect();
        }
        scene.until(second, second + 700);
        let told = scene.told();
        let warnings: Vec<u64> = told.iter().filter(|(_, kind, _)| *kind == "Warning").map(|(at, ..)| *at).collect();
        for pair in warnings.windows(2) {
            prop_assert!(pair[1] - pair[0] >= 600, "{told:?}");
        }
        // An end is said only of what was said, once.
        let mut owed = false;
        for (_, kind, _) in &told {
            prop_assert!(*kind == "Warning" || owed, "{told:?}");
            owed = *kind == "Warning";
        }
        if open == [false; 3] && scene.room {
            prop_assert!(!owed, "{told:?}");
        }
    }
}
