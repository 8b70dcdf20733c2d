//! Real servers and real exporters.

pub mod dns;
pub mod otlp;
