//! The table: what each observation is in Hubble's terms.

use crate::model::event::Outcome;
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

const fn dns(
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
        point: Some(TracePoint::FromEndpoint),
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
pub const ROWS: [Row; 29] = [
    dns("dns-query", None, Request, Forwarded, Some(false)),
    dns("dns-response", None, Response, Forwarded, Some(true)),
    dns("dns-unanswered", Some("unanswered"), Sample, Error, Some(false)),
    dns("dns-refused", Some("refused"), Sample, Error, Some(false)),
    dns("lookup", Some("resolved"), Sample, Forwarded, None),
    dns("lookup", Some("nxdomain"), Sample, Forwarded, None),
    dns("lookup", Some("nodata"), Sample, Forwarded, None),
    dns("lookup", Some("server-failure"), Sample, Forwarded, None),
    dns("lookup", Some("unanswered"), Sample, Error, None),
    dns("lookup", Some("refused"), Sample, Error, None),
    dns("lookup", Some("dropped"), Sample, Dropped, None),
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
        let (event, outcome) = names(what);
        // Every pair of names is in the table; a test sees to that.
        let found = ROWS
            .iter()
            .find(|row| row.event == event && row.outcome == outcome);
        found.unwrap_or(&LOST)
    }
}

fn names(what: &What) -> (&'static str, Option<&'static str>) {
    match what {
        What::DnsQuery(_) => ("dns-query", None),
        What::DnsResponse { .. } => ("dns-response", None),
        What::DnsUnanswered { .. } => ("dns-unanswered", Some("unanswered")),
        What::DnsRefused { .. } => ("dns-refused", Some("refused")),
        What::Lookup(lookup) => ("lookup", Some(lookup_outcome(lookup.outcome))),
        What::Attempt => ("attempt", None),
        What::Retransmit { .. } => ("retransmit", None),
        What::Established { .. } => ("established", Some("established")),
        What::Closed(end) => ("closed", Some(end_outcome(end))),
        What::ConnectFailed(failure) => ("connect-failed", Some(connect_outcome(failure.outcome))),
        What::Adopted { .. } => ("adopted", None),
        What::TcpInfo(_) => ("tcp-info", None),
        What::Dropped(_) => ("dropped", None),
        What::Lost { .. } => ("lost", None),
    }
}

fn lookup_outcome(outcome: LookupOutcome) -> &'static str {
    match outcome {
        LookupOutcome::Resolved => "resolved",
        LookupOutcome::NxDomain => "nxdomain",
        LookupOutcome::NoData => "nodata",
        LookupOutcome::ServerFailure(_) => "server-failure",
        LookupOutcome::Unanswered => "unanswered",
        LookupOutcome::Refused(_) => "refused",
        LookupOutcome::Dropped => "dropped",
    }
}

/// `sk_err` is cleared once the application has read it: a RST is an error all the same.
fn end_outcome(end: &ConnectionEnd) -> &'static str {
    match (end.rst, end.errno) {
        (true, _) => "reset",
        (false, 0) => "closed",
        (false, _) => "failed",
    }
}

fn connect_outcome(outcome: Outcome) -> &'static str {
    match outcome {
        // Correlation makes no failure of a success.
        Outcome::Established | Outcome::Abandoned => "abandoned",
        Outcome::Refused => "refused",
        Outcome::Rejected => "rejected",
        Outcome::Unreachable => "unreachable",
        Outcome::TimedOut => "timed-out",
        Outcome::GivenUp => "given-up",
        Outcome::Failed => "failed",
        Outcome::Dropped => "dropped",
    }
}
