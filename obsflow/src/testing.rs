//! What unit tests share.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::kernel::netns::Namespace;

/// A kubeconfig with one context, `lab`.
pub(crate) const KUBECONFIG: &str = "\
apiVersion: v1
kind: Config
current-context: lab
clusters: [{name: lab, cluster: {server: 'http://127.0.0.1:1'}}]
users: [{name: me, user: {token: x}}]
contexts: [{name: lab, context: {cluster: lab, user: me}}]
";

static SERIAL: AtomicU32 = AtomicU32::new(0);

/// A name that no other test uses.
pub(crate) fn unique() -> String {
    format!(
        "obsflow-test-{}-{}",
        std::process::id(),
        SERIAL.fetch_add(1, Ordering::Relaxed)
    )
}

/// A folder that goes away with its guard.
pub(crate) struct TempDir(PathBuf);

impl TempDir {
    pub(crate) fn new() -> Self {
        let path = std::env::temp_dir().join(unique());
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A cgroup that goes away with its guard, and everything below it.
pub(crate) struct TempCgroup(pub(crate) PathBuf);

impl TempCgroup {
    /// Needs root and the whole cgroup2 hierarchy.
    pub(crate) fn new(mount: &Path) -> Self {
        let path = mount.join(unique());
        fs::create_dir(&path).expect("making a cgroup: these tests run as root");
        Self(path)
    }

    pub(crate) fn make(&self, below: &str) -> PathBuf {
        let path = self.0.join(below);
        fs::create_dir_all(&path).unwrap();
        path
    }
}

impl Drop for TempCgroup {
    fn drop(&mut self) {
        fn remove(path: &Path) {
            for entry in fs::read_dir(path).into_iter().flatten().flatten() {
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    remove(&entry.path());
                }
            }
            let _ = fs::remove_dir(path);
        }
        remove(&self.0);
    }
}

/// A network namespace that goes away with its guard.
pub(crate) struct TempNetns {
    pub(crate) namespace: Namespace,
    stop: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl TempNetns {
    /// Needs root.
    pub(crate) fn new() -> Self {
        let (stop, stopped) = mpsc::channel::<()>();
        let (tell, told) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            // SAFETY: only this thread's network namespace changes, and the thread runs nothing else.
            unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNET) }
                .expect("making a network namespace: these tests run as root");
            tell.send(rustix::thread::gettid().as_raw_nonzero().get())
                .unwrap();
            let _ = stopped.recv();
        });
        let tid: i32 = told.recv().unwrap();
        let path = format!("/proc/{}/task/{tid}/ns/net", std::process::id());
        Self {
            namespace: Namespace::open(path).unwrap(),
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    pub(crate) fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        self.namespace.run(work).unwrap()
    }

    /// Runs `ip` with these words inside the namespace.
    pub(crate) fn ip(&self, words: &str) {
        let output = self.run(|| Command::new("ip").args(words.split(' ')).output());
        let output = output.expect("running ip: these tests need iproute2");
        assert!(
            output.status.success(),
            "ip {words}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

impl Drop for TempNetns {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Asks until there is an answer; fails the test after ten seconds.
#[track_caller]
pub(crate) fn wait_for<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        std::thread::yield_now();
    }
}
