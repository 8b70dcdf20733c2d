//! The only reads of kernel structures. Offsets come from the running kernel's BTF through the loader; the verifier
//! sees them as constants.

use core::ffi::c_void;
use core::mem::MaybeUninit;

use aya_ebpf::helpers::generated::bpf_probe_read_kernel;
use aya_ebpf::helpers::{
    bpf_get_current_comm, bpf_get_current_pid_tgid, bpf_get_current_task, bpf_get_socket_cookie,
};
use obsflow_ebpf::abi::record::{Peer, Tuple};
use obsflow_ebpf::abi::settings::{Offsets, Settings};

/// Set by the loader.
#[unsafe(no_mangle)]
static OFFSETS: MaybeUninit<Offsets> = MaybeUninit::zeroed();

/// Set by the loader.
#[unsafe(no_mangle)]
static SETTINGS: MaybeUninit<Settings> = MaybeUninit::zeroed();

/// Offset of a member, read at run time: the compiler must not fold the zeros it sees.
macro_rules! offset {
    ($field:ident) => {
        read_global(OFFSETS.as_ptr(), core::mem::offset_of!(Offsets, $field)) as usize
    };
}

/// A switch or limit of the loader.
macro_rules! setting {
    ($type:ty, $field:ident) => {
        $crate::kernel::read_setting::<$type>(core::mem::offset_of!(
            obsflow_ebpf::abi::settings::Settings,
            $field
        ))
    };
}
pub(crate) use setting;

/// Behind [`offset!`].
#[inline(always)]
fn read_global<T>(global: *const T, at: usize) -> u32 {
    // SAFETY: plain integers; the loader wrote them before the program was verified.
    unsafe { core::ptr::read_volatile(global.byte_add(at).cast::<u32>()) }
}

/// Behind [`setting!`]: the integer at a byte offset of the settings.
#[inline(always)]
pub(crate) fn read_setting<T: Copy>(at: usize) -> T {
    // SAFETY: plain integers; the offset is of a member of that type.
    unsafe { core::ptr::read_volatile(SETTINGS.as_ptr().byte_add(at).cast::<T>()) }
}

/// `TCP_ESTABLISHED` of `include/net/tcp_states.h`.
pub(crate) const TCP_ESTABLISHED: u32 = 1;
/// `TCP_SYN_SENT`.
pub(crate) const TCP_SYN_SENT: u32 = 2;
/// `TCP_FIN_WAIT2`.
pub(crate) const TCP_FIN_WAIT2: u32 = 5;
/// `TCP_TIME_WAIT`.
pub(crate) const TCP_TIME_WAIT: u32 = 6;
/// `TCP_CLOSE`.
pub(crate) const TCP_CLOSE: u32 = 7;
/// `TCP_CLOSE_WAIT`.
pub(crate) const TCP_CLOSE_WAIT: u32 = 8;
/// `TCP_LAST_ACK`.
pub(crate) const TCP_LAST_ACK: u32 = 9;
/// `TCP_CLOSING`.
pub(crate) const TCP_CLOSING: u32 = 11;
/// `TCP_NEW_SYN_RECV`.
pub(crate) const TCP_NEW_SYN_RECV: u32 = 12;
/// Bit `SOCK_DONE` of `enum sock_flags` (`include/net/sock.h`).
const SOCK_DONE: usize = 1 << 1;
/// `AF_INET6`.
pub(crate) const AF_INET6: u16 = 10;

/// Reads kernel memory at `base + offset`.
#[inline(always)]
pub(crate) fn read<T: Copy>(base: usize, offset: usize) -> Option<T> {
    let mut value = MaybeUninit::<T>::uninit();
    // SAFETY: the helper checks the address and writes the whole value when it returns 0.
    unsafe {
        if bpf_probe_read_kernel(
            value.as_mut_ptr().cast(),
            size_of::<T>() as u32,
            (base + offset) as *const c_void,
        ) == 0
        {
            Some(value.assume_init())
        } else {
            None
        }
    }
}

/// Reads kernel memory at `base + offset` to `to`; zeros when it cannot be read.
///
/// # Safety
/// `to` must be valid.
#[inline(always)]
pub(crate) unsafe fn read_to<T>(base: usize, offset: usize, to: *mut T) -> bool {
    // SAFETY: forwarded to the caller; the helper checks the source and zeroes the destination when it faults.
    unsafe { bpf_probe_read_kernel(to.cast(), size_of::<T>() as u32, (base + offset) as *const c_void) == 0 }
}

/// An IPv4 address as `::ffff:a.b.c.d`. `v4` is the address as it lies in memory, read as one word; built from words,
/// because sixteen single bytes cost sixteen places on a stack of 512 bytes.
#[inline(always)]
pub(crate) fn mapped(v4: u32) -> [u8; 16] {
    let words = [0, (u64::from(v4) << 32 | 0xffff_0000).to_le()];
    // SAFETY: same size, no invalid values.
    unsafe { core::mem::transmute::<[u64; 2], [u8; 16]>(words) }
}

