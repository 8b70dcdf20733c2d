//! What the cluster adds: Services as evidence and as advice, addresses that nobody has any more, names that come late.

use std::sync::Arc;

use tokio::sync::watch;

use super::scene::{Scene, evidence, expectation, http, ms, workload};
use crate::diagnose::{Config, Diagnoser, ThisNode};
use crate::model::cluster::{Addresses, Cluster, Endpoint, Owner, Service};
use crate::model::event::{Outcome, TcpInfo};
use crate::model::exchange::Signal;
use crate::model::expectation::SenderProof;
use crate::model::observation::{LookupOutcome, What};
use crate::model::verdict::{Export, VerdictId};
use crate::model::workload::Workload;

/// The Service `obs/otel`.
const SERVICE: &str = "10.96.0.5:4318";
const TRACES: &str = "/v1/traces";

fn cluster(ready: u32, not_ready: u32, endpoints: &[&str]) -> Cluster {
    let service = |namespace: &str, name: &str, ip: &str| {
        Arc::new(Service {
            namespace: namespace.into(),
            name: name.into(),
            ips: vec![ip.parse().unwrap()],
            ports: vec![(4318, None)],
            ready,
            not_ready,
        })
    };
    let mut addresses = Addresses::default();
    for service in [
        service("obs", "otel", "10.96.0.5"),
        service("monitoring", "tempo", "10.96.0.6"),
    ] {
        addresses
            .by_cluster_ip
            .insert(service.ips[0], Arc::clone(&service));
        let key = (service.namespace.clone(), service.name.clone());
        addresses.services.insert(key, service);
    }
    for ip in endpoints {
        let endpoint = Endpoint {
            namespace: "obs".into(),
            pod: Some("otel-1".into()),
            service: "otel".into(),
        };
        addresses.endpoints.insert(ip.parse().unwrap(), endpoint);
    }
    Cluster {
        addresses: Arc::new(addresses),
        ..Cluster::default()
    }
}

/// An exporter of traces to `host:4318`, in a cluster that may change.
fn scene(host: &str, cluster: Cluster) -> (Scene, watch::Sender<Arc<Cluster>>) {
    let (publish, latest) = watch::channel(Arc::new(cluster));
    let mut scene = Scene::empty();
    let config = Config {
        watching_since: Some(ms(0)),
        ..Config::default()
    };
    let facts = ThisNode::new("/nonexistent").with_cluster(Some(latest));
    scene.diagnoser = Diagnoser::new(config).with_facts(Box::new(facts));
    scene.expect(vec![expectation(host, 4318, Some(Signal::Traces))]);
    (scene, publish)
}

fn advice(export: &Export) -> String {
    export.advice.join("\n")
}

#[test]
fn a_service_without_a_ready_endpoint_is_named_however_its_connects_fail() {
    for (outcome, errno) in [
        (Outcome::Rejected, 0),
        (Outcome::Refused, 111),
        (Outcome::Unreachable, 113),
    ] {
        let (mut scene, publish) = scene("otel.obs", cluster(0, 2, &[]));
        scene.lookup("otel.obs", LookupOutcome::Resolved, &["10.96.0.5"]);
        let cookie = scene.attempt(SERVICE);
        scene.fail(cookie, SERVICE, outcome, errno).after(2000);
        let export = scene.export();
        assert_eq!(export.verdict, VerdictId::NoEndpoints, "{outcome:?}");
        let told = evidence(&export);
        assert!(
            told.contains("Service obs/otel: no endpoint is ready, 2 are there and not ready"),
            "{told}"
        );
        assert!(
            advice(&export).contains("the pods behind Service obs/otel are not ready"),
            "{:#?}",
            export.advice
        );
        // A selector that matches nothing is another thing to do.
        publish.send_replace(Arc::new(cluster(0, 0, &[])));
        scene.after(11_000);
        let export = scene.export();
        assert!(
            evidence(&export).contains("it has no endpoint"),
            "{}",
            evidence(&export)
        );
        assert!(
            advice(&export).contains("no pod is behind Service obs/otel"),
            "{:#?}",
            export.advice
        );
    }
}

#[test]
fn a_service_with_ready_endpoints_is_refused_as_anything_else_is() {
    let (mut scene, _publish) = scene("otel.obs", cluster(2, 0, &["10.0.1.7"]));
    scene.lookup("otel.obs", LookupOutcome::Resolved, &["10.96.0.5"]);
    scene.refused(SERVICE).after(2000);
    let export = scene.export();
    assert_eq!(export.verdict, VerdictId::Refused);
    assert!(
        evidence(&export).contains("Service obs/otel: 2 endpoints are ready"),
        "{}",
        evidence(&export)
    );
}

