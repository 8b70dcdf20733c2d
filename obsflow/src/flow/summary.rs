//! `Flow.Summary`: one line for people. DNS messages and TCP flags read as in Hubble, what obsflow knows beyond
//! follows after semicolons.

use std::fmt::{self, Write as _};
use std::time::Duration;

use super::dns::{RcodeName, RcodeText};
use super::errno;
use super::http;
use super::make::{tcp_flags, with_dot};
use crate::model::event::{Outcome, Protocol, TcpInfo, TcpState};
use crate::model::flow::TcpFlags;
use crate::model::observation::{
    ConnectFailure, ConnectionEnd, DnsMessage, DropSeen, Lookup, LookupOutcome, Observation, What,
};

/// Candidates of a search that are written out.
const CANDIDATES_SHOWN: usize = 8;

/// The summary of an observation.
pub(super) fn of(o: &Observation) -> String {
    let mut out = String::with_capacity(96);
    // Writing to a String cannot fail.
    let _ = write(&mut out, o);
    out
}

fn write(out: &mut String, o: &Observation) -> fmt::Result {
    match &o.what {
        What::DnsQuery(message) => query(out, message)?,
        What::DnsResponse { message, latency } => {
            answer(out, message)?;
            if let Some(latency) = latency {
                write!(out, "; after {}", Pretty(*latency))?;
            }
        }
        What::DnsUnanswered {
            query: message,
            after,
        } => {
            query(out, message)?;
            write!(out, "; no answer within {}", Pretty(*after))?;
        }
        What::DnsRefused {
            query: message,
            errno,
        } => {
            match message {
                Some(message) => query(out, message)?,
                None => out.push_str("DNS Query"),
            }
            write!(out, "; name server cannot be reached: {}", Errno(*errno))?;
        }
        What::Lookup(search) => lookup(out, search)?,
        What::Attempt => flags(out, &o.what)?,
        What::Retransmit { count, syn } => {
            if *syn {
                flags(out, &o.what)?;
                out.push_str("; ");
            }
            let what = if *syn { "SYN" } else { "segment" };
            write!(out, "{what} sent again ({count})")?;
        }
        What::Established { handshake } => {
            flags(out, &o.what)?;
            write!(out, "; connected in {}", Pretty(*handshake))?;
        }
        What::Closed(end) => closed(out, &o.what, end)?,
        What::ConnectFailed(failure) => connect_failed(out, failure)?,
        What::Request(request) => http::request(out, request)?,
        What::Exchange(exchange) => http::exchange(out, exchange)?,
        What::Tls(tls) => http::tls(out, tls)?,
        What::Mismatch(mismatch) => http::mismatch(out, *mismatch)?,
        What::Adopted { state, .. } => {
            write!(out, "connected before obsflow started; state {}", State(*state))?;
        }
        What::TcpInfo(info) => tcp_info(out, info)?,
        What::Dropped(drop) => dropped(out, &o.what, drop)?,
        What::Lost { count } => write!(out, "{count} events lost")?,
    }
    if let (Some(asked), Some(remote)) = (o.asked, o.remote)
        && asked != remote
    {
        write!(out, "; asked for {asked}, rewritten to {remote}")?;
    }
    match &o.process {
        Some(process) if process.name.is_empty() => write!(out, "; pid {}", process.pid),
        Some(process) => write!(out, "; {}[{}]", process.name, process.pid),
        None => Ok(()),
    }
}

fn query(out: &mut String, message: &DnsMessage) -> fmt::Result {
    write!(out, "DNS Query {} {}", with_dot(&message.name), message.qtype)
}

/// Hubble writes the largest TTL there is for an answer without records.
fn answer(out: &mut String, message: &DnsMessage) -> fmt::Result {
    out.push_str("DNS Answer ");
    if message.rcode == 0 {
        if !message.ips.is_empty() {
            write!(out, "\"{}\"", Joined(&message.ips))?;
        }
        if !message.cnames.is_empty() {
            let space = if message.ips.is_empty() { "" } else { " " };
            let dotted: Vec<_> = message.cnames.iter().map(|name| with_dot(name)).collect();
            write!(out, "{space}CNAMEs: \"{}\"", Joined(&dotted))?;
        }
    } else {
        write!(out, "RCode: {}", RcodeText(message.rcode))?;
    }
    let ttl = message.ttl.unwrap_or(u32::MAX);
    write!(
        out,
        " TTL: {ttl} (Query {} {})",
        with_dot(&message.name),
        message.qtype
    )?;
    if message.truncated {
        out.push_str("; truncated");
    }
    Ok(())
}