/// Writes an IPv4 address as [`mapped`] gives it, in two words.
///
/// # Safety
/// `to` must be valid and aligned to eight bytes.
#[inline(always)]
pub(crate) unsafe fn write_mapped(to: *mut [u8; 16], v4: u32) {
    let to = to.cast::<u64>();
    // SAFETY: forwarded to the caller.
    unsafe {
        to.write(0);
        to.add(1).write((u64::from(v4) << 32 | 0xffff_0000).to_le());
    }
}

/// Writes zeros in words; the compiler would call a loop over bytes.
///
/// # Safety
/// `to` must be valid, aligned to eight bytes, and its size a multiple of eight.
#[inline(always)]
pub(crate) unsafe fn zero<T>(to: *mut T) {
    const { assert!(size_of::<T>().is_multiple_of(8)) };
    let mut i = 0;
    while i < size_of::<T>() / 8 {
        // SAFETY: forwarded to the caller. Volatile, so that it stays what it is.
        unsafe { to.cast::<u64>().add(i).write_volatile(0) };
        i += 1;
    }
}

/// Writes the ports and the protocol of a [`Tuple`] as one word: they are its last eight bytes.
///
/// # Safety
/// `to` must be valid and aligned to eight bytes.
#[inline(always)]
pub(crate) unsafe fn write_ports(to: *mut Tuple, local: u16, remote: u16, protocol: u8) {
    const { assert!(core::mem::offset_of!(Tuple, local_port) == 32 && size_of::<Tuple>() == 40) };
    let word = u64::from(local) | u64::from(remote) << 16 | u64::from(protocol) << 32;
    // SAFETY: forwarded to the caller.
    unsafe { to.cast::<u64>().add(4).write(word.to_le()) };
}

/// Copies a value in words of eight bytes; types with smaller alignment would be copied in smaller pieces.
///
/// # Safety
/// Both must be valid, aligned to eight bytes, and the size a multiple of eight.
#[inline(always)]
pub(crate) unsafe fn copy<T>(to: *mut T, from: *const T) {
    const { assert!(size_of::<T>().is_multiple_of(8)) };
    // SAFETY: forwarded to the caller.
    unsafe { core::ptr::copy_nonoverlapping(from.cast::<u64>(), to.cast::<u64>(), size_of::<T>() / 8) };
}

/// A `struct sock *` that a BTF tracepoint passed: the verifier knows its type, so members are read directly.
#[derive(Clone, Copy)]
pub(crate) struct Sock(pub *const c_void);

impl Sock {
    /// Reads a member of `struct sock` without a helper call.
    ///
    /// # Safety
    /// The pointer must come straight from a BTF tracepoint's argument and `offset` from this kernel's BTF.
    #[inline(always)]
    unsafe fn direct<T: Copy>(self, offset: usize) -> T {
        // SAFETY: forwarded to the caller; the verifier checks the access against the kernel's type.
        unsafe { core::ptr::read_volatile(self.0.byte_add(offset).cast::<T>()) }
    }

    /// Remote port.
    #[inline(always)]
    pub(crate) fn remote_port(self) -> u16 {
        // SAFETY: `sock` arguments of BTF tracepoints only.
        u16::from_be(unsafe { self.direct::<u16>(offset!(skc_dport)) })
    }

    /// Local port.
    #[inline(always)]
    pub(crate) fn local_port(self) -> u16 {
        // SAFETY: as above.
        unsafe { self.direct::<u16>(offset!(skc_num)) }
    }

    /// The local port of a socket that is about to be closed: it has given the port back (`inet_put_port`), which sets
    /// [`Self::local_port`] to 0, but remembers it.
    #[inline(always)]
    pub(crate) fn last_local_port(self) -> u16 {
        u16::from_be(read(self.0 as usize, offset!(inet_sport)).unwrap_or(0))
    }

    /// Address family.
    #[inline(always)]
    pub(crate) fn family(self) -> u16 {
        // SAFETY: as above.
        unsafe { self.direct::<u16>(offset!(skc_family)) }
    }

    /// TCP state.
    #[inline(always)]
    pub(crate) fn state(self) -> u8 {
        // SAFETY: as above.
        unsafe { self.direct::<u8>(offset!(skc_state)) }
    }

    /// Socket cookie; 0 when the kernel is too old to make one here and none was made before.
    #[inline(always)]
    pub(crate) fn cookie(self) -> u64 {
        if setting!(u32, tracing_cookie) != 0 {
            // SAFETY: the helper takes a `struct sock *` with BTF type.
            unsafe { bpf_get_socket_cookie(self.0.cast_mut()) }
        } else {
            read(self.0 as usize, offset!(skc_cookie)).unwrap_or(0)
        }
    }

