//! Attempts to connect: those under way, and what those that failed say of their address.

use std::net::SocketAddr;

use crate::model::event::Outcome;
use crate::model::observation::ConnectFailure;
use crate::model::time::Mono;

use super::exporter::{Address, Connects, Failed, MAX_ADDRESSES, MAX_PENDING, Pending, Seen};
use super::observe::{DELIBERATE, fact};

const EPERM: u32 = 1;
const EACCES: u32 = 13;
const EADDRNOTAVAIL: u32 = 99;
const ENETUNREACH: u32 = 101;
const ECONNREFUSED: u32 = 111;
const EHOSTDOWN: u32 = 112;
const EHOSTUNREACH: u32 = 113;
/// No neighbour answers: the destination cannot be reached, nobody dropped anything.
const NO_NEIGHBOUR: [&str; 3] = ["NEIGH_FAILED", "NEIGH_CREATEFAIL", "NEIGH_QUEUEFULL"];

impl Connects {
    pub(super) fn attempt(&mut self, cookie: u64, peer: Option<SocketAddr>, at: Mono) {
        self.attempts.add(at);
        let Some(peer) = peer else { return };
        self.pending.retain(|pending| pending.cookie != cookie);
        if self.pending.len() >= MAX_PENDING {
            self.pending.remove(0);
        }
        self.pending.push(Pending {
            cookie,
            ip: peer.ip().to_canonical(),
            began: at,
            syn_retransmits: 0,
            drops: Seen::default(),
            dropped: None,
        });
    }

    pub(super) fn syn_again(&mut self, cookie: u64, peer: Option<SocketAddr>, count: u32, at: Mono) {
        if !self.pending.iter().any(|pending| pending.cookie == cookie) {
            // Its beginning was not seen.
            self.attempt(cookie, peer, at);
        }
        if let Some(pending) = self.pending.iter_mut().find(|pending| pending.cookie == cookie) {
            pending.syn_retransmits = pending.syn_retransmits.max(count);
        }
    }

    pub(super) fn failed(
        &mut self,
        cookie: u64,
        peer: Option<SocketAddr>,
        failure: &ConnectFailure,
        at: Mono,
    ) {
        let index = self.pending.iter().position(|pending| pending.cookie == cookie);
        let pending = index.map(|index| self.pending.swap_remove(index));
        if pending.is_none() {
            // Nobody saw it begin: `connect(2)` failed before a SYN.
            self.attempts.add(at);
        }
        let Some(peer) = peer else { return };
        let drop = failure.drop.as_ref().map(fact);
        let own = pending.and_then(|pending| pending.dropped);
        let ip = peer.ip().to_canonical();
        let Some(how) = how(failure, own.is_some(), ip.is_loopback()) else {
            return;
        };
        let address = match self.failed.iter().position(|address| address.ip == ip) {
            Some(index) => self.failed.get_mut(index),
            None => {
                if self.failed.len() >= MAX_ADDRESSES {
                    self.failed.remove(0);
                }
                self.failed.push(Address {
                    ip,
                    how,
                    seen: Seen::default(),
                    errno: 0,
                    syn_retransmits: 0,
                    dropped: None,
                });
                self.failed.last_mut()
            }
        };
        let Some(address) = address else { return };
        if address.how != how {
            address.how = how;
            address.seen = Seen::default();
            address.syn_retransmits = 0;
            address.dropped = None;
        }
        address.seen.add(at);
        address.errno = failure.errno;
        address.syn_retransmits = address.syn_retransmits.max(failure.syn_retransmits);
        if how == Failed::Dropped {
            address.dropped = drop.map(Box::new).or(own).or(address.dropped.take());
        }
    }
}

/// What a failed attempt says of its address; `None` when it says nothing.
///
/// Where `::1` is not configured, connecting to it is EADDRNOTAVAIL; to any other address that means that every local port
/// is taken.
fn how(failure: &ConnectFailure, dropped_on_purpose: bool, is_loopback: bool) -> Option<Failed> {
    let reason = failure.drop.as_ref().map(|drop| &*drop.reason);
    Some(match failure.outcome {
        Outcome::Refused => Failed::Refused,
        Outcome::Rejected => Failed::NoEndpoints,
        Outcome::Unreachable => Failed::Unreachable,
        Outcome::TimedOut | Outcome::GivenUp if dropped_on_purpose => Failed::Dropped,
        Outcome::TimedOut | Outcome::GivenUp => Failed::Unanswered,
        Outcome::Dropped => match reason {
            Some(reason) if DELIBERATE.contains(&reason) => Failed::Dropped,
            _ if dropped_on_purpose => Failed::Dropped,
            Some(reason) if NO_NEIGHBOUR.contains(&reason) => Failed::Unreachable,
            // The kernel told the socket that this node's own OUTPUT drops its SYNs.
            None if failure.errno == EPERM => Failed::Dropped,
            // The kernel dropped something of it, and nobody knows why.
            _ => Failed::Unanswered,
        },
        Outcome::Failed => match failure.errno {
            EPERM | EACCES => Failed::Dropped,
            ECONNREFUSED => Failed::Refused,
            0 => return None,
            EADDRNOTAVAIL if is_loopback => Failed::Unreachable,
            ENETUNREACH | EHOSTUNREACH | EHOSTDOWN => Failed::Unreachable,
            _ => Failed::Local,
        },
        Outcome::Abandoned | Outcome::Established => return None,
    })
}
