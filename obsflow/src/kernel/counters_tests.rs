use std::path::Path;
use std::time::{Duration, Instant};

use aya::maps::PerCpuValues;

use super::*;
use crate::kernel::cgroupfs::CgroupFs;
use crate::kernel::hooks::Hook;
use crate::kernel::load::{LoadConfig, load};
use crate::kernel::ports;
use crate::testing::TempCgroup;

#[test]
fn what_was_asked_for_and_not_attempted_failed() {
    let counts = BTreeMap::from([
        ((7, 4317, outcome::ASKED), 5),
        ((7, 4317, outcome::ATTEMPT), 3),
        ((7, 4317, outcome::FAILED), 1),
        ((8, 4317, outcome::ATTEMPT), 9),
    ]);
    // One was on its way.
    let counts_later = with_failed(counts.clone(), |_, _| Some(4));
    assert_eq!(counts_later.get(&(7, 4317, outcome::FAILED)), Some(&1));
    let counts = with_failed(counts, |_, _| None);
    assert_eq!(counts.get(&(7, 4317, outcome::FAILED)), Some(&2));
    assert_eq!(counts.get(&(8, 4317, outcome::FAILED)), None);
}

/// Each cgroup has two codes and one outcome, as most have.
fn fill(maps: &mut CounterMaps, cgroups: u64) {
    let each = |number: u64| {
        let cpus = aya::util::nr_cpus().unwrap();
        PerCpuValues::try_from(vec![number; cpus]).unwrap()
    };
    for cgroup in 1..=cgroups {
        for rcode in [0, 3] {
            let key = DnsCountKey {
                cgroup,
                rcode,
                pad: 0,
            };
            maps.dns.insert(Raw(key), each(cgroup), 0).unwrap();
        }
        let key = ConnCountKey {
            cgroup,
            port: 4317,
            outcome: outcome::ESTABLISHED,
            pad: 0,
        };
        maps.connections.insert(Raw(key), each(1), 0).unwrap();
    }
}

#[test]
fn what_is_gone_is_forgotten_and_reading_the_rest_is_quick() {
    let cgroup = TempCgroup::new(CgroupFs::find(Path::new("/proc/self/mounts")).unwrap().path());
    let mut loaded = load(&LoadConfig {
        cgroups: vec![cgroup.0.clone()],
        ports: ports::classes(&[4317], &[53], &[]),
        ring_bytes: 4096,
        payload: false,
        payload_per_second: 1,
        kernel_log: None,
        required: vec![],
        without: Hook::ALL
            .into_iter()
            .filter(|hook| *hook != Hook::Packets)
            .collect(),
        without_btf: false,
    })
    .unwrap();
    let mut maps = CounterMaps::take(&mut loaded.ebpf).unwrap();
    // 500 pods of two containers.
    fill(&mut maps, 1000);
    let began = Instant::now();
    let counts = maps.counts();
    let took = began.elapsed();
    eprintln!("3,000 entries were read in {took:?}");
    assert_eq!((counts.dns.len(), counts.connections.len()), (2000, 1000));
    assert!(took < Duration::from_millis(200), "{took:?}");
    let cpus = aya::util::nr_cpus().unwrap() as u64;
    assert_eq!(counts.dns.get(&(7, 3)), Some(&(7 * cpus)));

    maps.forget(&Forgotten {
        cgroups: (1..=990).collect(),
        ..Forgotten::default()
    });
    let left = maps.counts();
    assert_eq!(left.cgroups(), (991..=1000).collect());
    assert_eq!((left.dns.len(), left.connections.len()), (20, 10));
}
