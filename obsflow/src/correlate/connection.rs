//! TCP connections: what became of each attempt, and why.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use foldhash::{HashMap, HashMapExt};

use super::aging::Aging;
use super::names::Names;
use super::owner::{Ends, Owner};
use crate::decode::dns::stream::DnsStream;
use crate::decode::http::{Conversation, Said};
use crate::model::event::{Close, Direction, Endpoints, Outcome, PacketDrop, TcpInfo};
use crate::model::observation::{ConnectFailure, ConnectionEnd, DropSeen, Observation, What};
use crate::model::time::Mono;

const ECONNRESET: u32 = 104;
const ETIMEDOUT: u32 = 110;
/// The SYN flag of a TCP header.
const SYN: u8 = 2;

/// A connection under way.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) owner: Owner,
    pub(super) ends: Ends,
    serial: u64,
    /// The key of [`Connections::attempts`] it has, until its local port is known.
    attempt: Option<(IpAddr, SocketAddr)>,
    drop: Option<Box<DropSeen>>,
    /// What was said on it, once stream bytes came.
    pub(super) conversation: Option<Box<Conversation>>,
}

/// Streams of one DNS-over-TCP connection.
#[derive(Debug, Default)]
pub(super) struct DnsStreams {
    pub(super) sent: DnsStream,
    pub(super) received: DnsStream,
}

/// All connections. Bounded: the oldest goes when it is full; its end is still reported, from the kernel's own memory
/// of it.
#[derive(Debug)]
pub(super) struct Connections {
    pub(super) by_cookie: HashMap<u64, Box<Connection>>,
    oldest: VecDeque<(u64, u64)>,
    /// By local address, for packets that lost their socket.
    by_local: HashMap<SocketAddr, u64>,
    /// Attempts whose local port is not known yet, by local address and each remote one.
    attempts: HashMap<(IpAddr, SocketAddr), u64>,
    /// Drops without a socket, by either end.
    drops: Aging<SocketAddr, (Mono, Arc<DropSeen>)>,
    pub(super) dns: Aging<u64, Box<DnsStreams>>,
    serial: u64,
    capacity: usize,
    drop_memory: Duration,
    forgotten: u64,
    /// Room for what one segment tells.
    pub(super) said: Vec<Said>,
    pub(super) exchanges_forgotten: u64,
}