fn after_nxdomain(host: &str) -> String {
    let (mut scene, _publish) = scene(host, cluster(1, 0, &["10.0.1.7"]));
    scene.lookup(host, LookupOutcome::NxDomain, &[]).after(2000);
    let export = scene.export();
    assert_eq!(export.verdict, VerdictId::DnsNxdomain, "{host}");
    advice(&export)
}

#[test]
fn names_that_do_not_resolve_are_compared_with_services() {
    // It exists: the suffix is wrong.
    let told = after_nxdomain("otel.obs.svc");
    assert!(
        told.starts_with("the Service obs/otel exists: write its full name otel.obs.svc in"),
        "{told}"
    );
    let told = after_nxdomain("otle.obs");
    assert!(
        told.starts_with("there is no Service obs/otle; there is obs/otel: if that is what is meant"),
        "{told}"
    );
    // A bare name is looked up in the pod's own namespace.
    let told = after_nxdomain("tempo");
    assert!(
        told.starts_with("there is no Service shop/tempo; there is monitoring/tempo"),
        "{told}"
    );
    for host in ["nothing.like.it", "otlp.eu.example.com", "jaeger.obs"] {
        let told = after_nxdomain(host);
        assert!(!told.contains("there is"), "{host}: {told}");
    }
}

/// A connection on which nothing is acknowledged any more.
fn stuck(scene: &mut Scene, cookie: u64, asked: &str, remote: &str) {
    for backoff in 1..5 {
        let info = TcpInfo {
            ends: crate::model::event::Endpoints {
                local: ([10, 244, 1, 5], 40_000).into(),
                remote: remote.parse().unwrap(),
            },
            state: 1,
            unacked: 3,
            rto: std::time::Duration::from_secs(2),
            rtt: std::time::Duration::from_millis(1),
            backoff,
            total_retransmits: backoff,
            last_sent: std::time::Duration::from_secs(1),
            last_received: std::time::Duration::from_secs(9),
            bytes_acked: 100,
            bytes_received: 100,
            not_sent_bytes: 0,
        };
        for what in [
            What::Retransmit {
                count: backoff,
                syn: false,
            },
            What::TcpInfo(Box::new(info)),
        ] {
            let mut seen = scene.of(cookie, remote, None, what);
            seen.asked = (asked != remote).then(|| asked.parse().unwrap());
            scene.see(&seen);
        }
        scene.after(3000);
    }
}

#[test]
fn a_connection_to_a_backend_that_is_gone_is_stale_although_the_name_is_the_same() {
    let (mut scene, publish) = scene("otel.obs", cluster(1, 0, &["10.0.1.7"]));
    scene.lookup("otel.obs", LookupOutcome::Resolved, &["10.96.0.5"]);
    // A socket load balancer: the Service was asked for, the backend is what the socket has.
    let backend = "10.0.1.7:4318";
    let cookie = scene.cookie();
    for what in [
        What::Attempt,
        What::Established {
            handshake: std::time::Duration::from_micros(300),
        },
    ] {
        let mut seen = scene.of(cookie, backend, None, what);
        seen.asked = Some(SERVICE.parse().unwrap());
        scene.see(&seen);
    }
    scene.export_to(cookie, SERVICE, TRACES, http(200)).after(5000);
    scene.ask(cookie, SERVICE, TRACES);
    stuck(&mut scene, cookie, SERVICE, backend);
    assert_eq!(scene.verdict(), VerdictId::Stalled, "the pod is still there");

    publish.send_replace(Arc::new(cluster(1, 0, &["10.0.1.8"])));
    scene.after(2000);
    let export = scene.export();
    assert_eq!(export.verdict, VerdictId::StaleConnection);
    let told = evidence(&export);
    assert!(told.contains("no endpoint has 10.0.1.7 any more"), "{told}");
    assert!(told.contains("Service obs/otel: 1 endpoint is ready"), "{told}");
}

#[test]
fn an_address_outside_the_cluster_is_not_stale() {
    let (mut scene, _publish) = scene("203.0.113.9", cluster(1, 0, &[]));
    let to = "203.0.113.9:4318";
    let cookie = scene.connect(to);
    scene.export_to(cookie, to, TRACES, http(200)).after(5000);
    scene.ask(cookie, to, TRACES);
    stuck(&mut scene, cookie, to, to);
    assert_eq!(scene.verdict(), VerdictId::Stalled);
}

