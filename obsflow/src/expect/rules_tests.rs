//! Rules of the configuration file, good and bad.

use serde::Deserialize;

use super::*;
use crate::model::workload::WorkloadKind;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    exporter: Vec<Rule>,
}

fn rules(text: &str) -> Vec<Rule> {
    toml::from_str::<File>(text).unwrap().exporter
}

fn error(body: &str) -> String {
    toml::from_str::<File>(&format!("[[exporter]]\n{body}\n"))
        .unwrap_err()
        .to_string()
}

#[test]
fn a_rule_says_who_and_where() {
    let rules = rules(
        "[[exporter]]\nnamespace = 'monitoring'\npod = 'prometheus-*'\n\
         endpoint = 'http://me:pw@mimir:9009/api/v1/push'\ntransport = 'remote-write'\nsignal = 'metrics'\n\
         interval = '15s'\ntimeout = '1m'\n\
         [[exporter]]\nunit = 'alloy.service'\nendpoint = 'tempo:4317'\ntransport = 'grpc'\n\
         [[exporter]]\ncontainer = 'k6'\nendpoint = 'https://tempo/v1/traces'\n",
    );
    let shown: Vec<_> = rules
        .iter()
        .map(|rule| {
            let it = rule.expectation();
            let endpoint = it.endpoint.as_ref().unwrap();
            (
                it.signal,
                endpoint.to_string(),
                endpoint.transport,
                it.interval,
                it.timeout,
            )
        })
        .collect();
    let seconds = Duration::from_secs;
    assert_eq!(
        shown,
        [
            (
                Some(Signal::Metrics),
                "http://mimir:9009/api/v1/push".to_owned(),
                Transport::Other(Dialect::RemoteWrite),
                seconds(15),
                Some(seconds(60))
            ),
            (None, "tempo:4317".to_owned(), Transport::Grpc, seconds(60), None),
            (
                None,
                "https://tempo:443/v1/traces".to_owned(),
                Transport::Unknown,
                seconds(60),
                None
            ),
        ]
    );
    assert!(!format!("{rules:?}").contains("pw"));
}

#[test]
fn every_part_of_a_selector_must_match() {
    let [rule] = &rules("[[exporter]]\nnamespace = 'mon*'\npod = 'p-?'\nendpoint = 'http://a:1'")[..] else {
        panic!("one rule");
    };
    let pod = |namespace: Option<&str>, pod: Option<&str>| Workload {
        kind: WorkloadKind::Pod,
        namespace: namespace.map(Arc::from),
        pod: pod.map(Arc::from),
        ..Workload::default()
    };
    assert!(rule.selects(&pod(Some("monitoring"), Some("p-0"))));
    assert!(!rule.selects(&pod(Some("apps"), Some("p-0"))));
    assert!(!rule.selects(&pod(Some("monitoring"), Some("p-10"))));
    assert!(!rule.selects(&pod(None, Some("p-0"))));
    assert!(!rule.selects(&Workload::default()));
}

#[test]
fn patterns() {
    let matches = |pattern: &str, name: &str| Pattern::from(pattern.to_owned()).matches(name);
    for (pattern, name, expected) in [
        ("", "", true),
        ("", "a", false),
        ("a", "a", true),
        ("a", "ab", false),
        ("*", "", true),
        ("a*", "a", true),
        ("a*c*e", "abcde", true),
        ("a*c*e", "abcd", false),
        ("*-*-x", "a-b-c-x", true),
        ("a?c", "abc", true),
        ("a?c", "ac", false),
        ("**", "anything", true),
        ("ä?", "äö", true),
        ("*aaaaaaaaaaaaaaaaaaaab", &"a".repeat(5000), false),
    ] {
        assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
    }
}

#[test]
fn errors_name_the_line_and_what_is_wrong() {
    insta::assert_snapshot!(error(
        "namespace = 'a'\nendpoint = 'http://a:1'\nintervall = '1s'"
    ));
    insta::assert_snapshot!(error(
        "namespace = 'a'\nendpoint = 'http://a:1'\ninterval = '1 week'"
    ));
    insta::assert_snapshot!(error(
        "namespace = 'a'\nendpoint = 'http://a:1'\nsignal = 'spans'"
    ));
    for (body, expected) in [
        (
            "endpoint = 'http://a:1'",
            "it selects nothing: give at least one of `namespace`, `pod`, `container` and `unit`",
        ),
        ("pod = 'a'", "missing field `endpoint`"),
        (
            "pod = 'a'\nendpoint = 'a:9090'",
            "endpoint `a:9090`: it has no scheme",
        ),
        (
            "pod = 'a'\nendpoint = 'http://me:pw@$(A):9090'",
            "endpoint `http://$(A):9090`: variables are not expanded here",
        ),
        (
            "pod = 'a'\nendpoint = 'http://0.0.0.0:1'",
            "nobody can connect to that address",
        ),
        ("pod = 'a'\nendpoint = 'ftp://a'", "its scheme is not known"),
        (
            "pod = 'a'\nendpoint = 'http://a:1'\ninterval = '0s'",
            "`0s` is out of range",
        ),
        (
            "pod = 'a'\nendpoint = 'http://a:1'\ninterval = 5",
            "expected a string",
        ),
        (
            "pod = 'a'\nendpoint = 'http://a:1'\ntransport = 'otlp'",
            "transports are grpc, http/protobuf, http/json, remote-write, loki",
        ),
    ] {
        let error = error(body);
        assert!(error.contains(expected), "{error}");
        assert!(error.contains("line "), "{error}");
        assert!(!error.contains("pw@"), "{error}");
    }
}
