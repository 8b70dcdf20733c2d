//! Any frames of both sides of an HTTP/2 connection: each is a byte of flags, type, frame flags, stream, a length, and that
//! many bytes of a body, of which the connection may lose the beginning of every so many.
#![no_main]

use libfuzzer_sys::fuzz_target;
use obsflow::decode::http::{Conversation, End, Said, Segment};
use obsflow::model::event::Direction;
use obsflow::model::time::Mono;

fuzz_target!(|data: &[u8]| {
    let mut data = data;
    let mut conversation = Conversation::default();
    let mut out = Vec::new();
    let preface: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let settings: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];
    let mut offsets = [0u64; 2];
    let mut hear = |ingress: bool, offsets: &mut [u64; 2], bytes: &[u8], out: &mut Vec<Said>| {
        let offset = &mut offsets[usize::from(ingress)];
        let segment = Segment {
            at: Mono(1),
            direction: if ingress {
                Direction::Ingress
            } else {
                Direction::Egress
            },
            offset: *offset,
            wire_len: u32::try_from(bytes.len()).unwrap_or(u32::MAX),
            late: false,
            h2_frame: true,
            bytes,
        };
        conversation.hear(&segment, out);
        *offset += bytes.len() as u64;
    };
    hear(false, &mut offsets, preface, &mut out);
    hear(true, &mut offsets, settings, &mut out);
    while let [way, kind, flags, stream, len, rest @ ..] = data {
        let (body, rest) = rest.split_at(rest.len().min(usize::from(*len)));
        data = rest;
        let ingress = way & 1 != 0;
        let length = u8::try_from(body.len()).unwrap_or(u8::MAX);
        let mut frame = vec![0, 0, length, kind % 11, *flags, 0, 0, 0, *stream];
        frame.extend_from_slice(body);
        if way & 14 == 14 {
            // Lost to the capture.
            offsets[usize::from(ingress)] += u64::from(*way);
        }
        let (first, second) = frame.split_at(frame.len().min(usize::from(way >> 4)));
        hear(ingress, &mut offsets, first, &mut out);
        hear(ingress, &mut offsets, second, &mut out);
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
    // One end for each request, at most.
    let requests = out.iter().filter(|said| matches!(said, Said::Request(_))).count();
    let exchanges = out
        .iter()
        .filter(|said| matches!(said, Said::Exchange(_)))
        .count();
    assert!(exchanges <= requests, "{exchanges} of {requests}");
});
