//! Watching the cluster: who this node's pods are, and what addresses belong to.
//!
//! A thread of its own, with a runtime of its own, asks and follows; it publishes snapshots ([`Cluster`]). Whoever uses them
//! takes the latest when it suits and never waits. Snapshots that nobody uses any more are given back on this thread: what a
//! large cluster's tables cost to free is not paid where events are handled.

mod board;
pub mod cri;
mod health;
pub(crate) mod kube;
mod names;

use std::path::PathBuf;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use tokio::sync::{Notify, oneshot, watch};
use tokio::task::LocalSet;

use crate::attribute;
use crate::model::cluster::{Cluster, WatchState};
use board::Board;

pub use self::kube::KubeconfigError;
pub(crate) use self::kube::{Api, ApiError, check};

/// The thread's name.
const THREAD: &str = "obsflow-cluster";
/// Jobs that wait for the API server to be known.
const MAX_JOBS: usize = 4;
/// How long the end waits for the thread: it may be held up by a kubeconfig's credential plugin.
const END: Duration = Duration::from_millis(500);

/// Where to ask.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// Whether the Kubernetes API is asked, where there is one.
    pub kubernetes: bool,
    /// How to reach it; without it only a pod's own service account leads there.
    pub kubeconfig: Option<PathBuf>,
    /// The context in it; without it its current one.
    pub context: Option<String>,
    /// This node's name in the cluster; without it the host's name, as the kubelet does it.
    pub node_name: Option<String>,
    /// The container runtime that is asked who containers are.
    pub runtime: cri::Runtime,
    /// Namespace and name of the Service whose endpoints are the agents.
    pub agents: Option<(String, String)>,
}

/// Work for the thread that speaks to the API server.
pub(crate) type Job = Box<dyn FnOnce(Rc<Api>) -> Pin<Box<dyn Future<Output = ()>>> + Send>;

/// The watching thread; ends when dropped.
#[derive(Debug)]
pub struct Handle {
    latest: watch::Receiver<Arc<Cluster>>,
    jobs: tokio::sync::mpsc::Sender<Job>,
    missed: Arc<Notify>,
    has_api: bool,
    stop: Option<oneshot::Sender<()>>,
    ended: mpsc::Receiver<()>,
}

impl Handle {
    /// The latest snapshot. Empty until the first list is there.
    #[must_use]
    pub fn latest(&self) -> Arc<Cluster> {
        Arc::clone(&self.latest.borrow())
    }

    /// Names for attribution.
    #[must_use]
    pub fn names(&self) -> Latest {
        let mut latest = self.latest.clone();
        latest.mark_changed();
        Latest {
            latest,
            missed: Arc::clone(&self.missed),
        }
    }

    /// Says when there is a newer one. A stage keeps its own and asks with `has_changed`, which costs a load.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<Arc<Cluster>> {
        self.latest.clone()
    }

    /// Whether the Kubernetes API is asked, and not the container runtime alone.
    #[must_use]
    pub fn has_api(&self) -> bool {
        self.has_api
    }

    /// Has something else done on this thread, once it is known how the API server is reached; it ends with the thread.
    /// False when the thread has ended, or has enough to do.
    pub(crate) fn run(&self, job: Job) -> bool {
        self.jobs.try_send(job).is_ok()
    }
}

/// Snapshots, as attribution takes them.
#[derive(Debug)]
pub struct Latest {
    latest: watch::Receiver<Arc<Cluster>>,
    missed: Arc<Notify>,
}

impl attribute::Names for Latest {
    fn newer(&mut self) -> Option<Arc<Cluster>> {
        // Whoever watches the cluster may have ended; what was said last still holds.
        if !self.latest.has_changed().unwrap_or(false) {
            return None;
        }
        Some(Arc::clone(&self.latest.borrow_and_update()))
    }

    fn miss(&mut self) {
        self.missed.notify_one();
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            // It may have ended by itself.
            let _ = stop.send(());
        }
        let _ = self.ended.recv_timeout(END);
    }
}

impl cri::Report for Rc<Board> {
    fn told(&self, told: cri::Told) {
        self.with(|state| {
            state.runtime.told(told);
            state.dirty.pods = true;
        });
    }

    fn state(&self, now: WatchState) {
        self.with(|state| state.dirty.watches |= state.runtime.is(now));
    }
}

/// Starts watching; `None` when there is nothing to watch: no kubeconfig was given, this process is no pod of a cluster, and no
/// container runtime is to be asked. What goes wrong later is said in the log and in [`Cluster::watches`].
#[must_use]
pub fn start(config: &Config) -> Option<Handle> {
    let access = kube::Access::find(config);
    if access.is_none() && config.runtime == cri::Runtime::Off {
        return None;
    }
    let has_api = access.is_some();
    let missed = Arc::new(Notify::new());
    let agents = config.agents.clone();
    let (containers, heard) = (config.runtime.clone(), Arc::clone(&missed));
    let (publisher, latest) = watch::channel(Arc::new(Cluster::default()));
    let (stop, stopped) = oneshot::channel();
    let (tell, ended) = mpsc::channel();
    let (jobs, waiting) = tokio::sync::mpsc::channel(MAX_JOBS);
    let work = move || {
        // Its end is told when it is dropped, however this thread ends.
        let _tell: mpsc::Sender<()> = tell;
        let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => {
                tracing::warn!(
                    "the cluster cannot be watched: {error}; pods have the names of their log folders only"
                );
                return;
            }
        };
        let board = Rc::new(Board::new(publisher));
        board.with(|state| {
            let key = agents.map(|(namespace, name)| (state.names.get(&namespace), state.names.get(&name)));
            state.addresses.look_for(key);
        });
        let local = LocalSet::new();
        local.spawn_local(board::publish(Rc::clone(&board)));
        local.spawn_local(health::report(Rc::clone(&board)));
        if let Some(access) = access {
            kube::spawn(&local, access, &board, waiting);
        }
        if containers != cri::Runtime::Off {
            local.spawn_local(cri::follow(containers, heard, Rc::clone(&board)));
        }
        // It only fails when nobody can ask for the end any more.
        let _ = local.block_on(&runtime, stopped);
        drop(local);
        // A look-up of the API server's name may still hang in the resolver.
        runtime.shutdown_background();
    };
    match thread::Builder::new().name(THREAD.to_owned()).spawn(work) {
        Ok(_) => Some(Handle {
            latest,
            jobs,
            missed,
            has_api,
            stop: Some(stop),
            ended,
        }),
        Err(error) => {
            tracing::warn!("cannot start a thread to watch the cluster: {error}");
            None
        }
    }
}
