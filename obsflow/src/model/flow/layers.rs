//! Addresses, ports and flags.

use std::net::IpAddr;

use serde::ser::SerializeMap as _;
use serde::{Serialize, Serializer};

use super::protojson::is_zero;

/// Addresses of a flow. (`ipVersion` follows from them.)
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ip {
    /// Where it came from.
    pub source: Option<IpAddr>,
    /// Where it went.
    pub destination: Option<IpAddr>,
    /// Whether it was encrypted on the way; obsflow's flows do not say.
    pub encrypted: bool,
    /// The source after translation; obsflow's flows do not say.
    pub source_xlated: Option<IpAddr>,
}

impl Ip {
    /// The family of the addresses.
    #[must_use]
    pub fn version(&self) -> Option<IpVersion> {
        self.destination.or(self.source).map(|ip| match ip {
            IpAddr::V4(_) => IpVersion::IPv4,
            IpAddr::V6(_) => IpVersion::IPv6,
        })
    }
}

impl Serialize for Ip {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        if let Some(ip) = self.source {
            map.serialize_entry("source", &ip)?;
        }
        if let Some(ip) = self.destination {
            map.serialize_entry("destination", &ip)?;
        }
        if let Some(version) = self.version() {
            map.serialize_entry("ipVersion", &version)?;
        }
        if self.encrypted {
            map.serialize_entry("encrypted", &true)?;
        }
        if let Some(ip) = self.source_xlated {
            map.serialize_entry("source_xlated", &ip)?;
        }
        map.end()
    }
}

/// Address families (`enum IPVersion`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[repr(u8)]
pub enum IpVersion {
    /// IPv4.
    IPv4 = 1,
    /// IPv6.
    IPv6 = 2,
}

/// Transport.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Layer4 {
    /// TCP.
    #[serde(rename = "TCP")]
    Tcp(Tcp),
    /// UDP.
    #[serde(rename = "UDP")]
    Udp(Udp),
    /// ICMP; obsflow makes no such flow, nor any of those that follow.
    #[serde(rename = "ICMPv4")]
    Icmpv4(Icmp),
    /// ICMP of IPv6.
    #[serde(rename = "ICMPv6")]
    Icmpv6(Icmp),
    /// SCTP.
    #[serde(rename = "SCTP")]
    Sctp(Udp),
}

impl Layer4 {
    /// Source and destination port, 0 when unknown or none.
    #[must_use]
    pub fn ports(&self) -> (u16, u16) {
        match self {
            Self::Tcp(tcp) => (tcp.source_port, tcp.destination_port),
            Self::Udp(udp) | Self::Sctp(udp) => (udp.source_port, udp.destination_port),
            Self::Icmpv4(_) | Self::Icmpv6(_) => (0, 0),
        }
    }
}

/// Ports and flags of TCP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Tcp {
    /// Source port.
    #[serde(skip_serializing_if = "is_zero")]
    pub source_port: u16,
    /// Destination port.
    #[serde(skip_serializing_if = "is_zero")]
    pub destination_port: u16,
    /// Flags of the packet that the flow is about, if it is about one.
    #[serde(skip_serializing_if = "TcpFlags::is_empty")]
    pub flags: TcpFlags,
}

/// Kind of an ICMP message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Icmp {
    /// Type.
    #[serde(rename = "type", skip_serializing_if = "is_zero")]
    pub kind: u32,
    /// Code.
    #[serde(skip_serializing_if = "is_zero")]
    pub code: u32,
}

/// Ports of UDP, or of SCTP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Udp {
    /// Source port.
    #[serde(skip_serializing_if = "is_zero")]
    pub source_port: u16,
    /// Destination port.
    #[serde(skip_serializing_if = "is_zero")]
    pub destination_port: u16,
}

/// TCP flags, bits as in the header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct TcpFlags(pub u16);

impl TcpFlags {
    /// Names by bit, from bit 0; bits as in the TCP header (RFC 9293, section 3.1, and RFC 3540, section 9).
    pub const NAMES: [&'static str; 9] = ["FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR", "NS"];
    /// FIN.
    pub const FIN: Self = Self(1);
    /// SYN.
    pub const SYN: Self = Self(2);
    /// RST.
    pub const RST: Self = Self(4);
    /// ACK.
    pub const ACK: Self = Self(16);

    /// The flags of a header's byte.
    #[must_use]
    pub fn of_byte(byte: u8) -> Self {
        Self(byte.into())
    }

    /// No flag at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0 == 0
    }

    /// The names of the flags that are set.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        let set = move |bit: &usize| self.0 & (1 << *bit) != 0;
        (0..Self::NAMES.len()).filter(set).map(|bit| Self::NAMES[bit])
    }
}

impl Serialize for TcpFlags {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.names().map(|name| (name, true)))
    }
}
