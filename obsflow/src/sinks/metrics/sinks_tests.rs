use super::*;
use crate::model::cluster::Owner;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn of(is: Option<Destination>, name: Option<&str>, address: &str) -> String {
    written(is.as_ref(), name, ip(address), 4317).unwrap_or_else(|| "~outside".to_owned())
}

#[test]
fn the_best_name_is_written() {
    let service = || Destination::Service {
        namespace: "obs".into(),
        name: "otel".into(),
    };
    let pod = |owner: Option<&str>, service: Option<&str>| Destination::Pod {
        namespace: "obs".into(),
        name: "otel-7d9c6b5f4d-x2xkq".into(),
        owner: owner.map(|name| Owner {
            kind: "Deployment".into(),
            name: name.into(),
        }),
        service: service.map(Arc::from),
    };
    let node = Destination::Node {
        name: "node-1".into(),
    };
    assert_eq!(
        of(Some(service()), Some("otel.obs.svc"), "10.96.0.9"),
        "obs/otel:4317"
    );
    assert_eq!(
        of(Some(pod(None, Some("otel"))), None, "10.0.0.9"),
        "obs/otel:4317"
    );
    assert_eq!(
        of(Some(pod(Some("otel"), None)), None, "10.0.0.9"),
        "obs/otel:4317"
    );
    assert_eq!(of(Some(node.clone()), None, "192.168.0.1"), "node-1:4317");
    assert_eq!(of(Some(node), Some("gateway"), "192.168.0.1"), "gateway:4317");
    assert_eq!(
        of(None, Some("otel.obs.svc.cluster.local"), "10.96.0.9"),
        "obs/otel:4317"
    );
    assert_eq!(
        of(None, Some("Ingest.us0.SignalFx.com."), "52.1.2.3"),
        "ingest.us0.signalfx.com:4317"
    );
    assert_eq!(of(None, None, "10.0.0.9"), "10.0.0.9:4317");
    assert_eq!(of(None, None, "::ffff:127.0.0.1"), "127.0.0.1:4317");
    assert_eq!(of(None, None, "fd00::9"), "[fd00::9]:4317");
    assert_eq!(of(None, None, "52.1.2.3"), "~outside");
    assert_eq!(of(None, None, "2a00:1450::1"), "~outside");
}

#[test]
fn sinks_are_bounded() {
    let mut names = Names::default();
    let mut sinks = Sinks::new(2);
    let at = |seconds: u64| Mono(seconds * 1_000_000_000);
    let a = sinks.row(Some("a:1"), at(1), &mut names);
    let b = sinks.row(Some("b:1"), at(2), &mut names);
    assert_eq!(sinks.row(Some("c:1"), at(3), &mut names), (OTHER, None));
    assert_eq!(sinks.row(None, at(3), &mut names), (OUTSIDE, None));
    assert_eq!(sinks.row(Some("a:1"), at(3000), &mut names), a);
    assert_eq!(sinks.folded, 1);
    // The one that was silent for an hour makes room.
    let (c, evicted) = sinks.row(Some("c:1"), at(3603), &mut names);
    assert_eq!(evicted, Some(b.0));
    assert_eq!(&*names.text(c), "c:1");
}

#[test]
fn a_configured_name_is_the_service_that_it_was_found_to_be() {
    let mut names = Names::default();
    let mut sinks = Sinks::new(9);
    let workload = Workload {
        namespace: Some("obs".into()),
        ..Workload::default()
    };
    let mut of = |sinks: &mut Sinks, host: &str| {
        let (sym, _) = sinks.configured((&Host::Name(host.into()), 4317), &workload, Mono(1), &mut names);
        names.text(sym).to_string()
    };
    assert_eq!(of(&mut sinks, "otel.obs"), "otel.obs:4317");
    assert_eq!(of(&mut sinks, "otel.obs.svc"), "obs/otel:4317");
    sinks.learn("obs", "otel");
    assert_eq!(of(&mut sinks, "otel.obs"), "obs/otel:4317");
    assert_eq!(of(&mut sinks, "otel"), "obs/otel:4317");
    assert_eq!(of(&mut sinks, "example.com"), "example.com:4317");
    assert_eq!(
        of(&mut sinks, "otel.obs.example.com"),
        "otel.obs.example.com:4317"
    );
}
