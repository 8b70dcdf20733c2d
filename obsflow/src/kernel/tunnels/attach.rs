//! Attaches the programs to the devices beneath tunnels, and leaves nothing there.
//!
//! From Linux 6.6 on TCX links do it, which end with the process. Before, they are filters of a clsact queueing
//! discipline, which outlive a process that is killed: they carry the programs' names, and what carries such a name at
//! the start is a leftover. The queueing discipline goes with the last filter when obsflow made it; that of a leftover,
//! when the leftover was its only filter.

use std::collections::BTreeMap;
use std::io;

use aya::Ebpf;
use aya::programs::tc::{
    self, NlOptions, SchedClassifier, SchedClassifierLink, TcAttachOptions, TcAttachType, TcError,
};
use aya::programs::{LinkOrder, ProgramError};
use aya::util::KernelVersion;
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::tc::{TcAttribute, TcHandle, TcMessage};
use obsflow_ebpf::abi::count::port_class;
use obsflow_ebpf::abi::names::program;

use super::NONE_HERE;
use super::find::{Device, Underlay, find, names};
use crate::kernel::hooks::State;
use crate::kernel::load::chain;
use crate::kernel::rtnetlink::{dump, order};

/// The queueing discipline that holds filters of both directions.
const CLSACT: &str = "clsact";
/// Both directions and their programs.
const WAYS: [(&str, TcAttachType, u16); 2] = [
    (program::TUNNEL_EGRESS, TcAttachType::Egress, TcHandle::MIN_EGRESS),
    (
        program::TUNNEL_INGRESS,
        TcAttachType::Ingress,
        TcHandle::MIN_INGRESS,
    ),
];

/// How programs are attached to devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum How {
    /// TCX, Linux 6.6.
    Tcx,
    /// Filters of clsact.
    Clsact,
}

/// The tunnels of this node and what is attached beneath them. Dropping it detaches everything.
pub struct Tunnels {
    how: How,
    devices: Vec<Device>,
    underlays: BTreeMap<u32, Attached>,
}

/// What a look around found.
pub struct Scan {
    /// What is attached, or why nothing is.
    pub state: State,
    /// Ports of the tunnels, with their classes.
    pub ports: BTreeMap<u16, u8>,
}

impl Tunnels {
    /// Knows of no tunnel yet. `alone` says that no other obsflow runs, so that filters with its programs' names are
    /// leftovers and are removed.
    #[must_use]
    pub fn new(alone: bool) -> Self {
        let tcx = KernelVersion::current().is_ok_and(|version| version >= KernelVersion::new(6, 6, 0));
        Self::with(if tcx { How::Tcx } else { How::Clsact }, alone)
    }

    pub(super) fn with(how: How, alone: bool) -> Self {
        if how == How::Clsact && alone {
            remove_leftovers();
        }
        Self {
            how,
            devices: Vec::new(),
            underlays: BTreeMap::new(),
        }
    }

    /// Looks at the devices there are now, attaches to what is new and lets go of what is not needed any more.
    pub fn scan(&mut self, ebpf: &mut Ebpf) -> Scan {
        let devices = match find() {
            Ok(devices) => devices,
            Err(error) => {
                return Scan {
                    state: State::Unavailable(format!("the kernel does not list its devices: {error}")),
                    ports: BTreeMap::new(),
                };
            }
        };
        let wanted: BTreeMap<u32, &Underlay> = devices
            .iter()
            .flat_map(|device| &device.underlays)
            .map(|underlay| (underlay.ifindex, underlay))
            .collect();
        self.underlays.retain(|ifindex, attached| {
            wanted
                .get(ifindex)
                .is_some_and(|underlay| underlay.name == attached.name)
        });
        let mut refused = BTreeMap::new();
        for (ifindex, underlay) in &wanted {
            if self.underlays.contains_key(ifindex) {
                continue;
            }
            match Attached::new(ebpf, underlay, self.how) {
                Ok(attached) => {
                    self.underlays.insert(*ifindex, attached);
                }
                Err(reason) => {
                    refused.insert(underlay.name.clone(), reason);
                }
            }
        }
        let mut ports = BTreeMap::new();
        for device in &devices {
            let class = ports.entry(device.port).or_insert(port_class::TUNNEL);
            if device.vni.is_none() {
                *class |= port_class::OWN_VNI;
            }
        }
        let state = self.state(&devices, &refused);
        self.devices = devices;
        Scan { state, ports }
    }

