//! `obsflow record`: raw records to a file.

use std::io::{self, Write as _};
use std::ops::ControlFlow;
use std::time::Instant;

use anyhow::Context as _;
use bytes::Bytes;

use super::{announce, summarise, until_signal};
use crate::capture::{FileHeader, Options, Writer};
use crate::config::Record;
use crate::model::Observation;
use crate::session::{Purpose, Session, Sink, Stop};

pub(super) fn run(config: &Record) -> anyhow::Result<()> {
    let stop = Stop::default();
    until_signal(&stop, || {
        let mut session = Session::open(&config.live, Purpose::Watch)?;
        let options = Options {
            payload: config.live.payload,
            overwrite: config.force,
        };
        let writer = Writer::create(&config.file, &FileHeader::of_this_machine(), options)?;
        announce(&session);
        let mut sink = Recording {
            writer,
            failed: None,
            until: config.duration.map(|duration| Instant::now() + duration),
        };
        let watched = session.run(&stop, &mut sink);
        summarise(&session);
        if let Some(error) = sink.failed {
            return Err(error.into());
        }
        watched?;
        let bytes = sink.writer.bytes();
        let records = sink.writer.finish().context("closing the capture file")?;
        let _ = writeln!(
            io::stderr(),
            "obsflow: {records} records, {bytes} bytes in {}",
            config.file.display()
        );
        Ok(())
    })
}

/// Writes what arrives.
struct Recording {
    writer: Writer,
    failed: Option<crate::capture::CaptureError>,
    until: Option<Instant>,
}

impl Sink for Recording {
    fn wants_records(&self) -> bool {
        true
    }

    fn records(&mut self, records: &[Bytes]) -> io::Result<()> {
        for record in records {
            if self.failed.is_none()
                && let Err(error) = self.writer.write(record)
            {
                self.failed = Some(error);
            }
        }
        Ok(())
    }

    fn wants_observations(&self) -> bool {
        false
    }

    fn observations(&mut self, _: &[Observation]) -> io::Result<ControlFlow<()>> {
        self.idle()
    }

    fn idle(&mut self) -> io::Result<ControlFlow<()>> {
        if self.failed.is_none()
            && let Err(error) = self.writer.flush()
        {
            self.failed = Some(error);
        }
        let over = self.until.is_some_and(|until| Instant::now() >= until);
        Ok(if over || self.failed.is_some() {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        })
    }
}
