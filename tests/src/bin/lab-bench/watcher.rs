//! What watches while traffic runs: nothing, empty programs, obsflow in some way, or a peer.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::empty::Empty;
use crate::place::{Group, Place, Running};

/// Long enough to start, on a machine that is busy.
const START: Duration = Duration::from_secs(20);

/// What obsflow says once its hooks are in place.
const ATTACHED: &str = "obsflow: attached";

/// What may watch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Watcher {
    /// Nothing.
    Bare,
    /// Programs that do nothing.
    Empty,
    /// obsflow at the cgroup of all traffic; with these arguments.
    Obsflow(Vec<String>),
    /// obsflow at a cgroup without traffic.
    Elsewhere,
    /// Another tool.
    Peer(Peer),
}

/// A tool that somebody would use otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Peer {
    /// What it is called in tables.
    pub(crate) name: &'static str,
    /// The program and its arguments.
    pub(crate) command: &'static [&'static str],
    /// A word on stderr that says it has begun; without one its first output or a moment does.
    pub(crate) begun: &'static str,
}

/// Peers that see DNS.
pub(crate) const DNS_PEERS: [Peer; 3] = [
    Peer {
        name: "tcpdump",
        command: &["tcpdump", "-i", "lo", "-n", "-w", "/dev/null", "port", "53"],
        begun: "listening on",
    },
    Peer {
        name: "tcpdump, decoded",
        command: &["tcpdump", "-i", "lo", "-n", "port", "53"],
        begun: "listening on",
    },
    Peer {
        name: "dumpcap",
        command: &["dumpcap", "-q", "-i", "lo", "-f", "port 53", "-w", "/dev/null"],
        begun: "File: ",
    },
];

/// Peers that see connections to one telemetry port.
pub(crate) const TCP_PEERS: [Peer; 4] = [
    Peer {
        name: "tcpdump",
        command: &[
            "tcpdump",
            "-i",
            "lo",
            "-n",
            "-w",
            "/dev/null",
            "tcp",
            "port",
            "4317",
        ],
        begun: "listening on",
    },
    Peer {
        name: "tcpstates",
        command: &["tcpstates", "-D", "4317"],
        begun: "",
    },
    Peer {
        name: "tcplife",
        command: &["tcplife", "-D", "4317"],
        begun: "",
    },
    Peer {
        name: "bpftrace",
        command: &[
            "bpftrace",
            "-e",
            "tracepoint:sock:inet_sock_set_state /args->dport == 4317/ { printf(\"%d %s %d\\n\", pid, comm, args->newstate); }",
        ],
        begun: "",
    },
];

/// Something that watches now.
pub(crate) struct Watching {
    /// How long it took until it said that it watches.
    pub(crate) start: Duration,
    empty: Option<Empty>,
    process: Option<(Running, Receiver<String>)>,
    before_us: u64,
    /// What it said until it was ready.
    said: Vec<String>,
    /// Names of its programs by their ids.
    names: RefCell<BTreeMap<u64, String>>,
}

impl Watcher {
    /// What it is called in tables.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Bare => "bare".into(),
            Self::Empty => "empty programs".into(),
            Self::Obsflow(_) => "obsflow".into(),
            Self::Elsewhere => "obsflow elsewhere".into(),
            Self::Peer(peer) => peer.name.into(),
        }
    }

    /// Starts it and waits until it watches.
    pub(crate) fn start(&self, place: &Place, at_root: bool) -> Result<Watching> {
        let before_us = place.cpu_us(Group::Watch)?;
        let began = Instant::now();
        let mut watching = Watching {
            start: Duration::ZERO,
            empty: None,
            process: None,
            before_us,
            said: Vec::new(),
            names: RefCell::default(),
        };
        match self {
            Self::Bare => {}
            Self::Empty => watching.empty = Some(Empty::attach(&place.cgroup)?),
            Self::Obsflow(args) => {
                let at = if at_root {
                    "root".to_owned()
                } else {
                    place.below_mount(&place.cgroup)?.display().to_string()
                };
                let deadline = Instant::now() + START;
                let mut began = Instant::now();
                // Tests of this machine may watch the root for a moment.
                while let Err(error) = watching.run(obsflow(place, &at, args)?, ATTACHED, place) {
                    if Instant::now() > deadline || !format!("{error:#}").contains("another obsflow") {
                        return Err(error);
                    }
                    std::thread::sleep(Duration::from_millis(200));
                    watching.said.clear();
                    began = Instant::now();
                }
                watching.start = began.elapsed();
                return Ok(watching);
            }
            Self::Elsewhere => {
                let at = place.below_mount(&place.group(Group::Elsewhere))?;
                let command = obsflow(place, &at.display().to_string(), &["observe".to_owned()])?;
                watching.run(command, ATTACHED, place)?;
            }
            Self::Peer(peer) => watching.run(peer_command(place, peer)?, peer.begun, place)?,
        }
        watching.start = began.elapsed();
        Ok(watching)
    }
}

