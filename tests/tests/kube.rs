//! obsflow's client of the Kubernetes API against an API server: what it learns, and what it does when the server does not
//! answer as it should.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use obsflow::cluster::{Config, Handle, start};
use obsflow::model::cluster::{Cluster, ContainerRole, Destination, Owner, Watch, WatchState};
use obsflow_tests::server::kube::{Api, Order, objects};
use obsflow_tests::wait::{SOON, until};
use serde_json::{Value, json};

const WATCHES: [&str; 6] = [
    "pods",
    "services",
    "endpointslices",
    "nodes",
    "namespaces",
    "mutatingwebhookconfigurations",
];

/// A folder that goes with its guard.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!(
            "obsflow-kube-{}-{}",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        );
        let folder = std::env::temp_dir().join(name);
        fs::create_dir_all(&folder)?;
        Ok(Self(folder))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A client on node `node-0` that follows an API server.
struct Client {
    handle: Handle,
    _folder: Folder,
}

impl Client {
    fn start(api: &Api) -> Result<Self> {
        let folder = Folder::new()?;
        let handle = start(&Config {
            kubernetes: true,
            kubeconfig: Some(api.kubeconfig(&folder.0)?),
            context: None,
            node_name: Some("node-0".to_owned()),
            ..Config::default()
        });
        Ok(Self {
            handle: handle.context("there is nothing to watch")?,
            _folder: folder,
        })
    }

    /// Waits until a snapshot is as it should be.
    fn wait(&self, what: &str, like: impl Fn(&Cluster) -> bool) -> Result<Arc<Cluster>> {
        let found = until(what, SOON, || {
            Ok(Some(self.handle.latest()).filter(|cluster| like(cluster)))
        });
        found.with_context(|| format!("{:#?}", self.handle.latest()))
    }

    /// Waits until everything was listed and is followed.
    fn settled(&self) -> Result<Arc<Cluster>> {
        self.wait("watches of everything", |cluster| {
            WATCHES.iter().all(|name| is_watching(cluster, name))
        })
    }
}

fn watch<'a>(cluster: &'a Cluster, name: &str) -> Option<&'a Watch> {
    cluster.watches.iter().find(|watch| &*watch.resource == name)
}

fn is_watching(cluster: &Cluster, name: &str) -> bool {
    watch(cluster, name).is_some_and(|watch| watch.state == WatchState::Watching)
}

fn away(cluster: &Cluster, name: &str) -> Option<String> {
    match &watch(cluster, name)?.state {
        WatchState::Away { error, .. } => Some(error.to_string()),
        _ => None,
    }
}

fn names(cluster: &Cluster) -> Vec<String> {
    let mut names: Vec<String> = cluster
        .pods
        .iter()
        .filter(|pod| !pod.ended)
        .map(|pod| pod.name.to_string())
        .collect();
    names.sort();
    names
}

fn owner(kind: &str, name: &str) -> Owner {
    Owner {
        kind: kind.into(),
        name: name.into(),
    }
}

/// A small cluster: an application with its Deployment, a Collector of another node, two nodes, a namespace.
fn small() -> Result<Api> {
    let api = Api::start()?;
    fill(&api)?;
    Ok(api)
}

fn fill(api: &Api) -> Result<()> {
    for object in [
        objects::node("node-0", "192.168.61.10")?,
        objects::node("node-1", "192.168.61.11")?,
        objects::namespace("apps")?,
        objects::deployment("apps", "checkout")?,
        objects::replica_set("apps", "checkout-7d9c5b8f6d", "checkout")?,
        objects::pod("apps", "checkout", "x2x7k", "10.42.0.17")?,
        objects::service("observability", "otel-collector", "10.43.0.20")?,
        objects::slice(
            "observability",
            "otel-collector",
            &[
                ("10.42.1.9".parse()?, "otel-collector-6b8c7d9f4-q8w2z", true),
                ("10.42.1.10".parse()?, "otel-collector-6b8c7d9f4-abcde", false),
            ],
        )?,
        elsewhere()?,
    ] {
        api.apply(object)?;
    }
    Ok(())
}

