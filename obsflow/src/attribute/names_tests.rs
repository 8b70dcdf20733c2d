//! Names from snapshots: early, late, better than before, and of whom.

use std::sync::Mutex;

use super::*;
use crate::attribute::cgroup_path::tests::{CONTAINERS, path_of};
use crate::attribute::tests::{ID, POD, UID, at, attempt, cgroup, live, nameless};
use crate::model::cluster::{Container, ContainerRole, Owner, Pods};
use crate::model::event::{Endpoints, EventBody};
use crate::testing::TempDir;

const OTHER: &str = "ffffffffeeeeeeeeddddddddccccccccbbbbbbbbaaaaaaaa9999999988888888";
const STATIC: &str = "3b7d9f0c2a4e6d8f1b3c5e7a9d0f2b4c";

/// Publishes snapshots, and counts what was missed.
#[derive(Clone, Default)]
struct Source(Arc<Mutex<(Option<Arc<Cluster>>, usize)>>);

impl Source {
    fn publish(&self, pods: impl IntoIterator<Item = Pod>) {
        self.0.lock().unwrap().0 = Some(Arc::new(Cluster {
            pods: Arc::new(Pods::new(pods.into_iter().map(Arc::new))),
            ..Cluster::default()
        }));
    }

    fn missed(&self) -> usize {
        self.0.lock().unwrap().1
    }
}

impl Names for Source {
    fn newer(&mut self) -> Option<Arc<Cluster>> {
        self.0.lock().unwrap().0.take()
    }

    fn miss(&mut self) {
        self.0.lock().unwrap().1 += 1;
    }
}

fn attributor() -> (crate::attribute::Attributor, Source) {
    let source = Source::default();
    let (attributor, _) = live(&TempDir::new());
    (attributor.with_names(Box::new(source.clone())), source)
}

fn pod(uid: &str, name: &str, containers: &[(&str, Option<&str>)]) -> Pod {
    let container = |(name, id): &(&str, Option<&str>)| Container {
        name: (*name).into(),
        id: id.map(Arc::from),
        role: ContainerRole::Main,
    };
    Pod {
        uid: uid.into(),
        namespace: "shop".into(),
        name: name.into(),
        containers: containers.iter().map(container).collect(),
        ..Pod::default()
    }
}

fn deployment(name: &str) -> Option<Owner> {
    Some(Owner {
        kind: "Deployment".into(),
        name: name.into(),
    })
}

/// `namespace/pod/container of owner`.
fn told(workload: &Workload) -> String {
    let text = |name: &Option<Arc<str>>| name.as_deref().unwrap_or("?").to_owned();
    format!(
        "{}/{}/{} of {}",
        text(&workload.namespace),
        text(&workload.pod),
        text(&workload.container),
        workload.owner.as_ref().map_or("?", |owner| &*owner.name)
    )
}

#[test]
fn a_pod_that_became_known_late_is_named_late() {
    let (mut attributor, source) = attributor();
    let path = format!("{POD}/cri-containerd-{ID}.scope");
    attributor.on(&at(1, 7, 0, cgroup(&path)));
    assert_eq!(source.missed(), 1, "nobody knows it: whoever can shall look");
    let (before, _) = attributor.on(&at(1, 7, 5, attempt("app")));
    assert_eq!(told(&before), "?/?/? of ?");

    // The API hears of the pod before it hears of the container's id.
    source.publish([pod(UID, "web-0", &[("app", None), ("proxy", None)])]);
    let mut renamed = Vec::new();
    attributor.take_renamed(crate::model::Mono(2_000_000_000), &mut renamed);
    assert_eq!(
        renamed.iter().map(|it| told(it)).collect::<Vec<_>>(),
        ["shop/web-0/? of ?"],
        "without an event of its own"
    );
    let (then, _) = attributor.on(&at(3, 7, 5, nameless()));
    assert!(Arc::ptr_eq(&then, &renamed[0]), "no new one for each event");

    let mut known = pod(UID, "web-0", &[("app", Some(OTHER)), ("proxy", Some(ID))]);
    known.owner = deployment("web");
    source.publish([known]);
    let (after, _) = attributor.on(&at(4, 7, 5, nameless()));
    assert_eq!(told(&after), "shop/web-0/proxy of web");
    renamed.clear();
    attributor.take_renamed(crate::model::Mono(5_000_000_000), &mut renamed);
    assert_eq!(renamed.len(), 1, "told once, although an event came first");
    assert!(after.supersedes(&before) && !before.supersedes(&after));
    assert_eq!(after.container_key(), before.container_key());

    // It is deleted: what is known of it stays for what is still to come.
    source.publish([]);
    let (gone, _) = attributor.on(&at(6, 7, 5, nameless()));
    assert_eq!(told(&gone), "shop/web-0/proxy of web");
}

