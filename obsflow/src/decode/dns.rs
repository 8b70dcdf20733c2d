//! Records of DNS messages over UDP and of errors on UDP sockets; the messages themselves are in [`message`], DNS over
//! TCP in [`stream`].

pub mod message;
pub mod stream;

use obsflow_ebpf::abi::record;

use super::{DecodeError, Raw, endpoints};
use crate::model::event::{Comm, EventBody};

pub(super) fn record(raw: &Raw) -> Result<EventBody, DecodeError> {
    let body: record::Dns = raw.body()?;
    if body.payload_len > body.wire_len {
        return Err(raw.value("payload_len above wire_len,", body.payload_len));
    }
    Ok(EventBody::Dns {
        ends: endpoints(&body.tuple),
        direction: raw.direction(),
        asked: raw.asked(&body.asked),
        comm: Comm::new(body.comm),
        message: raw.tail::<record::Dns>(body.payload_len)?,
        wire_len: body.wire_len,
    })
}

pub(super) fn socket_error(raw: &Raw) -> Result<EventBody, DecodeError> {
    let body: record::SocketError = raw.body()?;
    Ok(EventBody::SocketError {
        ends: endpoints(&body.tuple),
        errno: body.error,
    })
}