/// A pod of another node.
fn elsewhere() -> Result<Value> {
    let pod = objects::pod("apps", "far", "zzzzz", "10.42.1.77")?;
    Ok(objects::with(pod, "/spec/nodeName", json!("node-1")))
}

#[test]
fn pods_services_and_owners_are_known_by_name() -> Result<()> {
    let api = small()?;
    let client = Client::start(&api)?;
    client.settled()?;
    let cluster = client.wait("the pod's owner", |cluster| {
        cluster.pods.iter().any(|pod| pod.owner.is_some()) && !cluster.surroundings.owners.is_empty()
    })?;
    assert_eq!(names(&cluster), ["checkout-7d9c5b8f6d-x2x7k"]);
    let pod = cluster
        .pods
        .at("10.42.0.17".parse()?)
        .context("no pod at its address")?;
    assert_eq!(pod.owner, Some(owner("Deployment", "checkout")));
    assert_eq!(pod.node.as_deref(), Some("node-0"));
    let id = pod.containers[0].id.clone().context("no container id")?;
    assert_eq!(id.len(), 64);
    let (of, container) = cluster.pods.of_container(&id).context("no such container")?;
    assert_eq!((&*of.name, &*container.name), (&*pod.name, "checkout"));
    let at = |ip: &str| -> Result<Option<Destination>> { Ok(cluster.destination(ip.parse()?)) };
    let service = Destination::Service {
        namespace: "observability".into(),
        name: "otel-collector".into(),
    };
    assert_eq!(at("10.43.0.20")?, Some(service));
    let Some(Destination::Pod { name, service, .. }) = at("10.42.1.9")? else {
        anyhow::bail!("no backend: {:?}", at("10.42.1.9")?);
    };
    assert_eq!(&*name, "otel-collector-6b8c7d9f4-q8w2z");
    assert_eq!(service.as_deref(), Some("otel-collector"));
    assert_eq!(
        at("192.168.61.11")?,
        Some(Destination::Node {
            name: "node-1".into()
        })
    );
    let service = cluster
        .service("observability", "otel-collector")
        .context("no Service")?;
    assert_eq!((service.ready, service.not_ready), (1, 1));
    let ports: Vec<_> = service
        .ports
        .iter()
        .map(|(port, name)| (*port, name.as_deref()))
        .collect();
    assert_eq!(ports, [(4317, Some("otlp-grpc")), (4318, Some("otlp-http"))]);
    Ok(())
}

#[test]
fn only_what_is_used_is_asked_for() -> Result<()> {
    let api = small()?;
    let client = Client::start(&api)?;
    client.settled()?;
    client.wait("the owner", |cluster| {
        cluster.pods.iter().any(|pod| pod.owner.is_some())
    })?;
    let requests = api.requests();
    for request in requests.iter().filter(|request| request.resource == "pods") {
        assert_eq!(
            request.query["fieldSelector"], "spec.nodeName=node-0",
            "{request:?}"
        );
    }
    for request in &requests {
        let metadata = request
            .headers
            .get("accept")
            .is_some_and(|accept| accept.contains("as=PartialObjectMetadata"));
        let wanted = matches!(&*request.resource, "namespaces" | "replicasets" | "deployments");
        assert_eq!(metadata, wanted, "{request:?}");
        assert!(
            request.headers["user-agent"].starts_with("obsflow/"),
            "{request:?}"
        );
        assert_ne!((&*request.resource, &*request.verb), ("replicasets", "list"));
        assert_ne!((&*request.resource, &*request.verb), ("nodes", "watch"));
        let is_cached = matches!(
            &*request.resource,
            "pods" | "namespaces" | "mutatingwebhookconfigurations"
        );
        if request.verb == "list" {
            let version = request.query.get("resourceVersion").map(String::as_str);
            assert_eq!(version, is_cached.then_some("0"), "{request:?}");
        }
        if request.verb == "watch" {
            assert_eq!(request.query["allowWatchBookmarks"], "true");
            let seconds: u64 = request.query["timeoutSeconds"].parse()?;
            assert!((200..=300).contains(&seconds), "{seconds}");
        }
    }
    let owners: Vec<&str> = requests
        .iter()
        .filter(|request| request.verb == "get")
        .map(|request| &*request.path)
        .collect();
    assert_eq!(
        owners,
        [
            "/apis/apps/v1/namespaces/apps/replicasets/checkout-7d9c5b8f6d",
            "/apis/apps/v1/namespaces/apps/deployments/checkout"
        ]
    );
    Ok(())
}

