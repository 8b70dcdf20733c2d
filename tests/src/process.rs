//! Processes of the lab: started in a pod's namespaces and cgroup, their output read line by line.

use std::ffi::CString;
use std::fs::OpenOptions;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::mount::{MountPropagationFlags, mount_bind, mount_change};
use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space};

use crate::lab::netns::NetNs;

/// Exit code, stdout and stderr of a command that ends by itself.
///
/// # Errors
/// When it cannot be started.
pub fn run(mut command: Command) -> Result<(Option<i32>, String, String)> {
    let ended = command.output().with_context(|| format!("{command:?}"))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok((ended.status.code(), text(&ended.stdout), text(&ended.stderr)))
}

/// Makes `command` start inside a cgroup and a network namespace, with files of its own in place of the node's.
///
/// # Errors
/// When the cgroup cannot be written to or a path holds a NUL byte.
pub fn enter(
    command: &mut Command,
    netns: Option<&NetNs>,
    cgroup: Option<&Path>,
    binds: &[(&Path, &Path)],
) -> Result<()> {
    let procs: Option<OwnedFd> = match cgroup {
        Some(dir) => {
            let path = dir.join("cgroup.procs");
            let file = OpenOptions::new().write(true).open(&path);
            Some(
                file.with_context(|| format!("cannot open {}", path.display()))?
                    .into(),
            )
        }
        None => None,
    };
    let binds: Vec<(CString, CString)> = binds
        .iter()
        .map(|(from, to)| Ok((c_path(from)?, c_path(to)?)))
        .collect::<Result<_>>()?;
    let netns = netns.cloned();
    let setup = move || -> std::io::Result<()> {
        // The cgroup first: everything the program ever does is then accounted to it.
        if let Some(procs) = &procs {
            rustix::io::write(procs, b"0")?;
        }
        if let Some(netns) = &netns {
            move_into_link_name_space(netns.as_fd(), Some(LinkNameSpaceType::Network))?;
        }
        if !binds.is_empty() {
            // SAFETY: the child has one thread, and a mount namespace of its own breaks none of its assumptions.
            unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNS) }?;
            mount_change(c"/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
            for (from, to) in &binds {
                mount_bind(from, to)?;
            }
        }
        Ok(())
    };
    // SAFETY: between fork and exec this only makes system calls on what was prepared before; nothing allocates or
    // takes a lock.
    unsafe { command.pre_exec(setup) };
    Ok(())
}

fn c_path(path: &Path) -> Result<CString> {
    Ok(CString::new(path.as_os_str().as_encoded_bytes())?)
}

/// What a process has printed so far.
#[derive(Debug, Default)]
struct Output {
    lines: Vec<String>,
    /// The process closed its end.
    ended: bool,
}

/// Lines of one stream, filled by a thread.
#[derive(Clone, Debug, Default)]
pub struct Lines {
    shared: Arc<(Mutex<Output>, Condvar)>,
}

impl Lines {
    fn read_from(stream: impl Read + Send + 'static) -> Self {
        let lines = Self::default();
        let writer = lines.clone();
        std::thread::spawn(move || {
            let mut reader = BufReader::new(stream);
            let mut raw = Vec::new();
            loop {
                raw.clear();
                let ended = !matches!(reader.read_until(b'\n', &mut raw), Ok(n) if n > 0);
                let mut output = writer.lock();
                if ended {
                    output.ended = true;
                } else {
                    output
                        .lines
                        .push(String::from_utf8_lossy(&raw).trim_end_matches('\n').to_owned());
                }
                writer.shared.1.notify_all();
                if ended {
                    return;
                }
            }
        });
        lines
    }

    fn lock(&self) -> MutexGuard<'_, Output> {
        self.shared.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All lines so far.
    #[must_use]
    pub fn all(&self) -> Vec<String> {
        self.lock().lines.clone()
    }

