//! What the checks mean, in sentences: what would work, or what stands in the way.

use std::net::SocketAddr;
use std::sync::Arc;

use super::Request;
use super::export::{Answer, Protocol, Way};
use super::plan::{Name, Seen};
use super::tls::{Handshake, NoTls, Problem, Trust};
use super::wire::Refused;
use crate::model::exchange::Spoken;

/// What the checks mean.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Conclusion {
    /// Whether an export as it is configured arrives; `None` when that cannot be told.
    pub(super) works: Option<bool>,
    /// The most telling first.
    pub(super) says: Vec<Arc<str>>,
}

impl Conclusion {
    fn say(&mut self, sentence: impl Into<Arc<str>>) {
        self.says.push(sentence.into());
    }

    fn fails(&mut self, sentence: impl Into<Arc<str>>) {
        self.works = Some(false);
        self.say(sentence);
    }
}

/// From everything that was seen.
pub(super) fn conclude(request: &Request, seen: &Seen) -> Conclusion {
    let mut conclusion = Conclusion::default();
    name(request, seen, &mut conclusion);
    if !matches!(seen.name, Name::Not(_)) {
        let reached = connections(request, seen, &mut conclusion);
        let trusted = encryption(request, seen, &mut conclusion);
        if reached {
            exports(request, seen, trusted, &mut conclusion);
        } else {
            other_port(request, seen, &mut conclusion);
        }
    }
    if let Some(proxy) = &request.proxy {
        conclusion.say(format!(
            "The exporter goes through the proxy {proxy}; these checks went past it."
        ));
    }
    for sentence in &mut conclusion.says {
        *sentence = super::wire::escape(sentence).into();
    }
    conclusion
}

fn name(request: &Request, seen: &Seen, conclusion: &mut Conclusion) {
    let host = &request.endpoint.host;
    match &seen.name {
        Name::Literal | Name::AsConfigured => {}
        Name::OnlyAs(found) => {
            let full = found.full.as_deref().unwrap_or_default();
            conclusion.fails(format!("{host} resolves only as {full}: write the whole name."));
        }
        Name::Not(tried) if tried.nobody_knows_it() => conclusion.fails(format!(
            "No form of {host} resolves: see that the Service exists, in the namespace that the name says."
        )),
        Name::Not(tried) if !tried.answered() => conclusion.fails(
            "No name server answers the pod: every look-up fails, not only this one. See that port 53 of the name servers \
             in its resolv.conf is open to it.",
        ),
        Name::Not(tried) => conclusion.fails(format!("The name servers give no address: {}.", tried.text())),
    }
}

/// Whether any address takes connections.
fn connections(request: &Request, seen: &Seen, conclusion: &mut Conclusion) -> bool {
    let port = request.endpoint.port;
    let failed: Vec<(&SocketAddr, &Refused)> = seen
        .connects
        .iter()
        .filter_map(|(to, result)| Some((to, result.as_ref().err()?)))
        .filter(|(_, refused)| !matches!(refused, Refused::NotTried(_)))
        .collect();
    let ips = |failed: &[(&SocketAddr, &Refused)]| {
        let ips: Vec<String> = failed.iter().map(|(to, _)| to.ip().to_string()).collect();
        ips.join(", ")
    };
    let reached = seen.connects.iter().any(|(_, result)| result.is_ok());
    let Some((_, first)) = failed.first() else {
        return reached;
    };
    if reached {
        conclusion.say(format!(
            "Not every address takes connections on port {port}: {} fails ({}).",
            ips(&failed),
            first.text()
        ));
    } else if failed.iter().all(|(_, refused)| refused.is_rst()) {
        conclusion.fails(format!(
            "Connections to port {port} are refused by {}: nobody listens there, or a Service has no ready endpoint.",
            ips(&failed)
        ));
    } else if failed
        .iter()
        .all(|(_, refused)| matches!(refused, Refused::Silent(_)))
    {
        conclusion.fails(format!(
            "Nothing answers on port {port} of {}: packets are lost on the way, as a NetworkPolicy or a firewall loses them.",
            ips(&failed)
        ));
    } else {
        conclusion.fails(format!(
            "No connection to port {port} of {}: {}.",
            ips(&failed),
            first.text()
        ));
    }
    reached
}