#[test]
fn what_changes_is_followed() -> Result<()> {
    let api = small()?;
    let client = Client::start(&api)?;
    client.settled()?;
    let late = objects::pod("apps", "checkout", "late1", "")?;
    let late = objects::with(late, "/status/podIPs", Value::Null);
    let late = objects::with(late, "/status/containerStatuses", Value::Null);
    api.apply(late.clone())?;
    let cluster = client.wait("a pod that comes late", |cluster| names(cluster).len() == 2)?;
    let uid = late["metadata"]["uid"].as_str().context("no uid")?;
    let pod = cluster.pods.get(uid).context("no such pod")?;
    assert!(pod.ips.is_empty() && pod.containers[0].id.is_none(), "{pod:?}");
    // It gets its network and starts.
    api.apply(objects::pod("apps", "checkout", "late1", "10.42.0.99")?)?;
    let cluster = client.wait("its address", |cluster| {
        cluster.pods.at([10, 42, 0, 99].into()).is_some()
    })?;
    assert!(
        cluster.pods.get(uid).context("no such pod")?.containers[0]
            .id
            .is_some()
    );
    // It goes, and is known a while longer: its last connections end after it.
    assert!(api.delete(&late)?);
    let cluster = client.wait("its end", |cluster| names(cluster).len() == 1)?;
    assert!(cluster.pods.get(uid).context("forgotten at once")?.ended);
    assert_eq!(watch(&cluster, "pods").context("no watch")?.objects, 1);
    // Its address is given to another pod.
    api.apply(objects::pod("apps", "cart", "aaaaa", "10.42.0.99")?)?;
    client.wait("the address' new pod", |cluster| {
        cluster
            .pods
            .at([10, 42, 0, 99].into())
            .is_some_and(|pod| pod.name.starts_with("cart-"))
    })?;
    let gone = objects::service("observability", "otel-collector", "10.43.0.20")?;
    api.delete(&gone)?;
    client.wait("no Service", |cluster| {
        cluster.service("observability", "otel-collector").is_none()
    })?;
    Ok(())
}

/// A Job's pod stays in the API for days, its address does not wait for that.
#[test]
fn the_address_of_a_pod_that_ended_is_somebody_elses() -> Result<()> {
    let api = small()?;
    let job = objects::pod("batch", "report", "kkkkk", "10.42.1.9")?;
    api.apply(objects::with(job.clone(), "/status/phase", json!("Succeeded")))?;
    let client = Client::start(&api)?;
    let cluster = client.settled()?;
    let uid = job["metadata"]["uid"].as_str().context("no uid")?;
    assert!(cluster.pods.get(uid).context("it is not known at all")?.ended);
    assert!(cluster.pod_at("10.42.1.9".parse()?).is_none());
    let Some(Destination::Pod { name, .. }) = cluster.destination("10.42.1.9".parse()?) else {
        anyhow::bail!("{:?}", cluster.destination("10.42.1.9".parse()?));
    };
    assert_eq!(&*name, "otel-collector-6b8c7d9f4-q8w2z");
    Ok(())
}

