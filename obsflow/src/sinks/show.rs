//! What every command that shows flows does with them, wherever they come from: select, filter, print.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::ops::ControlFlow;

use jiff::Timestamp;

use super::printer::Printer;
use crate::config::View;
use crate::filter::FilterSet;
use crate::model::flow::{Body, FlowType, Response};

/// Which part of the flows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Selector {
    /// How many; `None` for all.
    pub number: Option<u64>,
    /// Of those, the newest instead of the first: nothing is printed before the end.
    pub newest: bool,
    /// Nothing before this.
    pub since: Option<Timestamp>,
    /// Nothing after this. Who reads live ends then.
    pub until: Option<Timestamp>,
}

impl Selector {
    fn contains(&self, time: Timestamp) -> bool {
        self.since.is_none_or(|since| time >= since) && self.until.is_none_or(|until| time <= until)
    }
}

/// Selects, filters and prints responses. What relays say of their nodes goes to another writer than flows.
#[derive(Debug)]
pub struct Show<W: Write, E: Write> {
    filters: FilterSet,
    socket_state: bool,
    selector: Selector,
    printer: Printer<W>,
    /// For what is no flow; `None` when nobody wants to hear of it.
    aside: Option<E>,
    /// The newest so far, with what was lost between them.
    newest: VecDeque<Response>,
    /// Flows in `newest`.
    newest_flows: u64,
    /// Flows printed.
    printed: u64,
    /// Nobody reads any more.
    closed: bool,
}

impl<W: Write, E: Write> Show<W, E> {
    /// Prints to `out`, and what is no flow to `aside`.
    pub fn new(view: &View, out: W, aside: Option<E>) -> Self {
        Self {
            socket_state: view.socket_state,
            filters: view.filters.clone(),
            selector: view.selector,
            printer: Printer::new(view.printer, out),
            aside,
            newest: VecDeque::new(),
            newest_flows: 0,
            printed: 0,
            closed: false,
        }
    }

    /// Whether it will be printed, if there is room for it.
    #[must_use]
    pub fn wants(&self, response: &Response) -> bool {
        // Every connection reports its state every few seconds: only for those who ask.
        let shown = match &response.body {
            Body::Flow(flow) => {
                flow.layer != FlowType::Sock || flow.extensions.tcp_info.is_none() || self.socket_state
            }
            Body::LostEvents(_) | Body::NodeStatus(_) => true,
        };
        shown && self.selector.contains(response.time) && self.filters.wants(response)
    }

    /// Prints a response that is wanted, or keeps it until the end. It becomes visible with [`Self::flush`]: call that after
    /// each batch. `Break` means that nothing more will be printed: enough was, or nobody reads any more.
    ///
    /// # Errors
    /// When writing fails, but for a reader that went away.
    pub fn take(&mut self, response: Response) -> io::Result<ControlFlow<()>> {
        if self.is_done() {
            return Ok(ControlFlow::Break(()));
        }
        if let Body::NodeStatus(status) = &response.body {
            if let Some(aside) = &mut self.aside {
                let text = self.printer.node_status(&response, status)?;
                aside.write_all(text.as_bytes())?;
            }
            return Ok(ControlFlow::Continue(()));
        }
        if self.selector.newest && self.selector.number.is_some() {
            self.keep(response);
        } else {
            let result = self.print(&response);
            self.unless_closed(result)?;
        }
        Ok(if self.is_done() {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        })
    }

    /// Makes everything printed visible. `Break` means that nobody reads any more.
    ///
    /// # Errors
    /// When writing fails, but for a reader that went away.
    pub fn flush(&mut self) -> io::Result<ControlFlow<()>> {
        if !self.closed {
            let result = self.printer.flush();
            self.unless_closed(result)?;
        }
        Ok(if self.closed {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        })
    }

    /// Prints what waits for the end. Returns how many flows were printed.
    ///
    /// # Errors
    /// When writing fails, but for a reader that went away.
    pub fn finish(mut self) -> io::Result<u64> {
        let result = self.print_rest();
        self.unless_closed(result)?;
        Ok(self.printed)
    }

    /// When a live reader ends.
    #[must_use]
    pub fn until(&self) -> Option<Timestamp> {
        self.selector.until
    }

    /// Whether nothing more will be printed.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.closed
            || (!self.selector.newest && self.selector.number.is_some_and(|number| self.printed >= number))
    }

    fn keep(&mut self, response: Response) {
        self.newest_flows += u64::from(is_flow(&response));
        self.newest.push_back(response);
        let number = self.selector.number.unwrap_or(u64::MAX);
        while self.newest_flows > number {
            let Some(oldest) = self.newest.pop_front() else {
                break;
            };
            self.newest_flows -= u64::from(is_flow(&oldest));
        }
    }

    fn print(&mut self, response: &Response) -> io::Result<()> {
        self.printer.print(response)?;
        self.printed += u64::from(is_flow(response));
        Ok(())
    }

    fn print_rest(&mut self) -> io::Result<()> {
        if self.closed {
            return Ok(());
        }
        for response in std::mem::take(&mut self.newest) {
            self.print(&response)?;
        }
        self.printer.finish()
    }

    /// A reader that went away (`| head`) is an end, not an error.
    fn unless_closed(&mut self, result: io::Result<()>) -> io::Result<()> {
        match result {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.closed = true;
                Ok(())
            }
            other => other,
        }
    }
}

fn is_flow(response: &Response) -> bool {
    matches!(response.body, Body::Flow(_))
}