/// Whether an exporter would go on after the handshake; `None` when that depends on what it trusts.
fn encryption(request: &Request, seen: &Seen, conclusion: &mut Conclusion) -> Option<bool> {
    let host = &request.endpoint.host;
    let client_certificate = "The server asks for a client certificate: the exporter needs one in \
                              OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE and OTEL_EXPORTER_OTLP_CLIENT_KEY.";
    let handshake: &Handshake = match &seen.tls {
        None => return Some(true),
        Some(Ok(handshake)) => handshake,
        // What the exports showed says more.
        Some(Err(NoTls::Speaks(_))) => return Some(false),
        Some(Err(NoTls::Failed {
            wants_client_certificate: true,
            ..
        })) => {
            conclusion.say(client_certificate);
            return None;
        }
        Some(Err(why)) => {
            conclusion.fails(format!("The TLS handshake fails: {}.", why.text()));
            return Some(false);
        }
    };
    if handshake.wants_client_certificate {
        conclusion.say(client_certificate);
    }
    let wants_more = handshake.wants_client_certificate.then_some(());
    match &handshake.trust {
        Trust::Good | Trust::NoRoots => wants_more.map_or(Some(true), |()| None),
        Trust::Bad(Problem::UnknownIssuer, _) => {
            conclusion.say(
                "The certificate is signed by nobody that this node trusts: the exporter needs its CA in \
                 OTEL_EXPORTER_OTLP_CERTIFICATE, unless its image has it.",
            );
            None
        }
        Trust::Bad(Problem::Expired, _) => {
            conclusion.fails("The certificate has expired.");
            Some(false)
        }
        Trust::Bad(Problem::NotYetValid, _) => {
            conclusion.fails("The certificate is not valid yet: compare the clocks.");
            Some(false)
        }
        Trust::Bad(Problem::WrongName, _) => {
            conclusion.fails(format!(
                "The certificate is not for {host}: use a name that it is for, or have one made for this name."
            ));
            Some(false)
        }
        Trust::Bad(Problem::Other, why) => {
            conclusion.fails(format!("The certificate does not hold: {why}."));
            Some(false)
        }
    }
}

fn exports(request: &Request, seen: &Seen, trusted: Option<bool>, conclusion: &mut Conclusion) {
    let host = &request.endpoint.host;
    let Some(((way, answer), others)) = seen.exports.split_first() else {
        if seen.not_otlp {
            conclusion.say(format!(
                "Port {} takes connections; a check sends nothing in other protocols than OTLP.",
                request.endpoint.port
            ));
        }
        return;
    };
    if answer.arrives() {
        let resolves = !matches!(seen.name, Name::OnlyAs(..));
        let works = if resolves { trusted } else { Some(false) };
        if works == Some(true) {
            let url = way.url(host);
            conclusion.works = Some(true);
            conclusion.say(match answer {
                Answer::Credentials(_) => {
                    format!(
                        "{} at {url} is reachable and asks for credentials ({}).",
                        way.protocol,
                        short(answer)
                    )
                }
                _ => format!(
                    "{} at {url} takes an empty export ({}).",
                    way.protocol,
                    short(answer)
                ),
            });
        } else if conclusion.works.is_none() {
            conclusion.works = works;
        }
        return;
    }
    conclusion.works = Some(false);
    let cures = cures(request, way, others);
    if !cures.is_empty() {
        conclusion.say(cures);
    } else if let Answer::Refused { text, .. } = answer {
        conclusion.say(format!("The server speaks {} and says no: {text}.", way.protocol));
    } else if let Some((way, answer)) = others.iter().find(|(_, answer)| answer.understood()) {
        conclusion.say(format!(
            "Only {} is spoken at {}, and it is refused: {}.",
            way.protocol,
            way.url(host),
            answer.text()
        ));
    } else {
        conclusion.say(format!(
            "Port {} takes connections and answers neither gRPC nor HTTP, with TLS or without: {}.",
            way.port,
            answer.text()
        ));
    }
}

