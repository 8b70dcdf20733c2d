//! Processes: exec and exit.
//!
//! | program | attach point | oldest kernel | cost |
//! | --- | --- | --- | --- |
//! | `process_exec` | BTF tracepoint `sched_process_exec` | 5.5 | every exec: one record |
//! | `process_exit` | BTF tracepoint `sched_process_exit` | 5.5 | every thread's exit: a comparison; of a process: one record |

use aya_ebpf::helpers::bpf_get_current_cgroup_id;
use aya_ebpf::macros::btf_tracepoint;
use aya_ebpf::programs::BtfTracePointContext;
use obsflow_ebpf::abi::record::{Process, kind};

use crate::emit::{header, reserve};
use crate::kernel;

#[btf_tracepoint(function = "sched_process_exec")]
pub(crate) fn process_exec(_ctx: BtfTracePointContext) -> i32 {
    let (pid, _) = kernel::pid_tid();
    record(kind::EXEC, pid);
    0
}

#[btf_tracepoint(function = "sched_process_exit")]
pub(crate) fn process_exit(_ctx: BtfTracePointContext) -> i32 {
    let (pid, tid) = kernel::pid_tid();
    if pid == tid {
        record(kind::EXIT, pid);
    }
    0
}

#[inline(always)]
fn record(kind: u16, pid: u32) {
    let caller = kernel::caller();
    let Some(mut slot) = reserve::<Process>(kind) else {
        return;
    };
    let record = slot.as_ptr();
    let mut head = header(kind, 0, size_of::<Process>());
    head.pid = pid;
    // SAFETY: the helper has no preconditions; the slot is ours until submitted.
    unsafe {
        head.cgroup = bpf_get_current_cgroup_id();
        (*record).header = head;
        (*record).comm = caller.comm;
    }
    slot.submit();
}
