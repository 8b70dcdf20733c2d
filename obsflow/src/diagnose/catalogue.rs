//! The catalogue: what each verdict means, on what it fires, what it is not, and what to do. `obsflow doctor --explain`
//! and docs/verdicts.md are made of it.

use std::fmt::Write as _;

use crate::model::verdict::{Rung, VerdictId};

/// The page of one verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Which.
    pub id: VerdictId,
    /// In a few words.
    pub title: &'static str,
    /// The rung that it says failed; `None` when it is no failure.
    pub rung: Option<Rung>,
    /// What it means for the telemetry.
    pub meaning: &'static str,
    /// What was seen when it is said.
    pub fires: &'static str,
    /// What it stays quiet on, or what is another verdict.
    pub quiet: &'static str,
    /// Its reasons, where it has kinds.
    pub reasons: &'static [(&'static str, &'static str)],
    /// What to do.
    pub advice: &'static str,
}

/// The page of a verdict.
#[must_use]
pub fn entry(id: VerdictId) -> &'static Entry {
    // A test sees to it that there is one for each, in order.
    ENTRIES
        .get(id as usize)
        .filter(|entry| entry.id == id)
        .unwrap_or(&UNKNOWN)
}

/// Every page, in the order in which verdicts are looked for: where several hold, the first is said.
pub const ENTRIES: &[Entry] = &[
    Entry {
        id: VerdictId::Proxied,
        title: "it talks to a proxy of its environment",
        rung: Some(Rung::Connected),
        meaning: "HTTP_PROXY or HTTPS_PROXY is set in the container, and the exporter's library obeys it. Telemetry goes to \
                  the proxy instead of the receiver; many proxies refuse it, others lead it out of the cluster.",
        fires: "A request in absolute form (`POST http://host:port/path`) or `CONNECT host:port` for the exporter's \
                endpoint; or connections to the proxy of the environment, where none went to the endpoint and nobody else \
                was asked for through it.",
        quiet: "Endpoints that NO_PROXY lists; requests through the proxy to others.",
        reasons: &[],
        advice: "Put the receiver on NO_PROXY, in capitals and in small letters: libraries read either.",
    },
    Entry {
        id: VerdictId::Misconfigured,
        title: "what is configured cannot work",
        rung: Some(Rung::Configured),
        meaning: "The configuration itself is wrong. Some SDKs then send nothing at all, and most say nothing either.",
        fires: "An endpoint without scheme, a variable that nobody expanded, a path that is there twice, a time-out in a \
                unit that this SDK does not read, an address that nobody can connect to; in a container that is proved to \
                send (its SDK, its agent, a rule of obsflow's configuration), that tries to, or whose replicas do.",
        quiet: "Containers that nothing says it of: nginx, databases and shells are handed variables, too (`envFrom`), and \
                are `unknown` or `idle`. What arrives all the same: some SDKs take an endpoint without scheme. A time-out in the \
                wrong unit is said even then, as a warning: it shows on the day the receiver hangs.",
        reasons: &[
            (
                "no-scheme",
                "no `http://` or `https://`: HTTP exporters send no packet",
            ),
            ("unexpanded", "`$(VAR)` or `${VAR}` in the endpoint"),
            ("doubled-path", "`/v1/traces/v1/traces`"),
            (
                "timeout-unit",
                "`OTEL_EXPORTER_OTLP_TIMEOUT` in milliseconds where the SDK reads seconds",
            ),
            (
                "unspecified-address",
                "`0.0.0.0` or `::`, and nobody listens in the pod",
            ),
            (
                "unknown-scheme",
                "neither http nor https, nor a socket of this machine (`unix:`) for gRPC",
            ),
            (
                "unreadable",
                "not a URL; empty, where the exporter takes that for one (gRPC in Python)",
            ),
        ],
        advice: "Correct the variable that the evidence names and start the container again.",
    },
    Entry {
        id: VerdictId::Disabled,
        title: "it is switched off",
        rung: None,
        meaning: "Somebody switched this exporter off. Nothing is wrong.",
        fires: "`OTEL_SDK_DISABLED=true`, or an `OTEL_<SIGNAL>_EXPORTER` without `otlp`.",
        quiet: "Exporters that send all the same: Go's SDK does not read `OTEL_SDK_DISABLED`.",
        reasons: &[],
        advice: "Remove the variable if it should export.",
    },
    Entry {
        id: VerdictId::InjectionMissing,
        title: "an SDK was to be injected, and is not there",
        rung: Some(Rung::Configured),
        meaning: "Annotations ask the OpenTelemetry Operator to inject an SDK, and the pod has none: it runs as if nobody had \
                  asked, and no error is logged anywhere.",
        fires: "`instrumentation.opentelemetry.io/inject-<language>` with `true` or the name of an Instrumentation, on the \
                pod, its namespace or its owner, and a pod without anything that the operator injects: no init container, \
                sidecar, variable or volume of it. The operator looks at pods and their namespaces, once, when a pod is made; \
                a pod's own value outranks its namespace's. Needs the Kubernetes API.",
        quiet: "`\"false\"`; containers that export, or have an SDK, all the same: from their image, or injected by hand; pods \
                that ended. A container younger than a minute, or one that obsflow has not watched for a minute, raises \
                nothing.",
        reasons: &[
            (
                "annotation-on-owner",
                "it is on the Deployment (StatefulSet, DaemonSet …) itself instead of its pod template: \
                 `kubectl annotate deployment` writes it where the operator never looks",
            ),
            (
                "pod-older",
                "the pod was made before the annotation was written, or before the operator was there",
            ),
            (
                "lost",
                "the operator was asked in time: it did not run, its webhook failed or leaves the pod out, the \
                 Instrumentation does not exist, the language is switched off",
            ),
        ],
        advice: "Put the annotation on the pod template (spec.template.metadata.annotations) or the namespace, and make the \
                 pods anew; where that changes nothing, see the operator's log.",
    },
    Entry {
        id: VerdictId::DnsNxdomain,
        title: "no name server knows the name",
        rung: Some(Rung::Resolved),
        meaning: "The receiver's name does not exist, neither as it is nor with any suffix of the pod's search list.",
        fires: "A whole search in which every name, A and AAAA, was answered NXDOMAIN.",
        quiet: "NXDOMAINs of the search list before or after a good answer, an empty AAAA beside a good A, questions of \
                other types (`TXT _grpc_config.*`, `SRV _grpclb._tcp.*`), which healthy clients ask in vain.",
        reasons: &[],
        advice: "Check the name: a Service is `service.namespace.svc.cluster.local`, and only the search list of a pod makes \
                 shorter forms work.",
    },
    Entry {
        id: VerdictId::DnsFailure,
        title: "the name server fails, or has no address for the name",
        rung: Some(Rung::Resolved),
        meaning: "The name server answered, and gave no address.",
        fires: "SERVFAIL, REFUSED or another error for any name of a search without success; it outranks the NXDOMAINs \
                beside it. Or NOERROR without an address in either family.",
        quiet: "An empty AAAA beside a good A.",
        reasons: &[
            ("SERVFAIL", "the server could not find out; mostly its upstream"),
            (
                "REFUSED",
                "the server does not answer for this name or this client",
            ),
            (
                "NODATA",
                "the name exists without an address, as a headless Service without ready pods",
            ),
        ],
        advice: "See the name server's log for this name; for a headless Service, see whether its pods are ready.",
    },
    Entry {
        id: VerdictId::DnsTimeout,
        title: "no name server answers",
        rung: Some(Rung::Resolved),
        meaning: "Queries leave and nothing comes back.",
        fires: "A search without any response within the resolver's time, which need not have come to the end of its list.",
        quiet: "A single query that was lost, and answers that come late: a look-up that succeeds, or a connection, ends it.",
        reasons: &[],
        advice: "See whether the cluster's DNS runs, and whether a NetworkPolicy lets this pod send to port 53, UDP and TCP.",
    },
    Entry {
        id: VerdictId::DnsRefused,
        title: "nobody listens at the name server",
        rung: Some(Rung::Resolved),
        meaning: "The name server's address answers that nobody is there.",
        fires: "An ICMP error for a query, which the resolver's socket reports.",
        quiet: "Resolvers with unconnected sockets are not told: theirs is `dns-timeout`.",
        reasons: &[],
        advice: "See whether the cluster's DNS has ready endpoints.",
    },
    Entry {
        id: VerdictId::Dropped,
        title: "this node drops its packets",
        rung: Some(Rung::Connected),
        meaning: "A packet of this exporter was dropped on this very node, by a rule or a policy; the rung says whether it \
                  was a look-up or the connection.",
        fires: "The kernel's own drop reason, from a list of those that somebody decides on: NETFILTER_DROP, TC_INGRESS, \
                TC_EGRESS, XDP, BPF_CGROUP_EGRESS, SOCKET_FILTER, IP_RPFILTER, XFRM_POLICY, SECURITY_HOOK; twice for one \
                attempt, or where the attempt came to nothing. Or EPERM from connect(2).",
        quiet: "Reasons that come with healthy traffic (NO_SOCKET, TCP_OLD_SEQUENCE, QUEUE_PURGE, TCP_CLOSE ...). A REJECT \
                drops the packet, too, but answers: that is `no-endpoints`.",
        reasons: &[(
            "NETFILTER_DROP and others",
            "the kernel's name of the reason, or the errno of connect(2)",
        )],
        advice: "Find who drops it, by the reason and the hook in the evidence, and allow the flow.",
    },
    Entry {
        id: VerdictId::NoEndpoints,
        title: "a Service without ready endpoints",
        rung: Some(Rung::Connected),
        meaning: "Somebody on the way answers that nobody is there: what kube-proxy does for a Service without ready \
                  endpoints.",
        fires: "An ICMP error, or a REJECT, for the SYN, on every address of the attempt; the errno on the socket may be 0. \
                Any failed connect to a cluster address whose Service has no ready endpoint by its EndpointSlices, where \
                obsflow may ask the Kubernetes API.",
        quiet: "A RST, which is the peer itself: `refused`.",
        reasons: &[],
        advice: "See whether the receiver's pods run and are ready, and whether the Service selects them.",
    },
    Entry {
        id: VerdictId::Refused,
        title: "nobody listens there",
        rung: Some(Rung::Connected),
        meaning: "The host is there, and no process listens on that port.",
        fires: "A RST for the SYN, on every address of the attempt.",
        quiet: "One address refused and the next one connected (`::1`, then 127.0.0.1). A container younger than a minute, \
                whose sidecar may still come up, is `starting` and raises nothing.",
        reasons: &[],
        advice: "See whether the receiver runs, and on which port it listens: OTLP is 4317 for gRPC and 4318 for HTTP.",
    },
    Entry {
        id: VerdictId::Unreachable,
        title: "no way there",
        rung: Some(Rung::Connected),
        meaning: "The kernel has no route to the address, no neighbour answers for it, or no local port is left to connect \
                  from.",
        fires: "ENETUNREACH, EHOSTUNREACH and the like on every address of the attempt.",
        quiet: "No route to one address family, where an address of the other was tried.",
        reasons: &[
            ("EHOSTUNREACH and others", "the errno of connect(2)"),
            (
                "no-local-port",
                "every local port is taken (EADDRNOTAVAIL): the way is there, and too many connections to the address are \
                 open or in TIME_WAIT; make fewer, or widen net.ipv4.ip_local_port_range",
            ),
        ],
        advice: "Check the address and the routes of the pod and the node; an address on the pod's own subnet that nobody has \
                 is one that was reused or never existed.",
    },
    Entry {
        id: VerdictId::Blackholed,
        title: "nobody answers",
        rung: Some(Rung::Connected),
        meaning: "SYNs leave this node and nothing comes back, not even a refusal: a firewall or a policy elsewhere, a wrong \
                  address, a dead host.",
        fires: "A SYN sent again three times, or two attempts that nobody answered; whether the socket was closed or not.",
        quiet: "One lost SYN; attempts that the application abandons before the first SYN time-out (happy eyeballs, cancel); \
                packets that this node drops itself, which is `dropped`.",
        reasons: &[],
        advice: "See who drops it behind this node: NetworkPolicies of the receiver, security groups, firewalls; and whether \
                 the address is right.",
    },
    Entry {
        id: VerdictId::TlsFailed,
        title: "TLS handshakes fail",
        rung: Some(Rung::Sent),
        meaning: "Both sides speak TLS and do not come to terms: mostly a certificate that one of them does not trust.",
        fires: "The server answered the hello, and an alert or the end came before any application data of the exporter; twice \
                in a row.",
        quiet: "Handshakes that come through. Acknowledged bytes prove nothing: a failing handshake moves kilobytes.",
        reasons: &[(
            "unknown_ca and others",
            "the alert's name, where it was sent in the clear",
        )],
        advice: "Check the CA (OTEL_EXPORTER_OTLP_CERTIFICATE), the client's certificate if the receiver asks for one, and \
                 whether the name in the endpoint is in the receiver's certificate.",
    },
    Entry {
        id: VerdictId::TlsMismatch,
        title: "only one side speaks TLS",
        rung: Some(Rung::Sent),
        meaning: "The exporter speaks TLS to a plaintext port, or plaintext to a TLS port.",
        fires: "A TLS hello answered by HTTP; a plaintext request answered by a TLS alert, or by the advice to use HTTPS. An \
                HTTP/2 preface answered by the end of the connection, twice: how Go's TLS servers answer; a guess then.",
        quiet: "Handshakes that fail between two sides that both speak TLS: `tls-failed`.",
        reasons: &[
            ("server-wants-tls", "write https://"),
            ("server-is-plaintext", "write http://"),
        ],
        advice: "Make scheme and port of the endpoint fit the receiver (for gRPC: OTEL_EXPORTER_OTLP_INSECURE).",
    },
    Entry {
        id: VerdictId::ProtocolMismatch,
        title: "gRPC on one side, plain HTTP on the other",
        rung: Some(Rung::Sent),
        meaning: "The exporter and the port speak different protocols; most often 4317 and 4318 have changed places.",
        fires: "An HTTP/2 preface answered by HTTP/1, or an HTTP/1 request on a connection on which the server sends \
                HTTP/2 SETTINGS, whoever spoke first.",
        quiet: "A reset after that is part of it, and no `reset`.",
        reasons: &[
            ("grpc-to-http", "gRPC to a port of HTTP/1"),
            ("http-to-grpc", "HTTP/1 to a port of gRPC"),
        ],
        advice: "Use the port of the protocol, or the protocol of the port (OTEL_EXPORTER_OTLP_PROTOCOL).",
    },
    Entry {
        id: VerdictId::Rejected,
        title: "the receiver says no",
        rung: Some(Rung::Accepted),
        meaning: "Requests arrive and are not taken.",
        fires: "An HTTP status other than 2xx, redirects included, or a grpc-status other than 0. Where header compression \
                cannot be read: an answer of headers alone, which is an error in gRPC.",
        quiet: "One 429, 502, 503, 504, UNAVAILABLE or RESOURCE_EXHAUSTED that a retry cured.",
        reasons: &[
            (
                "wrong-path",
                "404, 405, UNIMPLEMENTED, or 400 that names the path",
            ),
            ("unauthorized", "401, 403, PERMISSION_DENIED, UNAUTHENTICATED"),
            ("too-large", "413"),
            (
                "overloaded",
                "429, 502, 503, 504, UNAVAILABLE, RESOURCE_EXHAUSTED",
            ),
            (
                "redirect",
                "3xx: exporters do not follow, and some count it as success",
            ),
            ("http-400 and others", "any other status"),
            ("INVALID_ARGUMENT and others", "any other grpc-status"),
        ],
        advice: "The receiver's own log says why; the evidence has the path and the status.",
    },
    Entry {
        id: VerdictId::Partial,
        title: "only a part is taken",
        rung: Some(Rung::Accepted),
        meaning: "The receiver answers success, and says inside that it rejected some of it. The exporter counts it as sent.",
        fires: "200 with a body, or a gRPC answer with a message, longer than one that says nothing can be: 2 bytes of protobuf, 32 of \
                JSON (`{\"partialSuccess\":{}}` and white space). Compressed (`grpc-encoding`, `Content-Encoding`), or where \
                that could not be read: 40 of protobuf, 64 of JSON.",
        quiet: "Empty answers; protocols other than OTLP, whose answers have no such meaning; answers of another media type; a \
                compressed answer that says little.",
        reasons: &[],
        advice: "The receiver's log says what it rejected: often timestamps, attribute limits or quotas.",
    },
    Entry {
        id: VerdictId::Reset,
        title: "the peer hangs up before it says anything",
        rung: Some(Rung::Sent),
        meaning: "Connections are made, and ended by the peer without a byte: a proxy without a way on, a server that does \
                  not want this client.",
        fires: "A RST, or the end, from the peer before any byte of it, twice in a row.",
        quiet: "Resets of connections that were answered on before (keep-alive races), resets sent by this side, resets after \
                the server's SETTINGS (`protocol-mismatch`).",
        reasons: &[("closed", "ended in order, without a byte")],
        advice: "See the receiver's log, and that of any proxy or load balancer in front of it.",
    },
    Entry {
        id: VerdictId::StaleConnection,
        title: "an old connection to an address nobody has any more",
        rung: Some(Rung::Sent),
        meaning: "The receiver has moved, and the exporter keeps sending into the old connection.",
        fires: "As `stalled`, with nothing acknowledged, on a connection to an address that the last look-up of the name, by \
                anybody on this node, does not give, or that no endpoint of the cluster has any more by the EndpointSlices.",
        quiet: "Addresses that the name still has: that is `stalled`.",
        reasons: &[],
        advice: "Start the container again; to prevent it, use a Service address instead of pod addresses, or keep-alive in \
                 the exporter's channel.",
    },
    Entry {
        id: VerdictId::Stalled,
        title: "requests go unanswered",
        rung: Some(Rung::Accepted),
        meaning: "The receiver takes connections and requests, and does not answer within the exporter's time-out.",
        fires: "A request without answer past the export time-out; gRPC streams that the client cancels when it is over; where \
                nothing tells the time-out (a Collector, Alloy, Prometheus), two requests in a row given up after 4 s or more; over \
                TLS, payload that goes out while nothing comes back.",
        quiet: "Clients that end a request early, and answers that are slow but in time.",
        reasons: &[(
            "unacknowledged",
            "not even the kernel of the peer acknowledges it",
        )],
        advice: "See whether the receiver is overloaded or blocked by what is behind it.",
    },
    Entry {
        id: VerdictId::Stopped,
        title: "it sent before, and sends no more",
        rung: Some(Rung::Configured),
        meaning: "The process lives, and its exporter has stopped: shut down, deadlocked, or lost in a fork.",
        fires: "Metrics, which come whatever happens, were sent before and have not been for the window. Traces and logs only \
                where there was a lot of them and the container is at work.",
        quiet: "Containers that ended; traces and logs at rest.",
        reasons: &[],
        advice: "See the application's log for the SDK's shutdown; after a fork (gunicorn, celery) the exporter must be made \
                 in the child.",
    },
    Entry {
        id: VerdictId::Silent,
        title: "it should send, and never did",
        rung: Some(Rung::Configured),
        meaning: "The container is configured and able to export, and not one packet of it is on the wire: no look-up, no \
                  connection.",
        fires: "Nothing for two intervals and 4 s from its start (30 s at least while it was not seen to do anything else), or \
                for two intervals and at least 150 s if its start was not watched; the time begins anew when as many events are lost as two exports leave; and proof that it sends: an SDK in the process, replicas that send, exports before. The whole container is silent, not one signal of it.",
        quiet: "Containers that only inherit the variables (nginx, pgbouncer); processes with nothing to do, or nothing but probes \
                to answer (a connection each 2.5 s or fewer); metrics without \
                instruments; connections older than obsflow; anything on the wire, failures included.",
        reasons: &[],
        advice: "See that the SDK is really started (its own log at debug level), that its sampler takes anything, and that \
                 it is not shut down or lost in a fork.",
    },
    Entry {
        id: VerdictId::Healthy,
        title: "everything arrives",
        rung: None,
        meaning: "Requests are taken. Over TLS: handshakes come through and data flows; whether it is accepted is not visible.",
        fires: "2xx, or a gRPC answer with data and status 0. TLS: application data of the client after its Finished, then \
                of the server, and no alert.",
        quiet: "Redirects, which are no success; bytes that were only acknowledged.",
        reasons: &[],
        advice: "Nothing.",
    },
    Entry {
        id: VerdictId::Idle,
        title: "nothing to send",
        rung: None,
        meaning: "Nothing of it is on the wire, and nothing says that there should be.",
        fires: "No packet for the window, and no proof that it had something to send.",
        quiet: "With proof it is `silent` or `stopped`.",
        reasons: &[],
        advice: "Nothing.",
    },
    UNKNOWN,
];