    fn state(&self, devices: &[Device], refused: &BTreeMap<String, String>) -> State {
        if devices.is_empty() {
            return State::Off(NONE_HERE.into());
        }
        let tunnels: Vec<String> = devices
            .iter()
            .map(|device| format!("{} ({} port {})", device.name, device.kind, device.port))
            .collect();
        let tunnels = tunnels.join(", ");
        let reasons: Vec<String> = refused
            .iter()
            .map(|(name, reason)| format!("{name}: {reason}"))
            .collect();
        let places: Vec<&str> = self
            .underlays
            .values()
            .map(|attached| attached.name.as_str())
            .collect();
        match (places.is_empty(), reasons.is_empty()) {
            (true, true) => State::Unavailable(format!("no device is known to carry {tunnels}")),
            (true, false) => State::Unavailable(format!("{}, beneath {tunnels}", reasons.join("; "))),
            (false, true) => State::Attached(format!("{} beneath {tunnels}", places.join(", "))),
            (false, false) => State::Attached(format!(
                "{} beneath {tunnels}; not at {}",
                places.join(", "),
                reasons.join("; ")
            )),
        }
    }

    /// The tunnel devices that the last look found.
    #[must_use]
    pub fn devices(&self) -> &[Device] {
        &self.devices
    }

    /// Whether anything is counted.
    #[must_use]
    pub fn is_attached(&self) -> bool {
        !self.underlays.is_empty()
    }
}

/// A device with both programs on it.
struct Attached {
    name: String,
    ifindex: u32,
    links: Vec<SchedClassifierLink>,
    made_clsact: bool,
}

impl Attached {
    fn new(ebpf: &mut Ebpf, underlay: &Underlay, how: How) -> Result<Self, String> {
        if !underlay.ethernet {
            return Err("its packets have no Ethernet header".into());
        }
        let mut attached = Self {
            name: underlay.name.clone(),
            ifindex: underlay.ifindex,
            links: Vec::new(),
            made_clsact: false,
        };
        if how == How::Clsact {
            attached.made_clsact = match tc::qdisc_add_clsact(&underlay.name) {
                Ok(()) => true,
                Err(TcError::AlreadyAttached) => false,
                Err(error) if chain(&error).contains("File exists") => false,
                Err(error) => return Err(format!("adding a clsact queueing discipline: {}", chain(&error))),
            };
        }
        for (name, way, _) in WAYS {
            let link = attach(ebpf, name, &underlay.name, way, how).map_err(|error| chain(&error))?;
            attached.links.push(link);
        }
        Ok(attached)
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        self.links.clear();
        if self.made_clsact && is_empty(self.ifindex) {
            remove_clsact(self.ifindex);
        }
    }
}

fn attach(
    ebpf: &mut Ebpf,
    name: &str,
    device: &str,
    way: TcAttachType,
    how: How,
) -> Result<SchedClassifierLink, ProgramError> {
    let program: &mut SchedClassifier = ebpf
        .program_mut(name)
        .ok_or(ProgramError::NotLoaded)?
        .try_into()?;
    let options = match how {
        // First, because a program that redirects the packet ends the chain.
        How::Tcx => TcAttachOptions::TcxOrder(LinkOrder::first()),
        How::Clsact => TcAttachOptions::Netlink(NlOptions::default()),
    };
    let id = program.attach_with_options(device, way, options)?;
    program.take_link(id)
}

/// Takes away what a killed obsflow left.
fn remove_leftovers() {
    for (ifindex, name) in names().unwrap_or_default() {
        let mut removed = false;
        for (program, way, _) in WAYS {
            removed |= tc::qdisc_detach_program(&name, way, program).is_ok();
        }
        if removed {
            tracing::info!("removed filters on {name} that an obsflow which was killed had left");
            if is_empty(ifindex) {
                remove_clsact(ifindex);
            }
        }
    }
}

fn clsact(ifindex: u32, minor: u16) -> TcMessage {
    let mut message = TcMessage::with_index(i32::try_from(ifindex).unwrap_or(0));
    message.header.parent = TcHandle {
        major: u16::MAX,
        minor,
    };
    message
}

/// Whether a device's clsact is known to hold no filter.
fn is_empty(ifindex: u32) -> bool {
    WAYS.iter().all(|(_, _, minor)| {
        dump(RouteNetlinkMessage::GetTrafficFilter(clsact(ifindex, *minor))).is_ok_and(|list| list.is_empty())
    })
}

fn remove_clsact(ifindex: u32) {
    let mut message = clsact(ifindex, TcHandle::CLSACT.minor);
    message.header.handle = TcHandle {
        major: u16::MAX,
        minor: 0,
    };
    message.attributes.push(TcAttribute::Kind(CLSACT.into()));
    let gone = |error: &io::Error| matches!(error.raw_os_error(), Some(libc::ENODEV | libc::ENOENT));
    if let Err(error) = order(RouteNetlinkMessage::DelQueueDiscipline(message))
        && !gone(&error)
    {
        tracing::warn!("an empty clsact queueing discipline stays on device {ifindex}: {error}");
    }
}
