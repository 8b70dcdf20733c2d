//! Proxies in the pod that make the real connection.
//!
//! A mesh sidecar takes the application's connections by a REDIRECT in the pod's network namespace, which the application's
//! socket does not show: it is established in microseconds, whatever becomes of the other leg. What shows it is another
//! container in the same namespace that connects to the same port right after, and is not told to export there itself.

use std::time::Duration;

use crate::model::expectation::Endpoint;
use crate::model::observation::Observation;

use super::Diagnoser;
use super::exporter::{Container, Exporter, Sidecar};

/// How soon after something of the application's connection a sidecar makes its own.
const SOON: Duration = Duration::from_secs(2);

impl Diagnoser {
    /// A connection of nobody's exporter begins: perhaps it carries what another container of the namespace sends. True
    /// when it does; it has a destination then.
    pub(super) fn carries_for_another(&mut self, observation: &Observation) -> bool {
        if observation.netns == 0 {
            return false;
        }
        let Some((app, to)) = self.application_of(observation) else {
            return false;
        };
        let Some((endpoint, timeout)) = self.containers.get(app).and_then(|container| {
            let exporter = container.exporters.iter().find(|e| e.to == Some(to))?;
            Some((exporter.endpoint.clone()?, exporter.timeout))
        }) else {
            return false;
        };
        let Some(own) = self.slot_or_add(observation) else {
            return false;
        };
        let Some(container) = self.containers.get_mut(own) else {
            return false;
        };
        let Some(index) = container.destination_at(&endpoint.host, endpoint.port, false) else {
            return false;
        };
        let known = container.exporters.iter().any(|e| e.to == Some(index));
        let generation = container.generation;
        container.is_sidecar = true;
        if let Some(destination) = container.destinations.get_mut(usize::from(index))
            && let Some(peer) = observation.asked.or(observation.remote)
        {
            let ip = peer.ip().to_canonical();
            if !destination.dns.addresses.contains(&ip) {
                destination
                    .dns
                    .addresses
                    .truncate(super::exporter::MAX_ADDRESSES - 1);
                destination.dns.addresses.push(ip);
            }
        }
        if !known {
            container.relay(index, endpoint, timeout);
            self.containers.exporters += 1;
        }
        if let Some(destination) = self
            .containers
            .get_mut(app)
            .and_then(|container| container.destinations.get_mut(usize::from(to)))
        {
            destination.sidecar = Some(Sidecar {
                slot: own,
                generation,
                to: index,
            });
        }
        true
    }

    /// The application whose connection it would be the other leg of: in the same namespace, to the same port, just now.
    fn application_of(&self, observation: &Observation) -> Option<(u32, u8)> {
        let peer = observation.asked.or(observation.remote)?;
        let own = self.containers.find(observation);
        if let Some(container) = own.and_then(|own| self.containers.get(own))
            && container.exporters.iter().any(|exporter| !exporter.is_learned)
        {
            // Who is told to export exports on its own account.
            return None;
        }
        for &slot in self.containers.in_netns(observation.netns) {
            if Some(slot) == own {
                continue;
            }
            let Some(container) = self.containers.get(slot).filter(|c| !c.is_sidecar) else {
                continue;
            };
            let carried = container.destinations.iter().position(|to| {
                !to.is_proxy
                    && to.port == peer.port()
                    && to.connects.ok.any()
                    && observation.at.since(to.wire.last) <= SOON
            });
            if let Some(to) = carried.and_then(|to| u8::try_from(to).ok()) {
                return Some((slot, to));
            }
        }
        None
    }
}

impl Container {
    /// Adds what it carries for the application.
    fn relay(&mut self, to: u8, endpoint: Endpoint, timeout: Duration) {
        let endpoint = Endpoint {
            path: None,
            ..endpoint
        };
        let mut exporter = Exporter::seen(&self.key, endpoint, None, to);
        exporter.timeout = timeout;
        self.exporters.push(exporter);
    }
}