#[test]
fn the_cluster_knows_better_than_log_folders() {
    let logs = TempDir::new();
    std::fs::create_dir_all(logs.path().join(format!("shop_web-0_{UID}/init"))).unwrap();
    let source = Source::default();
    let (attributor, _) = live(&logs);
    let mut attributor = attributor.with_names(Box::new(source.clone()));
    let path = format!("{POD}/cri-containerd-{ID}.scope");
    // The only folder so far is that of the container before.
    let (before, _) = attributor.on(&at(1, 7, 0, cgroup(&path)));
    assert_eq!(told(&before), "shop/web-0/init of ?");
    source.publish([pod(UID, "web-0", &[("init", Some(OTHER)), ("app", Some(ID))])]);
    let (after, _) = attributor.on(&at(2, 7, 5, nameless()));
    assert_eq!(told(&after), "shop/web-0/app of ?");
}

/// An agent that is started on a node with pods hears of them before the API answers.
#[test]
fn a_sandbox_has_no_containers_name_once_it_is_known_to_be_none() {
    let logs = TempDir::new();
    std::fs::create_dir_all(logs.path().join(format!("shop_web-0_{UID}/app"))).unwrap();
    let source = Source::default();
    let (attributor, _) = live(&logs);
    let mut attributor = attributor.with_names(Box::new(source.clone()));
    let [sandbox, app] = [(7, OTHER), (8, ID)].map(|(cgroup_id, id)| {
        let path = format!("{POD}/cri-containerd-{id}.scope");
        attributor.on(&at(1, cgroup_id, 0, cgroup(&path))).0
    });
    assert_eq!([told(&sandbox), told(&app)], ["shop/web-0/app of ?"; 2]);
    // The container has not been started yet as far as the API knows: that says nothing of either.
    source.publish([pod(UID, "web-0", &[("app", None), ("proxy", None)])]);
    let mut renamed = Vec::new();
    attributor.take_renamed(crate::model::Mono(2_000_000_000), &mut renamed);
    assert_eq!(renamed.len(), 0, "{renamed:?}");
    source.publish([pod(UID, "web-0", &[("app", Some(ID))])]);
    attributor.take_renamed(crate::model::Mono(3_000_000_000), &mut renamed);
    assert_eq!(
        renamed.iter().map(|it| told(it)).collect::<Vec<_>>(),
        ["shop/web-0/? of ?"]
    );
    let (app, _) = attributor.on(&at(4, 8, 5, nameless()));
    assert_eq!(told(&app), "shop/web-0/app of ?");
    // It is restarted, and its cgroup is still asked about: it is what it was.
    source.publish([pod(UID, "web-0", &[("app", Some(&"5".repeat(64)))])]);
    let (app, _) = attributor.on(&at(5, 8, 5, nameless()));
    assert_eq!(told(&app), "shop/web-0/app of ?");
}

/// Each snapshot looks through every cgroup: folders are not opened for that.
#[test]
fn a_log_folder_is_asked_once_and_not_where_the_cluster_knows_every_container() {
    let logs = TempDir::new();
    let folder = logs.path().join(format!("shop_web-0_{UID}"));
    std::fs::create_dir_all(&folder).unwrap();
    let source = Source::default();
    let (attributor, _) = live(&logs);
    let mut attributor = attributor.with_names(Box::new(source.clone()));
    let mut see = |second, cgroup_id, id: &str| {
        let path = format!("{POD}/cri-containerd-{id}.scope");
        told(&attributor.on(&at(second, cgroup_id, 0, cgroup(&path))).0)
    };
    // A sandbox is there before the folders of containers are.
    assert_eq!(see(1, 7, OTHER), "shop/web-0/? of ?");
    std::fs::create_dir(folder.join("app")).unwrap();
    assert_eq!(see(2, 8, ID), "shop/web-0/app of ?");
    source.publish([pod(UID, "web-0", &[("app", Some(ID))])]);
    assert_eq!(see(3, 9, &"5".repeat(64)), "shop/web-0/? of ?");
    // The API is away from here on, and some of its answer is missing.
    source.publish([pod(UID, "web-0", &[("app", Some(ID)), ("proxy", None)])]);
    let (sandbox, _) = attributor.on(&at(4, 7, 5, nameless()));
    assert_eq!(told(&sandbox), "shop/web-0/? of ?", "it was asked about before");
}