fn lookup(out: &mut String, lookup: &Lookup) -> fmt::Result {
    write!(out, "DNS Look-up {} ", with_dot(&lookup.name))?;
    match lookup.outcome {
        LookupOutcome::Resolved => write!(out, "\"{}\"", Joined(&lookup.ips))?,
        LookupOutcome::NxDomain => write!(out, "RCode: {}", RcodeText(3))?,
        LookupOutcome::NoData => out.push_str("has no address"),
        LookupOutcome::ServerFailure(rcode) => write!(out, "RCode: {}", RcodeText(rcode))?,
        LookupOutcome::Unanswered => out.push_str("unanswered"),
        LookupOutcome::Refused(errno) => write!(out, "name server cannot be reached: {}", Errno(errno))?,
        LookupOutcome::Dropped => out.push_str("dropped on this node"),
    }
    write!(out, "; took {}", Pretty(lookup.took))?;
    // A search of one name says nothing that was not said.
    let more_than_one = lookup
        .candidates
        .iter()
        .any(|candidate| candidate.name != lookup.name);
    if more_than_one {
        out.push_str("; tried ");
        for (at, candidate) in lookup.candidates.iter().take(CANDIDATES_SHOWN).enumerate() {
            let comma = if at == 0 { "" } else { ", " };
            write!(out, "{comma}{} {} ", with_dot(&candidate.name), candidate.qtype)?;
            match candidate.rcode {
                Some(rcode) => write!(out, "{}", RcodeName(rcode))?,
                None => out.push_str("unanswered"),
            }
        }
        let more = lookup.candidates.len().saturating_sub(CANDIDATES_SHOWN);
        if more > 0 {
            write!(out, " and {more} more")?;
        }
    }
    Ok(())
}

/// `TCP Flags: SYN, ACK`, as Hubble writes them.
fn flags(out: &mut String, what: &What) -> fmt::Result {
    out.push_str("TCP Flags: ");
    for (at, name) in tcp_flags(what).names().enumerate() {
        if at > 0 {
            out.push_str(", ");
        }
        out.push_str(name);
    }
    Ok(())
}

fn closed(out: &mut String, what: &What, end: &ConnectionEnd) -> fmt::Result {
    if !tcp_flags(what).is_empty() {
        flags(out, what)?;
        out.push_str("; ");
    }
    out.push_str(match (end.rst, end.errno) {
        (true, _) => "reset by the peer",
        (false, 0) => "closed",
        (false, _) => "failed",
    });
    if end.errno != 0 {
        write!(out, ": {}", Errno(end.errno))?;
    }
    write!(
        out,
        " after {}; {} bytes sent, {} received",
        Pretty(end.duration),
        end.bytes_acked,
        end.bytes_received
    )?;
    if end.retransmits > 0 {
        write!(out, "; {} sent again", Count(end.retransmits, "segment"))?;
    }
    Ok(())
}

fn connect_failed(out: &mut String, failure: &ConnectFailure) -> fmt::Result {
    out.push_str(match failure.outcome {
        Outcome::Refused => "refused by the peer (RST)",
        Outcome::Rejected => "rejected on the way (ICMP)",
        Outcome::Unreachable => "unreachable",
        Outcome::TimedOut => "timed out, no SYN was answered",
        Outcome::GivenUp => "given up by the application, no SYN was answered",
        Outcome::Established | Outcome::Abandoned => "abandoned by the application before the first time-out",
        Outcome::Failed => "connect failed before a SYN was sent",
        Outcome::Dropped => "dropped on this node",
    });
    if failure.outcome == Outcome::Dropped
        && let Some(drop) = &failure.drop
    {
        place(out, drop)?;
    }
    if failure.errno != 0 {
        let mark = if failure.outcome == Outcome::Dropped {
            ";"
        } else {
            ":"
        };
        write!(out, "{mark} {}", Errno(failure.errno))?;
    } else if failure.outcome == Outcome::Failed {
        out.push_str(", why is not known");
    }
    if failure.outcome != Outcome::Dropped
        && let Some(drop) = &failure.drop
    {
        out.push_str("; dropped on this node");
        place(out, drop)?;
    }
    if !failure.duration.is_zero() {
        write!(out, "; after {}", Pretty(failure.duration))?;
    }
    if failure.syn_retransmits > 0 {
        write!(out, "; {} sent again", Count(failure.syn_retransmits, "SYN"))?;
    }
    Ok(())
}

