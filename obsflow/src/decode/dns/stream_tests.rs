//! DNS over TCP, in pieces.

use proptest::prelude::*;

use super::*;

fn framed(messages: &[Vec<u8>]) -> Vec<u8> {
    let mut out = Vec::new();
    for m in messages {
        out.extend_from_slice(&u16::try_from(m.len()).unwrap().to_be_bytes());
        out.extend_from_slice(m);
    }
    out
}

fn push(stream: &mut DnsStream, offset: u64, bytes: &[u8], out: &mut Vec<Framed>) {
    let len = u32::try_from(bytes.len()).unwrap();
    stream.push(offset, len, &Bytes::copy_from_slice(bytes), |f| out.push(f));
}

#[test]
fn prefix_and_message_in_two_segments() {
    let mut stream = DnsStream::default();
    let mut out = Vec::new();
    push(&mut stream, 0, &[0, 3], &mut out);
    assert!(out.is_empty());
    push(&mut stream, 2, b"abc", &mut out);
    assert_eq!(out.len(), 1);
    assert_eq!((&out[0].bytes[..], out[0].wire_len), (&b"abc"[..], 3));
}

#[test]
fn retransmissions_count_once() {
    let mut stream = DnsStream::default();
    let mut out = Vec::new();
    let bytes = framed(&[b"one".to_vec(), b"two".to_vec()]);
    push(&mut stream, 0, &bytes[..4], &mut out);
    push(&mut stream, 0, &bytes[..4], &mut out);
    push(&mut stream, 2, &bytes[2..], &mut out);
    push(&mut stream, 0, &bytes, &mut out);
    assert_eq!(out.len(), 2);
}

#[test]
fn after_a_gap_a_whole_message_is_found_again() {
    let mut stream = DnsStream::default();
    let mut out = Vec::new();
    push(&mut stream, 0, &[0, 9, b'x'], &mut out);
    push(&mut stream, 40, b"rest of something", &mut out);
    assert!(out.is_empty());
    push(&mut stream, 57, &framed(&[b"good".to_vec()]), &mut out);
    assert_eq!(out.len(), 1);
    assert_eq!(&out[0].bytes[..], b"good");
}

#[test]
fn a_stream_joined_late_waits_for_a_beginning() {
    let mut stream = DnsStream::new(true);
    let mut out = Vec::new();
    push(&mut stream, 0, b"middle of a message", &mut out);
    assert!(out.is_empty());
    push(&mut stream, 19, &framed(&[b"good".to_vec()]), &mut out);
    assert_eq!(out.len(), 1);
}

#[test]
fn what_the_capture_cut_is_delivered_cut() {
    let mut stream = DnsStream::default();
    let mut out = Vec::new();
    // 100 bytes on the wire, 20 captured, then the next message.
    let mut head = vec![0, 98];
    head.extend_from_slice(&[7; 18]);
    stream.push(0, 100, &Bytes::from(head), |f| out.push(f));
    assert_eq!((out[0].bytes.len(), out[0].wire_len), (18, 98));
    push(&mut stream, 100, &framed(&[b"next".to_vec()]), &mut out);
    assert_eq!(&out[1].bytes[..], b"next");
}

#[test]
fn a_long_message_is_kept_up_to_the_bound() {
    let mut stream = DnsStream::default();
    let mut out = Vec::new();
    let bytes = framed(&[vec![1; 60_000], b"next".to_vec()]);
    for (n, chunk) in bytes.chunks(1448).enumerate() {
        push(&mut stream, n as u64 * 1448, chunk, &mut out);
        assert!(stream.buffered() <= 4 * MAX_MESSAGE, "{}", stream.buffered());
    }
    assert_eq!((out[0].bytes.len(), out[0].wire_len), (MAX_MESSAGE, 60_000));
    assert_eq!(&out[1].bytes[..], b"next");
}

proptest! {
    #[test]
    fn any_segmentation_gives_the_same_messages(
        messages in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..60), 1..8),
        cuts in proptest::collection::vec(1usize..40, 1..60),
        again in any::<bool>(),
    ) {
        let bytes = framed(&messages);
        let mut stream = DnsStream::default();
        let mut out = Vec::new();
        let mut at = 0;
        let mut cuts = cuts.into_iter().cycle();
        while at < bytes.len() {
            let end = (at + cuts.next().unwrap()).min(bytes.len());
            push(&mut stream, at as u64, &bytes[at..end], &mut out);
            if again {
                let from = at.saturating_sub(5);
                push(&mut stream, from as u64, &bytes[from..end], &mut out);
            }
            at = end;
        }
        let got: Vec<Vec<u8>> = out.iter().map(|f| f.bytes.to_vec()).collect();
        prop_assert_eq!(got, messages);
    }

    #[test]
    fn any_segments_are_bounded(
        segments in proptest::collection::vec(
            (any::<u64>(), any::<u32>(), proptest::collection::vec(any::<u8>(), 0..50)), 0..30),
    ) {
        let mut stream = DnsStream::default();
        for (offset, wire_len, bytes) in segments {
            stream.push(offset, wire_len, &Bytes::from(bytes), |f| assert!(f.bytes.len() <= f.wire_len));
            prop_assert!(stream.buffered() <= 4 * MAX_MESSAGE);
        }
    }
}
