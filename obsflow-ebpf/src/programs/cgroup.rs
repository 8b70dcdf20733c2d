//! Cgroup ids to paths, before the first process runs in them.
//!
//! | program | attach point | oldest kernel | cost |
//! | --- | --- | --- | --- |
//! | `cgroup_made`, `cgroup_gone` | BTF tracepoints `cgroup_mkdir`, `cgroup_rmdir` | 5.5 | every mkdir: one record |

use aya_ebpf::helpers::generated::bpf_probe_read_kernel_str;
use aya_ebpf::macros::btf_tracepoint;
use aya_ebpf::programs::BtfTracePointContext;
use obsflow_ebpf::abi::record::{Cgroup, kind};

use crate::emit::{Sized, header, reserve};
use crate::kernel::{cgroup_hierarchy, cgroup_id};

/// Longest path that travels, with its NUL. User space resolves a longer one from the file system.
const PATH: usize = 464;

#[btf_tracepoint(function = "cgroup_mkdir")]
pub(crate) fn cgroup_made(ctx: BtfTracePointContext) -> i32 {
    record(&ctx, kind::CGROUP);
    0
}

#[btf_tracepoint(function = "cgroup_rmdir")]
pub(crate) fn cgroup_gone(ctx: BtfTracePointContext) -> i32 {
    record(&ctx, kind::CGROUP_GONE);
    0
}

#[inline(always)]
fn record(ctx: &BtfTracePointContext, kind: u16) {
    let cgroup: usize = ctx.arg(0);
    let path: *const u8 = ctx.arg(1);
    // Version 1 hierarchies number their cgroups on their own.
    if cgroup_hierarchy(cgroup) != 0 {
        return;
    }
    let Some(mut slot) = reserve::<Sized<Cgroup, PATH>>(kind) else {
        return;
    };
    let record = slot.as_ptr();
    // SAFETY: the slot is ours until submitted; the helper checks the source.
    unsafe {
        let written = bpf_probe_read_kernel_str((&raw mut (*record).tail).cast(), PATH as u32, path.cast());
        if written <= 0 || written as usize >= PATH {
            // Too long or unreadable: a path cut short would name another cgroup.
            slot.discard();
            return;
        }
        // The helper counts the NUL.
        let len = written as usize - 1;
        let mut head = header(kind, 0, size_of::<Cgroup>() + len);
        head.cgroup = cgroup_id(cgroup);
        (*record).record.header = head;
        (*record).record.path_len = len as u32;
        (*record).record.pad = 0;
    }
    slot.submit();
}
