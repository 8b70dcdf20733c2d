//! Any bytes as a capture file, through the whole of what a replay does: read, decode, attribute, correlate. State stays
//! within its bounds and is empty at the end of time.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use obsflow::attribute::{self, Attributor};
use obsflow::capture::Reader;
use obsflow::correlate::{Config, Correlator};
use obsflow::decode::decode;
use obsflow::model::{Attributed, Mono};

fuzz_target!(|data: &[u8]| {
    let Ok(reader) = Reader::new(data, Path::new("FILE")) else {
        return;
    };
    let mut attributor = Attributor::new(attribute::Config::replay(), None);
    let config = Config {
        max_queries: 8,
        max_lookups: 8,
        max_connections: 8,
        max_names: 8,
        max_drops: 8,
        max_dns_streams: 2,
        ..Config::default()
    };
    let mut correlator = Correlator::new(config);
    let mut out = Vec::new();
    for record in reader.map_while(Result::ok) {
        let Ok(event) = decode(record) else { continue };
        let (workload, process) = attributor.on(&event);
        let attributed = Attributed {
            event,
            workload,
            process,
        };
        correlator.on(attributed, &mut out);
        let sizes = correlator.sizes();
        assert!(sizes.queries <= 8 && sizes.lookups <= 8 && sizes.connections <= 8 && sizes.names <= 8);
    }
    correlator.expire(Mono(u64::MAX), &mut out);
    let sizes = correlator.sizes();
    assert_eq!((sizes.queries, sizes.lookups), (0, 0));
});