#[test]
fn injection_is_seen_on_pod_namespace_and_owner() -> Result<()> {
    let api = small()?;
    let key = "instrumentation.opentelemetry.io/inject-python";
    let when = "2026-03-03T12:00:00Z";
    let deployment = objects::deployment("apps", "checkout")?;
    api.apply(objects::annotated(deployment, key, "true", when))?;
    api.apply(objects::annotated(
        objects::namespace("apps")?,
        key,
        "apps/python",
        when,
    ))?;
    let webhook = |name: &str, path: &str| {
        json!({
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "MutatingWebhookConfiguration",
            "metadata": { "name": name, "creationTimestamp": "2026-03-02T00:00:00Z" },
            "webhooks": [{
                "name": "mpod.kb.io",
                "clientConfig": { "service": { "namespace": "system", "name": name, "path": path, "port": 443 } }
            }]
        })
    };
    api.apply(webhook("azure-wi-webhook", "/mutate-v1-pod"))?;
    api.apply(webhook(
        "opentelemetry-operator-mutation",
        "/mutate-opentelemetry-io-v1beta1-collector",
    ))?;
    let injected = objects::pod("apps", "injected", "aaaaa", "10.42.0.18")?;
    let injected = objects::annotated(injected, key, "true", when);
    let injected = objects::with(
        injected,
        "/spec/initContainers",
        json!([{ "name": "opentelemetry-auto-instrumentation-python", "image": "x" }]),
    );
    api.apply(injected)?;
    let by_hand = objects::pod("apps", "by-hand", "bbbbb", "10.42.0.19")?;
    let by_hand = objects::with(
        by_hand,
        "/spec/containers/0/env",
        json!([{ "name": "PYTHONPATH", "value": "/otel-auto-instrumentation" }, { "name": "PASSWORD", "value": "secret" }]),
    );
    api.apply(by_hand)?;
    let client = Client::start(&api)?;
    client.settled()?;
    let at = Some(when.parse()?);
    let cluster = client.wait("the Deployment's annotations", |cluster| {
        let key = ("apps".into(), owner("Deployment", "checkout"));
        cluster
            .surroundings
            .owners
            .get(&key)
            .is_some_and(|owner| !owner.asked.is_empty())
    })?;
    let deployment = &cluster.surroundings.owners[&("apps".into(), owner("Deployment", "checkout"))];
    assert_eq!(
        (&*deployment.asked[0].language, &*deployment.asked[0].value),
        ("python", "true")
    );
    assert_eq!(deployment.changed, at);
    let namespace = &cluster.surroundings.namespaces["apps"];
    assert_eq!(
        (&*namespace.asked[0].value, namespace.changed),
        ("apps/python", at)
    );
    assert_eq!(cluster.surroundings.injector, None, "neither webhook injects");
    let pod = |ip: [u8; 4]| cluster.pods.at(ip.into()).map(|pod| pod.injection.clone());
    let plain = pod([10, 42, 0, 17]).context("no pod")?;
    assert!(plain.asked.is_empty() && plain.traces.is_empty(), "{plain:?}");
    let injected = pod([10, 42, 0, 18]).context("no pod")?;
    assert_eq!(injected.changed, at);
    assert_eq!(
        *injected.traces[0],
        *"init container opentelemetry-auto-instrumentation-python"
    );
    let by_hand = pod([10, 42, 0, 19]).context("no pod")?;
    assert_eq!(*by_hand.traces, ["PYTHONPATH in container by-hand".into()]);
    api.apply(webhook("opentelemetry-operator-mutation", "/mutate-v1-pod"))?;
    client.wait("who injects", |cluster| cluster.surroundings.injector.is_some())?;
    Ok(())
}

#[test]
fn a_static_pod_is_known_by_the_uid_of_its_cgroup() -> Result<()> {
    let api = small()?;
    let hash = "0123456789abcdef0123456789abcdef";
    let pod = objects::pod("kube-system", "kube-proxy", "node0", "192.168.61.10")?;
    let pod = objects::with(
        pod,
        "/metadata/annotations/kubernetes.io~1config.hash",
        json!(hash),
    );
    let pod = objects::with(pod, "/spec/hostNetwork", json!(true));
    api.apply(objects::owned_by(pod, "v1", "Node", "node-0"))?;
    let client = Client::start(&api)?;
    let cluster = client.wait("the pod", |cluster| cluster.pods.get(hash).is_some())?;
    let pod = cluster.pods.get(hash).context("no pod")?;
    assert!(pod.host_network);
    assert_eq!(pod.owner, Some(owner("Node", "node-0")));
    Ok(())
}

