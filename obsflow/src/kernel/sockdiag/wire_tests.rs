use super::*;

/// Runs the filter as the kernel does.
fn accepts(filter: &[u8], remote_port: u16) -> bool {
    let (mut at, mut left) = (0, filter.len() as i64);
    while left > 0 {
        let word = |at: usize| {
            (
                filter[at],
                filter[at + 1],
                u16::from_ne_bytes([filter[at + 2], filter[at + 3]]),
            )
        };
        let (code, yes, no) = word(at);
        let (_, _, port) = if code == BC_D_EQ { word(at + 4) } else { (0, 0, 0) };
        let matches = code == BC_D_EQ && port == remote_port;
        let step = if matches { i64::from(yes) } else { i64::from(no) };
        at += step as usize;
        left -= step;
    }
    left == 0
}

#[test]
fn the_filter_accepts_its_ports_and_no_other() {
    for ports in [
        vec![4317],
        vec![53, 4317],
        (1..=MAX_FILTER_PORTS as u16).map(|i| i * 200).collect(),
    ] {
        let filter = remote_port_filter(&ports.iter().copied().collect());
        for port in &ports {
            assert!(accepts(&filter, *port));
            assert!(!accepts(&filter, port + 1));
        }
        assert!(!accepts(&filter, 0));
    }
}

#[test]
fn a_short_tcp_info_is_filled_with_zeros() {
    let mut bytes = vec![0; 104];
    bytes[8..12].copy_from_slice(&204_000u32.to_ne_bytes());
    bytes[100..104].copy_from_slice(&3u32.to_ne_bytes());
    let info = TcpInfo::parse(&bytes);
    assert_eq!(
        (info.rto_us, info.total_retransmits, info.bytes_acked),
        (204_000, 3, 0)
    );
    assert_eq!(TcpInfo::parse(&[]), TcpInfo::new_zeroed());
    assert_eq!(TcpInfo::parse(&[1; 400]).min_rtt_us, 0x0101_0101);
}

#[test]
fn a_cookie_survives_both_ways() {
    let value = 0x0123_4567_89ab_cdef;
    assert_eq!(cookie(cookie_words(value)), value);
}
