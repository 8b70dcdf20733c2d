//! Loads and attaches the programs. A hook that cannot run is left out with a reason; one that was asked for by name
//! is an error.

mod refusal;

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aya::maps::{Array, MapData, RingBuf};
use aya::programs::{
    BtfTracePoint, CgroupAttachMode, CgroupSkbAttachType, CgroupSockAddr, FExit, Program, ProgramError,
    SchedClassifier,
};
use aya::util::KernelVersion;
use aya::{Btf, Ebpf, EbpfLoader};
use obsflow_ebpf::abi::names::{self, program};
use obsflow_ebpf::abi::settings::{Offsets, Settings};
use zerocopy::{FromZeros as _, IntoBytes as _};

use super::btf::{self, Types};
use super::hooks::{Attach, Hook, Kernel, State};
use super::ports;
use super::symbols::Symbols;
pub(super) use refusal::chain;
use refusal::{denied, explain, locked_down, nothing, object_error};

/// Why there are no types, most of the time.
const NO_BTF: &str = "the kernel has no BTF (CONFIG_DEBUG_INFO_BTF)";

/// The programs, built for the bpf target by the build script.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/obsflow-programs"));

/// What to load, validated.
#[derive(Clone, Debug)]
pub struct LoadConfig {
    /// Directories of cgroups to attach to.
    pub cgroups: Vec<PathBuf>,
    /// Class bits by port, see [`ports::classes`].
    pub ports: BTreeMap<u16, u8>,
    /// Size of the ring buffer: a power of two and a multiple of the page size, in bytes.
    pub ring_bytes: u32,
    /// Capture first payload bytes.
    pub payload: bool,
    /// Payload records a connection may emit in a second.
    pub payload_per_second: u32,
    /// Level of the kernel side's log lines; `None` takes them out of the programs.
    pub kernel_log: Option<aya_log::Level>,
    /// Hooks that must attach.
    pub required: Vec<Hook>,
    /// Hooks to leave out.
    pub without: Vec<Hook>,
    /// Do not use BTF, as on a kernel without it.
    pub without_btf: bool,
}

/// Loading failed as a whole.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A privilege is missing, or something else forbids programs: which, and what to do.
    #[error("{0}")]
    Permission(String),
    /// The kernel is locked down.
    #[error(
        "the kernel is locked down (confidentiality mode): eBPF programs may not read kernel memory; boot with \
         lockdown=integrity or none"
    )]
    Lockdown,
    /// A hook that was asked for cannot run.
    #[error("hook {hook} was asked for and cannot run: {reason}")]
    Required {
        /// The hook.
        hook: Hook,
        /// Why not.
        reason: String,
    },
    /// No hook of connections or packets could attach: there is nothing to see.
    #[error("neither connections nor packets can be seen on this kernel: {0}")]
    Nothing(String),
    /// The object or its maps were refused.
    #[error("loading the eBPF object: {0}")]
    Object(String),
    /// A cgroup directory cannot be opened.
    #[error("opening the cgroup {path}: {source}")]
    Cgroup {
        /// Directory.
        path: PathBuf,
        /// Cause.
        source: std::io::Error,
    },
    /// A map is missing from the object or has another type than expected.
    #[error("map {name}: {reason}")]
    Map {
        /// Name.
        name: &'static str,
        /// Cause.
        reason: String,
    },
}

/// The loaded programs. Dropping it detaches them all.
pub struct Loaded {
    /// Programs and maps.
    pub ebpf: Ebpf,
    /// Every hook and what became of it.
    pub hooks: Vec<(Hook, State)>,
    /// Names of drop reasons of this kernel.
    pub reasons: HashMap<u32, Arc<str>>,
    /// Names of kernel functions.
    pub symbols: Symbols,
    /// Attached cgroups.
    pub cgroups: Vec<PathBuf>,
}

impl Loaded {
    /// Takes the ring buffer out; once.
    ///
    /// # Errors
    /// When it was taken before or cannot be mapped.
    pub fn take_ring(&mut self) -> Result<RingBuf<MapData>, LoadError> {
        let map = self.ebpf.take_map(names::EVENTS).ok_or_else(|| LoadError::Map {
            name: names::EVENTS,
            reason: "it was taken already".into(),
        })?;
        RingBuf::try_from(map).map_err(|error| LoadError::Map {
            name: names::EVENTS,
            reason: error.to_string(),
        })
    }

    /// Says what became of a hook by now.
    pub fn set_state(&mut self, hook: Hook, state: State) {
        if let Some((_, old)) = self.hooks.iter_mut().find(|(h, _)| *h == hook) {
            *old = state;
        }
    }

