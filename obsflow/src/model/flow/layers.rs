//! Addresses, ports and flags.

use std::net::IpAddr;

use serde::ser::SerializeMap as _;
use serde::{Serialize, Serializer};

use super::protojson::is_zero;

/// Addresses of a flow. (`ipVersion` follows from them.)
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ip {
    /// Where it came from.
    pub source: Option<IpAddr>,
    /// Where it went.
    pub destination: Option<IpAddr>,
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
}

impl Layer4 {
    /// Source and destination port, 0 when unknown.
    #[must_use]
    pub fn ports(&self) -> (u16, u16) {
        match self {
            Self::Tcp(tcp) => (tcp.source_port, tcp.destination_port),
            Self::Udp(udp) => (udp.source_port, udp.destination_port),
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

/// Ports of UDP.
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
pub struct TcpFlags(pub u8);

impl TcpFlags {
    /// Names by bit, from bit 0; bits as in the TCP header (RFC 9293, section 3.1).
    pub const NAMES: [&'static str; 8] = ["FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR"];
    /// FIN.
    pub const FIN: Self = Self(1);
    /// SYN.
    pub const SYN: Self = Self(2);
    /// RST.
    pub const RST: Self = Self(4);
    /// ACK.
    pub const ACK: Self = Self(16);

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
