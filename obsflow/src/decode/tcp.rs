//! Records of TCP connections: state changes, retransmissions, failed calls, and what `sock_diag` tells.

use std::time::Duration;

use obsflow_ebpf::abi::conn::outcome;
use obsflow_ebpf::abi::record::{self, flag};

use super::{DecodeError, Raw, address, endpoints};
use crate::model::event::{Close, Comm, EventBody, Outcome, TcpInfo, TcpState};

/// `TCP_SYN_SENT` of `include/net/tcp_states.h`.
const SYN_SENT: u32 = 2;

pub(super) fn attempt(raw: &Raw) -> Result<EventBody, DecodeError> {
    let body: record::Attempt = raw.body()?;
    Ok(EventBody::Attempt {
        ends: endpoints(&body.tuple),
        asked: raw.asked(&body.asked),
        comm: Comm::new(body.comm),
    })
}

pub(super) fn established(raw: &Raw) -> Result<EventBody, DecodeError> {
    let body: record::Established = raw.body()?;
    Ok(EventBody::Established {
        ends: endpoints(&body.tuple),
        handshake: Duration::from_nanos(body.handshake_ns),
    })
}

pub(super) fn retransmit(raw: &Raw) -> Result<EventBody, DecodeError> {
    let body: record::Retransmit = raw.body()?;
    Ok(EventBody::Retransmit {
        ends: endpoints(&body.tuple),
        count: body.count,
        syn: body.state == SYN_SENT,
    })
}

pub(super) fn close(raw: &Raw) -> Result<EventBody, DecodeError> {
    let body: record::Close = raw.body()?;
    let outcome = match body.outcome {
        outcome::ESTABLISHED => Outcome::Established,
        outcome::REFUSED => Outcome::Refused,
        outcome::REJECTED => Outcome::Rejected,
        outcome::UNREACHABLE => Outcome::Unreachable,
        outcome::TIMED_OUT => Outcome::TimedOut,
        outcome::GIVEN_UP => Outcome::GivenUp,
        outcome::ABANDONED => Outcome::Abandoned,
        outcome::FAILED => Outcome::Failed,
        outcome::DROPPED => Outcome::Dropped,
        other => return Err(raw.value("outcome", other)),
    };
    let last_state =
        TcpState::try_from(body.last_state).map_err(|_| raw.value("last_state", body.last_state))?;
    Ok(EventBody::Close(Box::new(Close {
        ends: endpoints(&body.tuple),
        asked: raw.asked(&body.asked),
        comm: Comm::new(body.comm),
        duration: Duration::from_nanos(body.duration_ns),
        handshake: (body.handshake_ns != 0).then(|| Duration::from_nanos(body.handshake_ns)),
        bytes_acked: body.bytes_acked,
        bytes_received: body.bytes_received,
        errno: body.error,
        soft_errno: body.soft_error,
        syn_retransmits: body.syn_retransmits,
        retransmits: body.retransmits,
        outcome,
        last_state,
        rst: raw.has(flag::RST),
        dropped: raw.has(flag::DROPPED),
    })))
}

pub(super) fn connect_failed(raw: &Raw) -> Result<EventBody, DecodeError> {
    let body: record::ConnectFailed = raw.body()?;
    Ok(EventBody::ConnectFailed {
        asked: address(&body.asked),
        comm: Comm::new(body.comm),
        errno: body.error,
    })
}

pub(super) fn adopted(raw: &Raw) -> Result<EventBody, DecodeError> {
    let body: record::Adopted = raw.body()?;
    Ok(EventBody::Adopted {
        ends: endpoints(&body.tuple),
        state: state(raw, body.state)?,
        comm: Comm::new(body.comm),
        bytes_acked: body.bytes_acked,
        bytes_received: body.bytes_received,
    })
}

pub(super) fn tcp_info(raw: &Raw) -> Result<EventBody, DecodeError> {
    let body: record::TcpInfo = raw.body()?;
    Ok(EventBody::TcpInfo(Box::new(TcpInfo {
        ends: endpoints(&body.tuple),
        state: state(raw, body.state)?,
        unacked: body.unacked,
        rto: Duration::from_micros(body.rto_us.into()),
        rtt: Duration::from_micros(body.rtt_us.into()),
        backoff: body.backoff,
        total_retransmits: body.total_retransmits,
        last_sent: Duration::from_millis(body.last_sent_ms.into()),
        last_received: Duration::from_millis(body.last_received_ms.into()),
        bytes_acked: body.bytes_acked,
        bytes_received: body.bytes_received,
        not_sent_bytes: body.not_sent_bytes,
    })))
}

fn state(raw: &Raw, state: u32) -> Result<TcpState, DecodeError> {
    TcpState::try_from(state).map_err(|_| raw.value("state", state))
}
