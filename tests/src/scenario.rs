//! What scenarios are made of.

use std::net::SocketAddr;

use anyhow::Result;
use serde_json::Value;

use crate::fault::{self, Broken, Fault};
use crate::flow::Flow;
use crate::lab::Lab;
use crate::lab::pod::{Pod, PodSpec};
use crate::obsflow::Obsflow;
use crate::process::Proc;
use crate::wait::{self, SOON};

/// Runs one of `lab-tool`'s programs in a pod and gives the first line it prints.
///
/// # Errors
/// When it fails or says nothing.
pub fn says(pod: &Pod, args: &[&str]) -> Result<Value> {
    pod.tool(args)?.json("what became of it", SOON, |_| true)
}

/// Connects from a pod, gives up after `deadline_ms`, and says what became of it.
///
/// # Errors
/// When the program fails.
pub fn connect(pod: &Pod, to: SocketAddr, deadline_ms: u32) -> Result<Value> {
    says(
        pod,
        &["connect", &to.to_string(), "--deadline", &deadline_ms.to_string()],
    )
}

/// Waits until somebody listens at an address, asked from a pod.
///
/// # Errors
/// When nobody does in time.
pub fn listens(pod: &Pod, to: SocketAddr) -> Result<()> {
    wait::until(format!("somebody to listen at {to}"), SOON, || {
        Ok((connect(pod, to, 1000)?["result"] == "established").then_some(()))
    })
}

/// A server that echoes, on one port, IPv4 and IPv6.
#[derive(Debug)]
pub struct Echo {
    server: Option<Proc>,
    port: u16,
    /// Where it lives.
    pub pod: Pod,
}

impl Echo {
    /// Starts one on node 1.
    ///
    /// # Errors
    /// When it does not listen.
    pub fn start(lab: &Lab, port: u16) -> Result<Self> {
        Self::start_in(lab.pod(PodSpec::new("observability/echo").node(1))?, port)
    }

    /// Starts one in a pod that exists.
    ///
    /// # Errors
    /// When it does not listen.
    pub fn start_in(pod: Pod, port: u16) -> Result<Self> {
        let server = pod.tool(["serve", &format!("[::]:{port}")])?;
        server.json("that it listens", SOON, |line| line["listening"] == true)?;
        Ok(Self {
            server: Some(server),
            port,
            pod,
        })
    }

    /// Its address over IPv4.
    #[must_use]
    pub fn v4(&self) -> SocketAddr {
        SocketAddr::new(self.pod.v4.into(), self.port)
    }

    /// Its address over IPv6.
    #[must_use]
    pub fn v6(&self) -> SocketAddr {
        SocketAddr::new(self.pod.v6.into(), self.port)
    }

    /// Both, IPv4 first.
    #[must_use]
    pub fn both(&self) -> [SocketAddr; 2] {
        [self.v4(), self.v6()]
    }

    /// Ends it: connects are answered by RST from now on.
    pub fn stop(&mut self) {
        self.server = None;
    }
}

/// Makes the addresses of a pod on node 1 a black hole that no rule and no drop explains.
///
/// # Errors
/// When `ip` refuses.
pub fn black_hole(lab: &Lab, pod: &Pod) -> Result<[Broken; 2]> {
    let node = &lab.node(1)?.netns;
    let [v4, v6] = pod.ips();
    Ok([
        fault::apply(node, Fault::BlackHole(v4))?,
        fault::apply(node, Fault::BlackHole(v6))?,
    ])
}

impl Flow {
    /// Whether it says this event with this outcome.
    #[must_use]
    pub fn is(&self, event: &str, outcome: &str) -> bool {
        self.event() == event && self.outcome() == outcome
    }

    /// Whether it goes to this address.
    #[must_use]
    pub fn to(&self, to: SocketAddr) -> bool {
        self.text("/IP/destination").parse() == Ok(to.ip()) && self.has_port(to.port())
    }

    /// Whether its source is this pod, by name and namespace.
    #[must_use]
    pub fn from(&self, pod: &Pod) -> bool {
        self.text("/source/pod_name") == pod.name && self.text("/source/namespace") == pod.namespace
    }
}

impl Obsflow<'_> {
    /// Waits until the end of an attempt from a pod to an address is shown.
    ///
    /// # Errors
    /// When it is not shown.
    pub fn failure(&self, pod: &Pod, to: SocketAddr) -> Result<Flow> {
        self.wait_for(&format!("the failed connect from {} to {to}", pod.name), |flow| {
            flow.event() == "connect-failed" && flow.from(pod) && flow.to(to)
        })
    }

    /// Waits until an established connection from a pod to an address is shown.
    ///
    /// # Errors
    /// When it is not shown.
    pub fn established(&self, pod: &Pod, to: SocketAddr) -> Result<Flow> {
        self.wait_for(&format!("the connection from {} to {to}", pod.name), |flow| {
            flow.is("established", "established") && flow.from(pod) && flow.to(to)
        })
    }

    /// Waits until the end of a connection from a pod to an address is shown.
    ///
    /// # Errors
    /// When it is not shown.
    pub fn closed(&self, pod: &Pod, to: SocketAddr) -> Result<Flow> {
        self.wait_for(
            &format!("the end of the connection from {} to {to}", pod.name),
            |flow| flow.event() == "closed" && flow.from(pod) && flow.to(to),
        )
    }

    /// Waits until the outcome of a look-up in a pod is shown.
    ///
    /// # Errors
    /// When it is not shown.
    pub fn lookup(&self, pod: &Pod, name: &str) -> Result<Flow> {
        self.wait_for(
            &format!("what became of the look-up of {name} in {}", pod.name),
            |flow| {
                flow.event() == "lookup" && flow.from(pod) && {
                    let found = flow.ext_text("/lookup/name");
                    found == name || found.strip_prefix(name).is_some_and(|rest| rest.starts_with('.'))
                }
            },
        )
    }

    /// Checks that everything was shown by now and nothing of it says that a pod has a problem.
    ///
    /// # Errors
    /// When a flow of the pod is a failure.
    pub fn quiet(&self, pod: &Pod) -> Result<()> {
        self.sentinel()?;
        self.never("a failure of a healthy pod", |flow| {
            flow.of_pod(&pod.name) && flow.is_failure()
        })
    }
}
