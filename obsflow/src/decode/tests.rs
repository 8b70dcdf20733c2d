//! Records to events, good and bad.

use std::net::SocketAddr;
use std::time::Duration;

use obsflow_ebpf::abi::conn::outcome;
use obsflow_ebpf::abi::record::{self, Header, flag, kind, name_space};
use proptest::prelude::*;

use super::sample::{self, Who};
use super::*;
use crate::model::event::{EventBody, Named, Outcome};

const WHO: Who = Who {
    at_ns: 42,
    cgroup: 7,
    cookie: 99,
    netns: 5,
    pid: 1234,
};

fn ends() -> (SocketAddr, SocketAddr) {
    (
        "10.244.1.5:40000".parse().unwrap(),
        "10.96.0.10:4317".parse().unwrap(),
    )
}

fn body(bytes: Vec<u8>) -> EventBody {
    decode(bytes.into()).unwrap().body
}

#[test]
fn the_common_part_is_kept() {
    let event = decode(sample::attempt(WHO, ends()).into()).unwrap();
    assert_eq!(event.at, Mono(42));
    assert_eq!(
        (event.cgroup, event.cookie, event.netns, event.pid),
        (7, 99, 5, 1234)
    );
    let EventBody::Attempt { ends: e, asked, comm } = event.body else {
        panic!("{event:?}");
    };
    // IPv4-mapped addresses are IPv4.
    assert_eq!((e.local, e.remote), ends());
    assert_eq!(asked, Some(ends().1));
    assert_eq!(comm.as_bytes(), b"app");
}

#[test]
fn bytes_after_the_record_are_not_its_own() {
    let mut bytes = sample::dns(WHO, ends(), true, b"123456789012");
    bytes.extend_from_slice(&[0xff; 100]);
    let EventBody::Dns {
        message,
        direction,
        wire_len,
        ..
    } = body(bytes)
    else {
        panic!("no DNS");
    };
    assert_eq!(&message[..], b"123456789012");
    assert_eq!(direction, Direction::Ingress);
    assert_eq!(wire_len, 12);
}

#[test]
fn a_close_tells_its_outcome() {
    let EventBody::Close(close) = body(sample::close(WHO, ends(), outcome::REFUSED, 111)) else {
        panic!("no close");
    };
    assert_eq!(close.outcome, Outcome::Refused);
    assert_eq!(close.errno, 111);
    assert_eq!(close.handshake, None);
    assert_eq!(close.duration, Duration::from_secs(3));
}

#[test]
fn every_outcome_is_known_and_no_other() {
    for n in 0..200u16 {
        let record = sample::close(WHO, ends(), n, 0);
        let known = (outcome::ESTABLISHED..=outcome::DROPPED).contains(&n);
        assert_eq!(decode(record.into()).is_ok(), known, "outcome {n}");
    }
}

#[test]
fn drops_keep_their_stack_and_payload() {
    let EventBody::Drop(drop) = body(sample::drop(WHO, ends(), 17, b"query")) else {
        panic!("no drop");
    };
    assert_eq!(drop.stack, [0x1000, 0x2000, 0x3000]);
    assert_eq!(drop.reason, Some(8));
    assert_eq!(&drop.payload[..], b"query");
    assert_eq!(drop.protocol, Protocol::Udp);
}

#[test]
fn a_path_that_is_not_utf8_is_escaped() {
    let EventBody::Cgroup { path } = body(sample::cgroup(WHO, b"/kubepods/\xff\x1b[0m\0\0")) else {
        panic!("no cgroup");
    };
    assert_eq!(path, "/kubepods/\\xff\\u{1b}[0m");
}

