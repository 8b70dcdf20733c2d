//! Errors that ICMP reports on a resolver's UDP socket: nobody listens at the name server.
//!
//! | program | attach point | oldest kernel | cost |
//! | --- | --- | --- | --- |
//! | `sock_error` | BTF tracepoint `inet_sk_error_report` | 5.15 | every error report of the host: two loads and an array look-up |

use aya_ebpf::macros::btf_tracepoint;
use aya_ebpf::programs::BtfTracePointContext;
use obsflow_ebpf::abi::count::port_class;
use obsflow_ebpf::abi::record::{SocketError, kind};

use crate::emit::{header, reserve};
use crate::kernel::Sock;
use crate::maps::{UDP_ORIGINS, class};

/// IPPROTO_UDP.
const UDP: u8 = 17;

#[btf_tracepoint(function = "inet_sk_error_report")]
pub(crate) fn sock_error(ctx: BtfTracePointContext) -> i32 {
    let sock = Sock(ctx.arg(0));
    if class(sock.remote_port()) & port_class::DNS == 0 || sock.protocol() != u16::from(UDP) {
        return 0;
    }
    let (error, _) = sock.errors();
    if error == 0 {
        return 0;
    }
    let Some(mut slot) = reserve::<SocketError>(kind::SOCKET_ERROR) else {
        return 0;
    };
    let record = slot.as_ptr();
    let mut head = header(kind::SOCKET_ERROR, 0, size_of::<SocketError>());
    head.cookie = sock.cookie();
    head.cgroup = sock.cgroup();
    head.netns = sock.netns();
    // SAFETY: the slot is ours until submitted; a map value lives as long as the program.
    unsafe {
        if let Some(origin) = UDP_ORIGINS.get_ptr(head.cookie) {
            head.pid = (*origin).pid;
        }
        (*record).header = head;
        sock.tuple(UDP, &raw mut (*record).tuple);
        (*record).error = error;
        (*record).pad = 0;
    }
    slot.submit();
    0
}
