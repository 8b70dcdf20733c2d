//! Metrics for Prometheus: counted on the session's thread, read by whoever scrapes.

pub mod families;
