use proptest::prelude::*;

use super::*;

const ID: &str = "0a1b2c3d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8f9";
const OTHER: &str = "ffffffffeeeeeeeeddddddddccccccccbbbbbbbbaaaaaaaa9999999988888888";
const UID: &str = "0d9c1a52-1f3b-4c5d-8e7f-112233445566";
const STATIC: &str = "3b7d9f0c2a4e6d8f1b3c5e7a9d0f2b4c";

/// Containers of a pod, under every driver and runtime.
pub(in crate::attribute) const CONTAINERS: &[&str] = &[
    // cgroupfs driver: containerd, Docker; every quality of service; v1 and v2 have the same path.
    "/kubepods/burstable/pod$U/$I",
    "/kubepods/besteffort/pod$U/$I",
    "/kubepods/pod$U/$I",
    // CRI-O with the cgroupfs driver.
    "/kubepods/burstable/pod$U/crio-$I",
    // systemd driver: containerd (k3s and rke2 too), CRI-O, Docker.
    "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod$V.slice/cri-containerd-$I.scope",
    "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod$V.slice/cri-containerd-$I.scope",
    "/kubepods.slice/kubepods-pod$V.slice/cri-containerd-$I.scope",
    "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod$V.slice/crio-$I.scope",
    "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod$V.slice/crio-$I.scope/container",
    "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod$V.slice/docker-$I.scope",
    // Below the container's own cgroup: systemd in a container, nested runtimes.
    "/kubepods.slice/kubepods-pod$V.slice/cri-containerd-$I.scope/init.scope",
    "/kubepods.slice/kubepods-pod$V.slice/cri-containerd-$I.scope/system.slice/nginx.service",
    "/kubepods/burstable/pod$U/$I/docker/$O",
    // Another kubelet inside of a pod: the outer pod is the node's own.
    "/kubepods/burstable/pod$U/$I/kubelet/kubepods/burstable/pod$S/$O",
    // kind, k3d: a kubelet inside of a container, with a cgroup root of its own.
    "/kubelet/kubepods/burstable/pod$U/$I",
    "/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-burstable.slice/kubelet-kubepods-burstable-pod$V.slice/cri-containerd-$I.scope",
    "/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod$V.slice/cri-containerd-$I.scope",
    "/docker/$O/kubelet/kubepods/besteffort/pod$U/$I",
    "/docker/$O/kubepods/besteffort/pod$U/$I",
    "/system.slice/docker-$O.scope/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-burstable.slice/kubelet-kubepods-burstable-pod$V.slice/cri-containerd-$I.scope",
    "/machine.slice/libpod-$O.scope/container/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod$V.slice/cri-containerd-$I.scope",
    // k3s started as a service, LXC.
    "/system.slice/k3s.service/kubepods/burstable/pod$U/$I",
    "/lxc.payload.node1/kubepods/burstable/pod$U/$I",
    // kubelet on the systemd driver, containerd on cgroupfs: the slice stands unparsed in the name.
    "/system.slice/containerd.service/kubepods-burstable-pod$V.slice:cri-containerd:$I",
    "/kubepods-besteffort-pod$V.slice:cri-containerd:$I",
    "/system.slice/k3s-agent.service/kubepods-burstable-pod$V.slice:cri-containerd:$I",
    // A node that is a container, seen from its host, where the runtime inside has no cgroup root of its own (minikube, k3d).
    "/system.slice/docker-$O.scope/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod$V.slice/docker-$I.scope",
    "/system.slice/docker-$O.scope/kubepods.slice/kubepods-pod$V.slice/crio-$I.scope",
    "/docker/$O/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod$V.slice/docker-$I.scope",
    "/system.slice/docker-$O.scope/kubepods/besteffort/pod$U/$I",
    "/system.slice/docker-$O.scope/kubelet/kubepods/burstable/pod$U/$I",
    "/machine.slice/libpod-$O.scope/container/kubelet/kubepods/pod$U/$I",
    // From within another cgroup namespace.
    "/../../../kubepods-burstable.slice/kubepods-burstable-pod$V.slice/cri-containerd-$I.scope",
    "/../../pod$U/$I",
    "/../../../burstable/pod$U/$I",
];

/// `$I` stands for the container id, `$O` for another, `$U` for the UID, `$V` for it with underscores, `$S` for a
/// static pod's.
fn path(template: &str) -> String {
    path_of(template, UID, ID)
}

