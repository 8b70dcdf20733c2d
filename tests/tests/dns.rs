//! Look-ups: what became of each, and of its healthy twin.

use anyhow::Result;
use obsflow_tests::fault::{self, Fault, Hook, Transport};
use obsflow_tests::scenario::says;
use obsflow_tests::server::dns::{self, Dns};
use obsflow_tests::{Flow, Lab, Obsflow, Pod, PodSpec};

const COLLECTOR: &str = "otel-collector.observability.svc.cluster.local";

/// A resolver that searches as the kubelet has it, but does not wait long and tries once.
const HASTY: &str = "ndots:5 timeout:1 attempts:1";

fn lab() -> Result<Lab> {
    let lab = Lab::new()?;
    lab.dns()
        .add(COLLECTOR, &["10.96.0.17".parse()?, "fd00:96::17".parse()?])?;
    Ok(lab)
}

/// Names and response codes of a look-up's candidates.
fn candidates(lookup: &Flow) -> Vec<(&str, &str)> {
    let list = lookup
        .ext("/lookup/candidates")
        .and_then(serde_json::Value::as_array);
    list.into_iter()
        .flatten()
        .map(|c| {
            (
                c["name"].as_str().unwrap_or_default(),
                c["rcode"].as_str().unwrap_or_default(),
            )
        })
        .collect()
}

/// A healthy look-up beside the broken ones, and that nothing bad is said of it.
fn healthy_twin(obsflow: &Obsflow<'_>, twin: &Pod) -> Result<()> {
    assert_eq!(
        says(twin, &["resolve", "otel-collector.observability"])?["gai"],
        0
    );
    let found = obsflow.lookup(twin, "otel-collector.observability")?;
    assert_eq!(
        (found.outcome(), found.verdict()),
        ("resolved", "FORWARDED"),
        "{found}"
    );
    obsflow.quiet(twin)
}

#[test]
fn a_search_that_succeeds_is_one_look_up() -> Result<()> {
    let lab = lab()?;
    let pods = lab.pods(vec![
        PodSpec::new("checkout"),
        PodSpec::new("checkout6").dns_over_v6(),
    ])?;
    let obsflow = lab.observe(&[])?;
    for pod in &pods {
        let said = says(pod, &["resolve", "otel-collector.observability.svc"])?;
        assert_eq!(said["gai"], 0, "{said}");
        let lookup = obsflow.lookup(pod, "otel-collector.observability.svc")?;
        assert_eq!(
            (lookup.outcome(), lookup.verdict()),
            ("resolved", "FORWARDED"),
            "{lookup}"
        );
        assert_eq!(lookup.ext_text("/lookup/name"), COLLECTOR);
        let ips = lookup
            .ext("/lookup/ips")
            .map(ToString::to_string)
            .unwrap_or_default();
        // Decided by whichever family answered first.
        assert!(ips.contains("10.96.0.17") || ips.contains("fd00:96::17"), "{ips}");
        let tried = candidates(&lookup);
        let wrong = "otel-collector.observability.svc.apps.svc.cluster.local";
        assert!(tried.contains(&(wrong, "NXDOMAIN")), "{tried:?}");
        assert!(tried.contains(&(COLLECTOR, "NOERROR")), "{tried:?}");
        // A and AAAA of three candidates, each seen once each way.
        obsflow.quiet(pod)?;
        for event in ["dns-query", "dns-response"] {
            let shown = obsflow.all(|flow| flow.event() == event && flow.of_pod(&pod.name));
            assert_eq!(shown.len(), 6, "{event} of {}", pod.name);
        }
        assert_eq!(
            obsflow
                .all(|flow| flow.event() == "lookup" && flow.from(pod))
                .len(),
            1
        );
    }
    obsflow.stop()
}

