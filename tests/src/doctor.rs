//! `obsflow doctor`, watching a lab: what it says of each exporter, by the names in its JSON.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, bail};
use jiff::Timestamp;
use serde_json::Value;

use crate::example::Examples;
use crate::lab::Lab;
use crate::lab::pod::Pod;
use crate::obsflow::attached;
use crate::process::Proc;
use crate::server::kube::Api;
use crate::server::otlp::{self, Transport};
use crate::wait::SOON;

/// Verdicts that say that nothing fails, or that it could not be told.
const NO_FAILURES: &[&str] = &["healthy", "idle", "disabled", "unknown"];

/// What API servers of the lab call its node 0.
pub const NODE: &str = "node-0";

/// The rungs of the ladder, in order.
pub const RUNGS: [&str; 5] = ["configured", "resolved", "connected", "sent", "accepted"];

/// What doctor says of one exporter.
#[derive(Clone, Debug, PartialEq)]
pub struct Export(Value);

impl Export {
    /// A field that is a string; empty when it is null.
    #[must_use]
    pub fn text(&self, field: &str) -> &str {
        self.0[field].as_str().unwrap_or_default()
    }

    /// Its name in the report.
    #[must_use]
    pub fn id(&self) -> &str {
        self.text("id")
    }

    /// The verdict's id.
    #[must_use]
    pub fn verdict(&self) -> &str {
        self.text("verdict")
    }

    /// Which kind of the verdict; empty when it has none.
    #[must_use]
    pub fn reason(&self) -> &str {
        self.text("reason")
    }

    /// How much it matters.
    #[must_use]
    pub fn severity(&self) -> &str {
        self.text("severity")
    }

    /// The signal; empty when it is not known.
    #[must_use]
    pub fn signal(&self) -> &str {
        self.text("signal")
    }

    /// The destination as a URL; empty when there is none.
    #[must_use]
    pub fn endpoint(&self) -> &str {
        self.text("endpoint")
    }

    /// Where the destination is known from.
    #[must_use]
    pub fn source(&self) -> &str {
        self.text("source")
    }

    /// The state of a rung: `ok`, `failed`, `unknown`, `not-reached`, `not-applicable`.
    #[must_use]
    pub fn rung(&self, name: &str) -> &str {
        self.0["rungs"][name].as_str().unwrap_or_default()
    }

    /// The first rung that failed; empty when none did.
    #[must_use]
    pub fn failed_rung(&self) -> &'static str {
        RUNGS
            .into_iter()
            .find(|rung| self.rung(rung) == "failed")
            .unwrap_or_default()
    }

    /// Its facts in words, one a line, each after its kind.
    #[must_use]
    pub fn evidence(&self) -> String {
        let facts = self.0["evidence"].as_array().into_iter().flatten();
        let line = |fact: &Value| {
            let part = |name: &str| fact[name].as_str().unwrap_or_default().to_owned();
            format!("{}: {}", part("kind"), part("text"))
        };
        facts.map(line).collect::<Vec<_>>().join("\n")
    }

    /// What to do, one a line.
    #[must_use]
    pub fn advice(&self) -> String {
        let advice = self.0["advice"].as_array().into_iter().flatten();
        advice.filter_map(Value::as_str).collect::<Vec<_>>().join("\n")
    }

    /// Whether it says that something fails.
    #[must_use]
    pub fn is_failure(&self) -> bool {
        !NO_FAILURES.contains(&self.verdict())
    }

    /// Whether it is about an exporter of this pod.
    #[must_use]
    pub fn of(&self, pod: &Pod) -> bool {
        self.text("pod") == pod.name && self.text("namespace") == pod.namespace
    }

    /// Everything that is there, for what has no accessor.
    #[must_use]
    pub fn json(&self) -> &Value {
        &self.0
    }
}

impl fmt::Display for Export {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rungs = RUNGS.map(|rung| format!("{rung}={}", self.rung(rung))).join(" ");
        write!(
            f,
            "{} {} [{}] -> {} ({}): {} {} {}; {rungs}; evidence [{}]; advice [{}]",
            self.text("pod"),
            self.signal(),
            self.text("leg"),
            self.endpoint(),
            self.source(),
            self.verdict(),
            self.reason(),
            self.severity(),
            self.evidence().replace('\n', " | "),
            self.advice().replace('\n', " | "),
        )
    }
}