#[test]
fn every_kind_of_container_is_known_by_its_id() -> Result<()> {
    let api = small()?;
    let ids = ["a1", "b2", "c3"].map(|pair| pair.repeat(32));
    let mut pod = objects::pod("apps", "cart", "k7k7k", "10.42.0.21")?;
    let status = |name: &str, id: &str| json!([{ "name": name, "containerID": format!("cri-o://{id}"), "restartCount": 0 }]);
    for (pointer, value) in [
        (
            "/spec/initContainers",
            json!([{ "name": "setup", "image": "x", "restartPolicy": "Always" }]),
        ),
        ("/status/initContainerStatuses", status("setup", &ids[0])),
        ("/status/containerStatuses", status("cart", &ids[1])),
        (
            "/spec/ephemeralContainers",
            json!([{ "name": "debugger-5x2xk", "image": "x", "targetContainerName": "cart" }]),
        ),
        (
            "/status/ephemeralContainerStatuses",
            status("debugger-5x2xk", &ids[2]),
        ),
    ] {
        objects::set(&mut pod, pointer, value);
    }
    api.apply(pod)?;
    let client = Client::start(&api)?;
    let cluster = client.wait("the pod", |cluster| {
        cluster.pods.at([10, 42, 0, 21].into()).is_some()
    })?;
    let expected = [
        ("setup", ContainerRole::Init),
        ("cart", ContainerRole::Main),
        ("debugger-5x2xk", ContainerRole::Ephemeral),
    ];
    for (id, (name, role)) in ids.iter().zip(expected) {
        let (pod, container) = cluster.pods.of_container(id).context("no such container")?;
        assert_eq!((&*container.name, container.role), (name, role));
        assert!(pod.name.starts_with("cart-"), "{}", pod.name);
    }
    Ok(())
}

#[test]
fn long_lists_come_in_pages() -> Result<()> {
    let api = small()?;
    for at in 0..1_234_u32 {
        let ip = format!("10.44.{}.{}", at / 250, at % 250);
        api.apply(objects::service("many", &format!("service-{at}"), &ip)?)?;
    }
    let client = Client::start(&api)?;
    let cluster = client.settled()?;
    assert_eq!(cluster.addresses.services.len(), 1_235);
    assert_eq!(watch(&cluster, "services").context("no watch")?.objects, 1_235);
    let pages: Vec<_> = api
        .requests()
        .into_iter()
        .filter(|request| request.resource == "services" && request.verb == "list")
        .map(|request| {
            (
                request.query["limit"].clone(),
                request.query.contains_key("continue"),
            )
        })
        .collect();
    let page = |more| ("500".to_owned(), more);
    assert_eq!(pages, [page(false), page(true), page(true)]);
    Ok(())
}

/// What makes a client begin again, and what it has to know then.
#[test]
fn a_version_that_is_too_old_begins_a_new_list() -> Result<()> {
    let api = small()?;
    let client = Client::start(&api)?;
    client.settled()?;
    let lists = || count(&api, "list", "pods");
    assert_eq!(lists(), 1);
    // As an event, while nothing is known of what happens.
    api.order(Order::GoneEvent.verb("watch").resource("pods").times(1));
    api.delete(&objects::pod("apps", "checkout", "x2x7k", "10.42.0.17")?)?;
    api.apply(objects::pod("apps", "cart", "aaaaa", "10.42.0.20")?)?;
    api.compact();
    client.wait("the list after it", |cluster| {
        names(cluster) == ["cart-7d9c5b8f6d-aaaaa"] && is_watching(cluster, "pods")
    })?;
    assert!(lists() >= 2);
    // As a status.
    let before = lists();
    api.order(Order::Status(410, None).verb("watch").resource("pods").times(1));
    api.end_watches();
    until("another list", SOON, || Ok((lists() > before).then_some(())))?;
    let cluster = client.wait("a watch again", |cluster| is_watching(cluster, "pods"))?;
    assert!(watch(&cluster, "pods").context("no watch")?.restarts >= 2);
    assert_eq!(names(&cluster), ["cart-7d9c5b8f6d-aaaaa"]);
    Ok(())
}

