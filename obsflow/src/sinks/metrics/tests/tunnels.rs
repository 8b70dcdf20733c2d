use std::net::Ipv4Addr;

use obsflow_ebpf::abi::count::{TunnelCount, TunnelKey};

use super::*;

fn key(peer: u8, vni: u32, ingress: u16) -> TunnelKey {
    TunnelKey {
        peer: Ipv4Addr::new(10, 0, 0, peer).to_ipv6_mapped().octets(),
        vni,
        port: 8472,
        ingress,
        ifindex: 2,
        pad: 0,
    }
}

fn counted(metrics: &mut Metrics, tunnels: &[(TunnelKey, u64)]) {
    let counts = Counts {
        tunnels: tunnels
            .iter()
            .map(|(key, packets)| {
                let count = TunnelCount {
                    packets: *packets,
                    bytes: 78 * packets,
                    last_ns: 0,
                };
                (*key, count)
            })
            .collect(),
        ..Counts::default()
    };
    metrics.counters(&counts, &mut |_| None, &[], at(1));
}

fn packets(scraper: &Scraper, peer: &str, direction: &str) -> Option<f64> {
    let labels = format!(r#"peer="{peer}",direction="{direction}""#);
    let samples = scrape(scraper);
    let packets = get(&samples, "obsflow_tunnel_packets_total", &labels);
    let bytes = get(&samples, "obsflow_tunnel_bytes_total", &labels);
    assert_eq!(bytes, packets.map(|packets| 78.0 * packets));
    packets
}

#[test]
fn peers_are_told_apart_and_identifiers_are_not() {
    let (mut metrics, scraper) = metrics(Options::default());
    counted(
        &mut metrics,
        &[
            (key(2, 7, 0), 10),
            (key(2, 8, 0), 5),
            (key(2, 7, 1), 1),
            (key(3, 7, 0), 4),
        ],
    );
    let all = |scraper: &Scraper| {
        [
            ("10.0.0.2", "sent"),
            ("10.0.0.2", "received"),
            ("10.0.0.3", "sent"),
        ]
        .map(|(peer, direction)| packets(scraper, peer, direction))
    };
    assert_eq!(all(&scraper), [Some(15.0), Some(1.0), Some(4.0)]);
    counted(
        &mut metrics,
        &[
            (key(2, 7, 0), 12),
            (key(2, 8, 0), 5),
            (key(2, 7, 1), 1),
            (key(3, 7, 0), 4),
        ],
    );
    assert_eq!(all(&scraper), [Some(17.0), Some(1.0), Some(4.0)]);
}

#[test]
fn peers_that_were_silent_for_long_are_forgotten() {
    let (mut metrics, scraper) = metrics(Options::default());
    let both = [(key(2, 7, 0), 10), (key(2, 8, 0), 5), (key(2, 7, 1), 1)];
    counted(&mut metrics, &both);
    metrics.tunnels_gone(&[key(2, 7, 0)], at(2));
    metrics.second(at(200));
    assert_eq!(packets(&scraper, "10.0.0.2", "sent"), Some(15.0));
    metrics.tunnels_gone(&[key(2, 8, 0)], at(200));
    metrics.second(at(320));
    assert_eq!(packets(&scraper, "10.0.0.2", "sent"), None);
    assert_eq!(packets(&scraper, "10.0.0.2", "received"), Some(1.0));
    // The kernel begins anew, too.
    counted(&mut metrics, &[(key(2, 7, 0), 3), (key(2, 7, 1), 1)]);
    assert_eq!(packets(&scraper, "10.0.0.2", "sent"), Some(3.0));
}

#[test]
fn peers_without_room_are_counted_together() {
    let (mut metrics, scraper) = metrics(Options {
        max_series: 20,
        ..Options::default()
    });
    let many: Vec<_> = (0..100).map(|peer| (key(peer, 1, 0), 2)).collect();
    counted(&mut metrics, &many);
    metrics.own(&Own::default());
    let samples = scrape(&scraper);
    let of_tunnels: Vec<f64> = samples
        .iter()
        .filter(|(series, _)| series.starts_with("obsflow_tunnel_packets_total"))
        .map(|(_, packets)| *packets)
        .collect();
    assert!(of_tunnels.len() <= 20, "{samples:?}");
    assert_eq!(of_tunnels.iter().sum::<f64>() as u64, 200);
    assert!(packets(&scraper, "~other", "sent") > Some(100.0));
    let folded = get(&samples, "obsflow_series_folded_total", r#"label="peer""#);
    assert!(folded > Some(0.0), "{folded:?}");
}
