//! The kernel's drop reasons that mean the same as one of Cilium's.

use crate::model::flow::DropReason;

/// `event_type.sub_type` of a drop whose reason is none of Cilium's. Zero would read as success to Hubble's clients,
/// and Cilium's own numbers end far below.
pub(super) const OTHER: u8 = 255;

/// The kernel's name (`include/net/dropreason-core.h`) and the number of Cilium's reason. Only where both mean the same: a
/// netfilter rule, for one, is no Cilium policy.
const SAME: [(&str, u8); 6] = [
    ("IP_RPFILTER", 132),
    ("UNHANDLED_PROTO", 139),
    ("IP_NOPROTO", 142),
    ("IP_INNOROUTES", 169),
    ("IP_OUTNOROUTES", 169),
    ("VXLAN_VNI_NOT_FOUND", 183),
];

/// Cilium's reason for one of the kernel's, named without its prefix.
pub(super) fn of_kernel(name: &str) -> Option<DropReason> {
    let (_, number) = SAME.iter().find(|(kernel, _)| *kernel == name)?;
    DropReason::new(*number)
}
