//! The kernel's drop reasons that mean the same as one of Cilium's.

use crate::model::flow::DropReason;

/// `event_type.sub_type` of a drop whose reason is none of Cilium's. Zero would read as success to Hubble's clients,
/// and Cilium's own numbers end far below.
pub(super) const OTHER: u8 = 255;

/// The kernel's name (`include/net/dropreason-core.h`) and Cilium's reason (`enum DropReason` of `flow.proto`, text of
/// `pkg/monitor/api/drop.go`). Only where both mean the same: a netfilter rule, for one, is no Cilium policy.
const SAME: [(&str, DropReason); 6] = [
    (
        "IP_RPFILTER",
        reason(132, "INVALID_SOURCE_IP", "Invalid source ip"),
    ),
    (
        "UNHANDLED_PROTO",
        reason(139, "UNSUPPORTED_L3_PROTOCOL", "Unsupported L3 protocol"),
    ),
    (
        "IP_NOPROTO",
        reason(142, "UNKNOWN_L4_PROTOCOL", "Unknown L4 protocol"),
    ),
    (
        "IP_INNOROUTES",
        reason(169, "FIB_LOOKUP_FAILED", "FIB lookup failed"),
    ),
    (
        "IP_OUTNOROUTES",
        reason(169, "FIB_LOOKUP_FAILED", "FIB lookup failed"),
    ),
    ("VXLAN_VNI_NOT_FOUND", reason(183, "INVALID_VNI", "Invalid VNI")),
];

const fn reason(number: u8, name: &'static str, text: &'static str) -> DropReason {
    DropReason { number, name, text }
}

/// Cilium's reason for one of the kernel's, named without its prefix.
pub(super) fn of_kernel(name: &str) -> Option<DropReason> {
    SAME.iter()
        .find(|(kernel, _)| *kernel == name)
        .map(|(_, reason)| *reason)
}
