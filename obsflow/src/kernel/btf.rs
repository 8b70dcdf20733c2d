//! The running kernel's own description of its types: member offsets and the names of drop reasons.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;
use std::path::Path;

use btf_rs::{Backend, Btf, Type};
use obsflow_ebpf::abi::settings::{ABSENT, Offsets};
use rustix::fs::{MemfdFlags, memfd_create};

/// Where the kernel publishes its BTF.
pub const VMLINUX: &str = "/sys/kernel/btf/vmlinux";

/// BTF could not be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel has no BTF, or it cannot be opened.
    #[error("{path}: {source}; the kernel must be built with CONFIG_DEBUG_INFO_BTF=y")]
    Open {
        /// File.
        path: String,
        /// Cause.
        source: btf_rs::Error,
    },
    /// A member that the programs cannot do without is missing.
    #[error("this kernel's BTF has no {0}; it is older or newer than obsflow knows")]
    Missing(String),
}

/// A kernel's types.
pub struct Types {
    btf: Btf,
    /// Ids by name, of the names asked for so far: finding one means going through all types.
    known: RefCell<HashMap<String, Vec<u32>>>,
}

impl Types {
    /// Opens the running kernel's BTF.
    ///
    /// # Errors
    /// When there is none, or it cannot be read.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, Error> {
        let path = path.as_ref();
        // Mapped, not parsed as a whole: half a million types are not needed for forty offsets.
        Btf::from_file_with_backend(path, Backend::Mmap)
            .or_else(|refused| copy_mapped(path).unwrap_or(Err(refused)))
            .map(Self::of)
            .map_err(|source| Error::Open {
                path: path.display().to_string(),
                source,
            })
    }

    fn of(btf: Btf) -> Self {
        Self {
            btf,
            known: RefCell::default(),
        }
    }

    /// Every type of this name.
    fn named(&self, name: &str) -> Vec<Type> {
        let mut known = self.known.borrow_mut();
        let ids = match known.get(name) {
            Some(ids) => ids,
            None => known
                .entry(name.to_owned())
                .or_insert(self.btf.resolve_ids_by_name(name).unwrap_or_default()),
        };
        ids.iter()
            .filter_map(|id| self.btf.resolve_type_by_id(*id).ok())
            .collect()
    }

    /// Whether the kernel has a tracepoint of this name that BTF programs may attach to.
    #[must_use]
    pub fn has_tracepoint(&self, name: &str) -> bool {
        self.named(&format!("btf_trace_{name}"))
            .iter()
            .any(|t| matches!(t, Type::Typedef(_)))
    }

    /// Number of arguments of a tracepoint, without the private pointer that comes first.
    #[must_use]
    pub fn tracepoint_arguments(&self, name: &str) -> Option<usize> {
        let types = self.named(&format!("btf_trace_{name}"));
        let typedef = types
            .into_iter()
            .find_map(|t| if let Type::Typedef(t) = t { Some(t) } else { None })?;
        let pointer = self.btf.resolve_chained_type(&typedef).ok()?;
        let Type::Ptr(pointer) = pointer else { return None };
        let Type::FuncProto(proto) = self.btf.resolve_chained_type(&pointer).ok()? else {
            return None;
        };
        proto.parameters.len().checked_sub(1)
    }

    /// Whether the kernel has a function of this name in its BTF.
    #[must_use]
    pub fn has_function(&self, name: &str) -> bool {
        self.named(name).iter().any(|t| matches!(t, Type::Func(_)))
    }

    /// Byte offset of a member of a structure: a path such as `["__sk_common", "skc_dport"]`, through nested and
    /// anonymous structures and unions.
    #[must_use]
    pub fn offset(&self, structure: &str, path: &[&str]) -> Option<u32> {
        let mut ty = self
            .named(structure)
            .into_iter()
            .find(|t| matches!(t, Type::Struct(_) | Type::Union(_)))?;
        let mut bits = 0;
        for name in path {
            let (at, member) = self.member(&ty, name)?;
            bits += at;
            ty = member;
        }
        (bits % 8 == 0).then_some(bits / 8)
    }

    /// Bit offset and type of a member, looked for in anonymous members as well.
    fn member(&self, ty: &Type, name: &str) -> Option<(u32, Type)> {
        let (Type::Struct(of) | Type::Union(of)) = ty else {
            return None;
        };
        for member in &of.members {
            let member_name = self.btf.resolve_name(member).unwrap_or_default();
            if member_name != name && !member_name.is_empty() {
                continue;
            }
            let member_type = self.peel(self.btf.resolve_chained_type(member).ok()?)?;
            if member_name == name {
                return Some((member.bit_offset(), member_type));
            }
            if let Some((at, found)) = self.member(&member_type, name) {
                return Some((member.bit_offset() + at, found));
            }
        }
        None
    }

    /// The type behind typedefs and qualifiers.
    fn peel(&self, mut ty: Type) -> Option<Type> {
        loop {
            ty = match &ty {
                Type::Typedef(t) => self.btf.resolve_chained_type(t).ok()?,
                Type::Volatile(t) | Type::Const(t) | Type::Restrict(t) => {
                    self.btf.resolve_chained_type(t).ok()?
                }
                Type::TypeTag(t) => self.btf.resolve_chained_type(t).ok()?,
                _ => return Some(ty),
            };
        }
    }

    /// Values of an enumeration, by number, their names without `prefix`.
    #[must_use]
    pub fn enumeration(&self, name: &str, prefix: &str) -> HashMap<u32, String> {
        let mut values = HashMap::new();
        for ty in self.named(name) {
            let Type::Enum(of) = ty else { continue };
            for member in &of.members {
                if let Ok(text) = self.btf.resolve_name(member) {
                    let short = text.strip_prefix(prefix).unwrap_or(&text).to_owned();
                    values.entry(member.val()).or_insert(short);
                }
            }
        }
        values
    }

    /// Every offset the programs need.
    ///
    /// # Errors
    /// When a member that no program can do without is missing.
    pub fn offsets(&self) -> Result<Offsets, Error> {
        let need = |structure: &str, path: &[&str]| {
            self.offset(structure, path)
                .ok_or_else(|| Error::Missing(format!("{structure}.{}", path.join("."))))
        };
        let common = |member: &str| need("sock", &["__sk_common", member]);
        Ok(Offsets {
            skc_daddr: common("skc_daddr")?,
            skc_rcv_saddr: common("skc_rcv_saddr")?,
            skc_dport: common("skc_dport")?,
            skc_num: common("skc_num")?,
            skc_family: common("skc_family")?,
            skc_state: common("skc_state")?,
            skc_net: need("sock", &["__sk_common", "skc_net", "net"])?,
            // Absent in kernels without IPv6.
            skc_v6_daddr: common("skc_v6_daddr").unwrap_or(ABSENT),
            skc_v6_rcv_saddr: common("skc_v6_rcv_saddr").unwrap_or(ABSENT),
            skc_cookie: common("skc_cookie")?,
            skc_flags: common("skc_flags")?,
            sk_err: need("sock", &["sk_err"])?,
            sk_err_soft: need("sock", &["sk_err_soft"])?,
            sk_error_queue: need("sock", &["sk_error_queue"])?,
            sk_error_queue_len: need("sock", &["sk_error_queue", "qlen"])?,
            skb_extended_error: need("sk_buff", &["cb"])? + need("sock_exterr_skb", &["ee"])?,
            sk_protocol: need("sock", &["sk_protocol"])?,
            sk_cgrp_data: need("sock", &["sk_cgrp_data"])?,
            bytes_acked: need("tcp_sock", &["bytes_acked"])?,
            bytes_received: need("tcp_sock", &["bytes_received"])?,
            snd_una: need("tcp_sock", &["snd_una"])?,
            rcv_nxt: need("tcp_sock", &["rcv_nxt"])?,
            // Without it an attempt that came to nothing has no local port.
            inet_sport: need("inet_sock", &["inet_sport"]).unwrap_or(ABSENT),
            net_inum: need("net", &["ns", "inum"])?,
            skb_head: need("sk_buff", &["head"])?,
            skb_network_header: need("sk_buff", &["network_header"])?,
            skb_protocol: need("sk_buff", &["protocol"])?,
            skb_sk: need("sk_buff", &["sk"])?,
            skb_dev: need("sk_buff", &["dev"])?,
            skb_len: need("sk_buff", &["len"])?,
            dev_ifindex: need("net_device", &["ifindex"])?,
            dev_net: need("net_device", &["nd_net", "net"])?,
            cgroup_kn: need("cgroup", &["kn"])?,
            kn_id: need("kernfs_node", &["id"])?,
            cgroup_root: need("cgroup", &["root"])?,
            root_hierarchy_id: need("cgroup_root", &["hierarchy_id"])?,
            task_group_leader: need("task_struct", &["group_leader"])?,
            task_comm: need("task_struct", &["comm"])?,
            task_tgid: need("task_struct", &["tgid"])?,
            task_nsproxy: need("task_struct", &["nsproxy"])?,
            nsproxy_net: need("nsproxy", &["net_ns"])?,
            socket_sk: need("socket", &["sk"])?,
        })
    }
}

