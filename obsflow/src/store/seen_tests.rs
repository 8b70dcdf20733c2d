use super::*;
use crate::flow::samples;
use crate::model::Clock;
use crate::store::{Cursor, Limits, Next, Recorder};

fn recorder() -> Recorder {
    let limits = Limits {
        entries: 1 << 16,
        bytes: usize::MAX,
        age: Duration::MAX,
    };
    Recorder::new(limits, Clock { offset_ns: 0 }, Mono(0))
}

fn all(cursor: &mut Cursor<Seen>) -> Vec<Observation> {
    let mut found = Vec::new();
    while let Next::Entry(seen) = cursor.read() {
        found.push(seen.observation());
    }
    found
}

#[test]
fn what_is_kept_makes_the_same_flows() {
    let mut recorder = recorder();
    let samples = samples::all();
    for sample in &samples {
        recorder.record(sample);
    }
    let history = recorder.history("k8s1");
    let kept = all(&mut history.store.cursor(0));
    let states = all(&mut history.states.cursor(0));
    let (samples, of_sockets): (Vec<_>, Vec<_>) = samples
        .iter()
        .partition(|sample| !matches!(sample.what, What::TcpInfo(_)));
    let (kept, samples) = ([kept, states].concat(), [samples, of_sockets].concat());
    assert_eq!(kept.len(), samples.len());
    for (kept, sample) in kept.iter().zip(samples) {
        assert_eq!(samples::response(kept), samples::response(sample));
    }
}

#[test]
fn what_was_captured_of_a_packet_is_not_kept() {
    let mut recorder = recorder();
    let mut drop = samples::drop_seen("NETFILTER_DROP", None);
    drop.packet.payload = bytes::Bytes::from_static(b"secret");
    drop.packet.stack = vec![1, 2, 3];
    recorder.record(&samples::tcp(What::Dropped(Box::new(drop))));
    let kept = all(&mut recorder.history("k8s1").store.cursor(0));
    let What::Dropped(drop) = &kept[0].what else {
        panic!("{kept:?}");
    };
    assert!(drop.packet.payload.is_empty() && drop.packet.stack.is_empty());
}

#[test]
fn an_entry_is_small() {
    assert!(size_of::<Seen>() <= 168, "{}", size_of::<Seen>());
    assert!(size_of::<Detail>() <= 16, "{}", size_of::<Detail>());
}

#[test]
fn places_keep_addresses_of_both_families() {
    for text in [
        "10.0.1.7:39811",
        "0.0.0.0:0",
        "[2001:db8::1]:53",
        "[::ffff:10.0.0.1]:80",
        "[::]:1",
    ] {
        let address: SocketAddr = text.parse().unwrap();
        assert_eq!(Place::new(Some(address)).address(), Some(address));
    }
    assert_eq!(Place::new(None).address(), None);
}