#[test]
fn names_that_do_not_exist() -> Result<()> {
    let lab = lab()?;
    let pods = lab.pods(vec![
        PodSpec::new("checkout"),
        PodSpec::new("checkout6").dns_over_v6(),
        PodSpec::new("twin"),
    ])?;
    let obsflow = lab.observe(&[])?;
    for pod in &pods[..2] {
        assert_eq!(
            says(pod, &["resolve", "otel-colector.observability.svc"])?["gai"],
            libc::EAI_NONAME
        );
        let lookup = obsflow.lookup(pod, "otel-colector.observability.svc")?;
        assert_eq!((lookup.outcome(), lookup.rcode()), ("nxdomain", 3), "{lookup}");
        let tried = candidates(&lookup);
        assert!(tried.iter().all(|(_, rcode)| *rcode == "NXDOMAIN"), "{tried:?}");
        let names: std::collections::BTreeSet<_> = tried.iter().map(|(name, _)| *name).collect();
        assert_eq!(
            names.len(),
            5,
            "four search domains and the name itself: {names:?}"
        );
        let bare = obsflow.wait_for("the answer to the name itself", |flow| {
            flow.event() == "dns-response"
                && flow.of_pod(&pod.name)
                && flow.question() == "otel-colector.observability.svc"
        })?;
        assert_eq!((bare.rcode(), bare.verdict()), (3, "FORWARDED"), "{bare}");
        assert!(
            bare.summary().contains("Non-Existent Domain"),
            "{}",
            bare.summary()
        );
        assert_eq!(
            obsflow
                .all(|flow| flow.event() == "lookup" && flow.from(pod))
                .len(),
            1
        );
    }
    healthy_twin(&obsflow, &pods[2])?;
    obsflow.stop()
}

#[test]
fn servers_that_fail_or_refuse_and_names_without_addresses() -> Result<()> {
    let lab = lab()?;
    let pods = lab.pods(["servfail", "refused", "nodata", "twin"].map(PodSpec::new).into())?;
    let obsflow = lab.observe(&[])?;
    let cases = [
        (dns::SERVFAIL, "server-failure", 2),
        (dns::REFUSED, "server-failure", 5),
        (dns::NODATA, "nodata", 0),
    ];
    for (pod, (zone, outcome, rcode)) in pods.iter().zip(cases) {
        let name = format!("collector.{zone}");
        assert_ne!(says(pod, &["resolve", &name])?["gai"], 0);
        let lookup = obsflow.lookup(pod, &name)?;
        assert_eq!(lookup.outcome(), outcome, "{lookup}");
        if outcome != "nodata" {
            assert_eq!(lookup.rcode(), rcode, "{lookup}");
        }
        let answer = obsflow.wait_for("the answer", |flow| {
            flow.event() == "dns-response" && flow.of_pod(&pod.name) && flow.question() == name
        })?;
        assert_eq!(answer.rcode(), rcode, "{answer}");
    }
    healthy_twin(&obsflow, &pods[3])?;
    obsflow.stop()
}

#[test]
fn queries_without_an_answer() -> Result<()> {
    let lab = lab()?;
    let pods = lab.pods(vec![
        PodSpec::new("checkout").resolv_options(HASTY),
        PodSpec::new("checkout6").resolv_options(HASTY).dns_over_v6(),
        PodSpec::new("twin"),
    ])?;
    let obsflow = lab.observe(&["--dns-timeout", "2s"])?;
    let name = format!("collector.{}", dns::SILENT);
    for pod in &pods[..2] {
        assert_eq!(says(pod, &["resolve", &name])?["gai"], libc::EAI_AGAIN);
    }
    for pod in &pods[..2] {
        let query = obsflow.wait_for("the query that got no answer", |flow| {
            flow.is("dns-unanswered", "unanswered") && flow.from(pod) && flow.question() == name
        })?;
        assert_eq!(query.verdict(), "ERROR", "{query}");
        let lookup = obsflow.lookup(pod, &name)?;
        assert_eq!(
            (lookup.outcome(), lookup.verdict()),
            ("unanswered", "ERROR"),
            "{lookup}"
        );
    }
    healthy_twin(&obsflow, &pods[2])?;
    obsflow.stop()
}

