//! DNS messages, well-formed and not.

use std::net::IpAddr;

use proptest::prelude::*;

use super::*;
use crate::decode::sample::{dns_name, dns_query, dns_response};

fn good(bytes: &[u8]) -> Parsed {
    let parsed = parse(bytes, bytes.len(), Protocol::Udp).unwrap();
    assert_eq!(parsed.defect, None, "{parsed:?}");
    parsed
}

/// A response head with counts, without question.
fn head(flags: u16, counts: [u16; 4]) -> Vec<u8> {
    let mut out = vec![0x12, 0x34];
    out.extend_from_slice(&flags.to_be_bytes());
    for count in counts {
        out.extend_from_slice(&count.to_be_bytes());
    }
    out
}

fn question(name: &[u8]) -> Vec<u8> {
    let mut out = head(0x8180, [1, 0, 0, 0]);
    out.extend_from_slice(name);
    out.extend_from_slice(&[0, 1, 0, 1]);
    out
}

fn record(out: &mut Vec<u8>, owner: &[u8], rtype: u16, ttl: u32, data: &[u8]) {
    out.extend_from_slice(owner);
    out.extend_from_slice(&rtype.to_be_bytes());
    out.extend_from_slice(&1u16.to_be_bytes());
    out.extend_from_slice(&ttl.to_be_bytes());
    out.extend_from_slice(&u16::try_from(data.len()).unwrap().to_be_bytes());
    out.extend_from_slice(data);
}

#[test]
fn a_query_and_its_response() {
    let query = good(&dns_query(7, "otel.obs.svc.cluster.local", 28));
    assert!(!query.response);
    assert_eq!(&*query.message.name, "otel.obs.svc.cluster.local");
    assert_eq!(&*query.message.qtype, "AAAA");
    assert_eq!(query.message.id, 7);
    let ips: [IpAddr; 2] = ["10.0.0.1".parse().unwrap(), "fd00::1".parse().unwrap()];
    let response = good(&dns_response(7, "otel.obs.svc.cluster.local", 1, 0, &ips));
    assert!(response.response);
    assert_eq!(response.message.ips, ips);
    assert_eq!(response.message.ttl, Some(30));
    let types: Vec<_> = response.message.rrtypes.iter().map(|t| &**t).collect();
    assert_eq!(types, ["A", "AAAA"]);
    assert_eq!(good(&dns_response(7, "x", 1, 3, &[])).message.rcode, 3);
}

#[test]
fn names_are_escaped() {
    let name = b"\x07a.b\\c d\x04\xff\x00\x7fz\x00";
    let parsed = good(&question(name));
    assert_eq!(&*parsed.message.name, "a\\046b\\092c\\032d.\\255\\000\\127z");
    assert_eq!(&*good(&question(b"\0")).message.name, ".");
}

#[test]
fn a_name_of_full_length_fits() {
    let mut name = Vec::new();
    for len in [63usize, 63, 63, 61] {
        name.push(u8::try_from(len).unwrap());
        name.extend(std::iter::repeat_n(0xff, len));
    }
    name.push(0);
    assert_eq!(name.len(), 255);
    let text = good(&question(&name)).message.name;
    assert_eq!(text.len(), 250 * 4 + 3);
    name.insert(0, b'x');
    name.insert(0, 1);
    let long = parse(&question(&name), 512, Protocol::Udp).unwrap();
    assert_eq!(long.defect, Some(DnsError::BadQuestion));
}

#[test]
fn cnames_ttl_and_extended_rcode() {
    let mut m = head(0x8380 | 2, [1, 2, 1, 1]);
    m.extend_from_slice(&dns_name("a.example"));
    m.extend_from_slice(&[0, 1, 0, 1]);
    // The target is compressed: "b" before "example" of the question.
    record(&mut m, &[0xc0, 12], 5, 300, &[1, b'b', 0xc0, 14]);
    record(&mut m, &[0xc0, 12], 1, 20, &[192, 0, 2, 1]);
    record(&mut m, &[0xc0, 14], 6, 1, &[0; 22]);
    // OPT: extended RCODE 1 makes 16 + 2 = 18.
    record(&mut m, &[0], 41, 1 << 24, &[]);
    let parsed = good(&m);
    let cnames: Vec<_> = parsed.message.cnames.iter().map(|n| &**n).collect();
    assert_eq!(cnames, ["b.example"]);
    assert_eq!(parsed.message.ttl, Some(20));
    assert_eq!(parsed.message.rcode, 18);
    assert!(parsed.message.truncated);
}

#[test]
fn unknown_types_have_numbers() {
    assert_eq!(&*rtype_text(65), "HTTPS");
    assert_eq!(&*rtype_text(65_399), "TYPE65399");
    assert_eq!(&*rtype_text(16), "TXT");
    assert_eq!(&*rtype_text(33), "SRV");
    assert_eq!(&*rtype_text(255), "ANY");
}

