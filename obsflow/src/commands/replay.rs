//! `obsflow replay`: a capture through the same pipeline, without root and without a kernel.

use std::io;
use std::ops::ControlFlow;

use obsflow_ebpf::abi::record::Header;
use zerocopy::FromBytes as _;

use crate::attribute::{self, Attributor};
use crate::capture::Reader;
use crate::config::Replay;
use crate::correlate::{self, Correlator};
use crate::model::{Mono, Observation};
use crate::pipeline::Pipeline;
use crate::sinks::ObserveSink;

/// Records between two flushes.
const BATCH: usize = 1024;

pub(super) fn run(config: &Replay) -> anyhow::Result<()> {
    let mut reader = Reader::open(&config.file)?;
    let header = reader.header().clone();
    let correlation = correlate::Config {
        query_timeout: config.dns_timeout,
        ..correlate::Config::default()
    };
    // Names come from the capture only: this machine is not the one it was made on.
    let mut pipeline = Pipeline::new(
        Attributor::new(attribute::Config::replay(), None),
        Correlator::new(correlation.clone()),
    );
    let mut sink = ObserveSink::new(
        &config.view,
        header.hostname.as_str().into(),
        header.clock,
        io::stdout(),
    );
    let mut observations = Vec::new();
    let mut last = Mono(0);
    let mut failed = None;
    for (number, record) in reader.by_ref().enumerate() {
        match record {
            Ok(record) => {
                if let Ok((head, _)) = Header::read_from_prefix(&record) {
                    last = last.max(Mono(head.ts_ns));
                }
                pipeline.feed(record, &mut observations);
            }
            Err(error) => {
                failed = Some(error);
                break;
            }
        }
        if number % BATCH == BATCH - 1 && print(&mut sink, &mut observations)?.is_break() {
            break;
        }
    }
    // The recording ended here; what was still open then is over for the reader of it.
    pipeline.expire(
        last.after(correlation.query_timeout).after(correlation.settle),
        &mut observations,
    );
    let _ = print(&mut sink, &mut observations)?;
    sink.finish()?;
    let undecodable = pipeline.counters().undecodable;
    if undecodable > 0 {
        tracing::warn!("{undecodable} records could not be decoded");
    }
    match failed {
        Some(error) => Err(error.into()),
        None => Ok(()),
    }
}

fn print<W: io::Write>(
    sink: &mut ObserveSink<W>,
    observations: &mut Vec<Observation>,
) -> io::Result<ControlFlow<()>> {
    for observation in observations.drain(..) {
        if sink.push(&observation)?.is_break() {
            return Ok(ControlFlow::Break(()));
        }
    }
    Ok(ControlFlow::Continue(()))
}
