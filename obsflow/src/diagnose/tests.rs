//! Whole stories: what an exporter does, and what is said of it.

mod answers;
mod configured;
mod connects;
mod lookups;
mod properties;
mod quiet;
mod scene;
mod sidecars;