#[test]
fn restarted_containers_static_pods_and_host_network() {
    let (mut attributor, source) = attributor();
    let mut agent = pod(UID, "agent-x2xkq", &[("agent", Some(OTHER))]);
    agent.host_network = true;
    agent.ips = vec!["192.168.0.1".parse().unwrap()];
    let etcd = pod(STATIC, "etcd-node1", &[("etcd", None)]);
    source.publish([agent.clone(), etcd.clone()]);
    // On the node's network, by its cgroup.
    attributor.on(&at(1, 7, 0, cgroup(&format!("{POD}/crio-{OTHER}.scope"))));
    assert_eq!(
        told(&attributor.on(&at(1, 7, 5, attempt("agent"))).0),
        "shop/agent-x2xkq/agent of ?"
    );
    // Restarted, or joined by a debugger: the id is new, and not known to be anybody's.
    attributor.on(&at(2, 8, 0, cgroup(&format!("{POD}/crio-{ID}.scope"))));
    assert_eq!(
        told(&attributor.on(&at(2, 8, 6, attempt("agent"))).0),
        "shop/agent-x2xkq/? of ?"
    );
    agent.containers[0].id = Some(ID.into());
    source.publish([agent, etcd]);
    assert_eq!(
        told(&attributor.on(&at(2, 8, 6, attempt("agent"))).0),
        "shop/agent-x2xkq/agent of ?"
    );
    // What was seen under the old one stays.
    assert_eq!(
        told(&attributor.on(&at(2, 7, 5, nameless())).0),
        "shop/agent-x2xkq/agent of ?"
    );
    // The only one that is there, and it had no id so far.
    let static_pod = format!("/kubepods/burstable/pod{STATIC}/{}", "5d".repeat(32));
    attributor.on(&at(2, 9, 0, cgroup(&static_pod)));
    assert_eq!(
        told(&attributor.on(&at(2, 9, 6, attempt("etcd"))).0),
        "shop/etcd-node1/etcd of ?"
    );
}

/// A pod on the host's network and a static one, each with an init container, its own, and a debugger's.
#[test]
fn every_container_has_its_name_under_every_shape_of_a_path() {
    let names = ["setup", "agent", "debugger-5x2xk"];
    let roles = [ContainerRole::Init, ContainerRole::Main, ContainerRole::Ephemeral];
    let ids = ["a1", "b2", "c3"].map(|pair| pair.repeat(32));
    for (uid, template) in [UID, STATIC]
        .iter()
        .flat_map(|uid| CONTAINERS.iter().map(move |it| (*uid, *it)))
    {
        let (mut attributor, source) = attributor();
        let mut known = pod(uid, "agent-x2xkq", &[]);
        known.host_network = true;
        known.ips = vec!["192.168.0.1".parse().unwrap()];
        known.owner = deployment("agent");
        for ((name, role), id) in names.iter().zip(roles).zip(&ids) {
            known.containers.push(Container {
                name: (*name).into(),
                id: Some(id.as_str().into()),
                role,
            });
        }
        source.publish([known]);
        for ((number, name), id) in (7..).zip(names).zip(&ids) {
            let path = path_of(template, uid, id);
            attributor.on(&at(1, number, 0, cgroup(&path)));
            let (workload, _) = attributor.on(&at(1, number, 5, nameless()));
            assert_eq!(
                told(&workload),
                format!("shop/agent-x2xkq/{name} of agent"),
                "{path}"
            );
            assert_eq!(workload.pod_uid.as_deref(), Some(uid), "{path}");
        }
    }
}

#[test]
fn a_pod_in_a_cgroup_of_another_shape_is_found_by_its_container() {
    let (mut attributor, source) = attributor();
    source.publish([pod(UID, "web-0", &[("app", Some(ID))])]);
    let (workload, _) = attributor.on(&at(1, 7, 0, cgroup(&format!("/my-parent/{ID}"))));
    assert_eq!(workload.kind, WorkloadKind::Pod);
    assert_eq!(
        (told(&workload), workload.pod_uid.as_deref()),
        ("shop/web-0/app of ?".to_owned(), Some(UID))
    );
}