    /// What became of a hook.
    #[must_use]
    pub fn attached(&self, hook: Hook) -> bool {
        self.hooks
            .iter()
            .any(|(h, state)| *h == hook && matches!(state, State::Attached(_)))
    }
}

/// What the kernel was found to be.
struct Facts {
    types: Option<Types>,
    /// Why there are no types, when there are none.
    no_types: String,
    btf: Option<Btf>,
    symbols: Symbols,
    drop_reasons: bool,
    offsets: Offsets,
}

impl Facts {
    /// Looks at the kernel. `no_types` says why its types are not to be used, if they are not.
    fn find(no_types: Option<String>) -> Self {
        let types = match no_types {
            Some(reason) => Err(reason),
            None => types(),
        };
        let (types, offsets, no_types) = match types {
            Ok((types, offsets)) => (Some(types), offsets, String::new()),
            Err(reason) => (None, Offsets::new_zeroed(), reason),
        };
        let btf = if types.is_some() {
            Btf::from_sys_fs().ok()
        } else {
            None
        };
        let drop_reasons = types
            .as_ref()
            .and_then(|types| types.tracepoint_arguments("kfree_skb"))
            .is_some_and(|n| n >= 3);
        Self {
            types,
            no_types,
            btf,
            symbols: Symbols::of("/proc/kallsyms"),
            drop_reasons,
            offsets,
        }
    }

    /// Where the kernel drops for netfilter. Asked only where it gives no reasons: reading symbols takes long.
    fn drop_locations(&self) -> Option<(u64, u64)> {
        if self.drop_reasons {
            return None;
        }
        self.symbols.range("nf_hook_slow")
    }

    fn settings(&self, config: &LoadConfig, tcp_tracepoints: bool) -> Settings {
        let (start, end) = self.drop_locations().unwrap_or((0, 0));
        Settings {
            tracing_cookie: u32::from(
                KernelVersion::current().is_ok_and(|version| version >= KernelVersion::new(5, 12, 0)),
            ),
            drop_reasons: u32::from(self.drop_reasons),
            drop_location_start: start,
            drop_location_end: end,
            payload: u32::from(config.payload),
            payload_per_second: config.payload_per_second.max(1),
            tcp_tracepoints: u32::from(tcp_tracepoints),
            types: u32::from(self.types.is_some()),
        }
    }
}

/// The kernel's types and the offsets that programs read at, or why neither can be used.
fn types() -> Result<(Types, Offsets), String> {
    if locked_down() {
        return Err(
            "the kernel is locked down (confidentiality mode): programs may not read its memory".into(),
        );
    }
    if !Path::new(btf::VMLINUX).exists() {
        return Err(NO_BTF.into());
    }
    let types = Types::open(btf::VMLINUX).map_err(|error| chain(&error))?;
    // Types without the members that programs read are no use.
    let offsets = types.offsets().map_err(|error| chain(&error))?;
    Ok((types, offsets))
}

/// Loads and attaches.
///
/// # Errors
/// See [`LoadError`]. What was attached before an error is detached again.
pub fn load(config: &LoadConfig) -> Result<Loaded, LoadError> {
    // Before Linux 5.11 maps count against this limit; later, raising it does nothing.
    let _ = rustix::process::setrlimit(
        rustix::process::Resource::Memlock,
        rustix::process::Rlimit {
            current: None,
            maximum: None,
        },
    );
    let no_types = config
        .without_btf
        .then(|| "left out by --without-hook btf".to_owned());
    let loaded = load_once(config, Facts::find(no_types), None)?;
    let refused = loaded.hooks.iter().find_map(|(hook, state)| match state {
        State::Unavailable(reason) if *hook == Hook::Tcp => Some(reason.clone()),
        _ => None,
    });
    match refused {
        // It could have been loaded by all that was known beforehand, and was refused: what does without comes next.
        Some(reason) if !loaded.attached(Hook::SockOps) && !config.without.contains(&Hook::SockOps) => {
            drop(loaded);
            let no_types =
                (denied(&reason) || reason.contains("bpf_probe_read_kernel")).then(|| reason.clone());
            load_once(config, Facts::find(no_types), Some(reason)).and_then(seeing)
        }
        _ => seeing(loaded),
    }
}

/// Only what sees connections or packets is of use.
fn seeing(loaded: Loaded) -> Result<Loaded, LoadError> {
    let sees = [Hook::Tcp, Hook::SockOps, Hook::Packets]
        .into_iter()
        .any(|hook| loaded.attached(hook));
    if sees { Ok(loaded) } else { Err(nothing(&loaded)) }
}

