//! What `obsflow doctor` prints: a table for people, JSON for programs, and pages that explain a verdict. Everything here
//! is a function of a report; nothing looks at a clock or a terminal.

mod cluster;
mod draw;
mod explain;
mod json;
mod names;
mod probed;
mod rows;
mod screen;
mod select;
mod table;
mod view;

#[cfg(test)]
mod cluster_tests;
#[cfg(test)]
pub(crate) mod samples;
#[cfg(test)]
mod tests;

pub use explain::explain;
pub use json::json;
pub use names::{near, workload as workload_name};
pub use probed::Probes;
pub use rows::age;
pub use screen::Screen;
pub use select::{Selectors, WorkloadError};
pub use table::{table, wide};
pub use view::{EXIT_FINDINGS, EXIT_NOTHING, EXIT_UNKNOWN, View};

/// How a table is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// With colours.
    pub color: bool,
    /// With characters beyond ASCII.
    pub unicode: bool,
    /// Columns there are.
    pub width: usize,
    /// List what is healthy, however much else there is.
    pub all: bool,
}

/// Columns of output that is no terminal.
pub const WIDTH: usize = 100;

impl Default for Options {
    fn default() -> Self {
        Self {
            color: false,
            unicode: true,
            width: WIDTH,
            all: false,
        }
    }
}

/// Who says it, and which of its clocks.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// Name of the node.
    pub node: &'a str,
    /// Its clock.
    pub clock: crate::model::Clock,
}
