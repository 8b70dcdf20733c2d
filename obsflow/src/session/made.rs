//! Records that the kernel side cannot make: losses, and the names that a capture takes along.

use bytes::Bytes;
use obsflow_ebpf::abi::record::{self, Header, kind};
use zerocopy::IntoBytes as _;

use crate::attribute::PodName;
use crate::model::Mono;

fn made_header(kind: u16, len: usize, now: Mono) -> Header {
    Header {
        kind,
        flags: 0,
        len: u32::try_from(len).unwrap_or(u32::MAX),
        ts_ns: now.0,
        cgroup: 0,
        cookie: 0,
        netns: 0,
        pid: 0,
    }
}

pub(super) fn lost_record(count: u64, now: Mono) -> Bytes {
    let lost = record::Lost {
        header: made_header(kind::LOST, size_of::<record::Lost>(), now),
        count,
    };
    Bytes::copy_from_slice(lost.as_bytes())
}

pub(super) fn name_record(space: u32, code: u64, text: &str, now: Mono) -> Bytes {
    let len = size_of::<record::Name>() + text.len();
    let name = record::Name {
        header: made_header(kind::NAME, len, now),
        code,
        space,
        text_len: u32::try_from(text.len()).unwrap_or(u32::MAX),
    };
    let mut bytes = Vec::with_capacity(len);
    bytes.extend_from_slice(name.as_bytes());
    bytes.extend_from_slice(text.as_bytes());
    bytes.into()
}

pub(super) fn pod_record(pod: &PodName, now: Mono) -> Bytes {
    let text = format!("{}\0{}\0{}", pod.uid, pod.namespace, pod.pod);
    let header = made_header(kind::POD, size_of::<Header>() + text.len(), now);
    let mut bytes = Vec::with_capacity(header.len as usize);
    bytes.extend_from_slice(header.as_bytes());
    bytes.extend_from_slice(text.as_bytes());
    bytes.into()
}
