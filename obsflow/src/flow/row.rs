//! The table: what each observation is in Hubble's terms.

use crate::model::event::Outcome;
use crate::model::exchange::TlsOutcome;
use crate::model::flow::{FlowType, L7Type, TracePoint, Verdict, event};
use crate::model::observation::{ConnectionEnd, LookupOutcome, What};

/// One row: an observation (and its outcome) in Hubble's terms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// `extensions.event`
    pub event: &'static str,
    /// `extensions.outcome`
    pub outcome: Option<&'static str>,
    /// `event_type.type`
    pub kind: u8,
    /// `Type`
    pub layer: FlowType,
    /// `l7.type`
    pub l7: Option<L7Type>,
    /// `verdict`
    pub verdict: Verdict,
    /// `is_reply`; a drop's depends on its packet.
    pub is_reply: Option<bool>,
    /// `trace_observation_point`
    pub point: Option<TracePoint>,
}

const fn l7(
    event: &'static str,
    outcome: Option<&'static str>,
    l7: L7Type,
    verdict: Verdict,
    is_reply: Option<bool>,
) -> Row {
    Row {
        event,
        outcome,
        kind: event::L7,
        layer: FlowType::L7,
        l7: Some(l7),
        verdict,
        is_reply,
        point: None,
    }
}

const fn trace(event: &'static str, outcome: Option<&'static str>, verdict: Verdict) -> Row {
    Row {
        event,
        outcome,
        kind: event::TRACE,
        layer: FlowType::L3L4,
        l7: None,
        verdict,
        is_reply: Some(false),
        point: Some(TracePoint::FROM_ENDPOINT),
    }
}

const fn drop(event: &'static str, outcome: Option<&'static str>, is_reply: Option<bool>) -> Row {
    Row {
        event,
        outcome,
        kind: event::DROP,
        layer: FlowType::L3L4,
        l7: None,
        verdict: Dropped,
        is_reply,
        point: None,
    }
}

const fn socket(event: &'static str) -> Row {
    Row {
        event,
        outcome: None,
        kind: event::TRACE_SOCK,
        layer: FlowType::Sock,
        l7: None,
        verdict: Verdict::Traced,
        is_reply: Some(false),
        point: None,
    }
}

use L7Type::{Request, Response, Sample};
use Verdict::{Dropped, Error, Forwarded};

/// Every row, in the order of a connection's life.
pub const ROWS: [Row; 37] = [
    l7("dns-query", None, Request, Forwarded, Some(false)),
    l7("dns-response", None, Response, Forwarded, Some(true)),
    l7("dns-unanswered", Some("unanswered"), Sample, Error, Some(false)),
    l7("dns-refused", Some("refused"), Sample, Error, Some(false)),
    l7("lookup", Some("resolved"), Sample, Forwarded, None),
    l7("lookup", Some("nxdomain"), Sample, Forwarded, None),
    l7("lookup", Some("nodata"), Sample, Forwarded, None),
    l7("lookup", Some("server-failure"), Sample, Forwarded, None),
    l7("lookup", Some("unanswered"), Sample, Error, None),
    l7("lookup", Some("refused"), Sample, Error, None),
    l7("lookup", Some("dropped"), Sample, Dropped, None),
    trace("attempt", None, Forwarded),
    trace("retransmit", None, Forwarded),
    trace("established", Some("established"), Forwarded),
    trace("closed", Some("closed"), Forwarded),
    trace("closed", Some("reset"), Error),
    trace("closed", Some("failed"), Error),
    trace("connect-failed", Some("refused"), Error),
    trace("connect-failed", Some("rejected"), Error),
    trace("connect-failed", Some("unreachable"), Error),
    trace("connect-failed", Some("timed-out"), Error),
    trace("connect-failed", Some("given-up"), Error),
    trace("connect-failed", Some("abandoned"), Forwarded),
    trace("connect-failed", Some("failed"), Error),
    drop("connect-failed", Some("dropped"), Some(false)),
    l7("request", None, Request, Forwarded, Some(false)),
    l7("exchange", Some("accepted"), Response, Forwarded, Some(true)),
    l7("exchange", Some("rejected"), Response, Error, Some(true)),
    l7("exchange", Some("unanswered"), Sample, Error, Some(false)),
    trace("tls", Some("established"), Forwarded),
    trace("tls", Some("failed"), Error),
    trace("tls", Some("unanswered"), Error),
    trace("mismatch", None, Error),
    socket("adopted"),
    socket("tcp-info"),
    drop("dropped", None, None),
    LOST,
];

