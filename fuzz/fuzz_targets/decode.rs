//! Any bytes as one record: an event or an error, and an event of a DNS message goes on to the DNS parser.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use obsflow::decode::{decode, dns::message::parse};
use obsflow::model::EventBody;
use obsflow::model::event::Protocol;

fuzz_target!(|data: &[u8]| {
    let Ok(event) = decode(Bytes::copy_from_slice(data)) else {
        return;
    };
    match event.body {
        EventBody::Dns {
            message, wire_len, ..
        } => {
            let _ = parse(&message, wire_len as usize, Protocol::Udp);
        }
        EventBody::Cgroup { path } => assert!(!path.chars().any(char::is_control)),
        EventBody::Attempt { comm, .. } => assert!(!comm.to_string().chars().any(char::is_control)),
        _ => {}
    }
});