#[test]
fn names_and_pods() {
    assert_eq!(
        body(sample::name(WHO, name_space::DROP_REASON, 8, "NETFILTER_DROP")),
        EventBody::Name {
            of: Named::DropReason(8),
            text: "NETFILTER_DROP".into()
        }
    );
    let pod = sample::record(&sample::header(kind::POD, 0, WHO), b"uid-1\0apps\0shop-1");
    assert_eq!(
        body(pod),
        EventBody::Pod {
            uid: "uid-1".into(),
            namespace: "apps".into(),
            name: "shop-1".into()
        }
    );
    let pod = sample::record(&sample::header(kind::POD, 0, WHO), b"uid-1\0apps");
    assert!(matches!(
        decode(pod.into()),
        Err(DecodeError::Text { kind: "POD", .. })
    ));
}

#[test]
fn a_process_that_runs_already_tells_when_it_began() {
    let header = sample::header(kind::RUNNING, 0, WHO);
    let comm = sample::comm("java");
    let running = record::Running {
        header,
        comm,
        began_ns: 17,
    };
    assert_eq!(
        body(sample::record(&running, &[])),
        EventBody::Running {
            comm: crate::model::event::Comm::new(comm),
            began: Mono(17)
        }
    );
}

#[test]
fn a_stripped_payload_is_no_frame() {
    let record = sample::payload(WHO, flag::H2_FRAME, 5, b"");
    let EventBody::Payload { h2_frame, offset, .. } = body(record) else {
        panic!("no payload");
    };
    assert!(!h2_frame);
    assert_eq!(offset, 5);
}

#[test]
fn bad_records_are_typed_errors() {
    assert_eq!(decode(Bytes::new()), Err(DecodeError::NoHeader { got: 0 }));
    let unknown = sample::record(&sample::header(0x777, 0, WHO), &[]);
    assert_eq!(decode(unknown.into()), Err(DecodeError::UnknownKind(0x777)));
    // A header alone, of a kind that has a body.
    let short = sample::record(&sample::header(kind::CLOSE, 0, WHO), &[]);
    let error = decode(short.into()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "CLOSE record of 40 bytes is shorter than its fixed part (176 bytes)"
    );
    // A length beyond the bytes, and one below the header.
    for len in [0u32, 39, 1000, u32::MAX] {
        let mut record = sample::attempt(WHO, ends());
        record[4..8].copy_from_slice(&len.to_ne_bytes());
        assert!(matches!(
            decode(record.into()),
            Err(DecodeError::Length { kind: "ATTEMPT", .. })
        ));
    }
    // A tail beyond the record.
    let mut record = sample::dns(WHO, ends(), false, b"123456789012");
    let at = size_of::<record::Dns>() - 8;
    record[at..at + 4].copy_from_slice(&2000u32.to_ne_bytes());
    record[at + 4..at + 8].copy_from_slice(&1000u32.to_ne_bytes());
    let error = decode(record.into()).unwrap_err();
    assert_eq!(
        error,
        DecodeError::Tail {
            kind: "DNS",
            len: 1000,
            got: 12
        }
    );
}

#[test]
fn every_kind_has_a_name_and_is_decoded() {
    let kinds = (0..kind::KERNEL_END).chain(0x100..0x110);
    for k in kinds {
        let mut bytes = sample::record(&sample::header(k, 0, WHO), &[0; 400]);
        bytes.resize(440, 0);
        let result = decode(bytes.into());
        assert_eq!(
            matches!(result, Err(DecodeError::UnknownKind(_))),
            name_of(k).is_none(),
            "kind {k}: {result:?}"
        );
    }
}

#[test]
fn sample_traffic_is_good() {
    for record in sample::traffic(2000, 20) {
        decode(record).unwrap();
    }
}

proptest! {
    #[test]
    fn any_bytes_are_an_event_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = decode(bytes.into());
    }

    #[test]
    fn any_body_of_a_known_kind_is_an_event_or_an_error(
        k in prop_oneof![0..kind::KERNEL_END, 0x100u16..0x108],
        flags in any::<u16>(),
        tail in proptest::collection::vec(any::<u8>(), 0..300),
    ) {
        let header: Header = sample::header(k, flags, WHO);
        let _ = decode(sample::record(&header, &tail).into());
    }
}
