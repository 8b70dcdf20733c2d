//! Whole stories: what an exporter does, and what is said of it.

mod answers;
mod carried;
mod cluster;
mod configured;
mod connects;
mod injection;
mod lookups;
mod properties;
mod proxied;
mod quiet;
mod scene;
mod sidecars;