/// Not a flow: the row documents the record that stands in the stream instead.
const LOST: Row = Row {
    event: "lost",
    outcome: None,
    kind: 0,
    layer: FlowType::L3L4,
    l7: None,
    verdict: Dropped,
    is_reply: None,
    point: None,
};

impl Row {
    /// The row of an observation.
    #[must_use]
    pub fn of(what: &What) -> &'static Self {
        let place = match what {
            What::DnsQuery(_) => const { place("dns-query", "") },
            What::DnsResponse { .. } => const { place("dns-response", "") },
            What::DnsUnanswered { .. } => const { place("dns-unanswered", "unanswered") },
            What::DnsRefused { .. } => const { place("dns-refused", "refused") },
            What::Lookup(lookup) => of_lookup(lookup.outcome),
            What::Attempt => const { place("attempt", "") },
            What::Retransmit { .. } => const { place("retransmit", "") },
            What::Established { .. } => const { place("established", "established") },
            What::Closed(end) => of_end(end),
            What::ConnectFailed(failure) => of_failure(failure.outcome),
            What::Request(_) => const { place("request", "") },
            What::Exchange(exchange) => of_exchange(exchange.accepted()),
            What::Tls(tls) => of_tls(tls.outcome),
            What::Mismatch(_) => const { place("mismatch", "") },
            What::Adopted { .. } => const { place("adopted", "") },
            What::TcpInfo(_) => const { place("tcp-info", "") },
            What::Dropped(_) => const { place("dropped", "") },
            What::Lost { .. } => const { place("lost", "") },
        };
        &ROWS[place]
    }
}

fn of_lookup(outcome: LookupOutcome) -> usize {
    match outcome {
        LookupOutcome::Resolved => const { place("lookup", "resolved") },
        LookupOutcome::NxDomain => const { place("lookup", "nxdomain") },
        LookupOutcome::NoData => const { place("lookup", "nodata") },
        LookupOutcome::ServerFailure(_) => const { place("lookup", "server-failure") },
        LookupOutcome::Unanswered => const { place("lookup", "unanswered") },
        LookupOutcome::Refused(_) => const { place("lookup", "refused") },
        LookupOutcome::Dropped => const { place("lookup", "dropped") },
    }
}

/// `sk_err` is cleared once the application has read it: a RST is an error all the same.
fn of_end(end: &ConnectionEnd) -> usize {
    match (end.rst, end.errno) {
        (true, _) => const { place("closed", "reset") },
        (false, 0) => const { place("closed", "closed") },
        (false, _) => const { place("closed", "failed") },
    }
}

fn of_exchange(accepted: Option<bool>) -> usize {
    match accepted {
        Some(true) => const { place("exchange", "accepted") },
        Some(false) => const { place("exchange", "rejected") },
        None => const { place("exchange", "unanswered") },
    }
}

fn of_tls(outcome: TlsOutcome) -> usize {
    match outcome {
        TlsOutcome::Established => const { place("tls", "established") },
        TlsOutcome::Failed => const { place("tls", "failed") },
        TlsOutcome::Unanswered => const { place("tls", "unanswered") },
    }
}

fn of_failure(outcome: Outcome) -> usize {
    match outcome {
        Outcome::Refused => const { place("connect-failed", "refused") },
        Outcome::Rejected => const { place("connect-failed", "rejected") },
        Outcome::Unreachable => const { place("connect-failed", "unreachable") },
        Outcome::TimedOut => const { place("connect-failed", "timed-out") },
        Outcome::GivenUp => const { place("connect-failed", "given-up") },
        // Correlation makes no failure of a success.
        Outcome::Established | Outcome::Abandoned => const { place("connect-failed", "abandoned") },
        Outcome::Failed => const { place("connect-failed", "failed") },
        Outcome::Dropped => const { place("connect-failed", "dropped") },
    }
}

/// Where a row is in the table, found while compiling; what is not there does not compile.
const fn place(event: &str, outcome: &str) -> usize {
    let mut at = 0;
    loop {
        let found = match ROWS[at].outcome {
            Some(of) => same(of, outcome),
            None => outcome.is_empty(),
        };
        if found && same(ROWS[at].event, event) {
            return at;
        }
        at += 1;
    }
}

const fn same(a: &str, b: &str) -> bool {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    if a.len() != b.len() {
        return false;
    }
    let mut at = 0;
    while at < a.len() {
        if a[at] != b[at] {
            return false;
        }
        at += 1;
    }
    true
}
