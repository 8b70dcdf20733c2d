//! The lab: nodes and pods as network namespaces, with real servers, exporters and faults.
//!
//! One call makes a pod ([`Lab::pod`]), one breaks something ([`fault::apply`]), one waits for a flow
//! ([`Obsflow::wait_for`]). Everything needs root. Several labs may run at once: each takes a slot of its own, with its
//! own addresses, cgroups and folder, and what a killed test left behind is removed when the next lab starts.

pub mod app;
pub mod bpf;
pub mod case;
pub mod container;
pub mod demo;
pub mod doctor;
pub mod draw;
mod example;
pub mod fault;
pub mod flow;
pub mod hubble;
pub mod lab;
pub mod manifests;
pub mod obsflow;
pub mod process;
pub mod rewrite;
pub mod scenario;
pub mod scrape;
pub mod server;
pub mod tool;
pub mod wait;

pub use case::Case;
pub use doctor::Doctor;
pub use flow::Flow;
pub use lab::Lab;
pub use lab::pod::{Driver, Pod, PodSpec, Runtime};
pub use obsflow::Obsflow;
pub use process::Proc;
