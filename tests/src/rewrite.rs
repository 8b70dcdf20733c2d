//! A program at `cgroup/connect4` that rewrites the destination, as a socket load balancer does (Cilium, Calico): a
//! Service's address becomes that of a backend before the socket knows. A dozen instructions, loaded as they are.

use std::fs::File;
use std::net::SocketAddrV4;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::Path;

use anyhow::{Context, Result, bail};

const BPF_PROG_LOAD: libc::c_long = 5;
const BPF_LINK_CREATE: libc::c_long = 28;
const BPF_PROG_TYPE_CGROUP_SOCK_ADDR: u32 = 18;
const BPF_CGROUP_INET4_CONNECT: u32 = 10;

/// `struct bpf_insn` (`include/uapi/linux/bpf.h`): opcode, registers, offset, immediate.
#[repr(C)]
#[derive(Clone, Copy)]
struct Insn {
    code: u8,
    regs: u8,
    off: i16,
    imm: i32,
}

/// Rewrites while it lives; detached when dropped.
#[derive(Debug)]
pub struct Rewrite {
    _link: OwnedFd,
}

impl Rewrite {
    /// Sends connects from `cgroup` and below to `asked` to `backend` instead.
    ///
    /// # Errors
    /// When the kernel refuses the program or the link; without CAP_BPF.
    pub fn attach(cgroup: &Path, asked: SocketAddrV4, backend: SocketAddrV4) -> Result<Self> {
        let program = load(&program(asked, backend))?;
        let dir = File::open(cgroup).with_context(|| format!("cannot open {}", cgroup.display()))?;
        // struct { __u32 prog_fd, target_fd, attach_type, flags; } link_create
        let attr = [
            program.as_raw_fd() as u32,
            dir.as_raw_fd() as u32,
            BPF_CGROUP_INET4_CONNECT,
            0,
        ];
        let link = bpf(BPF_LINK_CREATE, &attr).context("cannot attach the rewriting program")?;
        Ok(Self { _link: link })
    }
}

/// Fields of `struct bpf_sock_addr`.
const USER_IP4: i16 = 4;
const USER_PORT: i16 = 24;

fn program(asked: SocketAddrV4, backend: SocketAddrV4) -> [Insn; 12] {
    let ip = |address: SocketAddrV4| i32::from_ne_bytes(address.ip().octets());
    // The field holds the port in network order in its lower half.
    let port = |address: SocketAddrV4| i32::from(address.port().to_be());
    let insn = |code, dst: u8, src: u8, off, imm| Insn {
        code,
        regs: src << 4 | dst,
        off,
        imm,
    };
    [
        insn(0x61, 2, 1, USER_IP4, 0),      // r2 = ctx->user_ip4
        insn(0xb4, 3, 0, 0, ip(asked)),     // w3 = asked
        insn(0x5d, 2, 3, 7, 0),             // if r2 != r3 goto out
        insn(0x61, 2, 1, USER_PORT, 0),     // r2 = ctx->user_port
        insn(0x55, 2, 0, 5, port(asked)),   // if r2 != port goto out
        insn(0xb4, 2, 0, 0, ip(backend)),   // w2 = backend
        insn(0x63, 1, 2, USER_IP4, 0),      // ctx->user_ip4 = w2
        insn(0xb4, 2, 0, 0, port(backend)), // w2 = its port
        insn(0x63, 1, 2, USER_PORT, 0),     // ctx->user_port = w2
        insn(0xb7, 0, 0, 0, 1),             // r0 = allow
        insn(0xb7, 0, 0, 0, 1),             // out: r0 = allow
        insn(0x95, 0, 0, 0, 0),             // exit
    ]
}

fn load(instructions: &[Insn]) -> Result<OwnedFd> {
    let licence = c"Dual MIT/GPL";
    let mut log = vec![0u8; 16 * 1024];
    // The head of `union bpf_attr` for BPF_PROG_LOAD, as 32-bit words in native order.
    let mut attr = [0u32; 32];
    let mut put64 = |at: usize, value: u64| {
        let bytes = value.to_ne_bytes();
        attr[at] = u32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        attr[at + 1] = u32::from_ne_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]);
    };
    put64(2, instructions.as_ptr().expose_provenance() as u64);
    put64(4, licence.as_ptr().expose_provenance() as u64);
    put64(8, log.as_mut_ptr().expose_provenance() as u64);
    attr[0] = BPF_PROG_TYPE_CGROUP_SOCK_ADDR;
    attr[1] = u32::try_from(instructions.len())?;
    attr[6] = 1; // log_level
    attr[7] = u32::try_from(log.len())?;
    attr[17] = BPF_CGROUP_INET4_CONNECT; // expected_attach_type
    match bpf(BPF_PROG_LOAD, &attr) {
        Ok(fd) => Ok(fd),
        Err(error) => {
            let end = log.iter().position(|byte| *byte == 0).unwrap_or(log.len());
            bail!(
                "the kernel refuses the rewriting program: {error}: {}",
                String::from_utf8_lossy(&log[..end])
            )
        }
    }
}

fn bpf(command: libc::c_long, attr: &[u32]) -> std::io::Result<OwnedFd> {
    // SAFETY: the attribute is as long as said, and every pointer in it is valid for the call.
    let fd = unsafe { libc::syscall(libc::SYS_bpf, command, attr.as_ptr(), size_of_val(attr)) };
    if fd < 0 {
        return Err(std::io::Error::last_os_error());
    }
    let fd = i32::try_from(fd).map_err(std::io::Error::other)?;
    // SAFETY: the kernel just gave it to us, and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