/// [`path`] of another pod and container.
pub(in crate::attribute) fn path_of(template: &str, uid: &str, id: &str) -> String {
    template
        .replace("$I", id)
        .replace("$O", OTHER)
        .replace("$U", uid)
        .replace("$V", &uid.replace('-', "_"))
        .replace("$S", STATIC)
}

#[track_caller]
fn is_pod(template: &str, uid: Option<&str>, container: Option<&str>) {
    let path = path(template);
    let found = parse(&path);
    assert_eq!(found.kind, WorkloadKind::Pod, "{path}");
    assert_eq!(found.pod_uid.as_deref(), uid, "{path}");
    assert_eq!(found.container_id.as_deref(), container, "{path}");
    assert_eq!(found.unit, None, "{path}");
    assert_eq!(found.cgroup_path.as_deref(), Some(path.as_str()));
}

#[test]
fn containers_of_pods_under_every_driver_and_runtime() {
    for template in CONTAINERS {
        is_pod(template, Some(UID), Some(ID));
    }
}

#[test]
fn static_pods_have_32_digits() {
    is_pod("/kubepods/burstable/pod$S/$I", Some(STATIC), Some(ID));
    is_pod(
        "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod$S.slice/crio-$I.scope",
        Some(STATIC),
        Some(ID),
    );
    is_pod(
        "/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-burstable.slice/kubelet-kubepods-burstable-pod$S.slice/cri-containerd-$I.scope",
        Some(STATIC),
        Some(ID),
    );
    is_pod(
        "/system.slice/docker-$O.scope/kubelet/kubepods/burstable/pod$S/$I",
        Some(STATIC),
        Some(ID),
    );
}

#[test]
fn pods_without_a_container() {
    for template in [
        "/kubepods/burstable/pod$U",
        "/kubepods.slice/kubepods-pod$V.slice",
        // Not the container: CRI-O's monitor, Kata's sandbox.
        "/kubepods/burstable/pod$U/crio-conmon-$I",
        "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod$V.slice/crio-conmon-$I.scope",
        "/kubepods/burstable/pod$U/kata_$I",
        "/kubepods/burstable/pod$U/0123",
        "/kubepods/burstable/pod$U/-$I.scope",
        "/kubepods/burstable/pod$U/$I.scope",
    ] {
        is_pod(template, Some(UID), None);
    }
}

#[test]
fn a_pod_whose_uid_has_an_unknown_form_has_none() {
    is_pod("/kubepods/burstable/podmy-own-uid/$I", None, Some(ID));
    is_pod(
        "/kubepods.slice/kubepods-podX.slice/crio-$I.scope",
        None,
        Some(ID),
    );
    is_pod(
        "/kubepods/pod0D9C1A52-1F3B-4C5D-8E7F-112233445566/$I",
        None,
        Some(ID),
    );
    is_pod(
        "/kubepods/pod0d9c1a52-1f3b_4c5d-8e7f-112233445566/$I",
        None,
        Some(ID),
    );
}

#[test]
fn containers_without_a_kubelet() {
    for template in [
        "/docker/$I",
        "/docker/$I/docker/$O",
        "/docker/$I/system.slice/nginx.service",
        "/system.slice/docker-$I.scope",
        "/my-parent/$I",
        "/machine.slice/libpod-$I.scope",
        "/machine.slice/libpod-$I.scope/container",
        "/libpod_parent/libpod-$I",
        "/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-$I.scope/container",
        "/system.slice/web.service/libpod-payload-$I",
        "/system.slice/nerdctl-$I.scope",
        "/../docker-$I.scope",
    ] {
        let path = path(template);
        let found = parse(&path);
        assert_eq!(found.kind, WorkloadKind::Container, "{path}");
        assert_eq!(found.container_id.as_deref(), Some(ID), "{path}");
        assert_eq!((found.pod_uid, found.unit), (None, None), "{path}");
    }
}

