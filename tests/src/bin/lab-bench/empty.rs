//! Programs that do nothing, of the types that obsflow uses: what a hook costs before anyone looks at anything.
//!
//! Two instructions each, so they are handed to the kernel as they are, without an object file.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::Path;

use anyhow::{Context, Result, bail};
use btf_rs::{Backend, Btf, Type};

/// Commands of `bpf(2)` (`enum bpf_cmd` of `include/uapi/linux/bpf.h`), and what they take.
mod bpf {
    pub(super) const PROG_LOAD: u32 = 5;
    pub(super) const RAW_TRACEPOINT_OPEN: u32 = 17;
    pub(super) const LINK_CREATE: u32 = 28;
    pub(super) const ENABLE_STATS: u32 = 32;
    pub(super) const TYPE_CGROUP_SKB: u32 = 8;
    pub(super) const TYPE_CGROUP_SOCK_ADDR: u32 = 18;
    pub(super) const TYPE_TRACING: u32 = 26;
    pub(super) const CGROUP_INET_INGRESS: u32 = 0;
    pub(super) const CGROUP_INET_EGRESS: u32 = 1;
    pub(super) const CGROUP_INET4_CONNECT: u32 = 10;
    pub(super) const CGROUP_UDP4_SENDMSG: u32 = 14;
    pub(super) const TRACE_RAW_TP: u32 = 23;
}

/// `union bpf_attr`, zeroed where nothing is set.
struct Attributes([u32; 36]);

impl Attributes {
    fn new(words: &[(usize, u32)]) -> Self {
        let mut all = Self([0; 36]);
        for (byte, value) in words {
            all.0[byte / 4] = *value;
        }
        all
    }

    fn pointer<T: ?Sized>(&mut self, byte: usize, to: &T) {
        let address = std::ptr::from_ref(to).cast::<u8>() as u64;
        self.0[byte / 4] = address as u32;
        self.0[byte / 4 + 1] = (address >> 32) as u32;
    }

    /// Runs a command that answers with a file descriptor.
    fn run(&self, command: u32) -> io::Result<OwnedFd> {
        // SAFETY: the attributes outlive the call; what they point to is borrowed by the caller for as long.
        let fd = unsafe { libc::syscall(libc::SYS_bpf, command, self.0.as_ptr(), size_of_val(&self.0)) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel gave this descriptor to us.
        Ok(unsafe { OwnedFd::from_raw_fd(i32::try_from(fd).unwrap_or(-1)) })
    }
}

/// Run-time statistics of all programs of the host are kept while this lives; they cost each about 50 ns a call.
pub(crate) struct Statistics(#[expect(dead_code, reason = "closing it switches them off")] OwnedFd);

impl Statistics {
    /// Switches them on.
    pub(crate) fn on() -> Result<Self> {
        // 0 is BPF_STATS_RUN_TIME.
        let fd = Attributes::new(&[(0, 0)]).run(bpf::ENABLE_STATS);
        Ok(Self(fd.context("cannot switch on run-time statistics of BPF")?))
    }
}

/// Attached empty programs; they go with this.
pub(crate) struct Empty {
    programs: Vec<(&'static str, OwnedFd)>,
    _links: Vec<OwnedFd>,
}

/// Programs that have an empty twin: those that traffic passes.
pub(crate) const TWINS: [&str; 7] = [
    "skb_egress",
    "skb_ingress",
    "connect4",
    "sendmsg4",
    "sock_state",
    "skb_drop",
    "tcp_reset",
];

impl Empty {
    /// Attaches an empty program to each hook that obsflow uses, those of cgroups to `cgroup`.
    pub(crate) fn attach(cgroup: &Path) -> Result<Self> {
        // Mapped where the kernel allows it: what is read would count as memory of every process that is started later.
        let vmlinux = "/sys/kernel/btf/vmlinux";
        let btf = Btf::from_file_with_backend(vmlinux, Backend::Mmap)
            .or_else(|_| Btf::from_file(vmlinux))
            .context("the kernel has no BTF")?;
        let cgroup = File::open(cgroup)?;
        let (mut programs, mut links) = (Vec::new(), Vec::new());
        for name in TWINS {
            let (kind, attach, tracepoint) = match name {
                "skb_egress" => (bpf::TYPE_CGROUP_SKB, bpf::CGROUP_INET_EGRESS, None),
                "skb_ingress" => (bpf::TYPE_CGROUP_SKB, bpf::CGROUP_INET_INGRESS, None),
                "connect4" => (bpf::TYPE_CGROUP_SOCK_ADDR, bpf::CGROUP_INET4_CONNECT, None),
                "sendmsg4" => (bpf::TYPE_CGROUP_SOCK_ADDR, bpf::CGROUP_UDP4_SENDMSG, None),
                "sock_state" => (bpf::TYPE_TRACING, bpf::TRACE_RAW_TP, Some("inet_sock_set_state")),
                "skb_drop" => (bpf::TYPE_TRACING, bpf::TRACE_RAW_TP, Some("kfree_skb")),
                "tcp_reset" => (bpf::TYPE_TRACING, bpf::TRACE_RAW_TP, Some("tcp_receive_reset")),
                other => bail!("{other} has no twin"),
            };
            let id = tracepoint.map_or(Ok(0), |name| tracepoint_id(&btf, name))?;
            let program = load(kind, attach, id).with_context(|| format!("an empty {name}"))?;
            let link = match tracepoint {
                Some(_) => {
                    Attributes::new(&[(8, program.as_raw_fd().unsigned_abs())]).run(bpf::RAW_TRACEPOINT_OPEN)
                }
                None => Attributes::new(&[
                    (0, program.as_raw_fd().unsigned_abs()),
                    (4, cgroup.as_raw_fd().unsigned_abs()),
                    (8, attach),
                ])
                .run(bpf::LINK_CREATE),
            };
            links.push(link.with_context(|| format!("attaching an empty {name}"))?);
            programs.push((name, program));
        }
        Ok(Self {
            programs,
            _links: links,
        })
    }

    /// Name of the program whose twin it is, and the descriptor of each.
    pub(crate) fn programs(&self) -> impl Iterator<Item = (&'static str, i32)> {
        self.programs.iter().map(|(name, fd)| (*name, fd.as_raw_fd()))
    }
}

fn load(kind: u32, attach: u32, btf_id: u32) -> io::Result<OwnedFd> {
    // r0 = result; exit. Cgroup programs allow with 1, tracing programs answer 0.
    let result: u64 = u64::from(btf_id == 0);
    let code: [u64; 2] = [0xb7 | result << 32, 0x95];
    let licence = c"Dual MIT/GPL";
    let mut attributes = Attributes::new(&[(0, kind), (4, 2), (68, attach), (108, btf_id)]);
    attributes.pointer(8, &code);
    attributes.pointer(16, licence.to_bytes_with_nul());
    attributes.run(bpf::PROG_LOAD)
}

/// The id of a tracepoint's type, by which the kernel knows it.
fn tracepoint_id(btf: &Btf, name: &str) -> Result<u32> {
    let name = format!("btf_trace_{name}");
    btf.resolve_ids_by_name(&name)?
        .into_iter()
        .find(|id| matches!(btf.resolve_type_by_id(*id), Ok(Type::Typedef(_))))
        .with_context(|| format!("the kernel has no {name}"))
}
