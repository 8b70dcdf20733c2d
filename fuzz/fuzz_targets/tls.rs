//! Any records of both sides of a TLS connection: each is a byte of flags, a content type, a length, and that many bytes.
//! At most one outcome comes of it, with names fit for a terminal.
#![no_main]

use libfuzzer_sys::fuzz_target;
use obsflow::decode::http::{Conversation, End, Said, Segment};
use obsflow::model::event::Direction;
use obsflow::model::time::Mono;

fuzz_target!(|data: &[u8]| {
    let mut data = data;
    let mut conversation = Conversation::default();
    let mut out = Vec::new();
    let mut offsets = [0u64; 2];
    let mut first = true;
    while let [flags, kind, len, rest @ ..] = data {
        let (body, rest) = rest.split_at(rest.len().min(usize::from(*len)));
        data = rest;
        let ingress = flags & 1 != 0 && !first;
        let kind = if first { 22 } else { 20 + kind % 5 };
        first = false;
        // The record may be longer than what is captured of it.
        let more = u16::from(flags >> 4) * 40;
        let record_len = u16::try_from(body.len()).unwrap_or(u16::MAX) + more;
        let [hi, lo] = record_len.to_be_bytes();
        let mut bytes = vec![kind, 3, 3, hi, lo];
        bytes.extend_from_slice(body);
        let offset = &mut offsets[usize::from(ingress)];
        if flags & 14 == 14 {
            *offset += 77;
        }
        let segment = Segment {
            at: Mono(1),
            direction: if ingress {
                Direction::Ingress
            } else {
                Direction::Egress
            },
            offset: *offset,
            wire_len: 5 + u32::from(record_len),
            late: flags & 12 == 12,
            h2_frame: false,
            bytes: &bytes,
        };
        conversation.hear(&segment, &mut out);
        *offset += 5 + u64::from(record_len);
    }
    conversation.end(
        &End {
            at: Mono(2),
            rst: false,
            by_peer: true,
            received: offsets[1],
        },
        &mut out,
    );
    assert!(out.len() <= 2, "{out:?}");
    for said in &out {
        if let Said::Tls(tls) = said {
            assert!(tls.alpn.len() <= 8);
            for name in tls.alpn.iter().chain(&tls.sni) {
                assert!(name.len() <= 255 && name.bytes().all(|b| b.is_ascii_graphic()));
            }
        }
    }
});