    /// Writes both ends to `to`.
    ///
    /// # Safety
    /// `to` must be valid and aligned to eight bytes.
    #[inline(always)]
    pub(crate) unsafe fn tuple(self, protocol: u8, to: *mut Tuple) {
        let base = self.0 as usize;
        // SAFETY: forwarded to the caller.
        unsafe {
            if self.family() == AF_INET6 {
                read_to(base, offset!(skc_v6_rcv_saddr), &raw mut (*to).local);
                read_to(base, offset!(skc_v6_daddr), &raw mut (*to).remote);
            } else {
                write_mapped(&raw mut (*to).local, self.direct::<u32>(offset!(skc_rcv_saddr)));
                write_mapped(&raw mut (*to).remote, self.direct::<u32>(offset!(skc_daddr)));
            }
            write_ports(to, self.local_port(), self.remote_port(), protocol);
        }
    }

    /// Inode of the network namespace.
    #[inline(always)]
    pub(crate) fn netns(self) -> u32 {
        let net: usize = read(self.0 as usize, offset!(skc_net)).unwrap_or(0);
        read(net, offset!(net_inum)).unwrap_or(0)
    }

    /// `sk_err` and `sk_err_soft`.
    #[inline(always)]
    pub(crate) fn errors(self) -> (u32, u32) {
        let base = self.0 as usize;
        (
            read(base, offset!(sk_err)).unwrap_or(0),
            read(base, offset!(sk_err_soft)).unwrap_or(0),
        )
    }

    /// The first error of the error queue: where a refusal by ICMP stays when the application has read `SO_ERROR`, which
    /// empties `sk_err` and `sk_err_soft`.
    #[inline(always)]
    pub(crate) fn queued_error(self) -> Option<ExtendedError> {
        let base = self.0 as usize;
        if read::<u32>(base, offset!(sk_error_queue_len)).unwrap_or(0) == 0 {
            return None;
        }
        let skb: usize = read(base, offset!(sk_error_queue))?;
        read(skb, offset!(skb_extended_error))
    }

    /// IP protocol.
    #[inline(always)]
    pub(crate) fn protocol(self) -> u16 {
        read(self.0 as usize, offset!(sk_protocol)).unwrap_or(0)
    }

    /// `bytes_acked` and `bytes_received` of a TCP socket.
    #[inline(always)]
    pub(crate) fn tcp_bytes(self) -> (u64, u64) {
        let base = self.0 as usize;
        (
            read(base, offset!(bytes_acked)).unwrap_or(0),
            read(base, offset!(bytes_received)).unwrap_or(0),
        )
    }

    /// Whether the peer's FIN was received: only then the kernel sets this flag.
    #[inline(always)]
    pub(crate) fn fin_received(self) -> bool {
        read::<usize>(self.0 as usize, offset!(skc_flags)).unwrap_or(0) & SOCK_DONE != 0
    }

    /// `snd_una` and `rcv_nxt` of a TCP socket: right after the handshake, offset 0 of both streams.
    #[inline(always)]
    pub(crate) fn tcp_sequence(self) -> (u32, u32) {
        let base = self.0 as usize;
        (
            read(base, offset!(snd_una)).unwrap_or(0),
            read(base, offset!(rcv_nxt)).unwrap_or(0),
        )
    }

    /// Id of the cgroup v2 the socket was made in; 0 when unknown.
    #[inline(always)]
    pub(crate) fn cgroup(self) -> u64 {
        let cgroup: usize = read(self.0 as usize, offset!(sk_cgrp_data)).unwrap_or(0);
        // Before 5.15 the lowest bit says that these are v1 class ids, not a pointer.
        if cgroup == 0 || cgroup & 1 != 0 {
            return 0;
        }
        cgroup_id(cgroup)
    }
}

/// The beginning of `struct sock_extended_err` (`include/uapi/linux/errqueue.h`).
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct ExtendedError {
    /// The errno.
    pub(crate) errno: u32,
    /// Who reported it: 2 is ICMP, 3 ICMPv6.
    pub(crate) origin: u8,
    /// ICMP type.
    pub(crate) kind: u8,
    /// ICMP code.
    pub(crate) code: u8,
    /// Zero.
    pad: u8,
}

impl ExtendedError {
    /// Whether somebody refused the packet, rather than had no way to deliver it: protocol and port unreachable and the
    /// prohibitions of RFC 792 and RFC 1812 (5.2.7.1); of ICMPv6 (RFC 4443, 3.1) prohibited, port unreachable, policy
    /// and reject route.
    #[inline(always)]
    pub(crate) fn is_refusal(self) -> bool {
        match (self.origin, self.kind) {
            (2, 3) => matches!(self.code, 2 | 3 | 9 | 10 | 13),
            (3, 1) => matches!(self.code, 1 | 4 | 5 | 6),
            _ => false,
        }
    }
}

