//! Applications with OpenTelemetry SDKs, configured by their environment alone, as in real pods.
//!
//! Their programs are in `tests/exporters/`. What they do is said over standard input, so that a scenario decides when
//! there is something to export; where, how and how often they export it stands in `OTEL_*` and nowhere else.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, bail};
use serde_json::Value;

use crate::lab::pod::Pod;
use crate::process::Proc;
use crate::server::otlp::{GRPC, HTTP, Transport, bracketed};
use crate::tool;
use crate::wait::SOON;

/// Which SDK, and how it comes into the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sdk {
    /// OpenTelemetry for Python, set up by the application itself. Says what became of each export.
    Python,
    /// OpenTelemetry for Python, brought in by `opentelemetry-instrument`.
    PythonInstrumented,
    /// OpenTelemetry for Node: `NodeSDK` of sdk-node.
    Node,
}

impl Sdk {
    /// Every one.
    pub const ALL: [Self; 3] = [Self::Python, Self::PythonInstrumented, Self::Node];
}

/// The environment of a container, as its pod's specification has it.
#[derive(Clone, Debug, Default)]
pub struct Env(Vec<(OsString, OsString)>);

impl Env {
    /// Nothing at all.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Exports everything to a host, at the transport's port, several times a second instead of every 5 s or minute.
    #[must_use]
    pub fn otlp(host: &str, transport: Transport) -> Self {
        let port = if transport == Transport::Http { HTTP } else { GRPC };
        Self::endpoint(&format!("http://{}:{port}", bracketed(host)), transport)
    }

    /// [`Env::otlp`] with an endpoint as somebody wrote it.
    #[must_use]
    pub fn endpoint(endpoint: &str, transport: Transport) -> Self {
        Self::quick(transport).set("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
    }

    /// Everything but an endpoint.
    #[must_use]
    pub fn quick(transport: Transport) -> Self {
        Self::new()
            .set(
                "OTEL_EXPORTER_OTLP_PROTOCOL",
                if transport == Transport::Http {
                    "http/protobuf"
                } else {
                    "grpc"
                },
            )
            .set("OTEL_BSP_SCHEDULE_DELAY", "500")
            .set("OTEL_BLRP_SCHEDULE_DELAY", "500")
            .set("OTEL_METRIC_EXPORT_INTERVAL", "1000")
            // Node's SDK looks for a cloud's metadata service otherwise.
            .set("OTEL_NODE_RESOURCE_DETECTORS", "env")
            .signals(&["traces", "metrics", "logs"])
    }

    /// Exports these signals only.
    #[must_use]
    pub fn signals(self, wanted: &[&str]) -> Self {
        ["traces", "metrics", "logs"].iter().fold(self, |env, signal| {
            let exporter = if wanted.contains(signal) { "otlp" } else { "none" };
            env.set(&format!("OTEL_{}_EXPORTER", signal.to_uppercase()), exporter)
        })
    }

    /// Sets a variable, instead of what it was.
    #[must_use]
    pub fn set(mut self, name: &str, value: &str) -> Self {
        self.0.retain(|(there, _)| there != name);
        self.0.push((name.into(), value.into()));
        self
    }

    /// Takes a variable away.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.0.retain(|(there, _)| there != name);
        self
    }

    /// Gives it to a command.
    pub fn apply(&self, command: &mut Command) {
        command.envs(self.0.iter().map(|(name, value)| (name, value)));
    }
}

/// An application with an SDK in a pod. It does nothing until it is told to.
#[derive(Debug)]
pub struct App {
    process: Proc,
}

impl App {
    /// Starts it with this environment and nothing else but PATH and HOME, and waits until its SDK is set up.
    ///
    /// # Errors
    /// When set-up has not made its SDK, or it does not come up.
    pub fn start(pod: &Pod, sdk: Sdk, env: &Env) -> Result<Self> {
        let app = Self::begin(pod, sdk, env)?;
        app.ready()?;
        Ok(app)
    }

    /// Starts it and does not wait; [`App::ready`] does.
    ///
    /// # Errors
    /// When set-up has not made its SDK.
    pub fn begin(pod: &Pod, sdk: Sdk, env: &Env) -> Result<Self> {
        let mut command = match sdk {
            Sdk::Python => {
                let mut command = pod.command(tool::made("python")?.join("bin/python"))?;
                command.arg(tool::source("app.py"));
                command
            }
            Sdk::PythonInstrumented => {
                let mut command = instrumented(pod)?;
                command.arg("python").arg(tool::source("app.py"));
                command
            }
            Sdk::Node => {
                let mut command = pod.command("node")?;
                command.arg(tool::source("app.js")).arg(tool::made("node")?);
                command
            }
        };
        env.clone().or("OTEL_SERVICE_NAME", &pod.name).apply(&mut command);
        Ok(Self {
            process: Proc::start(command)?,
        })
    }

    /// Waits until its SDK is set up.
    ///
    /// # Errors
    /// When it ends, or takes too long.
    pub fn ready(&self) -> Result<()> {
        self.process
            .json("that it is ready", SOON, |line| line["ready"] == true)
            .map(drop)
    }

    /// Its process.
    #[must_use]
    pub fn process(&self) -> &Proc {
        &self.process
    }

