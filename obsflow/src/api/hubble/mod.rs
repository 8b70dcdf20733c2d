//! Hubble's API, so that its clients understand an agent.

pub mod json;
pub mod message;
pub mod read;

#[cfg(test)]
mod read_tests;

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
