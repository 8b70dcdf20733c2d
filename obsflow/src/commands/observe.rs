//! `obsflow observe`: flows of this node, as they happen.

use std::io::{self, Write};
use std::ops::ControlFlow;

use jiff::Timestamp;

use super::{announce, summarise, until_signal};
use crate::config::Observe;
use crate::model::{Clock, Observation};
use crate::session::status::node_name;
use crate::session::{Purpose, Session, Sink, Stop};
use crate::sinks::ObserveSink;

pub(super) fn run(config: &Observe) -> anyhow::Result<()> {
    let stop = Stop::default();
    until_signal(&stop, || {
        let mut session = Session::open(&config.live, Purpose::Watch)?;
        if !config.notice.is_empty() {
            let _ = writeln!(io::stderr(), "{}", config.notice);
        }
        announce(&session);
        let out = io::stdout();
        let mut sink = Printing {
            sink: ObserveSink::new(&config.view, node_name().into(), Clock::now(), out),
        };
        let watched = session.run(&stop, &mut sink);
        sink.sink.finish()?;
        summarise(&session);
        Ok(watched?)
    })
}

/// Prints what arrives.
struct Printing<W: Write> {
    sink: ObserveSink<W>,
}

impl<W: Write> Sink for Printing<W> {
    fn observations(&mut self, observations: &[Observation]) -> io::Result<ControlFlow<()>> {
        let mut flow = ControlFlow::Continue(());
        for observation in observations {
            flow = self.sink.push(observation)?;
            if flow.is_break() {
                break;
            }
        }
        if self.sink.flush()?.is_break() {
            flow = ControlFlow::Break(());
        }
        Ok(flow)
    }

    fn idle(&mut self) -> io::Result<ControlFlow<()>> {
        // Live, `--until` is a moment to come.
        Ok(match self.sink.until() {
            Some(until) if Timestamp::now() >= until => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        })
    }
}