/// Id of the cgroup at `cgroup`.
#[inline(always)]
pub(crate) fn cgroup_id(cgroup: usize) -> u64 {
    let kn: usize = read(cgroup, offset!(cgroup_kn)).unwrap_or(0);
    read(kn, offset!(kn_id)).unwrap_or(0)
}

/// Hierarchy of the cgroup at `cgroup`: 0 is cgroup v2.
#[inline(always)]
pub(crate) fn cgroup_hierarchy(cgroup: usize) -> i32 {
    let root: usize = read(cgroup, offset!(cgroup_root)).unwrap_or(0);
    read(root, offset!(root_hierarchy_id)).unwrap_or(-1)
}

/// The calling process, not the calling thread.
pub struct Caller {
    /// Process id.
    pub pid: u32,
    /// Name of the process: its main thread's.
    pub comm: [u8; 16],
}

/// Who runs now. Most callers are their process's main thread, whose name is one helper away. Without BTF the name is
/// the thread's, always.
#[inline(always)]
pub fn caller() -> Caller {
    let (pid, tid) = pid_tid();
    let comm = if setting!(u32, types) == 0 || pid == tid {
        bpf_get_current_comm().unwrap_or([0; 16])
    } else {
        // SAFETY: the helper has no preconditions.
        let task = unsafe { bpf_get_current_task() } as usize;
        let leader: usize = read(task, offset!(task_group_leader)).unwrap_or(task);
        read(leader, offset!(task_comm)).unwrap_or([0; 16])
    };
    Caller { pid, comm }
}

/// `(process id, thread id)` of the caller.
#[inline(always)]
pub(crate) fn pid_tid() -> (u32, u32) {
    let both = bpf_get_current_pid_tgid();
    ((both >> 32) as u32, both as u32)
}

/// No destination asked for: all zero.
pub(crate) const NO_PEER: Peer = Peer {
    addr: [0; 16],
    port: 0,
    pad: [0; 6],
};

/// The members of a `struct sk_buff` that a drop needs, read through the helper.
#[derive(Clone, Copy)]
pub(crate) struct Skb(pub usize);

impl Skb {
    /// Ethernet protocol in host order.
    #[inline(always)]
    pub(crate) fn protocol(self) -> u16 {
        u16::from_be(read(self.0, offset!(skb_protocol)).unwrap_or(0))
    }

    /// Address of the IP header.
    #[inline(always)]
    pub(crate) fn network_header(self) -> usize {
        let head: usize = read(self.0, offset!(skb_head)).unwrap_or(0);
        let header: u16 = read(self.0, offset!(skb_network_header)).unwrap_or(u16::MAX);
        // The kernel marks an unset header with all ones.
        if head == 0 || header == u16::MAX {
            0
        } else {
            head + usize::from(header)
        }
    }

    /// The socket, if the packet has a full one.
    #[inline(always)]
    pub(crate) fn sock(self) -> Option<Sock> {
        let sk: usize = read(self.0, offset!(skb_sk)).unwrap_or(0);
        if sk == 0 {
            return None;
        }
        let state: u8 = read(sk, offset!(skc_state)).unwrap_or(0);
        // Time-wait and request sockets are smaller structures.
        if u32::from(state) == TCP_TIME_WAIT || u32::from(state) == TCP_NEW_SYN_RECV {
            return None;
        }
        Some(Sock(sk as *const c_void))
    }

    /// `(interface index, inode of its network namespace)`.
    #[inline(always)]
    pub(crate) fn device(self) -> (u32, u32) {
        let dev: usize = read(self.0, offset!(skb_dev)).unwrap_or(0);
        if dev == 0 {
            return (0, 0);
        }
        let net: usize = read(dev, offset!(dev_net)).unwrap_or(0);
        (
            read(dev, offset!(dev_ifindex)).unwrap_or(0),
            read(net, offset!(net_inum)).unwrap_or(0),
        )
    }
}

/// Cookie of a socket that is not a trusted BTF pointer; 0 when none was made yet.
#[inline(always)]
pub(crate) fn stored_cookie(sock: Sock) -> u64 {
    read(sock.0 as usize, offset!(skc_cookie)).unwrap_or(0)
}

/// The `struct sock` of a `struct socket`.
#[inline(always)]
pub(crate) fn socket_sock(socket: usize) -> Option<Sock> {
    let sk: usize = read(socket, offset!(socket_sk)).unwrap_or(0);
    if sk == 0 {
        None
    } else {
        Some(Sock(sk as *const c_void))
    }
}
