//! Following a runtime: when it is asked, and what becomes of it when it does not answer.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::client::{Client, CriError};
use super::{Runtime, SOCKETS, Told};
use crate::model::cluster::WatchState;

/// How often it is asked when nothing calls for it: pods end.
const INTERVAL: Duration = Duration::from_secs(30);
/// Between two questions.
const PACE: Duration = Duration::from_millis(250);
/// The longest time between two questions while answers bring nothing new.
const SLOWEST: Duration = Duration::from_secs(8);
/// A container that is not known yet is asked for again after this: it may be made before it is listed.
const AGAIN: Duration = Duration::from_secs(1);
/// Until a runtime that failed is tried again, at first and at most.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// What following brings.
pub(crate) trait Report {
    /// Takes what the runtime says now, which is not what it said before.
    fn told(&self, told: Told);
    /// Takes how following goes, when that may have changed.
    fn state(&self, state: WatchState);
}

/// Asks the runtime for ever. `missed` is notified whenever a container is seen that is not known.
pub(crate) async fn follow(runtime: Runtime, missed: Arc<Notify>, report: impl Report) {
    let mut retry = RETRY.0;
    let mut away = None;
    let mut before = Told::default();
    loop {
        let (path, ended) = match connect(&runtime).await {
            // There is none, or not yet.
            None => {
                sleep(RETRY.1).await;
                continue;
            }
            Some((path, Err(error))) => (path, Ended::AtOnce(error)),
            Some((path, Ok(client))) => {
                let ended = attend(client, &path, &missed, &report, &mut before, &mut away).await;
                (path, ended)
            }
        };
        let error = match ended {
            Ended::AtOnce(error) => error,
            Ended::Later(error) => {
                retry = RETRY.0;
                error
            }
        };
        if away.is_none() {
            tracing::warn!(
                "the container runtime at {} cannot be asked who its containers are: {error}; it is tried again, and names come \
                 from the Kubernetes API and log folders meanwhile",
                path.display()
            );
        }
        let since = *away.get_or_insert_with(Timestamp::now);
        let error = error.to_string().into();
        report.state(WatchState::Away { since, error });
        sleep(retry).await;
        retry = (retry * 2).min(RETRY.1);
    }
}

/// Connects to the runtime; `None` when there is none.
async fn connect(runtime: &Runtime) -> Option<(PathBuf, Result<Client, CriError>)> {
    match runtime {
        Runtime::Off => None,
        Runtime::At(path) => Some((path.clone(), Client::connect(path).await)),
        Runtime::Auto => {
            for path in SOCKETS.iter().map(PathBuf::from).filter(|path| path.exists()) {
                match Client::connect(&path).await {
                    // As Docker's own containerd: the kubelet's runtime may be the next.
                    Err(CriError::NoCri(_)) => {}
                    connected => return Some((path, connected)),
                }
            }
            None
        }
    }
}

/// How it ended.
enum Ended {
    /// It never said who is there.
    AtOnce(CriError),
    /// It did, for a while.
    Later(CriError),
}

/// Asks until it fails.
async fn attend(
    mut client: Client,
    path: &Path,
    missed: &Notify,
    report: &impl Report,
    before: &mut Told,
    away: &mut Option<Timestamp>,
) -> Ended {
    let mut pace = PACE;
    let mut answered = false;
    let mut again = false;
    loop {
        let told = match client.ask().await {
            Ok(told) => told,
            Err(error) if answered => return Ended::Later(error),
            Err(error) => return Ended::AtOnce(error),
        };
        let asked = Instant::now();
        if !answered {
            answered = true;
            *away = None;
            tracing::info!(
                "who containers are is told by {} at {}",
                client.runtime,
                path.display()
            );
            report.state(WatchState::Watching);
        }
        if told != *before {
            pace = PACE;
            before.clone_from(&told);
            report.told(told);
        } else if again {
            // Whoever is missed is nobody that it knows.
            pace = (pace * 2).min(SLOWEST);
        }
        let wait = if again { AGAIN } else { INTERVAL };
        again = timeout(wait, missed.notified()).await.is_ok();
        if again {
            // Others begin at the same time: one question for all of them.
            sleep_until(asked + pace).await;
        }
    }
}
