//! Records of packets that the kernel dropped.

use obsflow_ebpf::abi::record;

use super::{DecodeError, Raw, endpoints};
use crate::model::event::{EventBody, PacketDrop};

pub(super) fn drop(raw: &Raw) -> Result<EventBody, DecodeError> {
    let body: record::Drop = raw.body()?;
    let depth = body
        .stack
        .iter()
        .position(|&a| a == 0)
        .unwrap_or(record::STACK_DEPTH);
    Ok(EventBody::Drop(Box::new(PacketDrop {
        ends: endpoints(&body.tuple),
        protocol: raw.protocol(body.tuple.protocol)?,
        reason: (body.reason != record::NO_REASON).then_some(body.reason),
        ifindex: body.ifindex,
        location: body.location,
        stack: body.stack.iter().take(depth).copied().collect(),
        tcp_flags: u8::try_from(body.tcp_flags).map_err(|_| raw.value("tcp_flags", body.tcp_flags))?,
        payload: raw.tail::<record::Drop>(body.payload_len)?,
    })))
}
