//! Which name an address was looked up by.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::aging::Aging;
use crate::model::time::Mono;

/// Who looked it up: the cgroup first; the network namespace for those who connect on behalf of others (a mesh
/// sidecar, an ambient proxy that opens sockets inside the pod's namespace).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Scope {
    Cgroup(u64),
    Netns(u32),
}

/// Names by address, as each workload looked them up.
#[derive(Debug)]
pub(super) struct Names {
    known: Aging<(Scope, IpAddr), Arc<str>>,
    grace: Duration,
}

impl Names {
    pub(super) fn new(capacity: usize, grace: Duration) -> Self {
        Self {
            known: Aging::new(capacity),
            grace,
        }
    }

    /// Remembers an answer for its TTL and a grace: clients use addresses longer than they should.
    pub(super) fn learn(
        &mut self,
        owner: (u64, u32),
        name: &Arc<str>,
        ips: &[IpAddr],
        ttl: Option<u32>,
        at: Mono,
    ) {
        let until = at
            .after(Duration::from_secs(ttl.unwrap_or(0).into()))
            .after(self.grace);
        // An IPv4-mapped AAAA answer leads to an IPv4 connection.
        for ip in ips.iter().map(IpAddr::to_canonical) {
            for scope in scopes(owner) {
                let key = (scope, ip);
                match self.known.get_mut(&key) {
                    Some(known) if known == name => {
                        self.known.prolong(&key, until);
                    }
                    _ => {
                        self.known.insert(key, Arc::clone(name), until);
                    }
                }
            }
        }
    }

    /// The name that the workload (cgroup, network namespace) looked up to get `ip`.
    pub(super) fn get(&self, owner: (u64, u32), ip: IpAddr, at: Mono) -> Option<Arc<str>> {
        scopes(owner).find_map(|scope| self.known.get(&(scope, ip), at).cloned())
    }

    pub(super) fn expire(&mut self, now: Mono) {
        self.known.expire(now);
    }

    pub(super) fn forgotten(&self) -> u64 {
        self.known.forgotten()
    }

    pub(super) fn len(&self) -> usize {
        self.known.len()
    }
}

fn scopes((cgroup, netns): (u64, u32)) -> impl Iterator<Item = Scope> {
    let cgroup = (cgroup != 0).then_some(Scope::Cgroup(cgroup));
    let netns = (netns != 0).then_some(Scope::Netns(netns));
    cgroup.into_iter().chain(netns)
}