/// obsflow with its first argument, a command, attached to a cgroup.
fn obsflow(place: &Place, at: &str, args: &[String]) -> Result<Command> {
    let mut command = place.command(obsflow_tests::tool::binary("obsflow")?, Group::Watch)?;
    command
        .args(args)
        .args(["--attach", at, "--pod-logs"])
        .arg(place.dir.join("pods"));
    Ok(command)
}

fn peer_command(place: &Place, peer: &Peer) -> Result<Command> {
    let [program, args @ ..] = peer.command else {
        bail!("{} has no command", peer.name);
    };
    let mut command = place.command(program, Group::Watch)?;
    command.args(args);
    // Tools of classic tracepoints want tracefs, which not every machine has mounted: a mount of their own.
    // SAFETY: between fork and exec this only makes system calls; it allocates nothing.
    unsafe {
        command.pre_exec(|| {
            rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNS)?;
            rustix::mount::mount_change(
                c"/",
                rustix::mount::MountPropagationFlags::PRIVATE | rustix::mount::MountPropagationFlags::REC,
            )?;
            let _ = rustix::mount::mount(
                c"tracefs",
                c"/sys/kernel/tracing",
                c"tracefs",
                rustix::mount::MountFlags::empty(),
                None,
            );
            Ok(())
        });
    }
    Ok(command)
}

impl Watching {
    fn run(&mut self, mut command: Command, begun: &str, place: &Place) -> Result<()> {
        command.stderr(Stdio::piped());
        let name = command.get_program().to_string_lossy().into_owned();
        let mut running = place.start(command)?;
        let stderr = running.0.stderr.take().context("no stderr")?;
        let (send, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                if send.send(line).is_err() {
                    return;
                }
            }
        });
        let deadline = Instant::now()
            + if begun.is_empty() {
                Duration::from_secs(1)
            } else {
                START
            };
        loop {
            match lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    let ready = !begun.is_empty() && line.contains(begun);
                    self.said.push(line);
                    if ready {
                        break;
                    }
                }
                // Nothing announces it: it has had its moment.
                Err(RecvTimeoutError::Timeout) if begun.is_empty() => break,
                Err(_) => bail!("{name} did not begin: {}", self.said.join(" | ")),
            }
        }
        if let Some(status) = running.0.try_wait()? {
            bail!("{name} ended ({status}): {}", self.said.join(" | "));
        }
        self.process = Some((running, lines));
        Ok(())
    }

    /// CPU time that it has used since it was started, in microseconds.
    pub(crate) fn cpu_us(&self, place: &Place) -> Result<u64> {
        Ok(place.cpu_us(Group::Watch)? - self.before_us)
    }

    /// Process id, if it is a process.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(|(running, _)| running.0.id())
    }

    /// A number of `/proc/<pid>/status`, in KiB.
    pub(crate) fn status_kib(&self, field: &str) -> Result<u64> {
        let pid = self.pid().context("no process")?;
        fs::read_to_string(format!("/proc/{pid}/status"))?
            .lines()
            .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))
            .and_then(|rest| rest.trim().trim_end_matches(" kB").parse().ok())
            .with_context(|| format!("no {field}"))
    }

    /// What each of its programs has cost so far, by name.
    pub(crate) fn programs(&self) -> Result<BTreeMap<String, Cost>> {
        if let Some(empty) = &self.empty {
            return empty
                .programs()
                .map(|(name, fd)| Ok((name.to_owned(), Cost::read("self", fd)?.1)))
                .collect();
        }
        let Some(pid) = self.pid() else {
            return Ok(BTreeMap::new());
        };
        let pid = pid.to_string();
        let mut costs = BTreeMap::new();
        for entry in fs::read_dir(format!("/proc/{pid}/fd"))? {
            let fd: i32 = entry?.file_name().to_string_lossy().parse()?;
            if let Ok((id, cost)) = Cost::read(&pid, fd) {
                costs.insert(id, cost);
            }
        }
        let mut names = self.names.borrow_mut();
        let mut named = BTreeMap::new();
        for (id, cost) in costs {
            let name = match names.entry(id) {
                Entry::Occupied(known) => known.get().clone(),
                Entry::Vacant(unknown) => unknown.insert(program_name(id)?).clone(),
            };
            named.insert(name, cost);
        }
        Ok(named)
    }

    /// Ends it with SIGINT, and gives what it said on stderr in all.
    pub(crate) fn stop(mut self) -> Result<Vec<String>> {
        let mut said = std::mem::take(&mut self.said);
        if let Some((mut running, lines)) = self.process.take() {
            // An error means that it has ended already.
            let _ = kill_process(Pid::from_child(&running.0), Signal::INT);
            let end = Instant::now() + START;
            loop {
                match lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
                    Ok(line) => said.push(line),
                    // All its ends of the pipe are closed.
                    Err(RecvTimeoutError::Disconnected) => break,
                    Err(RecvTimeoutError::Timeout) => bail!("it does not end on SIGINT"),
                }
            }
            running.0.wait()?;
        }
        Ok(said)
    }
}