const UNKNOWN: Entry = Entry {
    id: VerdictId::Unknown,
    title: "not enough was seen",
    rung: None,
    meaning: "obsflow has not watched for long enough, could not see it, or lost events. The evidence says what is missing.",
    fires: "Nothing else holds.",
    quiet: "",
    reasons: &[],
    advice: "Wait, or ask with `obsflow doctor --probe`.",
};

/// The page as text for a terminal, without markup.
#[must_use]
pub fn page(id: VerdictId) -> String {
    let entry = entry(id);
    let mut page = format!("{}: {}\n\n{}\n", id, entry.title, entry.meaning);
    let rung = entry.rung.map_or("none fails", Rung::name);
    let _ = writeln!(page, "\nRung: {rung}");
    for (title, text) in parts(entry) {
        let _ = writeln!(page, "\n{title}:\n  {text}");
    }
    if !entry.reasons.is_empty() {
        page.push_str("\nReasons:\n");
        for (reason, what) in entry.reasons {
            let _ = writeln!(page, "  {reason}: {}", what.replace('`', ""));
        }
    }
    page.replace('`', "")
}

fn parts(entry: &Entry) -> impl Iterator<Item = (&'static str, &'static str)> {
    [
        ("Fires on", entry.fires),
        ("Stays quiet on", entry.quiet),
        ("What to do", entry.advice),
    ]
    .into_iter()
    .filter(|(_, text)| !text.is_empty())
}

