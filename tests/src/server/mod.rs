//! Real servers and real exporters.

pub mod containerd;
pub mod dns;
pub mod kube;
pub mod mesh;
pub mod otlp;
pub mod prometheus;
pub mod proxy;
pub mod tls;
