//! Flows of this node, as they happen.

use std::io::{self, Write};
use std::ops::ControlFlow;

use anyhow::Context as _;
use jiff::Timestamp;

use super::super::{announce, summarise, until_signal};
use super::{say_unknowable, view};
use crate::config::Observe;
use crate::model::{Clock, Observation};
use crate::session::status::node_name;
use crate::session::{Purpose, Session, Sink, Stop};
use crate::sinks::ObserveSink;

pub(super) fn run(config: &Observe) -> anyhow::Result<()> {
    let own = config
        .part
        .own
        .clone()
        .context("no agent listens here, so this node is watched from now on")?;
    let filters = config.filters.clone()?;
    let stop = Stop::default();
    until_signal(&stop, || {
        let mut session = Session::open(&config.live, Purpose::Watch)?;
        if !config.silent {
            let _ = writeln!(io::stderr(), "{}", own.notice);
            announce(&session);
        }
        say_unknowable(config);
        let view = view(config, own.selector, filters);
        let mut sink = Printing {
            sink: ObserveSink::new(&view, node_name().into(), Clock::now(), io::stdout()),
        };
        let watched = session.run(&stop, &mut sink);
        sink.sink.finish()?;
        if !config.silent {
            summarise(&session);
        }
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