#[test]
fn what_a_cut_message_still_tells_is_used() {
    let ips: Vec<IpAddr> = (0..4).map(|n| IpAddr::from([10, 0, 0, n])).collect();
    let whole = dns_response(9, "otel.example", 1, 0, &ips);
    for len in 0..whole.len() {
        let parsed = parse(&whole[..len], whole.len(), Protocol::Udp);
        match len {
            0..12 => assert_eq!(parsed, Err(DnsError::NoHeader(len))),
            12..30 => {
                let parsed = parsed.unwrap();
                assert_eq!(parsed.defect, Some(DnsError::BadQuestion), "{len}");
                assert!(parsed.message.name.is_empty());
            }
            _ => {
                let parsed = parsed.unwrap();
                assert_eq!(parsed.defect, Some(DnsError::Cut), "{len}");
                assert_eq!(&*parsed.message.name, "otel.example");
                assert_eq!(parsed.message.ips, ips[..(len - 30) / 16]);
            }
        }
    }
}

#[test]
fn loops_and_forward_pointers_end() {
    for pointer in [[0xc0, 12], [0xc0, 14], [0xff, 0xff]] {
        let parsed = parse(&question(&pointer), 512, Protocol::Udp).unwrap();
        assert_eq!(parsed.defect, Some(DnsError::BadQuestion));
    }
    // A CNAME that points into itself.
    let mut m = head(0x8180, [1, 1, 0, 0]);
    m.extend_from_slice(&dns_name("a"));
    m.extend_from_slice(&[0, 1, 0, 1]);
    let here = u8::try_from(m.len() + 12).unwrap();
    record(&mut m, &[0xc0, 12], 5, 1, &[1, b'x', 0xc0, here]);
    let parsed = parse(&m, m.len(), Protocol::Udp).unwrap();
    assert_eq!(parsed.defect, Some(DnsError::BadRecord));
    assert_eq!(&*parsed.message.name, "a");
}

#[test]
fn a_message_compressed_to_death_is_bounded() {
    // 4,000 pointers, each to the one before, and as many CNAMEs as fit that name the last.
    let mut m = head(0x8180, [1, 2000, 0, 0]);
    m.extend_from_slice(&dns_name("a"));
    m.extend_from_slice(&[0, 1, 0, 1]);
    let mut chain = vec![0xc0, 12];
    for n in 1..4000u16 {
        let to = 19 + 12 + (n - 1) * 2;
        chain.extend_from_slice(&(0xc000 | to).to_be_bytes());
    }
    let last = u16::try_from(19 + 12 + chain.len() - 2).unwrap() | 0xc000;
    record(&mut m, &[0xc0, 12], 16, 1, &chain);
    for _ in 0..2000 {
        record(&mut m, &[0xc0, 12], 5, 1, &last.to_be_bytes());
    }
    let parsed = parse(&m, m.len(), Protocol::Tcp).unwrap();
    assert_eq!(parsed.defect, Some(DnsError::BadRecord));
    // And one with more records than anybody needs.
    let mut m = head(0x8180, [1, 3000, 0, 0]);
    m.extend_from_slice(&dns_name("a"));
    m.extend_from_slice(&[0, 1, 0, 1]);
    for _ in 0..3000 {
        record(&mut m, &[0xc0, 12], 1, 1, &[1, 2, 3, 4]);
    }
    let parsed = parse(&m, m.len(), Protocol::Tcp).unwrap();
    assert_eq!(parsed.defect, Some(DnsError::TooManyRecords));
    assert_eq!(parsed.message.ips.len(), MAX_RECORDS);
}

#[test]
fn an_error_without_a_question_is_still_an_answer() {
    let parsed = parse(&head(0x8181, [0, 0, 0, 0]), 12, Protocol::Udp).unwrap();
    assert_eq!(parsed.defect, Some(DnsError::NoQuestion));
    assert_eq!(parsed.message.rcode, 1);
    assert!(parsed.message.name.is_empty());
    // NOTIFY is no query.
    assert_eq!(
        parse(&head(0x2000, [0; 4]), 12, Protocol::Udp),
        Err(DnsError::Opcode(4))
    );
}

#[test]
fn addresses_of_a_wrong_length_are_damage() {
    let mut m = head(0x8180, [1, 1, 0, 0]);
    m.extend_from_slice(&dns_name("a"));
    m.extend_from_slice(&[0, 1, 0, 1]);
    record(&mut m, &[0xc0, 12], 1, 1, &[1, 2, 3]);
    let parsed = parse(&m, m.len(), Protocol::Udp).unwrap();
    assert_eq!(parsed.defect, Some(DnsError::BadRecord));
}

proptest! {
    #[test]
    fn any_bytes_end(bytes in proptest::collection::vec(any::<u8>(), 0..600), more in 0usize..100) {
        if let Ok(parsed) = parse(&bytes, bytes.len() + more, Protocol::Udp) {
            prop_assert!(parsed.message.name.is_ascii());
            prop_assert!(parsed.message.cnames.len() <= MAX_CNAMES);
            prop_assert!(parsed.message.rrtypes.len() <= MAX_RECORDS);
        }
    }

    #[test]
    fn damaged_responses_end(at in 0usize..200, value in any::<u8>(), cut in 0usize..200) {
        let ips: Vec<IpAddr> = (0..5).map(|n| IpAddr::from([10, 0, 0, n])).collect();
        let mut bytes = dns_response(9, "otel.obs.svc.cluster.local", 1, 0, &ips);
        let len = bytes.len();
        if let Some(b) = bytes.get_mut(at) {
            *b = value;
        }
        bytes.truncate(cut.max(20));
        let _ = parse(&bytes, len, Protocol::Udp);
    }
}