#[test]
fn a_late_answer_is_an_answer() -> Result<()> {
    let lab = lab()?;
    let pod = lab.pod("checkout")?;
    let obsflow = lab.observe(&[])?;
    lab.dns().pause()?;
    let resolver = pod.tool(["resolve", "otel-collector.observability"])?;
    obsflow.wait_for("the first query", |flow| {
        flow.event() == "dns-query" && flow.from(&pod)
    })?;
    lab.dns().resume()?;
    assert_eq!(
        resolver.json("its answer", obsflow_tests::wait::SOON, |_| true)?["gai"],
        0
    );
    assert_eq!(
        obsflow.lookup(&pod, "otel-collector.observability")?.outcome(),
        "resolved"
    );
    obsflow.quiet(&pod)?;
    obsflow.stop()
}

#[test]
fn nobody_listens_at_the_name_server() -> Result<()> {
    let lab = lab()?;
    let pods = lab.pods(vec![
        PodSpec::new("checkout"),
        PodSpec::new("checkout6").dns_over_v6(),
        PodSpec::new("twin"),
    ])?;
    let obsflow = lab.observe(&[])?;
    healthy_twin(&obsflow, &pods[2])?;
    lab.dns().stop();
    for pod in &pods[..2] {
        assert_eq!(
            says(pod, &["resolve", "otel-collector.observability"])?["gai"],
            libc::EAI_AGAIN
        );
        let refused = obsflow.wait_for("that the name server refuses", |flow| {
            flow.is("dns-refused", "refused") && flow.from(pod)
        })?;
        assert_eq!(refused.verdict(), "ERROR", "{refused}");
        assert_eq!(refused.ext_text("/errno_name"), "ECONNREFUSED", "{refused}");
        let lookup = obsflow.wait_for("the look-up", |flow| flow.event() == "lookup" && flow.from(pod))?;
        assert_eq!(
            (lookup.outcome(), lookup.verdict()),
            ("refused", "ERROR"),
            "{lookup}"
        );
    }
    obsflow.stop()
}

#[test]
fn queries_dropped_on_this_node() -> Result<()> {
    let lab = lab()?;
    let pods = lab.pods(vec![
        PodSpec::new("output").resolv_options(HASTY),
        PodSpec::new("output6").resolv_options(HASTY).dns_over_v6(),
        PodSpec::new("forward").resolv_options(HASTY),
        PodSpec::new("twin"),
    ])?;
    let obsflow = lab.observe(&["--dns-timeout", "2s"])?;
    healthy_twin(&obsflow, &pods[3])?;
    for (pod, hook) in pods.iter().zip([Hook::Output, Hook::Output, Hook::Forward]) {
        let netns = if hook == Hook::Forward {
            &lab.node(0)?.netns
        } else {
            &pod.netns
        };
        let broken = fault::apply(netns, Fault::Drop(hook, Transport::Udp, 53))?;
        // With its last dot, so that nothing is searched.
        assert_eq!(
            says(pod, &["resolve", &format!("{COLLECTOR}.")])?["gai"],
            libc::EAI_AGAIN
        );
        let drop = obsflow.wait_for("the drop", |flow| {
            flow.event() == "dropped" && flow.of_pod(&pod.name)
        })?;
        assert_eq!(drop.verdict(), "DROPPED", "{drop}");
        assert_eq!(drop.ext_text("/drop/reason"), "NETFILTER_DROP", "{drop}");
        assert_eq!(
            drop.ext_text("/drop/hook"),
            hook.to_string().to_uppercase(),
            "{drop}"
        );
        assert_eq!(
            drop.ext_text("/drop/question").trim_end_matches('.'),
            COLLECTOR,
            "{drop}"
        );
        let lookup = obsflow.lookup(pod, COLLECTOR)?;
        assert_eq!(
            (lookup.outcome(), lookup.verdict()),
            ("dropped", "DROPPED"),
            "{lookup}"
        );
        broken.heal()?;
    }
    obsflow.quiet(&pods[3])?;
    obsflow.stop()
}

