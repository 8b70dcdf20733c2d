//! Records that user space makes, so that a capture file explains itself.

use obsflow_ebpf::abi::record::{self, Header, name_space};

use super::{DecodeError, Raw, text};
use crate::model::event::{EventBody, Named};

pub(super) fn pod(raw: &Raw) -> Result<EventBody, DecodeError> {
    let wrong = || DecodeError::Text {
        kind: raw.name,
        expected: "`uid NUL namespace NUL pod` in UTF-8",
    };
    let tail = raw.bytes.get(size_of::<Header>()..).ok_or_else(wrong)?;
    let text = std::str::from_utf8(tail).map_err(|_| wrong())?;
    let mut parts = text.split('\0');
    let (Some(uid), Some(namespace), Some(name), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(wrong());
    };
    Ok(EventBody::Pod {
        uid: text::escape(uid.as_bytes()),
        namespace: text::escape(namespace.as_bytes()),
        name: text::escape(name.as_bytes()),
    })
}

pub(super) fn lost(raw: &Raw) -> Result<EventBody, DecodeError> {
    let body: record::Lost = raw.body()?;
    Ok(EventBody::Lost { count: body.count })
}

pub(super) fn name(raw: &Raw) -> Result<EventBody, DecodeError> {
    let body: record::Name = raw.body()?;
    let text = raw.tail::<record::Name>(body.text_len)?;
    let of = match body.space {
        name_space::DROP_REASON => {
            Named::DropReason(u32::try_from(body.code).map_err(|_| raw.value("code", body.code))?)
        }
        name_space::FUNCTION => Named::Function(body.code),
        other => return Err(raw.value("space", other)),
    };
    Ok(EventBody::Name {
        of,
        text: text::escape(&text),
    })
}
