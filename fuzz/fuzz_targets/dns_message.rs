//! Any bytes as one DNS message: what comes out is bounded and fit for a terminal.
#![no_main]

use libfuzzer_sys::fuzz_target;
use obsflow::decode::dns::message::{MAX_CNAMES, MAX_RECORDS, parse};
use obsflow::model::event::Protocol;

fuzz_target!(|data: &[u8]| {
    for more in [0, 1000] {
        let Ok(parsed) = parse(data, data.len() + more, Protocol::Udp) else {
            continue;
        };
        let message = parsed.message;
        assert!(message.cnames.len() <= MAX_CNAMES);
        assert!(message.rrtypes.len() <= MAX_RECORDS);
        assert!(message.ips.len() <= MAX_RECORDS);
        for name in message.cnames.iter().chain([&message.name]) {
            assert!(name.len() <= 1016 && name.bytes().all(|b| b.is_ascii_graphic()));
        }
    }
});
