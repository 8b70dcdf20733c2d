//! Services of the cluster: which one a name means, and which one it may be meant to be.

use std::net::IpAddr;
use std::sync::Arc;

use crate::model::cluster::{Cluster, Service};
use crate::model::expectation::Host;
use crate::model::workload::Workload;

/// Services offered instead of one that is not there.
const MAX_ALIKE: usize = 3;
/// How much alike two names must be, from 0 to 1.
const ALIKE: f64 = 0.75;

/// Service and namespace of a name as Kubernetes makes them: `service[.namespace[.svc[.cluster domain]]]`. A bare one is in
/// the namespace of who asks.
pub(super) fn of_name<'a>(host: &'a Host, workload: &'a Workload) -> Option<(&'a str, &'a str)> {
    let Host::Name(name) = host else { return None };
    let mut labels = name.split('.');
    let service = labels.next()?;
    let namespace = match labels.next() {
        Some(namespace) => namespace,
        None => workload.namespace.as_deref()?,
    };
    matches!(labels.next(), None | Some("svc")).then_some((service, namespace))
}

/// Services that may be meant by a name: those of the same name in other namespaces, then those that differ by a few letters in
/// the same namespace, then those whose namespace does.
pub(super) fn alike(cluster: &Cluster, namespace: &str, name: &str) -> Vec<Arc<Service>> {
    let likeness = |a: &str, b: &str| {
        let (longer, shorter) = (a.len().max(b.len()), a.len().min(b.len()));
        // They cannot be alike: spared the work, there may be ten thousand of them.
        if longer - shorter > longer / 4 {
            return 0.0;
        }
        strsim::normalized_damerau_levenshtein(a, b)
    };
    let mut found: Vec<(u8, f64, &Arc<Service>)> = Vec::new();
    for service in cluster.addresses.services.values() {
        let same_name = *service.name == *name;
        let same_namespace = *service.namespace == *namespace;
        let (rank, how) = match (same_name, same_namespace) {
            (true, true) => continue,
            (true, false) => match likeness(&service.namespace, namespace) {
                // The namespace is misspelt.
                how if how >= ALIKE => (0, how),
                how => (2, how),
            },
            (false, true) => (1, likeness(&service.name, name)),
            (false, false) => continue,
        };
        if rank != 1 || how >= ALIKE {
            found.push((rank, how, service));
        }
    }
    found.sort_by(|a, b| {
        a.0.cmp(&b.0)
            .then(b.1.total_cmp(&a.1))
            .then_with(|| (&a.2.namespace, &a.2.name).cmp(&(&b.2.namespace, &b.2.name)))
    });
    found
        .into_iter()
        .take(MAX_ALIKE)
        .map(|(_, _, service)| Arc::clone(service))
        .collect()
}

/// Whether anything of the cluster has an address; `None` where no Services are known, because nobody tells of them.
pub(super) fn has_address(cluster: &Cluster, ip: IpAddr) -> Option<bool> {
    if cluster.addresses.services.is_empty() {
        return None;
    }
    Some(cluster.destination(ip.to_canonical()).is_some())
}

/// `Service shop/web: 2 endpoints are ready, 1 is not`.
pub(super) fn told(service: &Service) -> String {
    let Service {
        namespace,
        name,
        ready,
        not_ready,
        ..
    } = service;
    let count = |count: u32, is: &str, are: &str| match count {
        1 => format!("1 {is}"),
        more => format!("{more} {are}"),
    };
    let what = match (*ready, *not_ready) {
        (0, 0) => "it has no endpoint".to_owned(),
        (0, not_ready) => format!(
            "no endpoint is ready, {}",
            count(not_ready, "is there and not ready", "are there and not ready")
        ),
        (ready, 0) => count(ready, "endpoint is ready", "endpoints are ready"),
        (ready, not_ready) => format!(
            "{}, {}",
            count(ready, "endpoint is ready", "endpoints are ready"),
            count(not_ready, "is not", "are not")
        ),
    };
    format!("Service {namespace}/{name}: {what}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::cluster::Addresses;

    fn cluster(services: &[(&str, &str)]) -> Cluster {
        let mut addresses = Addresses::default();
        for (namespace, name) in services {
            let service = Service {
                namespace: (*namespace).into(),
                name: (*name).into(),
                ..Service::default()
            };
            let key = (service.namespace.clone(), service.name.clone());
            addresses.services.insert(key, Arc::new(service));
        }
        Cluster {
            addresses: Arc::new(addresses),
            ..Cluster::default()
        }
    }

    fn names(cluster: &Cluster, namespace: &str, name: &str) -> Vec<String> {
        alike(cluster, namespace, name)
            .iter()
            .map(|service| format!("{}/{}", service.namespace, service.name))
            .collect()
    }

    #[test]
    fn names_that_may_be_meant() {
        let cluster = cluster(&[
            ("observability", "otel-collector"),
            ("monitoring", "otel-collector"),
            ("monitoring", "loki"),
            ("observability", "tempo"),
            ("shop", "checkout"),
        ]);
        // A letter is missing.
        assert_eq!(
            names(&cluster, "observability", "otel-colector"),
            ["observability/otel-collector"]
        );
        // The namespace is misspelt, and another one has the same name.
        assert_eq!(
            names(&cluster, "observabilty", "otel-collector"),
            ["observability/otel-collector", "monitoring/otel-collector"]
        );
        // It is in another namespace.
        assert_eq!(names(&cluster, "shop", "loki"), ["monitoring/loki"]);
        // It is right, or like nothing.
        assert_eq!(names(&cluster, "monitoring", "loki"), [""; 0]);
        assert_eq!(names(&cluster, "shop", "jaeger"), [""; 0]);
    }

    #[test]
    fn a_name_means_a_service() {
        let workload = Workload {
            namespace: Some("shop".into()),
            ..Workload::default()
        };
        let of = |name: &str| {
            let host = Host::Name(name.into());
            of_name(&host, &workload).map(|(name, namespace)| format!("{namespace}/{name}"))
        };
        assert_eq!(of("otel.obs").as_deref(), Some("obs/otel"));
        assert_eq!(of("otel.obs.svc").as_deref(), Some("obs/otel"));
        assert_eq!(of("otel.obs.svc.cluster.local").as_deref(), Some("obs/otel"));
        assert_eq!(of("otel").as_deref(), Some("shop/otel"));
        assert_eq!(of("otlp.eu.example.com"), None);
        assert_eq!(of_name(&Host::Ip([10, 0, 0, 1].into()), &workload), None);
    }

    #[test]
    fn endpoints_are_counted_in_words() {
        let of = |ready, not_ready| {
            told(&Service {
                namespace: "obs".into(),
                name: "otel".into(),
                ready,
                not_ready,
                ..Service::default()
            })
        };
        assert_eq!(of(0, 0), "Service obs/otel: it has no endpoint");
        assert_eq!(
            of(0, 2),
            "Service obs/otel: no endpoint is ready, 2 are there and not ready"
        );
        assert_eq!(of(1, 0), "Service obs/otel: 1 endpoint is ready");
        assert_eq!(of(2, 1), "Service obs/otel: 2 endpoints are ready, 1 is not");
    }

    #[test]
    fn addresses_are_nobodys_only_where_services_are_known() {
        let ip: IpAddr = "10.0.0.7".parse().unwrap();
        assert_eq!(has_address(&Cluster::default(), ip), None);
        assert_eq!(has_address(&cluster(&[("obs", "otel")]), ip), Some(false));
    }
}
