//! What the Kubernetes API says of pods, completed by what the runtime says.

use std::sync::Arc;

use foldhash::{HashMap, HashSet};

use super::{Former, Told};
use crate::model::cluster::{Container, Pod, Pods};

/// The pods of this node. The API's word counts; the runtime has ids of containers that were started a moment ago, which the
/// API hears of later, those they had before, and pods that the API does not tell of.
pub(crate) fn merge(api: impl IntoIterator<Item = Arc<Pod>>, told: &Told) -> Pods {
    let mut runtime: HashMap<&str, &Arc<Pod>> = told.pods.iter().map(|pod| (&*pod.uid, pod)).collect();
    let former: HashSet<&str> = told.former.iter().map(|former| &*former.id).collect();
    let mut pods: Vec<Arc<Pod>> = Vec::new();
    for pod in api {
        match runtime.remove(&*pod.uid) {
            Some(found) => pods.push(complete(pod, found, &former)),
            None => pods.push(pod),
        }
    }
    pods.extend(runtime.into_values().map(Arc::clone));
    let former = told
        .former
        .iter()
        .map(|Former { id, uid, name }| (id, &**uid, &**name));
    Pods::new(pods).with_former(former)
}

/// The API's pod, with what the runtime knows better.
fn complete(mut pod: Arc<Pod>, found: &Pod, former: &HashSet<&str>) -> Arc<Pod> {
    for container in &found.containers {
        let known = pod
            .containers
            .iter()
            .position(|known| known.name == container.name);
        match known {
            None => Arc::make_mut(&mut pod).containers.push(container.clone()),
            Some(at) => {
                let Container { id, .. } = &pod.containers[at];
                // One that neither list of the runtime has is newer than these lists.
                let is_older = id.as_deref().is_none_or(|id| former.contains(id));
                if is_older && *id != container.id {
                    Arc::make_mut(&mut pod).containers[at]
                        .id
                        .clone_from(&container.id);
                }
            }
        }
    }
    if pod.ips.is_empty() && !found.ips.is_empty() && !found.ended {
        Arc::make_mut(&mut pod).ips.clone_from(&found.ips);
    }
    pod
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::cluster::{ContainerRole, Owner};

    fn pod(uid: &str, name: &str, containers: &[(&str, Option<&str>)]) -> Arc<Pod> {
        let container = |(name, id): &(&str, Option<&str>)| Container {
            name: (*name).into(),
            id: id.map(Arc::from),
            role: ContainerRole::Main,
        };
        Arc::new(Pod {
            uid: uid.into(),
            namespace: "shop".into(),
            name: name.into(),
            containers: containers.iter().map(container).collect(),
            ..Pod::default()
        })
    }

    fn by_id(pods: &Pods, id: &str) -> Option<(String, String)> {
        let (pod, container) = pods.of_container(id)?;
        Some((pod.name.to_string(), container.name.to_string()))
    }

    fn named(pod: &str, container: &str) -> Option<(String, String)> {
        Some((pod.to_owned(), container.to_owned()))
    }

    #[test]
    fn ids_that_the_api_does_not_have_yet_come_from_the_runtime() {
        let mut api = Pod::clone(&pod("u1", "web-0", &[("app", None), ("proxy", Some("c9"))]));
        api.owner = Some(Owner {
            kind: "StatefulSet".into(),
            name: "web".into(),
        });
        let api = Arc::new(api);
        let mut found = Pod::clone(&pod(
            "u1",
            "web-0",
            &[
                ("app", Some("c1")),
                ("proxy", Some("c8")),
                ("debugger", Some("c5")),
            ],
        ));
        found.ips = vec!["10.0.0.7".parse().unwrap()];
        let told = Told {
            pods: vec![Arc::new(found), pod("u2", "static", &[("etcd", Some("c7"))])],
            former: Vec::new(),
        };
        let pods = merge([api], &told);
        assert_eq!(by_id(&pods, "c1"), named("web-0", "app"));
        assert_eq!(by_id(&pods, "c5"), named("web-0", "debugger"));
        // The API may be ahead of the runtime's last answer.
        assert_eq!(by_id(&pods, "c9"), named("web-0", "proxy"));
        assert_eq!(by_id(&pods, "c8"), None);
        assert_eq!(by_id(&pods, "c7"), named("static", "etcd"));
        assert!(pods.get("u1").unwrap().owner.is_some());
        assert!(pods.at("10.0.0.7".parse().unwrap()).is_some());
    }

    #[test]
    fn an_id_of_before_a_restart_gives_way_and_stays_known() {
        let told = Told {
            pods: vec![pod("u1", "web-0", &[("app", Some("c2"))])],
            former: vec![Former {
                id: "c1".into(),
                uid: "u1".into(),
                name: "app".into(),
            }],
        };
        let pods = merge([pod("u1", "web-0", &[("app", Some("c1"))])], &told);
        for id in ["c1", "c2"] {
            assert_eq!(by_id(&pods, id), named("web-0", "app"));
        }
        assert_eq!(pods.get("u1").unwrap().containers[0].id.as_deref(), Some("c2"));
    }

    #[test]
    fn what_needs_nothing_is_shared() {
        let api = pod("u1", "web-0", &[("app", Some("c1"))]);
        let told = Told {
            pods: vec![pod("u1", "web-0", &[("app", Some("c1"))])],
            former: Vec::new(),
        };
        let pods = merge([Arc::clone(&api)], &told);
        assert!(Arc::ptr_eq(pods.get("u1").unwrap(), &api));
        assert_eq!(merge([api], &Told::default()).len(), 1);
    }
}
