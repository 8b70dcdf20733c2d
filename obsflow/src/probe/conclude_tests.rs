use super::super::budget::Spent;
use super::super::dns;
use super::super::resolve::{NotFound, Resolved};
use super::*;
use crate::model::exchange::Signal;
use crate::model::expectation::{Endpoint, Host, Transport};
use std::time::Duration;

fn request(transport: Transport, tls: bool, port: u16) -> Request {
    Request {
        proc: "/proc".into(),
        pid: 1,
        endpoint: Endpoint {
            host: Host::Name("collector.observability".into()),
            port,
            tls: Some(tls),
            path: (transport != Transport::Grpc).then(|| "/v1/traces".into()),
            transport,
        },
        signal: Some(Signal::Traces),
        namespace: Some("apps".into()),
        proxy: None,
    }
}

fn connects(port: u16, results: &[Result<(), Refused>]) -> Vec<(SocketAddr, Result<(), Refused>)> {
    (1..)
        .zip(results)
        .map(|(n, result)| (SocketAddr::new([10, 0, 0, n].into(), port), result.clone()))
        .collect()
}

fn reached(port: u16, exports: Vec<(Way, Answer)>) -> Seen {
    Seen {
        name: Name::AsConfigured,
        connects: connects(port, &[Ok(())]),
        exports,
        ..Seen::default()
    }
}

fn way(protocol: Protocol, tls: bool, port: u16) -> Way {
    Way::new(protocol, tls, port, Signal::Traces)
}

fn ok() -> Answer {
    Answer::Accepted("HTTP 200".into())
}

fn refused(number: i32, name: &str) -> Refused {
    Refused::Errno(Some(number), name.into())
}

fn silent() -> Refused {
    Refused::Silent(Spent::Late(Duration::from_secs(3)))
}

fn certificate(trust: Trust, wants_client_certificate: bool) -> Option<Result<Handshake, NoTls>> {
    Some(Ok(Handshake {
        version: "TLS 1.3".into(),
        alpn: None,
        certificate: "certificate of CN=collector".into(),
        trust,
        wants_client_certificate,
    }))
}

#[track_caller]
fn says(request: &Request, seen: &Seen, works: Option<bool>, expected: &[&str]) {
    let conclusion = conclude(request, seen);
    let found: Vec<&str> = conclusion.says.iter().map(|text| &**text).collect();
    assert_eq!(found, expected);
    assert_eq!(conclusion.works, works);
}

#[test]
fn the_port_swap() {
    let http = request(Transport::HttpProtobuf, false, 4317);
    let swap = |port: Answer| {
        reached(
            4317,
            vec![
                (
                    way(Protocol::HttpProtobuf, false, 4317),
                    Answer::Speaks(Spoken::Http2),
                ),
                (
                    way(Protocol::Grpc, false, 4317),
                    Answer::Accepted("grpc-status 0 (OK)".into()),
                ),
                (way(Protocol::HttpProtobuf, false, 4318), port),
            ],
        )
    };
    says(
        &http,
        &swap(ok()),
        Some(false),
        &[
            "gRPC on port 4317 answers; HTTP is configured for it: use port 4318 or OTEL_EXPORTER_OTLP_PROTOCOL=grpc.",
        ],
    );
    says(
        &http,
        &swap(Answer::Nothing("ECONNREFUSED".into())),
        Some(false),
        &["gRPC on port 4317 answers; HTTP is configured for it: use OTEL_EXPORTER_OTLP_PROTOCOL=grpc."],
    );
    let grpc = request(Transport::Grpc, false, 4318);
    says(
        &grpc,
        &reached(
            4318,
            vec![
                (way(Protocol::Grpc, false, 4318), Answer::Speaks(Spoken::Http1)),
                (
                    way(Protocol::HttpProtobuf, false, 4318),
                    Answer::Nothing("no answer".into()),
                ),
                (way(Protocol::Grpc, false, 4317), ok()),
            ],
        ),
        Some(false),
        &["gRPC answers on port 4317, not on 4318: use http://collector.observability:4317."],
    );
}

#[test]
fn what_works() {
    let http = request(Transport::HttpProtobuf, false, 4318);
    let one = |answer| reached(4318, vec![(way(Protocol::HttpProtobuf, false, 4318), answer)]);
    says(
        &http,
        &one(ok()),
        Some(true),
        &[
            "HTTP with protobuf at http://collector.observability:4318/v1/traces takes an empty export (HTTP 200).",
        ],
    );
    says(
        &http,
        &one(Answer::Credentials("HTTP 401".into())),
        Some(true),
        &[
            "HTTP with protobuf at http://collector.observability:4318/v1/traces is reachable and asks for credentials \
           (HTTP 401).",
        ],
    );
    let mut through = http;
    through.proxy = Some("proxy:3128".into());
    let conclusion = conclude(&through, &one(ok()));
    assert_eq!(
        &*conclusion.says[1],
        "The exporter goes through the proxy proxy:3128; these checks went past it."
    );
}

