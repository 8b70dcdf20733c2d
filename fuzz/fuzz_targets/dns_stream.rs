//! Any segments of one DNS-over-TCP stream: messages no longer than said, and bounded memory. Each segment is a byte of
//! flags, a byte how far it moves from where it should be, a length, and that many bytes.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use obsflow::decode::dns::message::parse;
use obsflow::decode::dns::stream::{DnsStream, MAX_MESSAGE};
use obsflow::model::event::Protocol;

fuzz_target!(|data: &[u8]| {
    let (late, mut data) = match data.split_first() {
        Some((flags, rest)) => (flags & 1 != 0, rest),
        None => return,
    };
    let mut stream = DnsStream::new(late);
    let mut offset = 0u64;
    while let [flags, jump, len, rest @ ..] = data {
        let (bytes, rest) = rest.split_at(rest.len().min(usize::from(*len)));
        data = rest;
        offset = match flags & 3 {
            0 => offset,
            1 => offset.saturating_sub((*jump).into()),
            2 => offset.saturating_add((*jump).into()),
            _ => u64::from(*jump) << 56,
        };
        let cut = if flags & 4 == 0 {
            0
        } else {
            u32::from(*jump) << (flags >> 4)
        };
        let wire_len = u32::from(*len) + cut;
        stream.push(offset, wire_len, &Bytes::copy_from_slice(bytes), |framed| {
            assert!(framed.bytes.len() <= framed.wire_len.min(MAX_MESSAGE));
            let _ = parse(&framed.bytes, framed.wire_len, Protocol::Tcp);
        });
        assert!(stream.buffered() <= 4 * MAX_MESSAGE);
        offset = offset.saturating_add(wire_len.into());
    }
});
