//! What `obsflow observe` on its own node and `obsflow replay` do with observations: make flows of them, and show those.

use std::io::{self, Stderr, Write};
use std::ops::ControlFlow;
use std::sync::Arc;

use jiff::Timestamp;

use super::show::Show;
use crate::config::View;
use crate::flow::FlowMaker;
use crate::model::{Clock, Observation};

/// Shows observations as flows.
#[derive(Debug)]
pub struct ObserveSink<W: Write> {
    maker: FlowMaker,
    show: Show<W, Stderr>,
}

impl<W: Write> ObserveSink<W> {
    /// Prints to `out`; `clock` turns the observations' time into wall-clock time.
    pub fn new(view: &View, node_name: Arc<str>, clock: Clock, out: W) -> Self {
        Self {
            maker: FlowMaker { clock, node_name },
            // Nobody relays here.
            show: Show::new(view, out, None),
        }
    }

    /// Takes one observation. What is printed becomes visible with [`Self::flush`]: call it after each batch.
    /// `Break` means that nothing more will be printed: enough was, or nobody reads any more.
    ///
    /// # Errors
    /// When writing fails, but for a reader that went away.
    pub fn push(&mut self, observation: &Observation) -> io::Result<ControlFlow<()>> {
        if self.show.is_done() {
            return Ok(ControlFlow::Break(()));
        }
        let mut response = self.maker.make_without_summary(observation);
        if !self.show.wants(&response) {
            return Ok(ControlFlow::Continue(()));
        }
        FlowMaker::add_summary(&mut response, observation);
        self.show.take(response)
    }

    /// Makes everything printed visible. `Break` means that nobody reads any more.
    ///
    /// # Errors
    /// When writing fails, but for a reader that went away.
    pub fn flush(&mut self) -> io::Result<ControlFlow<()>> {
        self.show.flush()
    }

    /// Prints what waits for the end. Returns how many flows were printed.
    ///
    /// # Errors
    /// When writing fails, but for a reader that went away.
    pub fn finish(self) -> io::Result<u64> {
        self.show.finish()
    }

    /// When a live reader ends.
    #[must_use]
    pub fn until(&self) -> Option<Timestamp> {
        self.show.until()
    }
}
