//! Whole stories: what an exporter does, and what is said of it.

mod connects;
mod lookups;
mod scene;