impl Connections {
    pub(super) fn new(capacity: usize, drops: usize, streams: usize, drop_memory: Duration) -> Self {
        Self {
            by_cookie: HashMap::new(),
            oldest: VecDeque::new(),
            by_local: HashMap::new(),
            attempts: HashMap::new(),
            drops: Aging::new(drops),
            dns: Aging::new(streams),
            serial: 0,
            capacity: capacity.max(1),
            drop_memory,
            forgotten: 0,
            said: Vec::new(),
            exchanges_forgotten: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.by_cookie.len()
    }

    pub(super) fn forgotten(&self) -> u64 {
        self.forgotten
    }

    pub(super) fn drops_forgotten(&self) -> u64 {
        self.drops.forgotten()
    }

    pub(super) fn get(&self, cookie: u64) -> Option<&Connection> {
        self.by_cookie.get(&cookie).map(|c| &**c)
    }

    pub(super) fn expire(&mut self, now: Mono) {
        self.drops.expire(now);
        self.dns.expire(now);
    }

    /// A SYN is about to be sent.
    pub(super) fn attempt(&mut self, owner: Owner, ends: Ends, names: &Names, at: Mono) -> Observation {
        let ends = named(&owner, ends, names, at);
        let observation = owner.observe(at, ends.clone(), What::Attempt);
        self.insert(owner, ends);
        observation
    }

    /// A connection older than obsflow; `None` when it is known already.
    pub(super) fn adopt(
        &mut self,
        owner: Owner,
        ends: Ends,
        what: What,
        names: &Names,
        at: Mono,
    ) -> Option<Observation> {
        if owner.cookie != 0 && self.by_cookie.contains_key(&owner.cookie) {
            return None;
        }
        let ends = named(&owner, ends, names, at);
        let observation = owner.observe(at, ends.clone(), what);
        self.insert(owner, ends);
        Some(observation)
    }

    /// The handshake completed.
    pub(super) fn established(
        &mut self,
        owner: Owner,
        ends: Endpoints,
        handshake: Duration,
        names: &Names,
        at: Mono,
    ) -> Observation {
        let (owner, ends) = self.refresh(owner, ends, names, at);
        owner.observe(at, ends, What::Established { handshake })
    }

    /// A segment was sent again.
    pub(super) fn retransmit(
        &mut self,
        owner: Owner,
        ends: Endpoints,
        (count, syn): (u32, bool),
        names: &Names,
        at: Mono,
    ) -> Observation {
        let (owner, ends) = self.refresh(owner, ends, names, at);
        owner.observe(at, ends, What::Retransmit { count, syn })
    }

    /// Periodic state.
    pub(super) fn tcp_info(
        &mut self,
        owner: Owner,
        info: Box<TcpInfo>,
        names: &Names,
        at: Mono,
    ) -> Observation {
        let (owner, ends) = self.refresh(owner, info.ends, names, at);
        owner.observe(at, ends, What::TcpInfo(info))
    }

    /// A connection or an attempt ended.
    pub(super) fn close(
        &mut self,
        mut owner: Owner,
        close: &Close,
        names: &Names,
        at: Mono,
        out: &mut Vec<Observation>,
    ) {
        let mut conversation = None;
        let mut ends = Ends::new(close.ends, close.asked);
        let mut dropped = None;
        self.dns.remove(&owner.cookie);
        if let Some(known) = self.remove(owner.cookie) {
            owner.complete(&known.owner);
            ends.local = ends.local.or(known.ends.local);
            ends.asked = ends.asked.or(known.ends.asked);
            ends.name = known.ends.name;
            dropped = known.drop;
            conversation = known.conversation;
        }
        let ends = named(&owner, ends, names, at);
        if let Some(conversation) = conversation {
            self.end_of(*conversation, &owner, &ends, close, at, out);
        }
        if close.outcome == Outcome::Established {
            let end = ConnectionEnd {
                duration: close.duration,
                handshake: close.handshake,
                bytes_acked: close.bytes_acked,
                bytes_received: close.bytes_received,
                errno: close.errno,
                retransmits: close.retransmits,
                last_state: close.last_state,
                rst: close.rst,
            };
            out.push(owner.observe(at, ends, What::Closed(Box::new(end))));
            return;
        }
        let dropped = dropped
            .map(|d| *d)
            .or_else(|| self.drop_of(&ends, close.duration, at));
        let (outcome, drop) = refine(close, dropped);
        let failure = ConnectFailure {
            outcome,
            errno: if close.errno != 0 {
                close.errno
            } else {
                close.soft_errno
            },
            duration: close.duration,
            syn_retransmits: close.syn_retransmits,
            drop,
        };
        out.push(owner.observe(at, ends, What::ConnectFailed(Box::new(failure))));
    }

    /// The connection that a dropped TCP packet is of, and which way it went: by its socket, by both addresses, or, for
    /// a SYN whose port nobody knows yet, by the addresses it was asked for.
    pub(super) fn of_packet(&self, cookie: u64, packet: &PacketDrop) -> Option<(u64, Direction)> {
        let (from, to) = (packet.ends.local, packet.ends.remote);
        if let Some(known) = self.get(cookie) {
            let is = |end: Option<SocketAddr>, addr| end == Some(addr);
            // The socket's own address may be unset, the peer's may have been rewritten: either tells.
            let ingress =
                is(known.ends.local, to) || is(known.ends.remote, from) || is(known.ends.asked, from);
            let egress = is(known.ends.local, from) || is(known.ends.remote, to);
            let direction = if ingress && !egress {
                Direction::Ingress
            } else {
                Direction::Egress
            };
            return Some((cookie, direction));
        }
        for (local, remote, direction) in [(from, to, Direction::Egress), (to, from, Direction::Ingress)] {
            let by_local = self.by_local.get(&local).copied().filter(|cookie| {
                // Loopback and overlapping addresses are in many namespaces: there the peer must be right too.
                self.get(*cookie).is_some_and(|c| {
                    c.ends.remote == Some(remote) || c.ends.asked == Some(remote) || !local.ip().is_loopback()
                })
            });
            let found = by_local.or_else(|| self.attempts.get(&(local.ip(), remote)).copied());
            if let Some(cookie) = found {
                return Some((cookie, direction));
            }
        }
        None
    }

    /// Remembers a drop for the end of its connection: with the connection where the packet still had its `socket` or
    /// the addresses are certain, else by both ends of the packet, one of which the connection will turn out to have.
    pub(super) fn remember_drop(&mut self, socket: u64, cookie: u64, seen: &DropSeen, at: Mono) {
        let ends = seen.packet.ends;
        if let Some(known) = self.by_cookie.get_mut(&cookie)
            && (socket == cookie
                || known.ends.local == Some(ends.local)
                || known.ends.local == Some(ends.remote))
        {
            known.drop = Some(Box::new(seen.clone()));
            return;
        }
        let until = at.after(self.drop_memory);
        let seen = Arc::new(seen.clone());
        self.drops.insert(ends.local, (at, Arc::clone(&seen)), until);
        self.drops.insert(ends.remote, (at, seen), until);
    }

    /// A drop of a packet between these ends (before or after DNAT) during the last `duration`.
    fn drop_of(&self, ends: &Ends, duration: Duration, at: Mono) -> Option<DropSeen> {
        let local = ends.local?;
        let (when, seen) = self.drops.get(&local, at)?;
        let began =
            at.0.saturating_sub(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX));
        // A drop is recorded on another CPU than the connect: leave some room.
        if when.0.saturating_add(1_000_000) < began {
            return None;
        }
        let packet = &seen.packet;
        let other = if packet.ends.local == local {
            packet.ends.remote
        } else {
            packet.ends.local
        };
        let same = Some(other) == ends.remote || Some(other) == ends.asked;
        // After DNAT the peer is an address nobody here knows; the local port is the connection's own all the same.
        let rewritten = packet.tcp_flags & SYN != 0 && !local.ip().is_loopback();
        (same || rewritten).then(|| DropSeen::clone(seen))
    }