#[test]
fn units() {
    for (template, unit) in [
        ("/init.scope", "init.scope"),
        ("/system.slice/nginx.service", "nginx.service"),
        ("/system.slice/nginx.service/workers/1", "nginx.service"),
        (
            "/system.slice/system-getty.slice/getty@tty1.service",
            "getty@tty1.service",
        ),
        (
            "/system.slice/containerd.service/other.service",
            "containerd.service",
        ),
        ("/user.slice/user-1000.slice/session-3.scope", "session-3.scope"),
        (
            "/user.slice/user-1000.slice/user@1000.service",
            "user@1000.service",
        ),
        (
            "/user.slice/user-1000.slice/user@1000.service/init.scope",
            "init.scope",
        ),
        (
            "/user.slice/user-1000.slice/user@1000.service/app.slice/app-web.scope",
            "app-web.scope",
        ),
        (
            "/machine.slice/machine-box.scope/payload/init.scope",
            "machine-box.scope",
        ),
        (
            "/machine.slice/systemd-nspawn@box.service/payload",
            "systemd-nspawn@box.service",
        ),
        ("/machine.slice/libpod-conmon-$I.scope", "libpod-conmon-$I.scope"),
        ("/system.slice", "system.slice"),
        (
            "/kubepods.slice/kubepods-burstable.slice",
            "kubepods-burstable.slice",
        ),
        ("/system.slice/_cpu.service", "cpu.service"),
        ("/../../system.slice/nginx.service", "nginx.service"),
        // An unprivileged user may make any cgroup below their own manager.
        (
            "/user.slice/user-1000.slice/user@1000.service/web.service/kubepods/pod$U/x",
            "web.service",
        ),
        ("/system.slice/a\tb.service", "a\\tb.service"),
    ] {
        let path = path(template);
        let found = parse(&path);
        assert_eq!(found.kind, WorkloadKind::Unit, "{path}");
        assert_eq!(found.unit.as_deref(), Some(self::path(unit).as_str()), "{path}");
        assert_eq!((found.pod_uid, found.container_id), (None, None), "{path}");
    }
}

#[test]
fn plain_cgroups() {
    for template in [
        "/",
        "/..",
        "/batch/job-7",
        "/garden/5f2d8b1c-77aa-4b7e-6a5d-0c1f",
        "/lxc.payload.box/init",
        "/kubepods",
        "/kubepods/burstable",
        "/pod$U/x",
        "/burstable/pod$U/x",
        "/kubepods/pod/x",
        "/mykubepods-pod$V.slicer/x",
        "/.service",
        "/docker",
        "/docker/buildkit/abc",
        // Talos keeps what is not a pod beside the pods.
        "/podruntime/kubelet",
        "/system/apid",
        "/init",
    ] {
        let path = path(template);
        let found = parse(&path);
        assert_eq!(found.kind, WorkloadKind::Cgroup, "{path}");
        assert_eq!(
            (found.pod_uid, found.container_id, found.unit),
            (None, None, None),
            "{path}"
        );
    }
    assert_eq!(parse(""), Workload::default());
}

/// Pieces that paths are really made of, so that the search comes near to the shapes.
fn piece() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("/".to_owned()),
        Just("kubepods".to_owned()),
        Just(".slice".to_owned()),
        Just("kubepods-burstable".to_owned()),
        Just("burstable".to_owned()),
        Just("pod".to_owned()),
        Just("-pod".to_owned()),
        Just(UID.to_owned()),
        Just(UID.replace('-', "_")),
        Just(STATIC.to_owned()),
        Just(ID.to_owned()),
        Just("crio-conmon-".to_owned()),
        Just("cri-containerd-".to_owned()),
        Just(".scope".to_owned()),
        Just(".service".to_owned()),
        Just("user@1.service".to_owned()),
        Just("..".to_owned()),
        Just(":".to_owned()),
        "[a-z\u{0}-\u{1f}é_-]{0,4}",
    ]
}

proptest! {
    #[test]
    fn never_panics_and_never_invents(pieces in prop::collection::vec(piece(), 0..16)) {
        let path = pieces.concat();
        let found = parse(&path);
        if let Some(uid) = &found.pod_uid {
            prop_assert_eq!(found.kind, WorkloadKind::Pod);
            prop_assert!(path.contains(&**uid) || path.contains(&uid.replace('-', "_")));
            prop_assert!(path.contains("kubepods") || path.starts_with("..") || path.starts_with("/.."));
            prop_assert!(pod_uid(uid).is_some_and(|same| same == **uid));
        }
        if let Some(id) = &found.container_id {
            prop_assert!(matches!(found.kind, WorkloadKind::Pod | WorkloadKind::Container));
            prop_assert!(id.len() == 64 && path.contains(&**id));
            let monitored = format!("conmon-{id}");
            prop_assert!(!path.contains(&monitored) || path.matches(&**id).count() > 1);
        }
        prop_assert_eq!(found.unit.is_some(), found.kind == WorkloadKind::Unit);
        prop_assert!(found.namespace.is_none() && found.pod.is_none() && found.container.is_none());
        for text in [found.unit, found.cgroup_path].into_iter().flatten() {
            prop_assert!(!text.chars().any(char::is_control));
        }
    }

    #[test]
    fn never_panics_on_anything(path in "\\PC*") {
        let _ = parse(&path);
    }
}