/// Whatever a server has against a version, it is not asked for it for ever; one that is busy is not asked for a list.
#[test]
fn a_watch_that_fails_each_time_begins_a_new_list() -> Result<()> {
    let cases = [(400, 3, 2), (503, 4, 1)];
    let scenes = cases.map(|(code, times, lists)| {
        let api = small()?;
        api.order(
            Order::Status(code, None)
                .verb("watch")
                .resource("pods")
                .times(times),
        );
        let client = Client::start(&api)?;
        anyhow::Ok((api, client, lists))
    });
    for scene in scenes {
        let (api, client, lists) = scene?;
        client.settled()?;
        assert_eq!(count(&api, "list", "pods"), lists);
    }
    Ok(())
}

#[test]
fn a_bookmark_is_where_the_next_watch_begins() -> Result<()> {
    let api = small()?;
    let client = Client::start(&api)?;
    client.settled()?;
    // Nothing of this concerns the node's pods: without bookmarks their version would stay behind.
    for at in 0..50_u8 {
        api.apply(objects::service(
            "many",
            &format!("service-{at}"),
            &format!("10.44.0.{at}"),
        )?)?;
    }
    let version = api.version();
    api.bookmark();
    client.wait("the Services", |cluster| cluster.addresses.services.len() == 51)?;
    let watches = count(&api, "watch", "pods");
    api.end_watches();
    let again = until("the next watch of pods", SOON, || {
        let requests = api.requests();
        let mut of_pods = requests
            .into_iter()
            .filter(|request| request.verb == "watch" && request.resource == "pods");
        Ok(of_pods.nth(watches))
    })?;
    assert_eq!(again.query["resourceVersion"], version.to_string());
    assert_eq!(count(&api, "list", "pods"), 1, "it was not listed again");
    Ok(())
}

#[test]
fn a_server_that_asks_for_fewer_requests_is_left_alone() -> Result<()> {
    let api = small()?;
    api.order(Order::Status(429, Some(3)).resource("pods").times(1));
    let client = Client::start(&api)?;
    let cluster = client.wait("the refusal", |cluster| away(cluster, "pods").is_some())?;
    let error = away(&cluster, "pods").unwrap_or_default();
    assert!(error.contains("asks for fewer requests (429)"), "{error}");
    client.wait("the pods after it", |cluster| names(cluster).len() == 1)?;
    let at: Vec<Instant> = of(&api, "pods").take(2).collect();
    assert!(at[1] - at[0] >= Duration::from_secs(3), "{:?}", at[1] - at[0]);
    Ok(())
}

#[test]
fn what_is_forbidden_is_missing_and_the_rest_goes_on() -> Result<()> {
    let api = small()?;
    api.order(Order::Status(403, None).resource("services"));
    api.order(Order::Status(403, None).resource("deployments"));
    let client = Client::start(&api)?;
    let cluster = client.wait("the pods", |cluster| {
        names(cluster).len() == 1
            && away(cluster, "services").is_some()
            && away(cluster, "deployments").is_some()
    })?;
    let error = away(&cluster, "services").unwrap_or_default();
    assert!(error.contains("cannot list resource \"services\""), "{error}");
    assert!(cluster.addresses.services.is_empty());
    // The ReplicaSet said whose it is; only its Deployment's annotations are not known.
    let pod = cluster.pods.at([10, 42, 0, 17].into()).context("no pod")?;
    assert_eq!(pod.owner, Some(owner("Deployment", "checkout")));
    // RBAC is not asked again all the time.
    assert_eq!(count(&api, "list", "services"), 1);
    Ok(())
}