    /// Takes over what a later event of a connection tells, and completes the event from what is known.
    fn refresh(&mut self, mut owner: Owner, now: Endpoints, names: &Names, at: Mono) -> (Owner, Ends) {
        let now = Ends::new(now, None);
        let Some(known) = self.by_cookie.get_mut(&owner.cookie) else {
            let ends = named(&owner, now, names, at);
            return (owner, ends);
        };
        owner.complete(&known.owner);
        if let Some(local) = now.local
            && local.port() != 0
            && known.ends.local != now.local
        {
            if let Some(old) = known.ends.local
                && self.by_local.get(&old) == Some(&owner.cookie)
            {
                self.by_local.remove(&old);
            }
            known.ends.local = Some(local);
            self.by_local.insert(local, owner.cookie);
            if let Some(attempt) = known.attempt.take()
                && self.attempts.get(&attempt) == Some(&owner.cookie)
            {
                self.attempts.remove(&attempt);
            }
        }
        if now.remote.is_some() {
            known.ends.remote = now.remote;
        }
        (owner, known.ends.clone())
    }

    fn insert(&mut self, owner: Owner, ends: Ends) {
        let cookie = owner.cookie;
        if cookie == 0 {
            return;
        }
        self.remove(cookie);
        while self.by_cookie.len() >= self.capacity {
            let Some((oldest, serial)) = self.oldest.pop_front() else {
                break;
            };
            if self.get(oldest).is_some_and(|c| c.serial == serial) {
                self.remove(oldest);
                self.forgotten += 1;
            }
        }
        let mut attempt = None;
        if let Some(local) = ends.local {
            if local.port() != 0 {
                self.by_local.insert(local, cookie);
            } else if let Some(remote) = ends.remote {
                attempt = Some((local.ip(), remote));
                self.attempts.insert((local.ip(), remote), cookie);
            }
        }
        self.serial += 1;
        let serial = self.serial;
        self.by_cookie.insert(
            cookie,
            Box::new(Connection {
                owner,
                ends,
                serial,
                attempt,
                drop: None,
                conversation: None,
            }),
        );
        self.oldest.push_back((cookie, serial));
        if self.oldest.len() > 2 * self.by_cookie.len() + 64 {
            let known = &self.by_cookie;
            self.oldest
                .retain(|(cookie, serial)| known.get(cookie).is_some_and(|c| c.serial == *serial));
        }
    }

    fn remove(&mut self, cookie: u64) -> Option<Box<Connection>> {
        let known = self.by_cookie.remove(&cookie)?;
        if let Some(local) = known.ends.local
            && self.by_local.get(&local) == Some(&cookie)
        {
            self.by_local.remove(&local);
        }
        if let Some(attempt) = known.attempt
            && self.attempts.get(&attempt) == Some(&cookie)
        {
            self.attempts.remove(&attempt);
        }
        Some(known)
    }
}

/// What a failed attempt came to, given the drop that was seen of it.
///
/// An answer beats a drop: REJECT makes both. ETIMEDOUT is no answer but the lack of one, and ECONNRESET without a RST
/// is the application's own shutdown.
fn refine(close: &Close, drop: Option<DropSeen>) -> (Outcome, Option<DropSeen>) {
    let answered = |errno: u32| match errno {
        0 | ETIMEDOUT => false,
        ECONNRESET => close.rst,
        _ => true,
    };
    // The kernel saw a drop of this socket even if its record was lost.
    let dropped = drop.is_some() || close.dropped;
    let silent = !answered(close.errno) && !answered(close.soft_errno) && !close.rst;
    match close.outcome {
        Outcome::Dropped => (Outcome::Dropped, drop),
        Outcome::GivenUp | Outcome::TimedOut if silent && dropped => (Outcome::Dropped, drop),
        Outcome::Abandoned if silent && dropped && close.syn_retransmits > 0 => (Outcome::Dropped, drop),
        // Too soon to tell, but worth knowing.
        Outcome::Abandoned if silent => (Outcome::Abandoned, drop),
        other => (other, None),
    }
}

/// Adds the name the address was looked up by, if it is not known yet.
fn named(owner: &Owner, mut ends: Ends, names: &Names, at: Mono) -> Ends {
    if ends.name.is_none() {
        ends.name = [ends.asked, ends.remote]
            .into_iter()
            .flatten()
            .find_map(|addr| names.get(owner.scope(), addr.ip(), at));
    }
    ends
}
