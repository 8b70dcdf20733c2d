//! Any segments of both sides of a connection: each is a byte of flags, a byte how far it moves from where it should be,
//! a length, and that many bytes. What comes out is bounded and fit for a terminal.
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
    let mut segments = 0;
    while let [flags, jump, len, rest @ ..] = data {
        let (bytes, rest) = rest.split_at(rest.len().min(usize::from(*len)));
        data = rest;
        segments += 1;
        let ingress = flags & 1 != 0;
        let offset = &mut offsets[usize::from(ingress)];
        *offset = match flags >> 1 & 3 {
            0 | 3 => *offset,
            1 => offset.saturating_sub((*jump).into()),
            _ => offset.saturating_add(u64::from(*jump) << (flags >> 5)),
        };
        let wire_len = u32::from(*len) + if flags & 8 == 0 { 0 } else { u32::from(*jump) };
        let segment = Segment {
            at: Mono(segments),
            direction: if ingress {
                Direction::Ingress
            } else {
                Direction::Egress
            },
            offset: *offset,
            wire_len,
            late: flags & 16 != 0,
            h2_frame: flags & 6 == 6,
            bytes,
        };
        conversation.hear(&segment, &mut out);
        *offset = offset.saturating_add(wire_len.into());
    }
    conversation.end(
        &End {
            at: Mono(segments + 1),
            rst: segments % 2 == 0,
            by_peer: segments % 3 == 0,
            received: offsets[1],
        },
        &mut out,
    );
    // A head takes 20 bytes at least, a frame 9: nothing comes out of nothing.
    for said in &out {
        let Said::Request(request) = said else { continue };
        for text in [&request.method, &request.path, &request.authority]
            .into_iter()
            .flatten()
        {
            assert!(
                text.len() <= 3 * 512 && text.bytes().all(|b| b.is_ascii_graphic()),
                "{text:?}"
            );
            assert!(
                !text.contains('?') || Some(text) == request.method.as_ref(),
                "{text:?}"
            );
        }
        if let Some(agent) = &request.user_agent {
            assert!(agent.len() <= 128 && agent.bytes().all(|b| b == b' ' || b.is_ascii_graphic()));
        }
    }
});
