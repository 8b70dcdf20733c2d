use proptest::prelude::*;

use super::*;

const KUBELET: &[u8] = b"search apps.svc.cluster.local svc.cluster.local cluster.local ec2.internal\n\
                         nameserver 10.96.0.10\noptions ndots:5\n";

#[test]
fn what_kubelet_writes() {
    let conf = ResolvConf::parse(KUBELET);
    assert_eq!(conf.servers, ["10.96.0.10".parse::<IpAddr>().unwrap()]);
    assert_eq!(conf.ndots, 5);
    assert_eq!(
        conf.candidates("collector.observability"),
        [
            "collector.observability.apps.svc.cluster.local",
            "collector.observability.svc.cluster.local",
            "collector.observability.cluster.local",
            "collector.observability.ec2.internal",
            "collector.observability",
        ]
    );
    assert_eq!(
        conf.candidates("collector.observability."),
        ["collector.observability"]
    );
    assert!(conf.qualified("collector.observability", Some("apps")).is_empty());
}

#[test]
fn names_that_might_be_meant() {
    // The node's own file, as with dnsPolicy Default.
    let node = ResolvConf::parse(b"nameserver 10.0.0.2\nsearch eu.ec2.internal\n");
    assert_eq!(
        node.candidates("collector.observability.svc"),
        [
            "collector.observability.svc",
            "collector.observability.svc.eu.ec2.internal"
        ]
    );
    assert_eq!(
        node.qualified("collector.observability.svc", None),
        [
            "collector.observability.svc.cluster.local",
            "collector.observability.svc.ec2.internal"
        ]
    );
    assert_eq!(
        node.qualified("collector", Some("apps"))[0],
        "collector.apps.svc.cluster.local"
    );
}

#[test]
fn a_cluster_with_another_domain() {
    let conf = ResolvConf::parse(b"search svc.prod.example prod.example\noptions ndots:1");
    assert_eq!(conf.servers, ResolvConf::default().servers);
    assert_eq!(
        conf.qualified("collector", Some("apps")),
        ["collector.apps.svc.prod.example"]
    );
}

#[test]
fn limits_hold() {
    let mut text = String::new();
    for n in 0..100 {
        text += &format!("nameserver 10.0.0.{n}\n");
    }
    text += "search ";
    for n in 0..100 {
        text += &format!("d{n}.example ");
    }
    text += "\noptions ndots:999999 timeout:1\noptions ndots:x\n";
    let conf = ResolvConf::parse(text.as_bytes());
    assert_eq!(conf.servers.len(), MAX_SERVERS);
    assert_eq!(conf.search.len(), MAX_SEARCH);
    assert_eq!(conf.ndots, MAX_NDOTS);
    assert!(conf.candidates(&"x".repeat(300)).is_empty());
    let last = ResolvConf::parse(b"search a.example\ndomain b.example\n;search c.example\n");
    assert_eq!(last.search, ["b.example"]);
    assert_eq!(
        ResolvConf::parse(b"nameserver fe80::1%eth0").servers,
        ["fe80::1".parse::<IpAddr>().unwrap()]
    );
}

proptest! {
    #[test]
    fn nothing_breaks_it(bytes in proptest::collection::vec(any::<u8>(), 0..400), name in "\\PC{0,80}") {
        let conf = ResolvConf::parse(&bytes);
        prop_assert!(!conf.servers.is_empty());
        prop_assert!(conf.candidates(&name).len() <= MAX_SEARCH + 1);
        prop_assert!(conf.qualified(&name, Some("apps")).len() <= MAX_QUALIFIED);
    }
}