/// Loads and attaches, with the kernel as it was found. `tcp_refused` says why the tracepoints of TCP are no use, if it
/// was tried already.
fn load_once(config: &LoadConfig, facts: Facts, tcp_refused: Option<String>) -> Result<Loaded, LoadError> {
    let kernel = Kernel {
        types: facts.types.as_ref(),
        no_types: &facts.no_types,
        drop_reasons: facts.drop_reasons,
        drop_locations: facts.drop_locations().is_some(),
    };
    let mut wanted = plan(config, &kernel, tcp_refused);
    let tcp_tracepoints = wanted
        .iter()
        .any(|(hook, state)| *hook == Hook::Tcp && state.is_none());

    let settings = facts.settings(config, tcp_tracepoints);
    let log_level = config.kernel_log.map_or(0u8, |level| level as u8);
    let mut loader = EbpfLoader::new();
    loader
        .btf(facts.btf.as_ref())
        .override_global(names::OFFSETS, facts.offsets.as_bytes(), true)
        .override_global(names::SETTINGS, settings.as_bytes(), true)
        .override_global(aya_log::LEVEL, &log_level, false)
        .map_max_entries(names::EVENTS, config.ring_bytes);
    let mut ebpf = loader.load(OBJECT).map_err(|error| object_error(&error))?;
    drop(loader);

    let cgroups = open_cgroups(&config.cgroups)?;

    let reasons: HashMap<u32, Arc<str>> = facts
        .types
        .as_ref()
        .map(|types| types.enumeration("skb_drop_reason", "SKB_DROP_REASON_"))
        .unwrap_or_default()
        .into_iter()
        .map(|(code, name)| (code, Arc::from(name)))
        .collect();
    fill_ports(&mut ebpf, &config.ports)?;
    fill_reasons(&mut ebpf, &reasons)?;

    let mut hooks = Vec::with_capacity(wanted.len());
    for (hook, state) in wanted.drain(..) {
        let state = match state {
            Some(state) => state,
            None => match attach(&mut ebpf, hook, facts.btf.as_ref(), &cgroups) {
                Ok(at) => State::Attached(at),
                Err(reason) => State::Unavailable(reason),
            },
        };
        if config.required.contains(&hook)
            && let State::Unavailable(reason) | State::Off(reason) = &state
        {
            return Err(LoadError::Required {
                hook,
                reason: reason.clone(),
            });
        }
        hooks.push((hook, state));
    }
    Ok(Loaded {
        ebpf,
        hooks,
        reasons,
        symbols: facts.symbols,
        cgroups: cgroups.into_iter().map(|(path, _)| path).collect(),
    })
}

/// Opens the cgroups. One that was removed since it was found is left out, unless it was the last.
fn open_cgroups(paths: &[PathBuf]) -> Result<Vec<(PathBuf, File)>, LoadError> {
    let mut opened = Vec::with_capacity(paths.len());
    let mut gone = None;
    for path in paths {
        match File::open(path) {
            Ok(file) => opened.push((path.clone(), file)),
            Err(source) => {
                let error = LoadError::Cgroup {
                    path: path.clone(),
                    source,
                };
                if !matches!(&error, LoadError::Cgroup { source, .. } if source.kind() == std::io::ErrorKind::NotFound)
                {
                    return Err(error);
                }
                gone = Some(error);
            }
        }
    }
    match gone {
        Some(error) if opened.is_empty() => Err(error),
        _ => Ok(opened),
    }
}

/// What to do with each hook; `None` means attach.
fn plan(config: &LoadConfig, kernel: &Kernel<'_>, tcp_refused: Option<String>) -> Vec<(Hook, Option<State>)> {
    let tcp =
        tcp_refused.is_none() && !config.without.contains(&Hook::Tcp) && Hook::Tcp.can_run(kernel).is_ok();
    Hook::ALL
        .into_iter()
        .map(|hook| {
            let state = if config.without.contains(&hook) {
                Some(State::Off("left out by --without-hook".into()))
            } else if let (Hook::Tcp, Some(reason)) = (hook, &tcp_refused) {
                Some(State::Unavailable(reason.clone()))
            } else if hook == Hook::SockOps && tcp && !config.required.contains(&hook) {
                Some(State::Off("not needed: `tcp` sees more at half the cost".into()))
            } else {
                hook.can_run(kernel).err().map(State::Unavailable)
            };
            (hook, state)
        })
        .collect()
}

