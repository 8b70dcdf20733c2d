//! What a session watches may change while it runs: telemetry ports by order, tunnels as they come and go.

use std::collections::BTreeSet;

use aya::maps::MapError;
use obsflow_ebpf::abi::count::port_class;

use super::{Session, SessionError, TUNNELS};
use crate::kernel::hooks::{Hook, State};
use crate::kernel::load::LoadError;
use crate::kernel::tunnels::Device;
use crate::model::Mono;

impl Session {
    /// Telemetry ports watched now.
    #[must_use]
    pub fn watched_ports(&self) -> BTreeSet<u16> {
        self.ports.of(port_class::TELEMETRY)
    }

    /// Watches the ports that a sink wants, and connections to them that are open already.
    pub(super) fn watch_wanted(&mut self, ports: &[u16]) {
        let mut new = BTreeSet::new();
        for &port in ports {
            match self.ports.add(port, port_class::TELEMETRY) {
                Ok(true) => {
                    tracing::info!("telemetry is sent to port {port}: it is watched, too");
                    new.insert(port);
                }
                Ok(false) => {}
                Err(error) => tracing::warn!("the telemetry port {port} cannot be watched: {error}"),
            }
        }
        if !new.is_empty() {
            self.adopt(&new);
        }
    }

    /// Watches these telemetry ports and no others. Connections to ports that are watched no more are forgotten; name
    /// servers and tunnels stay what they are.
    ///
    /// # Errors
    /// When the kernel side's maps cannot be written; what came before the failure is done.
    pub fn set_ports(&mut self, ports: &BTreeSet<u16>) -> Result<(), MapError> {
        let before = self.watched_ports();
        for port in before.difference(ports) {
            self.ports.remove(*port, port_class::TELEMETRY)?;
            // Their ends would not be seen.
            self.connections.forget_port(*port, &mut self.counters)?;
        }
        let mut new = BTreeSet::new();
        for port in ports.difference(&before) {
            if self.ports.add(*port, port_class::TELEMETRY)? {
                new.insert(*port);
            }
        }
        if !new.is_empty() {
            self.adopt(&new);
        }
        Ok(())
    }

    /// The tunnel devices of this node.
    #[must_use]
    pub fn tunnels(&self) -> &[Device] {
        self.tunnels.as_ref().map_or(&[], |tunnels| tunnels.devices())
    }

    /// Whether the hook of tunnels counts packets.
    #[must_use]
    pub fn counts_tunnels(&self) -> bool {
        self.tunnels.as_ref().is_some_and(|tunnels| tunnels.is_attached())
    }

    /// Looks at the tunnels for the first time.
    ///
    /// # Errors
    /// When the hook was asked for by name and cannot be used.
    pub(super) fn begin_tunnels(&mut self, required: bool) -> Result<(), SessionError> {
        self.look_for_tunnels();
        let refused = self.hooks().iter().find_map(|(hook, state)| match state {
            State::Unavailable(reason) if *hook == Hook::Tunnels => Some(reason.clone()),
            _ => None,
        });
        match refused {
            Some(reason) if required => Err(LoadError::Required {
                hook: Hook::Tunnels,
                reason,
            }
            .into()),
            _ => Ok(()),
        }
    }

    /// Looks at the tunnels again when it is time.
    pub(super) fn tend_tunnels(&mut self, now: Mono) {
        if now >= self.next_tunnels {
            self.next_tunnels = now.after(TUNNELS);
            self.look_for_tunnels();
        }
    }

    fn look_for_tunnels(&mut self) {
        let Some(tunnels) = &mut self.tunnels else {
            return;
        };
        let scan = tunnels.scan(&mut self.loaded.ebpf);
        for (port, class) in scan.ports {
            let is_new = !self.ports.of(port_class::TUNNEL).contains(&port);
            match self.ports.add(port, class) {
                Ok(true) if is_new => tracing::info!("tunnel packets on UDP port {port} are watched, too"),
                Ok(_) => {}
                Err(error) => tracing::warn!("the tunnel port {port} cannot be watched: {error}"),
            }
        }
        self.loaded.set_state(Hook::Tunnels, scan.state);
    }
}

#[cfg(test)]
#[path = "watch_tests.rs"]
mod tests;