/// Before Linux 6.16 the kernel lets its BTF be read but not mapped: a copy in memory can be mapped.
fn copy_mapped(path: &Path) -> io::Result<Result<Btf, btf_rs::Error>> {
    let copy = File::from(memfd_create("btf", MemfdFlags::CLOEXEC)?);
    io::copy(&mut File::open(path)?, &mut &copy)?;
    // The mapping keeps the memory; the descriptor may go.
    let path = format!("/proc/self/fd/{}", copy.as_raw_fd());
    Ok(Btf::from_file_with_backend(path, Backend::Mmap))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_tells_the_same() {
        let types = Types::of(
            copy_mapped(Path::new(VMLINUX))
                .expect("it is read")
                .expect("it is mapped"),
        );
        let original = Types::open(VMLINUX).expect("this machine has BTF");
        assert_eq!(types.offsets().ok(), original.offsets().ok());
    }

    #[test]
    fn offsets_of_the_running_kernel() {
        let types = Types::open(VMLINUX).expect("this machine has BTF");
        let offsets = types.offsets().expect("every member is there");
        assert_eq!(offsets.skc_daddr, 0);
        assert_eq!(offsets.skc_rcv_saddr, 4);
        assert_eq!(offsets.skc_dport, 12);
        assert!(offsets.bytes_acked > offsets.sk_err);
    }

    #[test]
    fn drop_reasons_have_names() {
        let types = Types::open(VMLINUX).expect("this machine has BTF");
        let reasons = types.enumeration("skb_drop_reason", "SKB_DROP_REASON_");
        assert!(reasons.values().any(|name| name == "NETFILTER_DROP"));
        assert!(types.has_tracepoint("kfree_skb") && !types.has_tracepoint("no_such_tracepoint"));
        assert!(types.tracepoint_arguments("kfree_skb") >= Some(3));
    }
}
