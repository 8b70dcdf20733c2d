//! Records of captured stream bytes.

use obsflow_ebpf::abi::record::{self, flag};

use super::{DecodeError, Raw};
use crate::model::event::EventBody;

/// Length of an HTTP/2 frame header (RFC 9113, 4.1).
const H2_FRAME_HEADER: usize = 9;

pub(super) fn payload(raw: &Raw) -> Result<EventBody, DecodeError> {
    let body: record::Payload = raw.body()?;
    let bytes = raw.tail::<record::Payload>(body.payload_len)?;
    Ok(EventBody::Payload {
        direction: raw.direction(),
        offset: body.offset,
        wire_len: body.wire_len,
        gap: raw.has(flag::GAP),
        late: raw.has(flag::LATE),
        // A capture file may have been stripped of the bytes.
        h2_frame: raw.has(flag::H2_FRAME) && bytes.len() >= H2_FRAME_HEADER,
        dns: raw.has(flag::DNS_STREAM),
        bytes,
    })
}
