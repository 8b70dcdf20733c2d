//! Connections that are established and carry nothing any more, each with what is wrong with it.
//!
//! A destination may have several connections at a time. One that its program gave up goes on in the kernel for minutes,
//! unacknowledged, beside the one that took its place: it says nothing of the exporter.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::model::event::TcpInfo;
use crate::model::time::Mono;

use super::exporter::{DropFact, Seen};

/// Consecutive retransmission time-outs after which a connection carries nothing any more.
pub(super) const STUCK: u32 = 3;
/// Connections of one destination whose trouble is kept.
const MOST: usize = 4;

/// What is wrong with a connection.
#[derive(Clone, Debug, Default)]
pub(super) struct Ailing {
    pub(super) cookie: u64,
    /// When the first of it was seen.
    pub(super) since: Mono,
    /// Segments sent again.
    pub(super) unacked: Seen,
    /// Consecutive time-outs.
    pub(super) backoff: u32,
    /// Its address, as it was asked for.
    pub(super) peer: Option<IpAddr>,
    /// Its address, as the socket has it: a backend's behind a socket load balancer.
    pub(super) backend: Option<IpAddr>,
    /// Packets of it dropped on this node since something was received.
    pub(super) drops: Seen,
    pub(super) dropped: Option<Box<DropFact>>,
    /// Since when payload goes out over TLS and nothing comes back.
    pub(super) deaf_since: Option<Mono>,
    /// A connection that was made later hears: this one is nobody's any more.
    is_left: bool,
}

impl Ailing {
    pub(super) fn is_stuck(&self) -> bool {
        self.unacked.any() && self.backoff >= STUCK
    }

    /// Whether anything is wrong still.
    fn is_any(&self) -> bool {
        self.unacked.any() || self.backoff > 0 || self.drops.any() || self.deaf_since.is_some()
    }
}

/// Where a socket leads: as it was asked for, and as it has it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ends {
    pub(super) peer: Option<SocketAddr>,
    pub(super) backend: Option<SocketAddr>,
}

/// The connections of a destination that something is wrong with.
#[derive(Clone, Debug, Default)]
pub(super) struct Ailings {
    list: Vec<Ailing>,
    /// The connection that was established last, and when.
    newest: (u64, Mono),
}

impl Ailings {
    /// Those that somebody still uses, the longest in trouble first.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Ailing> {
        self.list.iter().filter(|ailing| !ailing.is_left)
    }

    pub(super) fn established(&mut self, cookie: u64, at: Mono) {
        self.newest = (cookie, at);
    }

    pub(super) fn closed(&mut self, cookie: u64) {
        self.list.retain(|ailing| ailing.cookie != cookie);
    }

    /// Something came back on a connection.
    pub(super) fn heard(&mut self, cookie: u64) {
        if let Some(ailing) = self.list.iter_mut().find(|ailing| ailing.cookie == cookie) {
            ailing.drops.clear();
            ailing.dropped = None;
            ailing.deaf_since = None;
        }
        self.tidy();
        if cookie == self.newest.0 {
            let began = self.newest.1;
            for ailing in &mut self.list {
                // A drop without a socket is of any of them.
                ailing.is_left |= ailing.cookie != cookie && (ailing.since < began || ailing.cookie == 0);
            }
        }
    }

    /// A segment was sent again.
    pub(super) fn sent_again(&mut self, cookie: u64, ends: Ends, at: Mono) {
        let ailing = self.of(cookie, ends, at);
        ailing.unacked.add(at);
    }

    /// A packet of the connection was dropped on this node.
    pub(super) fn dropped(&mut self, cookie: u64, ends: Ends, fact: DropFact, at: Mono) {
        let ailing = self.of(cookie, ends, at);
        ailing.drops.add(at);
        ailing.dropped = Some(Box::new(fact));
    }

    /// The kernel's counts of a connection; `is_deaf` when payload went over TLS since the last ones, and none came.
    pub(super) fn counted(&mut self, cookie: u64, ends: Ends, info: &TcpInfo, is_deaf: bool, at: Mono) {
        if info.backoff > 0 || is_deaf {
            let ailing = self.of(cookie, ends, at);
            ailing.backoff = info.backoff;
            if info.backoff > 0 && !ailing.unacked.any() {
                ailing.unacked.add(at);
            }
            if is_deaf && ailing.deaf_since.is_none() {
                let since = Mono(at.0.saturating_sub(nanos(info.last_sent)));
                ailing.deaf_since = Some(since);
                ailing.since = ailing.since.min(since);
            }
        } else if let Some(ailing) = self.list.iter_mut().find(|ailing| ailing.cookie == cookie) {
            ailing.backoff = 0;
            if info.unacked == 0 {
                ailing.unacked.clear();
            }
            self.tidy();
        }
    }

    fn of(&mut self, cookie: u64, ends: Ends, at: Mono) -> &mut Ailing {
        let index = match self.list.iter().position(|ailing| ailing.cookie == cookie) {
            Some(index) => index,
            None => {
                if self.list.len() >= MOST {
                    let left = self.list.iter().position(|ailing| ailing.is_left);
                    self.list.remove(left.unwrap_or_default());
                }
                self.list.push(Ailing {
                    cookie,
                    since: at,
                    ..Ailing::default()
                });
                self.list.len() - 1
            }
        };
        let ailing = &mut self.list[index];
        let ip = |end: Option<SocketAddr>| end.map(|end| end.ip().to_canonical());
        ailing.peer = ip(ends.peer);
        ailing.backend = ip(ends.backend);
        ailing
    }

    fn tidy(&mut self) {
        self.list.retain(Ailing::is_any);
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOWHERE: Ends = Ends {
        peer: None,
        backend: None,
    };

    #[test]
    fn it_holds_so_many_and_those_that_are_nobodys_go_first() {
        let mut ailings = Ailings::default();
        for cookie in 1..=3 {
            ailings.sent_again(cookie, NOWHERE, Mono(cookie));
        }
        ailings.established(9, Mono(10));
        ailings.heard(9);
        assert_eq!(ailings.iter().count(), 0, "all of them were left");
        for cookie in 11..100 {
            ailings.sent_again(cookie, NOWHERE, Mono(cookie));
            assert!(ailings.list.len() <= MOST);
        }
        let kept: Vec<u64> = ailings.iter().map(|ailing| ailing.cookie).collect();
        assert_eq!(kept, [96, 97, 98, 99]);
    }

    #[test]
    fn an_older_connection_that_hears_leaves_nobody() {
        let mut ailings = Ailings::default();
        ailings.established(1, Mono(1));
        ailings.established(2, Mono(2));
        ailings.sent_again(2, NOWHERE, Mono(5));
        ailings.heard(1);
        assert_eq!(ailings.iter().count(), 1);
        ailings.closed(1);
        assert_eq!(ailings.iter().count(), 1, "another one ended");
        ailings.closed(2);
        assert_eq!(ailings.iter().count(), 0);
    }
}