/// A node with a Deployment and a Job, and a rule for one of them: the other stays forbidden however often the first answers.
#[test]
fn owners_that_are_forbidden_are_told_by_their_kind() -> Result<()> {
    let api = small()?;
    let job = objects::pod("apps", "report", "kkkkk", "10.42.0.30")?;
    api.apply(objects::owned_by(job, "batch/v1", "Job", "report-1"))?;
    api.order(Order::Status(403, None).resource("jobs"));
    api.order(
        Order::Slow(Duration::from_millis(500))
            .resource("replicasets")
            .times(1),
    );
    let client = Client::start(&api)?;
    let cluster = client.wait("both answers", |cluster| {
        is_watching(cluster, "deployments") && away(cluster, "jobs").is_some()
    })?;
    assert!(cluster.pods.iter().any(|pod| pod.owner.is_some()));
    let error = away(&cluster, "jobs").context("it is not away")?;
    assert!(error.contains("cannot get resource \"jobs\""), "{error}");
    assert!(watch(&cluster, "owners").is_none(), "there is no such resource");
    let objects = |name| watch(&cluster, name).map(|watch| watch.objects);
    assert_eq!((objects("jobs"), objects("deployments")), (Some(1), Some(1)));
    assert_eq!(objects("cronjobs"), None, "nobody asked");
    Ok(())
}

#[test]
fn an_api_that_goes_away_leaves_what_is_known_and_comes_back() -> Result<()> {
    let mut api = small()?;
    let client = Client::start(&api)?;
    client.settled()?;
    api.stop();
    // Nodes are not watched, and not asked for again so soon.
    let watched = || WATCHES.iter().filter(|name| **name != "nodes");
    let cluster = client.wait("the loss of every watch", |cluster| {
        watched().all(|name| away(cluster, name).is_some())
    })?;
    assert!(is_watching(&cluster, "nodes"));
    assert_eq!(names(&cluster), ["checkout-7d9c5b8f6d-x2x7k"]);
    assert!(cluster.destination([10, 43, 0, 20].into()).is_some());
    let error = away(&cluster, "pods").unwrap_or_default();
    assert!(
        error.contains("cannot be reached") && error.contains("refused"),
        "{error}"
    );
    api.apply(objects::pod("apps", "cart", "aaaaa", "10.42.0.20")?)?;
    api.resume()?;
    let cluster = client.wait("what happened meanwhile", |cluster| {
        names(cluster).len() == 2 && WATCHES.iter().all(|name| is_watching(cluster, name))
    })?;
    assert!(watch(&cluster, "pods").context("no watch")?.restarts >= 1);
    Ok(())
}

#[test]
fn watches_that_end_every_second_are_begun_again_not_too_fast() -> Result<()> {
    let api = small()?;
    api.order(Order::EndAfter(Duration::from_secs(1)).verb("watch"));
    let client = Client::start(&api)?;
    client.settled()?;
    let began = Instant::now();
    let cluster = client.wait("restarts", |cluster| {
        watch(cluster, "pods").is_some_and(|watch| watch.restarts >= 4)
    })?;
    let lasted = began.elapsed().as_secs();
    let watches = count(&api, "watch", "pods") as u64;
    assert!(watches <= lasted + 2, "{watches} watches in {lasted} s");
    assert_eq!(names(&cluster).len(), 1);
    assert_eq!(count(&api, "list", "pods"), 1, "what is known stays known");
    api.apply(objects::pod("apps", "cart", "aaaaa", "10.42.0.20")?)?;
    client.wait("what comes between them", |cluster| names(cluster).len() == 2)?;
    Ok(())
}

#[test]
fn answers_that_cannot_be_understood_do_no_harm() -> Result<()> {
    let api = small()?;
    api.order(Order::Garbage.verb("list").resource("nodes").times(1));
    api.order(Order::Half.verb("watch").resource("pods").times(1));
    api.order(
        Order::Slow(Duration::from_millis(700))
            .verb("list")
            .resource("services")
            .times(1),
    );
    let client = Client::start(&api)?;
    let cluster = client.wait("the garbage", |cluster| away(cluster, "nodes").is_some())?;
    let error = away(&cluster, "nodes").unwrap_or_default();
    assert!(error.contains("is not the Kubernetes API's"), "{error}");
    client.settled()?;
    api.apply(objects::pod("apps", "cart", "aaaaa", "10.42.0.20")?)?;
    let cluster = client.wait("everything in the end", |cluster| names(cluster).len() == 2)?;
    assert_eq!(cluster.surroundings.nodes.len(), 2);
    assert_eq!(cluster.addresses.services.len(), 1);
    Ok(())
}

