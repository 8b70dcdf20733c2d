//! Packets that the kernel dropped on this node, with what they belonged to.

use std::sync::{Arc, LazyLock};

use bytes::Bytes;

use super::Correlator;
use super::owner::{Ends, Owner};
use super::symbols::{self, Symbols};
use crate::model::event::{Direction, PacketDrop, Protocol};
use crate::model::observation::{DropSeen, Observation, What};
use crate::model::time::Mono;

/// What a drop is called on kernels that give no reason (before 5.17).
static UNNAMED: LazyLock<Arc<str>> = LazyLock::new(|| Arc::from("UNKNOWN"));
/// What later kernels call a drop by this function (`net/netfilter/core.c`).
static NETFILTER: LazyLock<Arc<str>> = LazyLock::new(|| Arc::from("NETFILTER_DROP"));
const NETFILTER_FUNCTION: &str = "nf_hook_slow";

impl Correlator {
    pub(super) fn packet_drop(
        &mut self,
        mut owner: Owner,
        mut packet: PacketDrop,
        at: Mono,
        out: &mut Vec<Observation>,
    ) {
        // Before anything that it ends.
        let place = out.len();
        let mut direction = None;
        let mut question = None;
        let mut ends = Ends::default();
        let mut connection = None;
        let socket = owner.cookie;
        match packet.protocol {
            Protocol::Tcp => {
                if let Some((cookie, way)) = self.connections.of_packet(owner.cookie, &packet) {
                    direction = Some(way);
                    connection = Some(cookie);
                    if let Some(known) = self.connections.get(cookie) {
                        owner.complete(&known.owner);
                        ends.asked = known.ends.asked;
                        ends.name.clone_from(&known.ends.name);
                    }
                }
            }
            Protocol::Udp => {
                let message = self.dropped_message(&mut owner, packet.ends, &packet.payload, at, out);
                if let Some(message) = message {
                    direction = Some(if message.response {
                        Direction::Ingress
                    } else {
                        Direction::Egress
                    });
                    question = Some(message.question);
                    ends.asked = message.asked;
                }
            }
        }
        let (local, remote) = match direction {
            Some(Direction::Ingress) => (packet.ends.remote, packet.ends.local),
            Some(Direction::Egress) | None => (packet.ends.local, packet.ends.remote),
        };
        ends.local = Some(local);
        ends.remote = Some(remote);
        // The payload is a slice of everything that was read with it; this outlives that.
        packet.payload = Bytes::copy_from_slice(&packet.payload);
        let seen = DropSeen {
            reason: self.reason(&packet),
            hook: self.hook(&packet),
            ifindex: packet.ifindex,
            direction,
            question,
            packet,
        };
        if seen.packet.protocol == Protocol::Tcp {
            self.connections
                .remember_drop(socket, connection.unwrap_or(socket), &seen, at);
        }
        out.insert(place, owner.observe(at, ends, What::Dropped(Box::new(seen))));
    }

    fn reason(&self, packet: &PacketDrop) -> Arc<str> {
        let symbols = self.symbols();
        match packet.reason {
            Some(code) => symbols
                .drop_reason(code)
                .unwrap_or_else(|| Arc::from(format!("REASON_{code}").as_str())),
            // Without a reason, the function that freed the packet tells.
            None => match symbols.function(packet.location) {
                Some(function) if &*function == NETFILTER_FUNCTION => Arc::clone(&NETFILTER),
                _ => Arc::clone(&UNNAMED),
            },
        }
    }

    fn hook(&self, packet: &PacketDrop) -> Option<Arc<str>> {
        symbols::hook(&self.symbols(), &packet.stack, packet.location)
    }

    fn symbols(&self) -> Both<'_> {
        Both {
            recorded: &self.recorded,
            live: self.live.as_deref().map(|live| live as &dyn Symbols),
        }
    }
}

/// What records told, then what the kernel says.
struct Both<'a> {
    recorded: &'a dyn Symbols,
    live: Option<&'a dyn Symbols>,
}

impl Symbols for Both<'_> {
    fn drop_reason(&self, code: u32) -> Option<Arc<str>> {
        self.recorded
            .drop_reason(code)
            .or_else(|| self.live?.drop_reason(code))
    }

    fn function(&self, address: u64) -> Option<Arc<str>> {
        self.recorded
            .function(address)
            .or_else(|| self.live?.function(address))
    }
}