/// A running `obsflow doctor --watch -o json`; killed when dropped.
#[derive(Debug)]
pub struct Doctor<'lab> {
    lab: &'lab Lab,
    process: Proc,
    /// Present when examples are written.
    examples: Option<Examples>,
    seen: Mutex<Seen>,
}

/// The reports so far.
#[derive(Debug, Default)]
struct Seen {
    lines: usize,
    reports: usize,
    /// The latest.
    report: Value,
    /// Its exporters.
    exports: Vec<Export>,
    /// Everything that was ever said: each exporter once for every verdict, reason and severity it had, with the time of
    /// the report that said it first.
    history: Vec<(Export, Value)>,
    /// Lines that are no reports.
    others: Vec<String>,
}

impl Seen {
    fn take(&mut self, line: &str) {
        let Ok(mut report) = serde_json::from_str::<Value>(line) else {
            self.others.push(line.to_owned());
            return;
        };
        let Value::Array(exports) = report["exports"].take() else {
            self.others.push(line.to_owned());
            return;
        };
        self.reports += 1;
        self.report = report;
        self.exports = exports.into_iter().map(Export).collect();
        for export in &self.exports {
            let same = |old: &Export| {
                ["id", "verdict", "reason", "severity"]
                    .iter()
                    .all(|field| old.text(field) == export.text(field))
            };
            if !self.history.iter().any(|(old, _)| same(old)) {
                self.history.push((export.clone(), self.report["time"].clone()));
            }
        }
    }
}

impl Lab {
    /// Starts `obsflow doctor --watch` on node 0 of the lab, with more arguments if there are any, and waits until it is
    /// attached.
    ///
    /// # Errors
    /// When it is not built, or ends before it is attached; its own words are part of the error.
    pub fn doctor(&self, args: &[&str]) -> Result<Doctor<'_>> {
        self.doctor_with(&[], args)
    }

    /// [`Lab::doctor`] that asks this API server, which calls node 0 [`NODE`].
    ///
    /// # Errors
    /// When it is not built, or ends before it is attached; its own words are part of the error.
    pub fn doctor_in(&self, api: &Api) -> Result<Doctor<'_>> {
        let kubeconfig = api.kubeconfig(self.dir())?;
        let kubeconfig = kubeconfig.to_str().context("a folder with an odd name")?;
        self.doctor_with(&["--kubeconfig", kubeconfig, "--node-name", NODE], &[])
    }

    /// `watching` is for whoever attaches.
    fn doctor_with(&self, watching: &[&str], args: &[&str]) -> Result<Doctor<'_>> {
        let examples = Examples::start(self, watching)?;
        let mut command = match &examples {
            Some(examples) => examples.doctor()?,
            None => {
                let mut command = self.obsflow_command("doctor")?;
                command.args(watching);
                command
            }
        };
        command.args(["--watch", "--all", "-o", "json"]).args(args);
        let process = Proc::start(command)?;
        // With examples it is the agent that attaches.
        if examples.is_none() {
            attached(&process, "obsflow doctor")?;
        }
        Ok(Doctor {
            lab: self,
            process,
            examples,
            seen: Mutex::default(),
        })
    }
}

