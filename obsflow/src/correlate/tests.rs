//! Whole scenes: events in, observations out.

mod bounds;
mod connections;
mod lookups;
mod queries;
mod scene;
