//! Values of flags that are numbers or parts in messages.

use super::error::{FilterError, Origin};
use super::values::unknown;
use crate::model::flow::{DropReason, IpVersion};

/// Names that stand for drop reasons in a message, besides those that sound like what was written.
const FREQUENT: &str = "POLICY_DENIED";
/// Names that are shown of many.
const SHOWN: usize = 4;

/// Reserved security identities by number (`pkg/identity/numericidentity.go` of cilium/cilium).
pub(crate) const RESERVED: [&str; 11] = [
    "unknown",
    "host",
    "world",
    "unmanaged",
    "health",
    "init",
    "remote-node",
    "kube-apiserver",
    "ingress",
    "world-ipv4",
    "world-ipv6",
];

pub(super) fn text(at: impl Into<Origin>, value: &str) -> Result<&str, FilterError> {
    if value.is_empty() {
        return Err(FilterError::Empty { at: at.into() });
    }
    Ok(value)
}

pub(super) fn ip_version(at: impl Into<Origin>, value: &str) -> Result<Option<IpVersion>, FilterError> {
    match value.to_ascii_lowercase().as_str() {
        "4" | "v4" | "ip4" | "ipv4" => Ok(Some(IpVersion::IPv4)),
        "6" | "v6" | "ip6" | "ipv6" => Ok(Some(IpVersion::IPv6)),
        "none" => Ok(None),
        _ => Err(unknown(
            at.into(),
            "IP version",
            value,
            ["none", "v4", "v6"].into_iter(),
            "",
        )),
    }
}

pub(super) fn drop_reason(at: impl Into<Origin>, value: &str) -> Result<DropReason, FilterError> {
    let name = value.to_ascii_uppercase();
    DropReason::by_name(&name).ok_or_else(|| {
        let near = DropReason::names()
            .filter(|known| *known != FREQUENT && strsim::jaro_winkler(known, &name) > 0.85);
        let names: Vec<_> = near.take(SHOWN - 1).chain([FREQUENT]).collect();
        let more = ", or another name of Cilium's enum DropReason";
        unknown(at.into(), "drop reason", value, names.into_iter(), more)
    })
}

/// Cilium's identity, by the name of a reserved one or by number.
pub(super) fn identity(at: impl Into<Origin>, value: &str) -> Result<u32, FilterError> {
    let name = value.strip_prefix("reserved:").unwrap_or(value);
    let reserved = RESERVED.iter().position(|known| *known == name);
    let reserved = reserved.and_then(|number| u32::try_from(number).ok());
    reserved
        .or_else(|| value.parse().ok())
        .ok_or_else(|| unknown(at.into(), "identity", value, RESERVED.into_iter(), " or a number"))
}

/// A number above 0, which is what no trace has.
pub(super) fn ip_trace_id(at: impl Into<Origin>, value: &str) -> Result<u64, FilterError> {
    let number = value.parse().ok().filter(|number| *number > 0);
    number.ok_or_else(|| FilterError::IpTraceId {
        at: at.into(),
        value: value.to_owned(),
    })
}

/// `key:value`
pub(super) fn http_header(at: impl Into<Origin>, value: &str) -> Result<(&str, &str), FilterError> {
    value
        .split_once(':')
        .filter(|(key, _)| !key.is_empty())
        .ok_or_else(|| FilterError::HttpHeader {
            at: at.into(),
            value: value.to_owned(),
        })
}