#[test]
fn names() {
    let http = request(Transport::HttpProtobuf, false, 4318);
    let not = |answer: dns::Answer| NotFound(vec![("collector.observability".into(), answer)]);
    let mut only_as = reached(4318, vec![(way(Protocol::HttpProtobuf, false, 4318), ok())]);
    only_as.name = Name::OnlyAs(Resolved {
        full: Some("collector.observability.svc.cluster.local".into()),
        ips: vec!["10.0.0.1".parse().unwrap()],
        in_vain: 0,
    });
    says(
        &http,
        &only_as,
        Some(false),
        &[
            "collector.observability resolves only as collector.observability.svc.cluster.local: write the whole name.",
        ],
    );
    for (answer, start) in [
        (
            dns::Answer::NxDomain,
            "No form of collector.observability resolves",
        ),
        (dns::Answer::Silent, "No name server answers the pod"),
        (
            dns::Answer::Unreachable("ECONNREFUSED".into()),
            "No name server answers the pod",
        ),
        (
            dns::Answer::Failure(2),
            "The name servers give no address: SERVFAIL for collector.observability.",
        ),
    ] {
        let seen = Seen {
            name: Name::Not(not(answer)),
            ..Seen::default()
        };
        let conclusion = conclude(&http, &seen);
        assert!(conclusion.says[0].starts_with(start), "{:?}", conclusion.says);
        assert_eq!((conclusion.says.len(), conclusion.works), (1, Some(false)));
    }
}

#[test]
fn connections_that_fail() {
    let http = request(Transport::HttpProtobuf, false, 4318);
    let rst = || Err(refused(libc::ECONNREFUSED, "ECONNREFUSED"));
    for (results, start) in [
        (
            vec![rst(), rst()],
            "Connections to port 4318 are refused by 10.0.0.1, 10.0.0.2",
        ),
        (vec![Err(silent())], "Nothing answers on port 4318 of 10.0.0.1"),
        (
            vec![Err(refused(libc::EHOSTUNREACH, "EHOSTUNREACH")), rst()],
            "No connection to port 4318 of 10.0.0.1, 10.0.0.2: EHOSTUNREACH.",
        ),
    ] {
        let seen = Seen {
            name: Name::AsConfigured,
            connects: connects(4318, &results),
            ..Seen::default()
        };
        let conclusion = conclude(&http, &seen);
        assert!(conclusion.says[0].starts_with(start), "{:?}", conclusion.says);
        assert_eq!(conclusion.works, Some(false));
    }
    let mut some = reached(4318, vec![(way(Protocol::HttpProtobuf, false, 4318), ok())]);
    some.connects = connects(4318, &[Ok(()), Err(silent())]);
    let conclusion = conclude(&http, &some);
    assert_eq!(
        &*conclusion.says[0],
        "Not every address takes connections on port 4318: 10.0.0.2 fails (no answer in 3.0 s)."
    );
    assert_eq!(conclusion.works, Some(true));
    let mut other = Seen {
        name: Name::AsConfigured,
        connects: connects(4318, &[rst()]),
        ..Seen::default()
    };
    other.exports = vec![
        (
            way(Protocol::HttpProtobuf, false, 4317),
            Answer::Speaks(Spoken::Http2),
        ),
        (way(Protocol::Grpc, false, 4317), ok()),
    ];
    assert_eq!(
        &*conclude(&http, &other).says[1],
        "gRPC answers on port 4317: use http://collector.observability:4317 with OTEL_EXPORTER_OTLP_PROTOCOL=grpc."
    );
}

#[test]
fn encryption_that_does_not_fit() {
    let https = request(Transport::HttpProtobuf, true, 4318);
    let plaintext = NoTls::Speaks(Spoken::Http1);
    let mut seen = reached(
        4318,
        vec![
            (
                way(Protocol::HttpProtobuf, true, 4318),
                Answer::NoTls(plaintext.clone()),
            ),
            (way(Protocol::Grpc, true, 4318), Answer::NoTls(plaintext.clone())),
            (way(Protocol::HttpProtobuf, false, 4318), ok()),
        ],
    );
    seen.tls = Some(Err(plaintext));
    says(
        &https,
        &seen,
        Some(false),
        &["Port 4318 does not speak TLS: use http://collector.observability:4318/v1/traces."],
    );
    let http = request(Transport::HttpProtobuf, false, 4318);
    says(
        &http,
        &reached(
            4318,
            vec![
                (way(Protocol::HttpProtobuf, false, 4318), Answer::WantsTls),
                (way(Protocol::Grpc, false, 4318), Answer::Nothing("closed".into())),
                (way(Protocol::HttpProtobuf, true, 4318), ok()),
            ],
        ),
        Some(false),
        &["Port 4318 wants TLS: use https://collector.observability:4318/v1/traces."],
    );
}