#[test]
fn over_tcp() -> Result<()> {
    let lab = lab()?;
    let pods = lab.pods(vec![
        PodSpec::new("tcp").resolv_options("ndots:5 use-vc"),
        PodSpec::new("tcp6")
            .resolv_options("ndots:5 use-vc")
            .dns_over_v6(),
        PodSpec::new("truncated").resolv_options("ndots:1"),
    ])?;
    let obsflow = lab.observe(&[])?;
    for pod in &pods[..2] {
        assert_eq!(says(pod, &["resolve", "otel-collector.observability"])?["gai"], 0);
        let lookup = obsflow.lookup(pod, "otel-collector.observability")?;
        assert_eq!(lookup.outcome(), "resolved", "{lookup}");
        let answer = obsflow.wait_for("the answer over TCP", |flow| {
            flow.event() == "dns-response" && flow.of_pod(&pod.name) && flow.question() == COLLECTOR
        })?;
        assert!(answer.at("/l4/TCP").is_some(), "{answer}");
        assert_eq!(
            says(pod, &["resolve", "nowhere.example"])?["gai"],
            libc::EAI_NONAME
        );
        assert_eq!(obsflow.lookup(pod, "nowhere.example")?.outcome(), "nxdomain");
    }
    let pod = &pods[2];
    let said = says(pod, &["resolve", dns::WIDE, "--family", "4"])?;
    assert_eq!(
        said["ips"].as_array().map(Vec::len),
        Some(dns::WIDE_ADDRESSES.into())
    );
    let cut = obsflow.wait_for("the truncated answer", |flow| {
        flow.event() == "dns-response" && flow.of_pod(&pod.name) && flow.at("/l4/UDP").is_some()
    })?;
    assert_eq!(cut.ext("/dns_truncated"), Some(&true.into()), "{cut}");
    let lookup = obsflow.lookup(pod, dns::WIDE)?;
    assert_eq!(lookup.outcome(), "resolved", "{lookup}");
    let whole = obsflow.wait_for("the whole answer", |flow| {
        flow.event() == "dns-response" && flow.of_pod(&pod.name) && flow.at("/l4/TCP").is_some()
    })?;
    let ips = whole
        .at("/l7/dns/ips")
        .and_then(|ips| ips.as_array())
        .map(Vec::len);
    assert_eq!(ips, Some(dns::WIDE_ADDRESSES.into()), "{whole}");
    obsflow.quiet(pod)?;
    obsflow.stop()
}

#[test]
fn a_name_server_on_this_node_is_not_counted_twice() -> Result<()> {
    let lab = Lab::new()?;
    let pods = lab.pods(vec![
        PodSpec::new("kube-system/node-local-dns"),
        PodSpec::new("checkout"),
    ])?;
    let [server, pod] = <[Pod; 2]>::try_from(pods).unwrap();
    let at = format!("{}:53", server.v4);
    let server = Dns::start(server, &lab.dir().join("node-local-dns"))?;
    let obsflow = lab.observe(&[])?;
    assert_eq!(says(&pod, &["query", &at, "nowhere.example", "A"])?["rcode"], 3);
    assert_eq!(
        says(&pod, &["query", &at, "nowhere.example", "AAAA", "--tcp"])?["rcode"],
        3
    );
    let is_it = |flow: &Flow| flow.question() == "nowhere.example" && flow.event().starts_with("dns-");
    obsflow.wait_for("the last answer", |flow| {
        is_it(flow) && flow.event() == "dns-response" && flow.at("/l4/TCP").is_some()
    })?;
    obsflow.sentinel()?;
    let shown = obsflow.all(is_it);
    assert_eq!(shown.len(), 4, "a query and an answer for each: {shown:?}");
    assert!(
        shown
            .iter()
            .all(|flow| flow.of_pod(&pod.name) && !flow.of_pod(&server.pod.name)),
        "{shown:?}"
    );
    obsflow.stop()
}
