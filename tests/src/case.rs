//! One exporter in a pod of its own, and what doctor says of it.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::doctor::{Doctor, Export};
use crate::lab::Lab;
use crate::lab::pod::{Pod, PodSpec};
use crate::process::Proc;
use crate::server::otlp::{self, Sdk, Transport};

/// From the start of an exporter to a verdict whose evidence is on the wire at its first attempt: the exporter's own
/// start on a busy machine, and the time a verdict may take.
pub const AT_ONCE: Duration = Duration::from_secs(25);

/// From an export that its exporter calls a success to the end of a failure: the 5 s that doctor has for it, and as many
/// for a busy machine.
const CLOSES: Duration = Duration::from_secs(10);

/// A real exporter of spans that goes on exporting, and the pod it runs in.
#[derive(Debug)]
pub struct Case {
    /// Its pod.
    pub pod: Pod,
    exporter: Option<Proc>,
    began: Instant,
    sdk: Sdk,
    transport: Transport,
    /// The endpoint, as its environment has it.
    pub endpoint: String,
    env: Vec<(String, String)>,
}

impl Case {
    /// Makes the pod; nothing runs in it yet.
    ///
    /// # Errors
    /// When the pod cannot be made.
    pub fn new(
        lab: &Lab,
        app: impl Into<PodSpec>,
        sdk: Sdk,
        transport: Transport,
        endpoint: &str,
    ) -> Result<Self> {
        Ok(Self {
            pod: lab.pod(app)?,
            exporter: None,
            began: Instant::now(),
            sdk,
            transport,
            endpoint: endpoint.to_owned(),
            env: Vec::new(),
        })
    }

    /// One more variable of its environment.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Starts the exporter.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(&mut self) -> Result<()> {
        let env: Vec<(&str, &str)> = self.env.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        self.began = Instant::now();
        let exporter = otlp::spans(&self.pod, self.sdk, self.transport, &self.endpoint, &env)?;
        self.exporter = Some(exporter);
        Ok(())
    }

    /// [`Case::start`], for chains.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn started(mut self) -> Result<Self> {
        self.start()?;
        Ok(self)
    }

    /// Waits until it says that an export came out so (`ok`, `failed`).
    ///
    /// # Errors
    /// When it does not.
    pub fn exported(&self, how: &str) -> Result<()> {
        let exporter = self.exporter.as_ref().context("it was not started")?;
        exporter
            .json(
                &format!("that an export of {} is {how}", self.pod.name),
                crate::wait::SOON,
                |line| line["export"] == how,
            )
            .map(drop)
    }

    /// Waits until an export comes out well, the first one ever, and then, for no longer than that may take, until doctor
    /// takes back what it said.
    ///
    /// # Errors
    /// When either takes too long.
    pub fn heals(&self, doctor: &Doctor<'_>) -> Result<()> {
        self.exported("ok")?;
        doctor.healed_within(CLOSES, &self.pod)
    }

    /// How many exports came out so, up to now.
    #[must_use]
    pub fn count(&self, how: &str) -> usize {
        let Some(exporter) = &self.exporter else { return 0 };
        let line = format!("\"{how}\"");
        exporter
            .out()
            .all()
            .iter()
            .filter(|said| said.contains(&line))
            .count()
    }

    /// Waits until doctor has this verdict for it, on this rung and about its destination, with evidence and advice.
    ///
    /// # Errors
    /// When it takes longer than `within` from the start of the exporter, or something of it is not so.
    pub fn fails(&self, doctor: &Doctor<'_>, within: Duration, verdict: &str, rung: &str) -> Result<Export> {
        let left = (self.began + within).saturating_duration_since(Instant::now());
        let export = doctor.verdict_within(left, &self.pod, verdict, |_| true)?;
        ensure!(export.failed_rung() == rung, "not on rung {rung}: {export}");
        ensure!(
            export.endpoint().starts_with(&self.endpoint),
            "not about {}: {export}",
            self.endpoint
        );
        ensure!(!export.evidence().is_empty(), "without evidence: {export}");
        ensure!(!export.advice().is_empty(), "without advice: {export}");
        Ok(export)
    }
}