#[test]
fn certificates() {
    let https = request(Transport::HttpProtobuf, true, 4318);
    for (trust, client, works, start) in [
        (Trust::Good, false, Some(true), "HTTP with protobuf at https://"),
        (
            Trust::NoRoots,
            false,
            Some(true),
            "HTTP with protobuf at https://",
        ),
        (
            Trust::Good,
            true,
            None,
            "The server asks for a client certificate",
        ),
        (
            Trust::Bad(Problem::UnknownIssuer, "UnknownIssuer".into()),
            false,
            None,
            "The certificate is signed by nobody",
        ),
        (
            Trust::Bad(Problem::Expired, "Expired".into()),
            false,
            Some(false),
            "The certificate has expired.",
        ),
        (
            Trust::Bad(Problem::NotYetValid, "NotValidYet".into()),
            false,
            Some(false),
            "The certificate is not valid yet",
        ),
        (
            Trust::Bad(Problem::WrongName, "NotValidForName".into()),
            false,
            Some(false),
            "The certificate is not for collector.observability",
        ),
        (
            Trust::Bad(Problem::Other, "BadSignature".into()),
            false,
            Some(false),
            "The certificate does not hold: BadSignature.",
        ),
    ] {
        let mut seen = reached(4318, vec![(way(Protocol::HttpProtobuf, true, 4318), ok())]);
        seen.tls = certificate(trust, client);
        let conclusion = conclude(&https, &seen);
        assert!(conclusion.says[0].starts_with(start), "{:?}", conclusion.says);
        assert_eq!((conclusion.says.len(), conclusion.works), (1, works), "{start}");
    }
    let mut alert = reached(4318, Vec::new());
    alert.tls = Some(Err(NoTls::Failed {
        text: "the server refuses with TLS alert HandshakeFailure".into(),
        wants_client_certificate: false,
    }));
    says(
        &https,
        &alert,
        Some(false),
        &["The TLS handshake fails: the server refuses with TLS alert HandshakeFailure."],
    );
}

#[test]
fn servers_that_say_no() {
    let mut doubled = request(Transport::HttpProtobuf, false, 4318);
    doubled.endpoint.path = Some("/v1/traces/v1/traces".into());
    let mut configured = way(Protocol::HttpProtobuf, false, 4318);
    configured.path = "/v1/traces/v1/traces".into();
    let wrong_path = Answer::Refused {
        text: "HTTP 404: nobody takes OTLP at this path".into(),
        wrong_path: true,
    };
    let grpc = (way(Protocol::Grpc, false, 4318), Answer::Speaks(Spoken::Http1));
    says(
        &doubled,
        &reached(
            4318,
            vec![
                (configured.clone(), wrong_path.clone()),
                grpc.clone(),
                (way(Protocol::HttpProtobuf, false, 4318), ok()),
            ],
        ),
        Some(false),
        &[
            "HTTP with protobuf is refused at /v1/traces/v1/traces and taken at \
           http://collector.observability:4318/v1/traces: use that path.",
        ],
    );
    says(
        &doubled,
        &reached(4318, vec![(configured, wrong_path), grpc]),
        Some(false),
        &["The server speaks HTTP with protobuf and says no: HTTP 404: nobody takes OTLP at this path."],
    );
    let http = request(Transport::HttpProtobuf, false, 22);
    says(
        &http,
        &reached(
            22,
            vec![(
                way(Protocol::HttpProtobuf, false, 22),
                Answer::Speaks(Spoken::Unknown),
            )],
        ),
        Some(false),
        &[
            "Port 22 takes connections and answers neither gRPC nor HTTP, with TLS or without: the answer is neither HTTP \
           nor TLS.",
        ],
    );
    let loki = Seen {
        not_otlp: true,
        ..reached(3100, Vec::new())
    };
    says(
        &request(
            Transport::Other(crate::model::exchange::Dialect::Loki),
            false,
            3100,
        ),
        &loki,
        None,
        &["Port 3100 takes connections; a check sends nothing in other protocols than OTLP."],
    );
}