fn tcp_info(out: &mut String, info: &TcpInfo) -> fmt::Result {
    write!(out, "state {}", State(info.state))?;
    if info.unacked > 0 {
        write!(out, "; {} not acknowledged", Count(info.unacked, "segment"))?;
    }
    if info.backoff > 0 {
        write!(
            out,
            "; {} in a row, next in {}",
            Count(info.backoff, "time-out"),
            Pretty(info.rto)
        )?;
    }
    if info.not_sent_bytes > 0 {
        write!(out, "; {} bytes wait to be sent", info.not_sent_bytes)?;
    }
    write!(
        out,
        "; rtt {}; {} bytes sent, {} received; last sent {} ago, received {} ago",
        Pretty(info.rtt),
        info.bytes_acked,
        info.bytes_received,
        Pretty(info.last_sent),
        Pretty(info.last_received)
    )
}

fn dropped(out: &mut String, what: &What, drop: &DropSeen) -> fmt::Result {
    match drop.packet.protocol {
        Protocol::Tcp if tcp_flags(what) == TcpFlags::default() => out.push_str("TCP"),
        Protocol::Tcp => flags(out, what)?,
        Protocol::Udp => out.push_str("UDP"),
    }
    if let Some(question) = &drop.question {
        write!(out, "; DNS Query {}", with_dot(question))?;
    }
    out.push_str("; dropped on this node");
    place(out, drop)
}

/// `: NETFILTER_DROP in OUTPUT`
fn place(out: &mut String, drop: &DropSeen) -> fmt::Result {
    write!(out, ": {}", drop.reason)?;
    if let Some(hook) = &drop.hook {
        write!(out, " in {hook}")?;
    }
    if drop.ifindex != 0 {
        write!(out, " on interface {}", drop.ifindex)?;
    }
    Ok(())
}

/// The name of a TCP state (`include/net/tcp_states.h`).
pub(super) fn tcp_state(state: TcpState) -> Option<&'static str> {
    const NAMES: [&str; 12] = [
        "ESTABLISHED",
        "SYN_SENT",
        "SYN_RECV",
        "FIN_WAIT1",
        "FIN_WAIT2",
        "TIME_WAIT",
        "CLOSE",
        "CLOSE_WAIT",
        "LAST_ACK",
        "LISTEN",
        "CLOSING",
        "NEW_SYN_RECV",
    ];
    NAMES.get(usize::from(state).checked_sub(1)?).copied()
}

struct State(TcpState);

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match tcp_state(self.0) {
            Some(name) => f.write_str(name),
            None => write!(f, "{}", self.0),
        }
    }
}

/// `ECONNREFUSED (111)`
struct Errno(u32);

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match errno::name(self.0) {
            Some(name) => write!(f, "{name} ({})", self.0),
            None => write!(f, "errno {}", self.0),
        }
    }
}

/// `1 segment`, `2 segments`
struct Count(u32, &'static str);

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}{}", self.0, self.1, if self.0 == 1 { "" } else { "s" })
    }
}

struct Joined<'a, T>(&'a [T]);

impl<T: fmt::Display> fmt::Display for Joined<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, item) in self.0.iter().enumerate() {
            write!(f, "{}{item}", if at == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

/// A duration with the digits that matter: `87µs`, `1.2ms`, `3.05s`, `2m10s`.
pub(super) struct Pretty(pub(super) Duration);

impl fmt::Display for Pretty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ns = self.0.as_nanos();
        match ns {
            0..1_000 => write!(f, "{ns}ns"),
            1_000..1_000_000 => write!(f, "{}µs", ns / 1_000),
            // In integers: formatting floats is what would take longest in a summary.
            1_000_000..1_000_000_000 => {
                let tenths = (ns + 50_000) / 100_000;
                write!(f, "{}.{}ms", tenths / 10, tenths % 10)
            }
            1_000_000_000..60_000_000_000 => {
                let hundredths = (ns + 5_000_000) / 10_000_000;
                write!(f, "{}.{:02}s", hundredths / 100, hundredths % 100)
            }
            _ => {
                let s = self.0.as_secs();
                let (h, m, s) = (s / 3600, s / 60 % 60, s % 60);
                if h > 0 {
                    write!(f, "{h}h{m}m{s}s")
                } else {
                    write!(f, "{m}m{s}s")
                }
            }
        }
    }
}