/// The page in Markdown, with an example from the lab.
#[must_use]
pub fn markdown(id: VerdictId, example: &str) -> String {
    let entry = entry(id);
    let mut page = format!("## `{id}`\n\n{}.\n\n{}\n", capital(entry.title), entry.meaning);
    if let Some(rung) = entry.rung {
        let _ = writeln!(page, "\nRung: `{}`.", rung.name());
    }
    for (title, text) in parts(entry) {
        let _ = writeln!(page, "\n**{title}:** {text}");
    }
    if !entry.reasons.is_empty() {
        page.push_str("\n| reason | |\n| --- | --- |\n");
        for (reason, what) in entry.reasons {
            let _ = writeln!(page, "| `{reason}` | {what} |");
        }
    }
    let _ = writeln!(page, "\nFrom the lab:\n\n```text\n{}\n```", example.trim_end());
    page.push('\n');
    page
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars
        .next()
        .map(|first| first.to_uppercase().chain(chars).collect())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn there_is_a_page_for_each_verdict_in_order() {
        let ids: Vec<VerdictId> = ENTRIES.iter().map(|entry| entry.id).collect();
        assert_eq!(ids, VerdictId::ALL);
        for id in VerdictId::ALL {
            assert_eq!(entry(*id).id, *id);
            assert_eq!(entry(*id).rung.is_some(), id.is_failure(), "{id}");
            assert!(page(*id).starts_with(id.name()));
        }
    }

    /// `UPDATE_DOCS=1 cargo test -p obsflow docs` writes the page. Examples are what doctor said in the lab, one file a
    /// verdict in `docs/verdicts/examples/`.
    #[test]
    fn docs_verdicts_md_has_every_page() {
        let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs");
        let path = docs.join("verdicts.md");
        let mut wanted = String::from(HEAD);
        for id in VerdictId::ALL {
            let file = docs.join(format!("verdicts/examples/{id}.txt"));
            // A verdict without an example is one that no scenario of the lab shows.
            let example = std::fs::read_to_string(&file)
                .unwrap_or_else(|error| panic!("{}: {error}; UPDATE_EXAMPLES=1 makes it", file.display()));
            assert!(
                example.split_whitespace().any(|word| word == id.name()),
                "{} does not show {id}",
                file.display()
            );
            wanted.push_str(&markdown(*id, &example));
        }
        let wanted = format!("{}\n", wanted.trim_end());
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::write(&path, &wanted).unwrap();
        }
        assert_eq!(
            std::fs::read_to_string(&path).unwrap(),
            wanted,
            "run with UPDATE_DOCS=1"
        );
    }

    const HEAD: &str = "# Verdicts\n\nWhat `obsflow doctor` says of an exporter: the first rung of its ladder \
        (configured, resolved, connected, sent, accepted) that does not hold, and why. Where several verdicts hold, the \
        first of this page is said. Ids never change: alerts are written against them. `obsflow doctor --explain ID` shows \
        one page. This file is made from the same text.\n\nFailures in a container younger than a minute are `starting`: \
        doctor shows them, nothing else does. A failure ends within 5 s of the first success; one that comes back is the \
        same one, with a count. Failures with one cause are one line.\n\n";
}
