//! Hubble's API, so that its clients understand an agent.

mod client;
mod dial;
mod flows;
pub mod json;
mod mask;
pub mod message;
mod observer;
mod peer;
mod place;
pub mod read;
mod reader;

#[cfg(test)]
mod dial_tests;
#[cfg(test)]
mod read_tests;
#[cfg(test)]
mod tests;

pub use client::{Client, Flows, Next, ObserverError, PeerChanges};
pub use dial::{DialError, ServerAddress, ServerAddressError, Tls};
pub use observer::Observer;
pub use peer::{Nodes, Peer, Peers, Place};

/// What the files of `proto/` generate that have Hubble's names and numbers.
#[expect(
    missing_docs,
    unused_qualifications,
    clippy::allow_attributes,
    clippy::allow_attributes_without_reason,
    reason = "generated code; the .proto files have the documentation"
)]
pub mod proto {
    /// A flow and what is in it.
    pub mod flow {
        tonic::include_proto!("flow");
    }
    /// Asking for flows.
    pub mod observer {
        tonic::include_proto!("observer");
    }
    /// Who else serves.
    pub mod peer {
        tonic::include_proto!("peer");
    }
    /// How nodes are.
    pub mod relay {
        tonic::include_proto!("relay");
    }
}

/// What the files of `proto/` say that are served, as reflection tells it: an encoded `google.protobuf.FileDescriptorSet`.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/api.bin"));

/// Header by which a server says its version.
pub const VERSION_HEADER: &str = "hubble-server-version";

/// What it says: the version of Hubble whose API this is, and as build metadata whose it is. Hubble's clients compare the
/// first two numbers with theirs.
pub const VERSION: &str = concat!("1.19.4+obsflow.", env!("CARGO_PKG_VERSION"));

/// As [`proto::observer::ServerStatusResponse::version`] has it.
pub const SERVER: &str = concat!("obsflow v", env!("CARGO_PKG_VERSION"));