/// Attaches every program of a hook; where, or why not.
fn attach(
    ebpf: &mut Ebpf,
    hook: Hook,
    btf: Option<&Btf>,
    cgroups: &[(PathBuf, File)],
) -> Result<String, String> {
    let mut places = Vec::new();
    for (name, how) in hook.programs() {
        let program = ebpf
            .program_mut(name)
            .ok_or_else(|| format!("the object has no program {name}"))?;
        let at = attach_program(program, name, *how, btf, cgroups).map_err(|error| explain(*how, &error))?;
        places.push(at);
    }
    places.dedup();
    Ok(places.join(", "))
}

fn attach_program(
    program: &mut Program,
    name: &str,
    how: Attach,
    btf: Option<&Btf>,
    cgroups: &[(PathBuf, File)],
) -> Result<String, ProgramError> {
    let single = CgroupAttachMode::Single;
    match (how, btf) {
        (Attach::BtfTracepoint(tracepoint), Some(btf)) => {
            let program: &mut BtfTracePoint = program.try_into()?;
            program.load(tracepoint, btf)?;
            program.attach()?;
            Ok(tracepoint.into())
        }
        (Attach::FunctionExit(function), Some(btf)) => {
            let program: &mut FExit = program.try_into()?;
            program.load(function, btf)?;
            program.attach()?;
            Ok(function.into())
        }
        (Attach::Cgroup, _) => {
            match program {
                Program::CgroupSkb(program) => {
                    program.load()?;
                    let direction = if name == program::SKB_EGRESS {
                        CgroupSkbAttachType::Egress
                    } else {
                        CgroupSkbAttachType::Ingress
                    };
                    for (_, cgroup) in cgroups {
                        program.attach(cgroup, direction, single)?;
                    }
                }
                Program::SockOps(program) => {
                    program.load()?;
                    for (_, cgroup) in cgroups {
                        program.attach(cgroup, single)?;
                    }
                }
                Program::CgroupSock(program) => {
                    program.load()?;
                    for (_, cgroup) in cgroups {
                        program.attach(cgroup, single)?;
                    }
                }
                other => {
                    let program: &mut CgroupSockAddr = other.try_into()?;
                    program.load()?;
                    for (_, cgroup) in cgroups {
                        program.attach(cgroup, single)?;
                    }
                }
            }
            Ok(cgroups
                .iter()
                .map(|(path, _)| path.display().to_string())
                .collect::<Vec<_>>()
                .join(", "))
        }
        // Devices come and go: they are attached when they are found.
        (Attach::Devices, _) => {
            let program: &mut SchedClassifier = program.try_into()?;
            program.load()?;
            Ok("devices beneath tunnels, as they are found".into())
        }
        (_, None) => Err(ProgramError::NotLoaded),
    }
}

/// Gives ports their classes. The class comes before the bit that makes programs look at it.
fn fill_ports(ebpf: &mut Ebpf, ports: &BTreeMap<u16, u8>) -> Result<(), LoadError> {
    let mut classes = array::<u8>(ebpf, names::PORT_CLASS)?;
    for (port, class) in ports {
        classes
            .set(u32::from(*port), *class, 0)
            .map_err(|error| LoadError::Map {
                name: names::PORT_CLASS,
                reason: error.to_string(),
            })?;
    }
    let mut watched = array::<u64>(ebpf, names::PORT_WATCHED)?;
    for (word, bits) in ports::bits(ports) {
        watched.set(word, bits, 0).map_err(|error| LoadError::Map {
            name: names::PORT_WATCHED,
            reason: error.to_string(),
        })?;
    }
    Ok(())
}

fn fill_reasons(ebpf: &mut Ebpf, reasons: &HashMap<u32, Arc<str>>) -> Result<(), LoadError> {
    let mut map = array::<u8>(ebpf, names::DROP_REASONS)?;
    for (code, name) in reasons {
        let watched = ports::DROP_REASONS
            .iter()
            .find(|(watched, _)| **watched == **name);
        if let Some((_, how)) = watched
            && *code < names::DROP_REASONS_LEN
        {
            map.set(*code, *how, 0).map_err(|error| LoadError::Map {
                name: names::DROP_REASONS,
                reason: error.to_string(),
            })?;
        }
    }
    Ok(())
}

fn array<'a, T: aya::Pod>(
    ebpf: &'a mut Ebpf,
    name: &'static str,
) -> Result<Array<&'a mut MapData, T>, LoadError> {
    let map = ebpf.map_mut(name).ok_or_else(|| LoadError::Map {
        name,
        reason: "the object does not have it".into(),
    })?;
    Array::try_from(map).map_err(|error| LoadError::Map {
        name,
        reason: error.to_string(),
    })
}