fn from(ip: &str, body: impl Fn(Endpoints) -> EventBody) -> EventBody {
    body(Endpoints {
        local: (ip.parse::<IpAddr>().unwrap(), 40_000).into(),
        remote: ([10, 9, 9, 9], 4317).into(),
    })
}

#[test]
fn without_cgroup_and_process_the_address_tells_the_pod_and_no_more() {
    let (mut attributor, source) = attributor();
    let seen = |ends| EventBody::Retransmit {
        ends,
        count: 1,
        syn: true,
    };
    let (workload, _) = attributor.on(&at(1, 0, 0, from("10.0.0.7", seen)));
    assert_eq!(*workload, Workload::default());

    let mut web = pod(UID, "web-0", &[("app", Some(ID)), ("proxy", Some(OTHER))]);
    web.ips = vec!["10.0.0.7".parse().unwrap()];
    web.owner = deployment("web");
    let mut host = pod(STATIC, "etcd-node1", &[("etcd", None)]);
    host.host_network = true;
    host.ips = vec!["192.168.0.1".parse().unwrap()];
    source.publish([web.clone(), host.clone()]);
    let (workload, _) = attributor.on(&at(2, 0, 0, from("10.0.0.7", seen)));
    assert_eq!(told(&workload), "shop/web-0/? of web");
    assert_eq!(workload.container_key(), None, "it is no container's for sure");
    let (again, _) = attributor.on(&at(2, 0, 0, from("::ffff:10.0.0.7", seen)));
    assert!(Arc::ptr_eq(&workload, &again));
    assert_eq!(attributor.stats().by_address, 2);
    // The node's address is many pods'.
    let (workload, _) = attributor.on(&at(2, 0, 0, from("192.168.0.1", seen)));
    assert_eq!(*workload, Workload::default());
    // A cgroup that is known counts more.
    attributor.on(&at(3, 9, 0, cgroup("/system.slice/nginx.service")));
    let (workload, _) = attributor.on(&at(3, 9, 0, from("10.0.0.7", seen)));
    assert_eq!(workload.unit.as_deref(), Some("nginx.service"));

    // The address is given again.
    web.ended = true;
    let mut next = pod("ffffffff-1f3b-4c5d-8e7f-112233445566", "web-1", &[("app", None)]);
    next.ips = web.ips.clone();
    source.publish([web, next]);
    let (workload, _) = attributor.on(&at(4, 0, 0, from("10.0.0.7", seen)));
    assert_eq!(told(&workload), "shop/web-1/app of ?");
}

#[test]
fn processes_attributed_by_pid_are_named_late_too() {
    let source = Source::default();
    let (attributor, fake) = live(&TempDir::new());
    let mut attributor = attributor.with_names(Box::new(source.clone()));
    attributor.on(&at(1, 1, 0, cgroup("/")));
    let text = format!("4:memory:/kubepods/burstable/pod{UID}/{ID}\n0::/\n");
    fake.answer_cgroup(5, text);
    assert_eq!(told(&attributor.on(&at(1, 1, 5, attempt("app"))).0), "?/?/? of ?");
    source.publish([pod(UID, "web-0", &[("app", Some(ID))])]);
    assert_eq!(
        told(&attributor.on(&at(1, 1, 5, attempt("app"))).0),
        "shop/web-0/app of ?"
    );
    assert_eq!(attributor.stats().by_pid, 1);
    // It is gone: what was known of it still is.
    attributor.on(&at(2, 1, 5, EventBody::Exit));
    source.publish([pod(UID, "web-0", &[("app", Some(ID))])]);
    let exec = EventBody::SocketError {
        ends: Endpoints {
            local: ([127, 0, 0, 1], 1).into(),
            remote: ([127, 0, 0, 1], 1).into(),
        },
        errno: 111,
    };
    assert_eq!(told(&attributor.on(&at(2, 1, 5, exec)).0), "shop/web-0/app of ?");
}

#[test]
fn names_that_the_cluster_told_are_kept_for_a_capture() {
    let (mut attributor, source) = attributor();
    source.publish([pod(UID, "web-0", &[("app", Some(ID))])]);
    attributor.on(&at(1, 7, 0, cgroup(&format!("{POD}/cri-containerd-{ID}.scope"))));
    let learned = attributor.take_learned();
    assert_eq!(learned.iter().map(|it| &*it.pod).collect::<Vec<_>>(), ["web-0"]);
}
