use super::*;
use crate::testing::TempDir;

const UID: &str = "0d9c1a52-1f3b-4c5d-8e7f-112233445566";

#[test]
fn folder_names() {
    let name = |text: &str| PodName::from_folder(text).map(|name| format!("{}/{}", name.namespace, name.pod));
    assert_eq!(name(&format!("shop_web-0_{UID}")).as_deref(), Some("shop/web-0"));
    assert_eq!(
        name(&format!("kube-system_etcd-node1.example_{}", "a".repeat(32))).as_deref(),
        Some("kube-system/etcd-node1.example")
    );
    for broken in [
        UID.to_owned(),
        "shop_web-0".to_owned(),
        format!("shop_web-0_{UID}_x"),
        format!("_web-0_{UID}"),
        format!("shop__{UID}"),
        format!("Shop_web_{UID}"),
        format!("shop_web..0_{UID}"),
        format!("shop_web_{UID}0"),
        format!("shop_we\nb_{UID}"),
        format!("{}_web_{UID}", "a".repeat(64)),
    ] {
        assert_eq!(name(&broken), None, "{broken:?}");
    }
}

#[test]
fn a_pod_that_comes_later_is_found_and_one_that_goes_is_kept() {
    let folder = TempDir::new();
    let mut pods = Pods::new(vec![folder.path().join("nowhere"), folder.path().to_owned()]);
    assert_eq!(pods.find(UID, Mono(1), false), None);
    let path = folder.path().join(format!("shop_web-0_{UID}"));
    fs::create_dir_all(path.join("app")).unwrap();
    // Too soon to ask again for an old one, not for a new one.
    assert_eq!(pods.find(UID, Mono(2), false), None);
    let mut fresh = Pods::new(vec![folder.path().to_owned()]);
    fresh.next_read = Mono(9);
    assert!(fresh.find(UID, Mono(2), true).is_some());
    let later = Mono(1).after(REREAD);
    assert_eq!(pods.find(UID, later, false).map(|name| &*name.pod), Some("web-0"));
    assert_eq!(pods.only_container(UID).as_deref(), Some("app"));
    fs::create_dir(path.join("sidecar")).unwrap();
    assert_eq!(pods.only_container(UID), None);
    fs::remove_dir_all(&path).unwrap();
    assert_eq!(
        pods.find(UID, later.after(Duration::from_secs(9)), false)
            .map(|name| &*name.namespace),
        Some("shop")
    );
    assert_eq!(pods.take_learned().len(), 1);
    assert!(pods.take_learned().is_empty());
}

#[test]
fn the_table_is_bounded() {
    let mut pods = Pods::default();
    for i in 0..MAX_PODS + 5 {
        let uid: Arc<str> = Arc::from(format!("{i:032x}"));
        pods.learn(
            PodName {
                uid,
                namespace: Arc::from("a"),
                pod: Arc::from("b"),
            },
            None,
        );
    }
    assert_eq!((pods.known.len(), pods.order.len()), (MAX_PODS, MAX_PODS));
    assert!(!pods.known.contains_key(format!("{:032x}", 4).as_str()));
}
