//! The gRPC API of an agent: Hubble's Observer and Peer, and `obsflow.v1`; messages, servers and a client.

pub mod address;
mod calls;
mod client;
mod connection;
pub mod convert;
pub mod hubble;
mod incoming;
mod listener;
mod once;
mod places;
mod probe;
mod remote;
mod server;
mod tls;

#[cfg(test)]
mod port_tests;
#[cfg(test)]
mod tests;

pub use address::{Address, AddressError, DEFAULT};
pub use client::{Client, ClientError, Next, Reported, Reports};
pub use listener::{Listener, ServeError};
pub use remote::{Remote, RemoteError, RemoteReports};
pub use server::{Publisher, Server};
pub use tls::{GRPC, METRICS, TlsFiles};
pub(crate) use tls::{Tls, certificate_name, server_name};

/// What `proto/obsflow/v1/diagnosis.proto` generates.
#[expect(
    unused_qualifications,
    clippy::allow_attributes,
    clippy::allow_attributes_without_reason,
    reason = "generated code; the .proto file has the documentation"
)]
pub mod v1 {
    tonic::include_proto!("obsflow.v1");
}
