use super::*;
use crate::testing::TempNetns;

#[test]
fn errno_of_every_kind_of_missing_route() {
    let netns = TempNetns::new();
    let ask = |to: &str| route_errno(&netns.namespace, to.parse().unwrap()).unwrap();
    assert_eq!(ask("192.0.2.1"), Some(101));
    assert_eq!(ask("2001:db8::1"), Some(101));

    netns.ip("link set lo up");
    assert_eq!(ask("127.0.0.1"), None);
    assert_eq!(ask("::ffff:127.0.0.1"), None);
    assert_eq!(ask("::1"), None);
    assert_eq!(ask("192.0.2.1"), Some(101));

    for (kind, errno) in [("unreachable", 113), ("prohibit", 13), ("blackhole", 22)] {
        netns.ip(&format!("route replace {kind} 198.51.100.0/24"));
        netns.ip(&format!("-6 route replace {kind} 2001:db8:1::/48"));
        assert_eq!(ask("198.51.100.7"), Some(errno), "{kind}");
        assert_eq!(ask("2001:db8:1::7"), Some(errno), "{kind}");
    }

    netns.ip("route add default dev lo");
    assert_eq!(ask("192.0.2.1"), None);
}

#[test]
fn a_namespace_that_is_gone_is_an_error() {
    let gone = Namespace {
        inode: 1,
        path: "/proc/0/ns/net".into(),
    };
    assert!(matches!(
        route_errno(&gone, "192.0.2.1".parse().unwrap()),
        Err(RouteError::Namespace(_))
    ));
}