    /// How many lines there are so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lock().lines.len()
    }

    /// Whether nothing was printed so far.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The lines from number `seen` on, as soon as there are any. `None` when the stream ends or the deadline passes
    /// first.
    #[must_use]
    pub fn after(&self, seen: usize, deadline: Duration) -> Option<Vec<String>> {
        let end = Instant::now() + deadline;
        let mut output = self.lock();
        loop {
            if let Some(lines) = output.lines.get(seen..).filter(|lines| !lines.is_empty()) {
                return Some(lines.to_vec());
            }
            let left = end.saturating_duration_since(Instant::now());
            if output.ended || left.is_zero() {
                return None;
            }
            output = self
                .shared
                .1
                .wait_timeout(output, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    /// Gives what `find` makes of the first line it likes, those already there included. Every line is shown to
    /// `find` once. `None` when the stream ends or the deadline passes first.
    pub fn find<T>(&self, deadline: Duration, mut find: impl FnMut(&str) -> Option<T>) -> Option<T> {
        let end = Instant::now() + deadline;
        let mut seen = 0;
        loop {
            let lines = self.after(seen, end.saturating_duration_since(Instant::now()))?;
            seen += lines.len();
            if let Some(found) = lines.iter().find_map(|line| find(line)) {
                return Some(found);
            }
        }
    }
}

/// A running process; killed when dropped.
#[derive(Debug)]
pub struct Proc {
    name: String,
    child: Child,
    stdin: Option<ChildStdin>,
    out: Lines,
    err: Lines,
}

impl Proc {
    /// Starts `command` with its output read by the lab.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(mut command: Command) -> Result<Self> {
        let name = Path::new(command.get_program())
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().with_context(|| format!("cannot start {name}"))?;
        let (Some(stdout), Some(stderr)) = (child.stdout.take(), child.stderr.take()) else {
            bail!("{name} has no output");
        };
        let stdin = child.stdin.take();
        Ok(Self {
            name,
            child,
            stdin,
            out: Lines::read_from(stdout),
            err: Lines::read_from(stderr),
        })
    }

    /// Process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it prints on standard output.
    #[must_use]
    pub fn out(&self) -> &Lines {
        &self.out
    }

    /// What it prints on standard error.
    #[must_use]
    pub fn err(&self) -> &Lines {
        &self.err
    }

    /// Writes one line to its standard input.
    ///
    /// # Errors
    /// When it no longer reads.
    pub fn tell(&mut self, line: &str) -> Result<()> {
        let stdin = self.stdin.as_mut().context("standard input is closed")?;
        writeln!(stdin, "{line}")?;
        Ok(stdin.flush()?)
    }

    /// Waits for a line on standard output.
    ///
    /// # Errors
    /// When it ends or the deadline passes first; the error holds what it printed on standard error.
    pub fn line<T>(&self, what: &str, deadline: Duration, find: impl FnMut(&str) -> Option<T>) -> Result<T> {
        match self.out.find(deadline, find) {
            Some(found) => Ok(found),
            None => {
                let out = self.out.all();
                let last = &out[out.len().saturating_sub(5)..];
                let (last, err) = (last.join(" | "), self.err.all().join(" | "));
                bail!(
                    "{} did not say {what} within {deadline:?}; it said {last}; on stderr: {err}",
                    self.name
                )
            }
        }
    }

    /// Waits for the first line of standard output that is JSON and that `like` accepts.
    ///
    /// # Errors
    /// As [`Proc::line`].
    pub fn json(
        &self,
        what: &str,
        deadline: Duration,
        mut like: impl FnMut(&serde_json::Value) -> bool,
    ) -> Result<serde_json::Value> {
        self.line(what, deadline, |line| {
            serde_json::from_str(line).ok().filter(&mut like)
        })
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// When the deadline passes first.
    pub fn wait(&mut self, deadline: Duration) -> Result<ExitStatus> {
        let name = self.name.clone();
        crate::wait::until(format!("the end of {name}"), deadline, || {
            Ok(self.child.try_wait()?)
        })
    }

    /// Whether it still runs.
    ///
    /// # Errors
    /// When the kernel does not tell.
    pub fn running(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_none())
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// When it has ended already.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        Ok(kill_process(Pid::from_child(&self.child), signal)?)
    }

    /// SIGTERM, and its exit status.
    ///
    /// # Errors
    /// When it does not end in time.
    pub fn stop(&mut self, deadline: Duration) -> Result<ExitStatus> {
        self.signal(Signal::TERM)?;
        self.wait(deadline)
    }
}

impl Drop for Proc {
    fn drop(&mut self) {
        // Both fail only when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
