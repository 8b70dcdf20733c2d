use std::net::UdpSocket;
use std::path::Path;
use std::process::Command;

use obsflow_ebpf::abi::count::port_class;

use super::attach::How;
use super::*;
use crate::kernel::cgroupfs::CgroupFs;
use crate::kernel::counters::{CounterMaps, Forgotten};
use crate::kernel::hooks::{Hook, State};
use crate::kernel::load::{LoadConfig, Loaded, load};
use crate::kernel::port_map::PortMap;
use crate::kernel::ports;
use crate::testing::{TempCgroup, TempNetns, wait_for};

/// Not one that is watched by default.
const PORT: u16 = 7777;

/// Two nodes with a tunnel between them.
fn nodes() -> (TempNetns, TempNetns) {
    let (one, other) = (TempNetns::new(), TempNetns::new());
    let path = other.namespace.path.display().to_string();
    let tid = path.split('/').nth(4).unwrap();
    one.ip(&format!("link add u0 type veth peer name u0 netns {tid}"));
    for (node, me, peer) in [(&one, 1, 2), (&other, 2, 1)] {
        node.ip("link set lo up");
        node.ip(&format!("addr add 10.9.0.{me}/24 dev u0"));
        node.ip("link set u0 up");
        node.ip(&format!(
            "link add vx0 type vxlan id 42 dstport {PORT} dev u0 local 10.9.0.{me} remote 10.9.0.{peer}"
        ));
        node.ip(&format!("addr add 10.8.0.{me}/24 dev vx0"));
        node.ip("link set vx0 up");
    }
    (one, other)
}

/// The programs, attached to a cgroup that nobody is in.
fn programs(cgroup: &TempCgroup) -> Loaded {
    let all = Hook::ALL.into_iter();
    load(&LoadConfig {
        cgroups: vec![cgroup.0.clone()],
        ports: ports::classes(&[4317], &[53], &[]),
        ring_bytes: 4096,
        payload: false,
        payload_per_second: 1,
        kernel_log: None,
        required: vec![],
        without: all
            .filter(|hook| !matches!(hook, Hook::Packets | Hook::Tunnels))
            .collect(),
        without_btf: false,
    })
    .unwrap()
}

fn cgroup() -> TempCgroup {
    TempCgroup::new(CgroupFs::find(Path::new("/proc/self/mounts")).unwrap().path())
}