impl Doctor<'_> {
    /// Its process.
    #[must_use]
    pub fn process(&self) -> &Proc {
        &self.process
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in the reports that came since; waits for one until the deadline. False when there will be none.
    fn more(&self, seen: &mut Seen, deadline: Duration) -> bool {
        let Some(lines) = self.process.out().after(seen.lines, deadline) else {
            return false;
        };
        seen.lines += lines.len();
        for line in &lines {
            seen.take(line);
        }
        true
    }

    /// Waits until `find` likes the latest report: its exporters, and the rest of it.
    fn until<T>(
        &self,
        what: &str,
        deadline: Duration,
        about: impl Fn(&Export) -> bool,
        mut find: impl FnMut(&[Export], &Value) -> Option<T>,
    ) -> Result<T> {
        let end = Instant::now() + deadline;
        let mut seen = self.seen();
        loop {
            while self.more(&mut seen, Duration::ZERO) {}
            if let Some(found) = find(&seen.exports, &seen.report) {
                return Ok(found);
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() || !self.more(&mut seen, left) {
                let line = |export: &Export| about(export).then(|| format!("\n  {export}"));
                bail!(
                    "doctor did not say {what} within {deadline:?}; after {} reports it says:{}\nit said:{}\ncauses: {}\n\
                     other lines: {:?}; stderr: {}",
                    seen.reports,
                    seen.exports.iter().filter_map(line).collect::<String>(),
                    seen.history
                        .iter()
                        .filter_map(|(said, _)| line(said))
                        .collect::<String>(),
                    seen.report["causes"],
                    seen.others,
                    self.process.err().all().join(" | ")
                );
            }
        }
    }

    /// Waits until an exporter of a pod has a verdict and `like` accepts it.
    ///
    /// # Errors
    /// When none has in time; what is said of the pod is part of the error.
    pub fn verdict(&self, pod: &Pod, id: &str, like: impl Fn(&Export) -> bool) -> Result<Export> {
        self.verdict_within(SOON, pod, id, like)
    }

    /// [`Doctor::verdict`] with a deadline of its own.
    ///
    /// # Errors
    /// When none has in time; what is said of the pod is part of the error.
    pub fn verdict_within(
        &self,
        deadline: Duration,
        pod: &Pod,
        id: &str,
        like: impl Fn(&Export) -> bool,
    ) -> Result<Export> {
        let what = format!("{id} of {}", pod.path());
        let about = |export: &Export| export.of(pod);
        let export = self.until(&what, deadline, about, |exports, _| {
            exports
                .iter()
                .find(|export| export.of(pod) && export.verdict() == id && like(export))
                .cloned()
        })?;
        if let Some(examples) = &self.examples {
            examples.keep(&export)?;
        }
        Ok(export)
    }

    /// Waits until every exporter of a pod, and there is one, has a verdict that `like` accepts; gives them.
    ///
    /// # Errors
    /// When one has not in time; what is said of the pod is part of the error.
    pub fn every(&self, pod: &Pod, what: &str, like: impl Fn(&Export) -> bool) -> Result<Vec<Export>> {
        let what = format!("{what} of every exporter of {}", pod.path());
        let about = |export: &Export| export.of(pod);
        let found = self.until(&what, SOON, about, |exports, _| {
            let found: Vec<Export> = exports.iter().filter(|export| export.of(pod)).cloned().collect();
            (!found.is_empty() && found.iter().all(&like)).then_some(found)
        })?;
        if let (Some(examples), Some(export)) = (&self.examples, found.first()) {
            examples.keep(export)?;
        }
        Ok(found)
    }

    /// Waits until nothing of a pod fails any more and something of it is healthy.
    ///
    /// # Errors
    /// When that takes too long; what is said of the pod is part of the error.
    pub fn healed(&self, pod: &Pod) -> Result<()> {
        self.healed_within(SOON, pod)
    }

    /// [`Doctor::healed`] with a deadline of its own.
    ///
    /// # Errors
    /// When it takes longer; what is said of the pod is part of the error.
    pub fn healed_within(&self, deadline: Duration, pod: &Pod) -> Result<()> {
        let what = format!("that {} is well again", pod.path());
        let about = |export: &Export| export.of(pod);
        self.until(&what, deadline, about, |exports, _| {
            let mut of = exports.iter().filter(|export| export.of(pod)).peekable();
            of.peek()?;
            let (failing, rest): (Vec<_>, Vec<_>) = of.partition(|export| export.is_failure());
            (failing.is_empty() && rest.iter().any(|export| export.verdict() == "healthy")).then_some(())
        })
    }

    /// Waits until failures with this verdict are grouped in a way that `like` accepts; it sees the cause as JSON.
    ///
    /// # Errors
    /// When that takes too long; the causes there are, are part of the error.
    pub fn cause(&self, id: &str, like: impl Fn(&Value) -> bool) -> Result<Value> {
        self.until(&format!("a cause {id}"), SOON, Export::is_failure, |_, report| {
            let causes = report["causes"].as_array().into_iter().flatten();
            let mut causes = causes.filter(|cause| cause["verdict"] == id && like(cause));
            causes.next().cloned()
        })
    }

    /// What it says now of a pod's exporters.
    #[must_use]
    pub fn now(&self, pod: &Pod) -> Vec<Export> {
        let mut seen = self.seen();
        while self.more(&mut seen, Duration::ZERO) {}
        seen.exports
            .iter()
            .filter(|export| export.of(pod))
            .cloned()
            .collect()
    }

    /// How many exporters it speaks of now that `like` accepts.
    #[must_use]
    pub fn count(&self, like: impl Fn(&Export) -> bool) -> usize {
        let mut seen = self.seen();
        while self.more(&mut seen, Duration::ZERO) {}
        seen.exports.iter().filter(|export| like(export)).count()
    }

    /// When it said this verdict of a pod first, by the clock of its report.
    #[must_use]
    pub fn said_at(&self, pod: &Pod, verdict: &str) -> Option<SystemTime> {
        let seen = self.seen();
        let (_, time) = seen
            .history
            .iter()
            .find(|(said, _)| said.of(pod) && said.verdict() == verdict)?;
        let time: Timestamp = time.as_str()?.parse().ok()?;
        Some(time.into())
    }

    /// How many reports it made so far.
    #[must_use]
    pub fn reports(&self) -> usize {
        let mut seen = self.seen();
        while self.more(&mut seen, Duration::ZERO) {}
        seen.reports
    }

    /// Checks that nothing that was said so far is something that must not be. What happened before is known to have
    /// been judged when something later was: call [`Doctor::sentinel`] first.
    ///
    /// # Errors
    /// When it was said; it is part of the error.
    pub fn never(&self, what: &str, like: impl Fn(&Export) -> bool) -> Result<()> {
        let mut seen = self.seen();
        while self.more(&mut seen, Duration::ZERO) {}
        match seen.history.iter().find(|(said, _)| like(said)) {
            None => Ok(()),
            Some((export, _)) => bail!("doctor said {what}: {export}"),
        }
    }

    /// Starts an exporter whose Collector is not there, in a pod of its own, and waits until it is reported: everything
    /// that happened before was judged, but for what only time tells (silence).
    ///
    /// # Errors
    /// When the pod cannot be made or the exporter is not reported.
    pub fn sentinel(&self) -> Result<()> {
        let pod = self.lab.pod("lab/sentinel")?;
        // Nobody listens on the pod's own address.
        let host = pod.v4.to_string();
        let every = Duration::from_millis(500);
        let _exporter = otlp::export(&pod, otlp::Sdk::Rust, Transport::Http, &host, 1000, every)?;
        self.verdict(&pod, "refused", |_| true).context("the sentinel")?;
        Ok(())
    }

    /// Checks that everything was judged by now, that the pod is known, and that nothing ever failed in it.
    ///
    /// # Errors
    /// When a failure of it was said at any time.
    pub fn quiet(&self, pod: &Pod) -> Result<()> {
        self.all_quiet([pod])
    }

    /// [`Doctor::quiet`] of several pods, with one sentinel.
    ///
    /// # Errors
    /// When a failure of one of them was said at any time.
    pub fn all_quiet<'pod>(&self, pods: impl IntoIterator<Item = &'pod Pod>) -> Result<()> {
        self.sentinel()?;
        for pod in pods {
            self.never("a failure of a pod that is well", |export| {
                export.of(pod) && export.is_failure()
            })?;
            if self.now(pod).is_empty() {
                bail!("doctor does not know {}", pod.path());
            }
        }
        Ok(())
    }

    /// Ends it with SIGTERM.
    ///
    /// # Errors
    /// When it does not end, or with a code that is none of doctor's.
    pub fn stop(mut self) -> Result<()> {
        let status = self.process.stop(SOON).context("obsflow doctor")?;
        if !matches!(status.code(), Some(0 | 1 | 3)) {
            bail!(
                "obsflow doctor ended with {status}: {}",
                self.process.err().all().join(" | ")
            );
        }
        Ok(())
    }
}
