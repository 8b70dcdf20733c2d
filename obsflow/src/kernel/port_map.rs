//! The kernel side's port classes, changed while programs run.

use std::collections::{BTreeMap, BTreeSet};

use aya::Ebpf;
use aya::maps::{Array, MapData, MapError};
use obsflow_ebpf::abi::names;

use super::counters::take;
use super::load::LoadError;
use super::ports;

/// Handles of the two maps, and what is in them.
pub struct PortMap {
    classes: Array<MapData, u8>,
    watched: Array<MapData, u64>,
    known: BTreeMap<u16, u8>,
}

impl PortMap {
    /// Takes the maps out of the loaded object, which was filled with `ports`; once.
    ///
    /// # Errors
    /// When one is missing or of another type.
    pub fn take(ebpf: &mut Ebpf, ports: BTreeMap<u16, u8>) -> Result<Self, LoadError> {
        Ok(Self {
            classes: take(ebpf, names::PORT_CLASS)?,
            watched: take(ebpf, names::PORT_WATCHED)?,
            known: ports,
        })
    }

    /// Ports of a class.
    #[must_use]
    pub fn of(&self, class: u8) -> BTreeSet<u16> {
        self.known
            .iter()
            .filter(|(_, known)| **known & class != 0)
            .map(|(port, _)| *port)
            .collect()
    }

    /// Gives a port a class besides those it has. False when it had it.
    ///
    /// # Errors
    /// When the maps cannot be written.
    pub fn add(&mut self, port: u16, class: u8) -> Result<bool, MapError> {
        let before = self.known.get(&port).copied().unwrap_or(0);
        self.change(port, before, before | class)
    }

    /// Takes a class from a port. False when it did not have it.
    ///
    /// # Errors
    /// When the maps cannot be written.
    pub fn remove(&mut self, port: u16, class: u8) -> Result<bool, MapError> {
        let before = self.known.get(&port).copied().unwrap_or(0);
        self.change(port, before, before & !class)
    }

    fn change(&mut self, port: u16, before: u8, after: u8) -> Result<bool, MapError> {
        if before == after {
            return Ok(false);
        }
        if after == 0 {
            self.known.remove(&port);
        } else {
            self.known.insert(port, after);
        }
        let word = u32::from(port >> 6);
        let bits = ports::bits(&self.known).get(&word).copied().unwrap_or(0);
        // The bit makes programs look at the class, so a class is there before its bit and goes after it.
        if after == 0 {
            self.watched.set(word, bits, 0)?;
            self.classes.set(u32::from(port), after, 0)?;
        } else {
            self.classes.set(u32::from(port), after, 0)?;
            self.watched.set(word, bits, 0)?;
        }
        Ok(true)
    }
}