fn tc(words: &str) -> String {
    let output = Command::new("tc").args(words.split(' ')).output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn devices_are_found_with_what_carries_them() {
    let (one, _other) = nodes();
    one.ip("link add plain type vxlan external dstport 4789");
    one.ip("link add far type vxlan id 7 dstport 8472 local 10.9.0.1");
    one.run(|| {
        let fdb = "fdb append 00:00:00:00:00:00 dev far dst 10.9.0.9";
        assert!(
            Command::new("bridge")
                .args(fdb.split(' '))
                .status()
                .unwrap()
                .success()
        );
    });
    one.ip("route add default via 10.9.0.2");
    let devices = one.run(|| find().unwrap());
    let device = |name: &str| devices.iter().find(|device| device.name == name).unwrap();
    let vx0 = device("vx0");
    assert_eq!((vx0.kind, vx0.port, vx0.vni), (Kind::Vxlan, PORT, Some(42)));
    assert_eq!(vx0.local, Some([10, 9, 0, 1].into()));
    assert_eq!(vx0.peers, [[10, 9, 0, 2].into()].into());
    assert_eq!(device("far").peers, [[10, 9, 0, 9].into()].into());
    assert_eq!(device("plain").vni, None);
    for device in &devices {
        let carriers: Vec<_> = device
            .underlays
            .iter()
            .map(|u| (u.name.as_str(), u.ethernet))
            .collect();
        assert_eq!(carriers, [("u0", true)], "{}", device.name);
    }
    assert_eq!(devices.len(), 3);
    let cgroup = cgroup();
    let mut loaded = programs(&cgroup);
    let ports = one.run(move || Tunnels::with(How::Tcx, true).scan(&mut loaded.ebpf).ports);
    let own = port_class::TUNNEL | port_class::OWN_VNI;
    assert_eq!(
        ports,
        [
            (4789, own),
            (PORT, port_class::TUNNEL),
            (8472, port_class::TUNNEL)
        ]
        .into()
    );
    assert_eq!(TempNetns::new().run(|| find().unwrap()), []);
}

#[test]
fn packets_are_counted_both_ways_and_nothing_stays() {
    for how in [How::Tcx, How::Clsact] {
        let (one, other) = nodes();
        let cgroup = cgroup();
        let mut loaded = programs(&cgroup);
        let classes = ports::classes(&[4317], &[53], &[]);
        let mut map = PortMap::take(&mut loaded.ebpf, classes).unwrap();
        let mut counters = CounterMaps::take(&mut loaded.ebpf).unwrap();
        let _far = other.run(|| UdpSocket::bind("10.8.0.2:9").unwrap());
        one.run(move || {
            let mut tunnels = Tunnels::with(how, true);
            let scan = tunnels.scan(&mut loaded.ebpf);
            assert_eq!(
                scan.state,
                State::Attached(format!("u0 beneath vx0 (vxlan port {PORT})"))
            );
            assert_eq!(scan.ports, [(PORT, port_class::TUNNEL)].into());
            for (port, class) in scan.ports {
                map.add(port, class).unwrap();
            }
            if how == How::Clsact {
                assert!(tc("filter show dev u0 egress").contains("obsflow_tun_out"));
            }
            let socket = UdpSocket::bind("10.8.0.1:0").unwrap();
            wait_for("packets both ways", || {
                socket.send_to(&[0; 100], "10.8.0.2:9").unwrap();
                let counts = counters.tunnels();
                let ways: Vec<u16> = counts.iter().map(|(key, _)| key.ingress).collect();
                for (key, count) in &counts {
                    assert_eq!((key.vni, key.port), (42, PORT));
                    assert_eq!(key.peer[12..], [10, 9, 0, 2]);
                    // The least there is: ARP in Ethernet in VXLAN in UDP in IP.
                    assert!(count.bytes >= count.packets * 78, "{count:?}");
                }
                (ways.contains(&0) && ways.contains(&1)).then_some(())
            });
            // Peers that are gone leave room.
            let gone: Vec<_> = counters.tunnels().into_iter().map(|(key, _)| key).collect();
            counters.forget(&Forgotten {
                tunnels: gone.clone(),
                ..Forgotten::default()
            });
            assert_eq!(counters.tunnels(), []);
            // When packets bring their own identifiers, it is the peer alone that is counted.
            map.add(PORT, port_class::OWN_VNI).unwrap();
            wait_for("packets without identifiers", || {
                socket.send_to(&[0; 100], "10.8.0.2:9").unwrap();
                let counts = counters.tunnels();
                assert!(counts.iter().all(|(key, _)| key.vni == 0), "{counts:?}");
                (!counts.is_empty()).then_some(())
            });
            // What is there already stays as it is.
            tunnels.scan(&mut loaded.ebpf);
            drop(tunnels);
            assert_eq!(tc("filter show dev u0 egress"), "");
            assert!(!tc("qdisc show dev u0").contains("clsact"));
        });
    }
}

#[test]
fn leftovers_of_a_killed_one_are_removed_and_others_qdiscs_stay() {
    let (one, _other) = nodes();
    let cgroup = cgroup();
    let mut loaded = programs(&cgroup);
    one.run(move || {
        let mut killed = Tunnels::with(How::Clsact, true);
        killed.scan(&mut loaded.ebpf);
        std::mem::forget(killed);
        assert!(tc("filter show dev u0 ingress").contains("obsflow_tun_in"));
        // Beside one that runs, nothing is a leftover.
        drop(Tunnels::with(How::Clsact, false));
        assert!(tc("filter show dev u0 ingress").contains("obsflow_tun_in"));
        drop(Tunnels::with(How::Clsact, true));
        assert!(!tc("qdisc show dev u0").contains("clsact"));

        tc("qdisc add dev u0 clsact");
        let mut tunnels = Tunnels::with(How::Clsact, true);
        tunnels.scan(&mut loaded.ebpf);
        drop(tunnels);
        assert_eq!(tc("filter show dev u0 ingress"), "");
        assert!(tc("qdisc show dev u0").contains("clsact"));
    });
}

#[test]
fn no_tunnel_is_no_fault() {
    let cgroup = cgroup();
    let mut loaded = programs(&cgroup);
    let state = TempNetns::new().run(move || Tunnels::with(How::Tcx, true).scan(&mut loaded.ebpf).state);
    assert_eq!(state, State::Off(NONE_HERE.into()));
}
