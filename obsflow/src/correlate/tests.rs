//! Whole scenes: events in, observations out.

mod bounds;
mod connections;
mod exchanges;
mod lookups;
mod queries;
mod scene;
