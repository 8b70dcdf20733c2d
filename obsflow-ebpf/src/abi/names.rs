//! Names of maps, programs and globals, each once. A test checks them against the built object.

/// Ring buffer of records.
pub const EVENTS: &str = "EVENTS";
/// Array of 65,536 class bytes, by port.
pub const PORT_CLASS: &str = "PORT_CLASS";
/// Array by `enum skb_drop_reason`: 1 when drops for this reason are reported.
pub const DROP_REASONS: &str = "DROP_REASONS";
/// Hash of [`super::conn::Conn`] by socket cookie.
pub const CONNS: &str = "CONNS";
/// LRU hash of [`super::conn::UdpOrigin`] by socket cookie: sockets that talk to name servers. Evicted entries lose
/// the process's name, never an event.
pub const UDP_ORIGINS: &str = "UDP_ORIGINS";
/// Per-CPU array of counters, see [`super::count::stat`].
pub const STATS: &str = "STATS";
/// Per-CPU hash of counts by [`super::count::ConnCountKey`].
pub const CONN_COUNTS: &str = "CONN_COUNTS";
/// Per-CPU hash of counts by [`super::count::DnsCountKey`].
pub const DNS_COUNTS: &str = "DNS_COUNTS";
/// Per-CPU hash of [`super::count::TunnelCount`] by [`super::count::TunnelKey`].
pub const TUNNEL_COUNTS: &str = "TUNNEL_COUNTS";
/// Entries of [`DROP_REASONS`].
pub const DROP_REASONS_LEN: u32 = 1024;