#[test]
fn a_server_that_hangs_holds_nothing_up() -> Result<()> {
    let api = small()?;
    api.order(Order::Hang.verb("list").resource("endpointslices"));
    api.order(Order::Hang.resource("replicasets"));
    let client = Client::start(&api)?;
    client.wait("the rest", |cluster| {
        names(cluster).len() == 1
            && cluster.addresses.services.len() == 1
            && cluster.surroundings.nodes.len() == 2
    })?;
    let began = Instant::now();
    drop(client);
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    Ok(())
}

#[test]
fn https_and_its_authority_come_from_the_kubeconfig() -> Result<()> {
    let api = Api::start_tls()?;
    fill(&api)?;
    let client = Client::start(&api)?;
    let cluster = client.settled()?;
    assert_eq!(names(&cluster).len(), 1);
    // Another authority's server is not believed.
    let other = Api::start_tls()?;
    let folder = Folder::new()?;
    let kubeconfig = api.kubeconfig(&folder.0)?;
    let text = fs::read_to_string(&kubeconfig)?.replace(&api.url(), &other.url());
    fs::write(&kubeconfig, text)?;
    let handle = start(&Config {
        kubernetes: true,
        kubeconfig: Some(kubeconfig),
        ..Config::default()
    });
    let handle = handle.context("nothing to watch")?;
    let error = until("the refusal", SOON, || Ok(away(&handle.latest(), "pods")))?;
    assert!(error.contains("certificate"), "{error}");
    assert!(other.requests().is_empty());
    Ok(())
}

#[test]
fn a_kubeconfig_that_leads_nowhere_is_said_and_tried_again() -> Result<()> {
    let mut api = small()?;
    api.stop();
    let client = Client::start(&api)?;
    let cluster = client.wait("the failure", |cluster| away(cluster, "pods").is_some())?;
    assert!(cluster.pods.is_empty());
    api.resume()?;
    client.wait("the pods", |cluster| names(cluster).len() == 1)?;
    Ok(())
}

#[test]
fn without_a_cluster_there_is_nothing_to_watch() {
    assert!(start(&Config::default()).is_none());
    let asked = Config {
        kubernetes: true,
        ..Config::default()
    };
    assert!(start(&asked).is_none(), "this is no pod");
}

#[test]
fn hostile_objects_are_taken_as_they_are() -> Result<()> {
    let api = small()?;
    let long = "x".repeat(63);
    let pod = objects::pod(&long, "a\"b\\c\n", "zzzzz", "no address")?;
    let pod = objects::with(pod, "/metadata/creationTimestamp", json!("yesterday"));
    let pod = objects::with(pod, "/metadata/ownerReferences", Value::Null);
    let pod = objects::with(
        pod,
        "/status/containerStatuses/0/containerID",
        json!("containerd://"),
    );
    api.apply(pod.clone())?;
    let slice = objects::slice("observability", "no-endpoints", &[])?;
    api.apply(objects::with(slice, "/endpoints", Value::Null))?;
    let headless = objects::service("observability", "headless", "None")?;
    api.apply(objects::with(headless, "/spec/ports", Value::Null))?;
    let client = Client::start(&api)?;
    let cluster = client.settled()?;
    let uid = pod["metadata"]["uid"].as_str().context("no uid")?;
    let pod = cluster.pods.get(uid).context("no such pod")?;
    assert_eq!((&*pod.namespace, pod.created, pod.ips.len()), (&*long, None, 0));
    assert_eq!(pod.containers[0].id, None);
    let headless = cluster
        .service("observability", "headless")
        .context("no Service")?;
    assert!(headless.ips.is_empty() && headless.ports.is_empty());
    Ok(())
}

fn of<'a>(api: &Api, resource: &'a str) -> impl Iterator<Item = Instant> + use<'a> {
    api.requests()
        .into_iter()
        .filter(move |request| request.resource == resource)
        .map(|request| request.at)
}

fn count(api: &Api, verb: &str, resource: &str) -> usize {
    let requests = api.requests();
    requests
        .iter()
        .filter(|request| request.verb == verb && request.resource == resource)
        .count()
}
