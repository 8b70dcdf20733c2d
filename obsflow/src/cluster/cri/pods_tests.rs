use super::super::v1::{ContainerMetadata, PodSandboxMetadata};
use super::*;

const UID: &str = "0d9c1a52-1f3b-4c5d-8e7f-112233445566";
const STATIC: &str = "3b7d9f0c2a4e6d8f1b3c5e7a9d0f2b4c";

fn sandbox(id: &str, uid: &str, name: &str, attempt: u32, state: PodSandboxState) -> PodSandbox {
    PodSandbox {
        id: id.to_owned(),
        metadata: Some(PodSandboxMetadata {
            name: name.to_owned(),
            uid: uid.to_owned(),
            namespace: "shop".to_owned(),
            attempt,
        }),
        state: state.into(),
        created_at: 1_700_000_000_000_000_000 + i64::from(attempt),
    }
}

fn container(id: &str, sandbox: &str, name: &str, attempt: u32) -> Container {
    Container {
        id: id.to_owned(),
        pod_sandbox_id: sandbox.to_owned(),
        metadata: Some(ContainerMetadata {
            name: name.to_owned(),
            attempt,
        }),
        created_at: 1_700_000_000_000_000_000 + i64::from(attempt),
    }
}

fn ids(told: &Told) -> Vec<(&str, &str, Option<&str>)> {
    let of = |pod: &'_ Arc<Pod>| -> Vec<(String, String, Option<String>)> {
        let text = |id: &Arc<str>| id.to_string();
        let containers = pod.containers.iter();
        containers
            .map(|it| {
                (
                    pod.name.to_string(),
                    it.name.to_string(),
                    it.id.as_ref().map(text),
                )
            })
            .collect()
    };
    let mut all = Vec::new();
    for pod in &told.pods {
        assert_eq!(of(pod).len(), pod.containers.len());
        for it in &pod.containers {
            all.push((&*pod.name, &*it.name, it.id.as_deref()));
        }
    }
    all.sort_unstable();
    all
}

#[test]
fn every_container_of_a_pod_has_its_name() {
    let told = told(
        vec![
            sandbox("s1", UID, "web-0", 0, PodSandboxState::SandboxReady),
            sandbox("s2", STATIC, "etcd-node1", 0, PodSandboxState::SandboxReady),
        ],
        vec![
            container("c1", "s1", "app", 0),
            container("c2", "s1", "sidecar", 0),
            container("c3", "s2", "etcd", 0),
            container("c4", "nobody's", "lost", 0),
        ],
        &HashMap::from([
            (
                "s1".to_owned(),
                Network {
                    host: false,
                    ips: vec!["10.0.0.7".parse().unwrap()],
                },
            ),
            (
                "s2".to_owned(),
                Network {
                    host: true,
                    ips: Vec::new(),
                },
            ),
        ]),
    );
    assert_eq!(
        ids(&told),
        [
            ("etcd-node1", "etcd", Some("c3")),
            ("web-0", "app", Some("c1")),
            ("web-0", "sidecar", Some("c2")),
        ]
    );
    let [web, etcd] = told.pods.as_slice() else {
        panic!("{told:?}")
    };
    assert_eq!(
        (&*web.uid, web.host_network, web.ips.len(), web.ended),
        (UID, false, 1, false)
    );
    assert_eq!((&*etcd.uid, etcd.host_network, etcd.ips.len()), (STATIC, true, 0));
    assert!(told.former.is_empty());
}

#[test]
fn a_restarted_container_has_its_newest_id_and_is_known_by_the_old_one() {
    let restarted = told(
        vec![sandbox("s1", UID, "web-0", 0, PodSandboxState::SandboxReady)],
        // As listed: the newest first.
        vec![container("c2", "s1", "app", 1), container("c1", "s1", "app", 0)],
        &HashMap::new(),
    );
    assert_eq!(ids(&restarted), [("web-0", "app", Some("c2"))]);
    assert_eq!(
        restarted.former.iter().map(|it| &*it.id).collect::<Vec<_>>(),
        ["c1"]
    );
}

#[test]
fn a_pod_whose_sandbox_was_made_again_lives() {
    let told = told(
        vec![
            sandbox("s2", UID, "web-0", 1, PodSandboxState::SandboxReady),
            sandbox("s1", UID, "web-0", 0, PodSandboxState::SandboxNotready),
        ],
        vec![container("c2", "s2", "app", 0), container("c1", "s1", "other", 0)],
        &HashMap::new(),
    );
    assert_eq!(told.pods.len(), 1);
    assert!(!told.pods[0].ended);
    assert_eq!(
        ids(&told),
        [("web-0", "app", Some("c2")), ("web-0", "other", Some("c1"))]
    );
}

#[test]
fn what_makes_no_sense_is_left_out() {
    let bare = PodSandbox {
        metadata: None,
        ..sandbox("s1", UID, "web-0", 0, PodSandboxState::SandboxReady)
    };
    let nameless = sandbox("s2", "", "", 0, PodSandboxState::SandboxReady);
    let odd = sandbox(
        "s3",
        "0D9C1A52-1F3B-4C5D-8E7F-112233445566",
        "a\tb",
        0,
        PodSandboxState::SandboxReady,
    );
    let no_metadata = Container {
        metadata: None,
        ..container("c1", "s3", "app", 0)
    };
    let told = told(vec![bare, nameless, odd], vec![no_metadata], &HashMap::new());
    let [pod] = told.pods.as_slice() else {
        panic!("{told:?}")
    };
    assert_eq!((&*pod.uid, &*pod.name), (UID, "a\\tb"));
    assert!(pod.containers.is_empty());
}
