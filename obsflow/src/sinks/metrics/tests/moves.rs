use super::*;

/// 100 bytes are sent to an address, then the cluster says whose it is, and 50 more are sent.
fn address_and_then_service(metrics: &mut Metrics, between: impl FnOnce()) {
    let checkout = container(Some("checkout"), 1, 1);
    let mut sends = seen(&checkout, 1, 1, info(100, 10));
    sends.remote_name = None;
    metrics.observe(&seen(&checkout, 1, 1, What::Attempt));
    metrics.observe(&sends);
    between();
    let service = Arc::new(Service {
        namespace: "obs".into(),
        name: "otel".into(),
        ..Service::default()
    });
    let mut addresses = Addresses::default();
    addresses
        .by_cluster_ip
        .insert([10, 96, 0, 9].into(), Arc::clone(&service));
    let cluster = Arc::new(Cluster {
        addresses: Arc::new(addresses),
        ..Cluster::default()
    });
    metrics.cluster(cluster, at(2));
    sends.what = info(150, 20);
    sends.remote_is = Some(Arc::new(Destination::Service {
        namespace: Arc::clone(&service.namespace),
        name: Arc::clone(&service.name),
    }));
    metrics.observe(&sends);
}

fn sent(scraper: &Scraper) -> [Option<f64>; 2] {
    ["10.96.0.9:4317", "obs/otel:4317"].map(|sink| {
        let labels = format!(r#"{CHECKOUT},sink="{sink}""#);
        get(&scrape(scraper), "obsflow_sink_sent_bytes_total", &labels)
    })
}

#[test]
fn what_was_counted_for_an_address_is_its_services_once_that_is_known() {
    let (mut metrics, scraper) = metrics(Options::default());
    address_and_then_service(&mut metrics, || {});
    assert_eq!(sent(&scraper), [None, Some(150.0)]);
}

/// Moved, it would be counted twice by whoever asks for a rate.
#[test]
fn what_was_shown_for_an_address_stays_there_until_it_goes() {
    let (mut metrics, scraper) = metrics(Options::default());
    address_and_then_service(&mut metrics, || {
        assert_eq!(sent(&scraper), [Some(100.0), None]);
    });
    assert_eq!(sent(&scraper), [Some(100.0), Some(50.0)]);
    metrics.second(at(121));
    assert_eq!(sent(&scraper), [Some(100.0), Some(50.0)]);
    metrics.second(at(122));
    assert_eq!(sent(&scraper), [None, Some(50.0)]);
}

#[test]
fn series_of_pods_go_and_nothing_is_counted_again() {
    let (mut metrics, scraper) = metrics(Options {
        pod_label: true,
        ..Options::default()
    });
    let pod = container(Some("checkout-7d9c6b5f4d-x2xkq"), 1, 1);
    let again = container(Some("checkout-7d9c6b5f4d-x2xkq"), 1, 2);
    let nx = || lookup(LookupOutcome::NxDomain, Duration::from_millis(1));
    let name = "obsflow_dns_lookups_total";
    let of_pod = r#"namespace="shop",workload="checkout",pod="checkout-7d9c6b5f4d-x2xkq",outcome="nxdomain""#;
    let of_workload = r#"namespace="shop",workload="checkout",pod="",outcome="nxdomain""#;
    let gone = |workload: &Arc<Workload>, seconds| Lifecycle {
        at: at(seconds),
        workload: Arc::clone(workload),
        cgroup: 7,
        pid: 0,
        what: Step::CgroupGone,
    };
    metrics.observe(&seen(&pod, 1, 0, nx()));
    assert_eq!(get(&scrape(&scraper), name, of_pod), Some(1.0));
    // A container that restarts is the same pod.
    metrics.lifecycle(&gone(&pod, 2));
    metrics.observe(&seen(&again, 3, 0, nx()));
    metrics.second(at(400));
    assert_eq!(get(&scrape(&scraper), name, of_pod), Some(2.0));
    metrics.lifecycle(&gone(&again, 500));
    // Heard late.
    metrics.observe(&seen(&again, 501, 0, nx()));
    for seconds in 502..800 {
        metrics.second(at(seconds));
    }
    let samples = scrape(&scraper);
    assert_eq!(get(&samples, name, of_pod), Some(3.0));
    assert_eq!(get(&samples, name, of_workload), None);
    metrics.second(at(800));
    let samples = scrape(&scraper);
    assert_eq!(get(&samples, name, of_pod), None);
    assert_eq!(get(&samples, name, of_workload), None);
}

#[test]
fn workloads_are_bounded_and_those_that_make_room_go() {
    let (mut metrics, scraper) = metrics(Options {
        max_workloads: 2,
        ..Options::default()
    });
    let nx = || lookup(LookupOutcome::NxDomain, Duration::from_millis(1));
    for (number, name) in (1..).zip(["one", "two", "three"]) {
        metrics.observe(&seen(&container(Some(name), number, number), number, 0, nx()));
    }
    let name = "obsflow_dns_lookups_total";
    let of = |workload: &str| format!(r#"namespace="shop",workload="{workload}",outcome="nxdomain""#);
    let other = r#"namespace="~other",workload="~other",outcome="nxdomain""#;
    let samples = scrape(&scraper);
    assert_eq!(get(&samples, name, &of("one")), Some(1.0));
    assert_eq!(get(&samples, name, &of("three")), None);
    assert_eq!(get(&samples, name, other), Some(1.0));
    metrics.own(&Own::default());
    let folded = get(
        &scrape(&scraper),
        "obsflow_series_folded_total",
        r#"label="workload""#,
    );
    assert_eq!(folded, Some(2.0), "a count and a duration");
    // An hour later the one that was silent for longest makes room.
    metrics.observe(&seen(&container(Some("two"), 2, 2), 3000, 0, nx()));
    metrics.observe(&seen(&container(Some("four"), 4, 4), 3601, 0, nx()));
    let samples = scrape(&scraper);
    assert_eq!(get(&samples, name, &of("two")), Some(2.0));
    assert_eq!(get(&samples, name, &of("four")), Some(1.0));
    assert_eq!(get(&samples, name, other), Some(1.0));
    assert_eq!(metrics.workloads.len(), 2);
    // One that comes back soon goes on where it was, later it begins anew.
    assert_eq!(get(&samples, name, &of("one")), Some(1.0));
    metrics.second(at(3700));
    metrics.observe(&seen(&container(Some("one"), 1, 1), 6700, 0, nx()));
    let samples = scrape(&scraper);
    assert_eq!(get(&samples, name, &of("one")), Some(2.0));
    assert_eq!(get(&samples, name, &of("two")), Some(2.0));
    metrics.second(at(6820));
    assert_eq!(get(&scrape(&scraper), name, &of("two")), None);
    metrics.observe(&seen(&container(Some("two"), 2, 2), 7300, 0, nx()));
    let samples = scrape(&scraper);
    assert_eq!(get(&samples, name, &of("two")), Some(1.0));
    assert_eq!(get(&samples, name, other), Some(1.0));
}

/// What `increase` of Prometheus makes of two scrapes: all of a series that was not there.
fn increase(before: &BTreeMap<String, f64>, after: &BTreeMap<String, f64>, family: &str) -> f64 {
    after
        .iter()
        .filter(|(series, _)| series.starts_with(family))
        .map(|(series, value)| value - before.get(series).unwrap_or(&0.0))
        .sum()
}

proptest! {
    /// Whatever comes and goes: what scrapes show is counted once, and no counter decreases while it is there.
    #[test]
    fn everything_is_counted_once(steps in prop::collection::vec((0u8..7, 1u64..6, 1u64..4), 1..60), pods in any::<bool>()) {
        let (mut metrics, scraper) = metrics(Options { pod_label: pods, max_workloads: 3, ..Options::default() });
        let mut kernel: BTreeMap<(u64, u32), u64> = BTreeMap::new();
        let mut now = 0;
        let (mut lookups, mut responses) = (0, 0);
        let mut seen_increase = [0.0; 3];
        let mut before: BTreeMap<String, f64> = BTreeMap::new();
        // Names that never came are waited for no more in the end.
        let end = [(5, 1, 1)];
        for (what, app, by) in steps.into_iter().chain(end) {
            now += 40;
            let name = format!("app-{app}");
            let pod = container((what != 6).then_some(&*name), app, app);
            match what {
                0 | 6 => {
                    metrics.observe(&seen(&pod, now, 0, lookup(LookupOutcome::NxDomain, Duration::from_millis(1))));
                    lookups += 1;
                }
                1 | 2 => {
                    *kernel.entry((app, 3)).or_default() += by;
                    responses += by;
                }
                3 => metrics.lifecycle(&Lifecycle {
                    at: at(now), workload: Arc::clone(&pod), cgroup: app, pid: 0, what: Step::CgroupGone,
                }),
                4 => now += 200 * by,
                _ => now += 2000 * by,
            }
            let mut of = |cgroup: u64| Some(container(Some(&format!("app-{cgroup}")), cgroup, cgroup));
            let leaving: &[u64] = if what == 3 { &[app] } else { &[] };
            let counts = Counts { dns: kernel.clone(), ..Counts::default() };
            metrics.counters(&counts, &mut of, leaving, at(now));
            kernel.retain(|(cgroup, _), _| !leaving.contains(cgroup));
            metrics.second(at(now));
            let samples = scrape(&scraper);
            for (sum, family) in seen_increase.iter_mut().zip([
                "obsflow_dns_responses_total", "obsflow_dns_lookups_total", "obsflow_dns_lookup_duration_seconds_count",
            ]) {
                *sum += increase(&before, &samples, family);
            }
            for (key, value) in &before {
                if let Some(after) = samples.get(key) {
                    prop_assert!(after >= value, "{key}: {value} {after}");
                }
            }
            before = samples;
        }
        let [seen_responses, seen_lookups, seen_durations] = seen_increase.map(|sum| sum as u64);
        prop_assert_eq!((seen_responses, seen_lookups, seen_durations), (responses, lookups, lookups));
    }
}