fn named(number: u64, owner: Option<(&str, &str)>) -> Arc<Workload> {
    Arc::new(Workload {
        owner: owner.map(|(kind, name)| Owner {
            kind: kind.into(),
            name: name.into(),
        }),
        ..workload(number)
    })
}

/// As a container is known before anybody told its names.
fn nameless(number: u64) -> Arc<Workload> {
    Arc::new(Workload {
        namespace: None,
        pod: None,
        container: None,
        ..workload(number)
    })
}

#[test]
fn names_that_come_late_are_in_the_report_and_replicas_find_each_other() {
    let mut scene = Scene::empty();
    for number in [1, 2] {
        scene.container = number;
        let mut container = scene.container_of(vec![expectation("otel.obs", 4318, Some(Signal::Traces))]);
        container.workload = nameless(number);
        container.proofs = vec![SenderProof::Configured];
        scene.expect_container(container);
        scene.lookup("otel.obs", LookupOutcome::Resolved, &["10.96.0.5"]);
        scene.refused(SERVICE).after(1000);
    }
    scene.after(2000);
    let report = scene.report();
    assert!(
        report.exports.iter().all(|export| export.workload.pod.is_some()),
        "its own traffic names it"
    );

    let mut scene = Scene::empty();
    for number in [1, 2] {
        scene.container = number;
        let mut container = scene.container_of(vec![expectation("otel.obs", 4318, Some(Signal::Traces))]);
        container.workload = nameless(number);
        scene.expect_container(container);
    }
    scene.after(2000);
    let report = scene.report();
    assert!(report.exports.iter().all(|export| export.workload.pod.is_none()));
    for number in [1, 2] {
        scene
            .diagnoser
            .renamed(&named(number, Some(("Deployment", "checkout"))));
    }
    let report = scene.report();
    let owners: Vec<_> = report
        .exports
        .iter()
        .map(|export| export.workload.owner.clone())
        .collect();
    assert_eq!(owners.len(), 2);
    assert!(owners.iter().flatten().all(|owner| &*owner.name == "checkout"));
    // What still has the old name does not take the new one away.
    let late = scene.observation(0, What::Attempt);
    assert!(late.workload.owner.is_none());
    scene.see(&late);
    scene.diagnoser.renamed(&nameless(1));
    let report = scene.report();
    assert!(
        report
            .exports
            .iter()
            .all(|export| export.workload.owner.is_some())
    );
}

#[test]
fn what_is_told_of_the_end_of_a_failure_has_the_name_of_then() {
    let mut scene = Scene::empty();
    let mut container = scene.container_of(vec![expectation("10.96.0.5", 4318, Some(Signal::Traces))]);
    container.workload = nameless(1);
    scene.expect_container(container);
    scene.refused(SERVICE).after(3000);
    scene
        .diagnoser
        .renamed(&named(1, Some(("Deployment", "checkout"))));
    let cookie = scene.connect(SERVICE);
    scene.export_to(cookie, SERVICE, TRACES, http(200)).after(8000);
    let ended = scene
        .transitions
        .iter()
        .find(|transition| !transition.opened)
        .unwrap();
    assert_eq!(&*ended.export.workload.name(), "checkout");
    assert!(ended.export.workload.owner.is_some());
}

#[test]
fn workloads_of_a_cause_are_counted_by_what_runs_them() {
    let count = |owners: &[Option<(&str, &str)>]| {
        let mut scene = Scene::empty();
        for (number, owner) in (1..).zip(owners) {
            scene.container = number;
            let mut container =
                scene.container_of(vec![expectation("10.96.0.5", 4318, Some(Signal::Traces))]);
            container.workload = named(number, *owner);
            scene.expect_container(container);
            let cookie = scene.cookie();
            let mut seen = scene.of(cookie, SERVICE, None, What::Attempt);
            seen.workload = named(number, *owner);
            scene.see(&seen);
            scene.fail(cookie, SERVICE, Outcome::Refused, 111).after(1000);
        }
        scene.after(2000);
        let report = scene.report();
        assert_eq!(report.causes.len(), 1, "{:#?}", report.causes);
        report.causes[0].workloads
    };
    let checkout = Some(("Deployment", "checkout"));
    assert_eq!(count(&[checkout, checkout]), 1);
    assert_eq!(count(&[checkout, None]), 1, "its name tells the same");
    assert_eq!(count(&[checkout, Some(("StatefulSet", "checkout"))]), 2);
    assert_eq!(count(&[checkout, Some(("Deployment", "checkout-canary"))]), 2);
}
