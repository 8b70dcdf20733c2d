//! Records of cgroups and processes that come and go.

use obsflow_ebpf::abi::record;

use super::{DecodeError, Raw, text};
use crate::model::event::{Comm, EventBody};
use crate::model::time::Mono;

pub(super) fn cgroup(raw: &Raw) -> Result<EventBody, DecodeError> {
    let body: record::Cgroup = raw.body()?;
    let path = raw.tail::<record::Cgroup>(body.path_len)?;
    Ok(EventBody::Cgroup {
        path: text::escape(text::before_nul(&path)),
    })
}

pub(super) fn cgroup_gone(raw: &Raw) -> Result<EventBody, DecodeError> {
    let body: record::Cgroup = raw.body()?;
    raw.tail::<record::Cgroup>(body.path_len)?;
    Ok(EventBody::CgroupGone)
}

pub(super) fn exec(raw: &Raw) -> Result<EventBody, DecodeError> {
    let body: record::Process = raw.body()?;
    Ok(EventBody::Exec {
        comm: Comm::new(body.comm),
    })
}

pub(super) fn running(raw: &Raw) -> Result<EventBody, DecodeError> {
    let body: record::Running = raw.body()?;
    Ok(EventBody::Running {
        comm: Comm::new(body.comm),
        began: Mono(body.began_ns),
    })
}

pub(super) fn exit(raw: &Raw) -> Result<EventBody, DecodeError> {
    let _: record::Process = raw.body()?;
    Ok(EventBody::Exit)
}