/// `HTTP 200` of a longer text.
fn short(answer: &Answer) -> &str {
    match answer {
        Answer::Accepted(text) | Answer::Credentials(text) => text,
        _ => "",
    }
}

/// Every other way that arrives, as a sentence; empty when there is none.
fn cures(request: &Request, way: &Way, others: &[(Way, Answer)]) -> String {
    let host = &request.endpoint.host;
    let arriving: Vec<&Way> = others
        .iter()
        .filter(|(_, answer)| answer.arrives())
        .map(|(other, _)| other)
        .collect();
    let find = |protocol: bool, tls: bool, port: bool| {
        arriving.iter().copied().find(|other| {
            (other.protocol == way.protocol) == protocol
                && (other.tls == way.tls) == tls
                && (other.port == way.port) == port
        })
    };
    if let Some(path) = find(true, true, true) {
        return format!(
            "{} is refused at {} and taken at {}: use that path.",
            way.protocol,
            way.path,
            path.url(host)
        );
    }
    if let Some(other) = find(true, false, true) {
        return format!(
            "Port {} {}: use {}.",
            way.port,
            if other.tls {
                "wants TLS"
            } else {
                "does not speak TLS"
            },
            other.url(host)
        );
    }
    let protocol = find(false, true, true).or_else(|| find(false, false, true));
    let port = find(true, true, false).or_else(|| find(true, false, false));
    let set = |other: &Way| {
        let scheme = match (other.tls == way.tls, other.tls) {
            (true, _) => "",
            (false, true) => " and https://",
            (false, false) => " and http://",
        };
        format!("OTEL_EXPORTER_OTLP_PROTOCOL={}{scheme}", other.protocol.value())
    };
    match (protocol, port) {
        (Some(protocol), Some(port)) => format!(
            "{} on port {} answers; {} is configured for it: use port {} or {}.",
            name_of(protocol.protocol),
            protocol.port,
            name_of(way.protocol),
            port.port,
            set(protocol)
        ),
        (Some(protocol), None) => format!(
            "{} on port {} answers; {} is configured for it: use {}.",
            name_of(protocol.protocol),
            protocol.port,
            name_of(way.protocol),
            set(protocol)
        ),
        (None, Some(port)) => format!(
            "{} answers on port {}, not on {}: use {}.",
            name_of(way.protocol),
            port.port,
            way.port,
            port.url(host)
        ),
        (None, None) => String::new(),
    }
}

fn name_of(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Grpc => "gRPC",
        Protocol::HttpProtobuf | Protocol::HttpJson => "HTTP",
    }
}

/// Nobody answers at the configured port; somebody may at the other default one.
fn other_port(request: &Request, seen: &Seen, conclusion: &mut Conclusion) {
    let host = &request.endpoint.host;
    if let Some((way, _)) = seen.exports.iter().find(|(_, answer)| answer.arrives()) {
        let configured = seen
            .exports
            .first()
            .is_some_and(|(first, _)| first.protocol == way.protocol);
        if configured {
            conclusion.say(format!(
                "{} answers on port {}: use {}.",
                name_of(way.protocol),
                way.port,
                way.url(host)
            ));
        } else {
            conclusion.say(format!(
                "{} answers on port {}: use {} with OTEL_EXPORTER_OTLP_PROTOCOL={}.",
                name_of(way.protocol),
                way.port,
                way.url(host),
                way.protocol.value()
            ));
        }
    } else if let Some((way, answer)) = seen.exports.iter().find(|(_, answer)| answer.understood()) {
        conclusion.say(format!(
            "Port {} speaks {}, and says no: {}.",
            way.port,
            name_of(way.protocol),
            answer.text()
        ));
    } else if let Some((way, Answer::Speaks(Spoken::Tls) | Answer::WantsTls)) = seen.exports.first() {
        conclusion.say(format!("Port {} answers in TLS.", way.port));
    }
}

#[cfg(test)]
#[path = "conclude_tests.rs"]
mod tests;