    /// Makes a span, a count and a log record every so many milliseconds from now on; or only some of them.
    ///
    /// # Errors
    /// When it has ended.
    pub fn work(&mut self, every_ms: u32, signals: &[&str]) -> Result<()> {
        let mut line = format!("work {every_ms}");
        for signal in signals {
            line = format!("{line} {signal}");
        }
        self.process.tell(&line)
    }

    /// No more spans, counts and records; the instruments stay.
    ///
    /// # Errors
    /// When it has ended.
    pub fn rest(&mut self) -> Result<()> {
        self.process.tell("rest")
    }

    /// Makes an instrument and records nothing with it.
    ///
    /// # Errors
    /// When it has ended.
    pub fn instruments(&mut self) -> Result<()> {
        self.process.tell("instruments")
    }

    /// Shuts the SDK down and waits until that is done; the process goes on.
    ///
    /// # Errors
    /// When it has ended, or takes too long.
    pub fn shut_down(&mut self) -> Result<()> {
        self.process.tell("shutdown")?;
        self.process
            .json("that it shut down", SOON, |line| line["done"] == "shutdown")
            .map(drop)
    }

    /// Waits until it says that an export of a signal came out so; only [`Sdk::Python`] says that.
    ///
    /// # Errors
    /// When it ends, or takes too long.
    pub fn exported(&self, signal: &str, result: &str) -> Result<Value> {
        self.process
            .json(&format!("an export of {signal} that is {result}"), SOON, |line| {
                line["signal"] == signal && line["export"] == result
            })
    }

    /// Ends it, as a killed container's process does.
    pub fn kill(self) {
        drop(self);
    }
}

impl Env {
    /// Sets a variable that is not set.
    fn or(self, name: &str, value: &str) -> Self {
        if self.0.iter().any(|(there, _)| there == name) {
            self
        } else {
            self.set(name, value)
        }
    }
}

/// `opentelemetry-instrument` in a pod, whose PATH has the environment it belongs to.
fn instrumented(pod: &Pod) -> Result<Command> {
    let bin = tool::made("python")?.join("bin");
    let mut command = pod.command(bin.join("opentelemetry-instrument"))?;
    command.env("PATH", format!("{}:/usr/bin:/bin", bin.display()));
    Ok(command)
}

/// How OpenTelemetry comes into a Python service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Injection {
    /// `opentelemetry-instrument` before its command.
    Command,
    /// PYTHONPATH, as the operator's init container and people without an operator do it.
    Variable,
    /// Not at all.
    Missing,
}

/// A Flask service under gunicorn with two workers, instrumented from outside; port 8080. gunicorn writes titles over
/// the environment of its processes (setproctitle).
///
/// # Errors
/// When it does not listen.
pub fn flask(pod: &Pod, injection: Injection, env: &Env) -> Result<Proc> {
    let mut command = match injection {
        Injection::Command => {
            let mut command = instrumented(pod)?;
            command.arg("gunicorn");
            command
        }
        Injection::Variable => {
            let python = tool::made("python")?;
            let packages = packages(&python)?;
            let hook = packages.join("opentelemetry/instrumentation/auto_instrumentation");
            let mut command = pod.command(python.join("bin/gunicorn"))?;
            command.env("PYTHONPATH", format!("{}:{}", hook.display(), packages.display()));
            command
        }
        Injection::Missing => pod.command(tool::made("python")?.join("bin/gunicorn"))?,
    };
    command
        .args(["--workers", "2", "--bind", "0.0.0.0:8080", "--chdir"])
        .arg(tool::source(""))
        .arg("service:app");
    match injection {
        Injection::Missing => env.apply(&mut command),
        _ => env.clone().or("OTEL_SERVICE_NAME", &pod.name).apply(&mut command),
    }
    let service = Proc::start(command)?;
    let mut workers = 0;
    let booted = service.err().find(SOON, |line| {
        workers += u32::from(line.contains("Booting worker"));
        (workers == 2).then_some(())
    });
    if booted.is_none() {
        bail!("gunicorn has no workers: {}", service.err().all().join(" | "));
    }
    Ok(service)
}

/// `site-packages` of a virtual environment.
fn packages(python: &Path) -> Result<PathBuf> {
    for version in fs::read_dir(python.join("lib"))? {
        let packages = version?.path().join("site-packages");
        if packages.exists() {
            return Ok(packages);
        }
    }
    bail!("{} has no site-packages", python.display())
}

/// The Go service `image-gallery`, port 8080, whose build information names OpenTelemetry's exporters. It exports once
/// per `OTEL_METRIC_EXPORT_INTERVAL`, or, when it `forgets`, never.
///
/// # Errors
/// When it does not come up.
pub fn image_gallery(pod: &Pod, env: &Env, forgets: bool) -> Result<Proc> {
    let mut command = pod.command(tool::made("go")?.join("image-gallery"))?;
    command.args(forgets.then_some("forgets"));
    env.apply(&mut command);
    let service = Proc::start(command)?;
    service.json("that it is ready", SOON, |line| line["ready"] == true)?;
    Ok(service)
}

/// Requests `/` of a service on port 8080 from another pod, every so many milliseconds, until it is dropped.
///
/// # Errors
/// When the first request is not answered.
pub fn visitor(from: &Pod, service: &Pod, every_ms: u32) -> Result<Proc> {
    let to = format!("{}:8080", service.v4);
    let visitor = from.tool(["get", &to, "--every", &every_ms.to_string()])?;
    visitor.json("an answer", SOON, |line| line["status"] == 200)?;
    Ok(visitor)
}
