//! `obsflow doctor` of a whole cluster: asks its agents instead of this node's.

use std::time::Duration;

use anyhow::Context as _;

use super::doctor::{Printer, Shown};
use crate::config::{Cluster, Doctor};
use crate::fleet::{Access, Fleet, FleetError};
use crate::session::Stop;

/// How often a wait looks whether it is to end.
const GLANCE: Duration = Duration::from_millis(200);

/// Asks, shows what they say, and gives the exit code that goes with it.
pub(super) fn ask(config: &Doctor, cluster: &Cluster, stop: &Stop) -> anyhow::Result<u8> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("making a runtime to ask a cluster with")?;
    let answered = runtime.block_on(async {
        let mut printer = Printer::new(config);
        let work = async {
            let access = Access::open(cluster.kubeconfig.as_deref(), cluster.context.as_deref()).await?;
            let fleet = Fleet::new(access, cluster.question.clone());
            if config.watch {
                let publish = |answer: &_| printer.changed(&Shown::Cluster(answer));
                return fleet.watch(|| stop.is_stopped(), publish).await;
            }
            tokio::select! {
                answer = fleet.ask() => Ok(answer?),
                () = stopped(stop) => Err(FleetError::Interrupted.into()),
            }
        };
        let answer = work.await?;
        printer.end(&Shown::Cluster(&answer), None, stop)
    });
    // A credential plugin of the kubeconfig may hang: it is not waited for.
    runtime.shutdown_background();
    answered
}

async fn stopped(stop: &Stop) {
    while !stop.is_stopped() {
        tokio::time::sleep(GLANCE).await;
    }
}