/// What a watcher says at its end: events or packets seen, and lost. obsflow: `obsflow: 12 events seen, 0 lost`; tcpdump:
/// `12 packets captured`, `0 packets dropped by kernel`; dumpcap: `... on interface 'lo': 12/0 (...)`.
pub(crate) fn seen_and_lost(said: &[String]) -> Option<(u64, u64)> {
    let mut found = None;
    for line in said {
        if let Some((seen, rest)) = line
            .strip_prefix("obsflow: ")
            .and_then(|rest| rest.split_once(" events seen, "))
        {
            let lost = rest.split_once(" lost").map_or("", |(lost, _)| lost);
            found = Some((seen.parse().ok()?, lost.parse().ok()?));
        } else if let Some(seen) = line.strip_suffix(" packets captured") {
            found = Some((seen.parse().ok()?, 0));
        } else if let Some(lost) = line.strip_suffix(" packets dropped by kernel") {
            found = Some((found?.0, lost.parse().ok()?));
        } else if let Some((_, counts)) = line.split_once("on interface 'Loopback: lo': ") {
            let (seen, rest) = counts.split_once('/')?;
            let lost = rest.split_once(' ').map_or(rest, |(lost, _)| lost);
            found = Some((seen.parse().ok()?, lost.parse().ok()?));
        }
    }
    found
}

/// What the kernel counts about a program.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cost {
    /// Calls while statistics were on.
    pub(crate) calls: u64,
    /// Nanoseconds in it.
    pub(crate) ns: u64,
}

impl Cost {
    /// The program behind a descriptor: its id and numbers.
    fn read(pid: &str, fd: i32) -> Result<(u64, Self)> {
        let text = fs::read_to_string(format!("/proc/{pid}/fdinfo/{fd}"))?;
        let field = |name: &str| -> Result<u64> {
            text.lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
                .and_then(|value| value.trim().parse().ok())
                .with_context(|| format!("no {name}"))
        };
        Ok((
            field("prog_id")?,
            Self {
                ns: field("run_time_ns")?,
                calls: field("run_cnt")?,
            },
        ))
    }

    /// What came to it since.
    pub(crate) fn since(self, before: Self) -> Self {
        Self {
            calls: self.calls - before.calls,
            ns: self.ns - before.ns,
        }
    }

    /// Nanoseconds a call, statistics included.
    pub(crate) fn per_call(self) -> Option<f64> {
        (self.calls > 0).then(|| self.ns as f64 / self.calls as f64)
    }
}

fn program_name(id: u64) -> Result<String> {
    let done = Command::new("bpftool")
        .args(["-j", "prog", "show", "id", &id.to_string()])
        .output()
        .context("cannot run bpftool")?;
    let value: Value = serde_json::from_slice(&done.stdout).context("bpftool")?;
    Ok(value["name"].as_str().unwrap_or_default().to_owned())
}
