//! Which workloads were asked for.

use super::names;
use crate::model::Workload;
use crate::model::verdict::Report;

/// Workloads that a person asked for; all of them when there are none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selectors(Vec<Selector>);

/// See [`Selectors`].
#[derive(Clone, Debug, PartialEq, Eq)]
struct Selector {
    /// As it was written.
    text: String,
    pattern: Pattern,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Pattern {
    /// `namespace/`
    Namespace(String),
    /// `namespace/pod`, the beginning of the pod's name.
    Pod { namespace: String, pod: String },
    /// The beginning of the name of a pod or unit, or of a container's id.
    Name(String),
    /// The beginning of a cgroup's path.
    Cgroup(String),
}

/// Not a workload. Each message says what is accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WorkloadError {
    /// Nothing.
    #[error("an empty WORKLOAD names nothing; {ACCEPTED}")]
    Empty,
    /// `deploy/checkout` and the like.
    #[error(
        "{text:?}: obsflow does not know objects of Kubernetes by kind ({kind}), only the pods of this node; {ACCEPTED}. \
         For the pods of {name}, write NAMESPACE/{name}, or ask the cluster, with -n NAMESPACE {text}"
    )]
    Kind {
        /// As written.
        text: String,
        /// Before the slash.
        kind: String,
        /// After it.
        name: String,
    },
    /// More than two parts.
    #[error("{0:?} has more than one slash; {ACCEPTED}")]
    Parts(String),
    /// A character that no name has.
    #[error("{text:?}: {character:?} is in no name of a workload; {ACCEPTED}")]
    Character {
        /// As written.
        text: String,
        /// The character.
        character: char,
    },
}

const ACCEPTED: &str = "write NAMESPACE/POD, POD or UNIT (the beginning of the name is enough), NAMESPACE/ for all of a \
                        namespace, or the path of a cgroup";

/// How kubectl names what owns pods, and pods.
const KINDS: &[&str] = &[
    "cj",
    "cronjob",
    "cronjobs",
    "daemonset",
    "daemonsets",
    "deploy",
    "deployment",
    "deployments",
    "ds",
    "job",
    "jobs",
    "namespace",
    "namespaces",
    "no",
    "node",
    "nodes",
    "ns",
    "po",
    "pod",
    "pods",
    "rc",
    "replicaset",
    "replicasets",
    "replicationcontroller",
    "rs",
    "rollout",
    "service",
    "services",
    "statefulset",
    "statefulsets",
    "sts",
    "svc",
];

impl Selectors {
    /// What was written on a command line.
    ///
    /// # Errors
    /// The first that names no workload.
    pub fn parse(texts: &[String]) -> Result<Self, WorkloadError> {
        texts
            .iter()
            .map(|text| {
                Ok(Selector {
                    pattern: Pattern::parse(text)?,
                    text: text.clone(),
                })
            })
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// Whether everything was asked for.
    #[must_use]
    pub fn is_all(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether this one was.
    #[must_use]
    pub fn matches(&self, workload: &Workload) -> bool {
        self.is_all() || self.0.iter().any(|selector| selector.pattern.matches(workload))
    }

    /// For each that no exporter of a report matches, a line that says so, with names that are near.
    #[must_use]
    pub fn unmatched(&self, report: &Report) -> Vec<String> {
        self.0
            .iter()
            .filter(|selector| {
                !report
                    .exports
                    .iter()
                    .any(|export| selector.pattern.matches(&export.workload))
            })
            .map(|selector| no_match(&selector.text, report))
            .collect()
    }
}

fn no_match(text: &str, report: &Report) -> String {
    const NAMED: usize = 5;
    let mut all: Vec<_> = report
        .exports
        .iter()
        .map(|export| names::workload(&export.workload))
        .collect();
    all.sort_unstable();
    all.dedup();
    let near = names::near(text, all.iter().map(|name| &**name));
    let mut line = format!("no exporter was seen of a workload that matches {text:?}");
    if !near.is_empty() {
        line.push_str(&format!("; did you mean {}?", near.join(", ")));
    } else if all.is_empty() {
        line.push_str(", nor of any other on this node");
    } else {
        line.push_str("; there are ");
        line.push_str(
            &all.iter()
                .take(NAMED)
                .map(|name| &**name)
                .collect::<Vec<_>>()
                .join(", "),
        );
        if all.len() > NAMED {
            line.push_str(&format!(" and {} more", all.len() - NAMED));
        }
    }
    line
}

impl Pattern {
    fn parse(text: &str) -> Result<Self, WorkloadError> {
        if text.is_empty() || text == "/" {
            return Err(WorkloadError::Empty);
        }
        if text.starts_with('/') {
            return Ok(Self::Cgroup(text.to_owned()));
        }
        let bad = |allowed: fn(char) -> bool| {
            text.chars()
                .find(|c| !allowed(*c))
                .map(|character| WorkloadError::Character {
                    text: text.to_owned(),
                    character,
                })
        };
        let Some((namespace, pod)) = text.split_once('/') else {
            // What systemd allows in the name of a unit (systemd.unit(5)), which is more than pods have.
            return match bad(|c| c.is_ascii_alphanumeric() || ":-_.\\@".contains(c)) {
                Some(error) => Err(error),
                None => Ok(Self::Name(text.to_owned())),
            };
        };
        if pod.contains('/') {
            return Err(WorkloadError::Parts(text.to_owned()));
        }
        // RFC 1123 labels and subdomains.
        if let Some(error) = bad(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "-./".contains(c)) {
            return Err(error);
        }
        if namespace.is_empty() {
            return Err(WorkloadError::Empty);
        }
        if pod.is_empty() {
            return Ok(Self::Namespace(namespace.to_owned()));
        }
        let kind = namespace.split('.').next().unwrap_or(namespace);
        if KINDS.contains(&kind) {
            return Err(WorkloadError::Kind {
                text: text.to_owned(),
                kind: kind.to_owned(),
                name: pod.to_owned(),
            });
        }
        Ok(Self::Pod {
            namespace: namespace.to_owned(),
            pod: pod.to_owned(),
        })
    }

    fn matches(&self, workload: &Workload) -> bool {
        let begins = |name: &Option<std::sync::Arc<str>>, with: &str| {
            name.as_ref().is_some_and(|name| name.starts_with(with))
        };
        match self {
            Self::Namespace(namespace) => workload.namespace.as_deref() == Some(namespace),
            Self::Pod { namespace, pod } => {
                workload.namespace.as_deref() == Some(namespace) && begins(&workload.pod, pod)
            }
            Self::Name(name) => {
                // Shorter beginnings of hexadecimal digits would match by chance.
                const ID: usize = 8;
                begins(&workload.pod, name)
                    || begins(&workload.unit, name)
                    || (name.len() >= ID && begins(&workload.container_id, name))
            }
            Self::Cgroup(path) => begins(&workload.cgroup_path, path),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Selectors, WorkloadError> {
        Selectors::parse(&[text.to_owned()])
    }

    fn pod(namespace: &str, pod: &str) -> Workload {
        Workload {
            namespace: Some(namespace.into()),
            pod: Some(pod.into()),
            ..Workload::default()
        }
    }

    #[test]
    fn beginnings_of_names_match() {
        let checkout = pod("shop", "checkout-7d9-abcde");
        for text in ["shop/checkout", "shop/checkout-7d9-abcde", "checkout", "shop/"] {
            assert!(parse(text).unwrap().matches(&checkout), "{text}");
        }
        for text in ["shop/heckout", "sho/", "shops/", "other/checkout", "abcde"] {
            assert!(!parse(text).unwrap().matches(&checkout), "{text}");
        }
        let unit = Workload {
            unit: Some("nginx@1.service".into()),
            cgroup_path: Some("/system.slice/nginx@1.service".into()),
            ..Workload::default()
        };
        for text in ["nginx", "nginx@1.service", "/system.slice/"] {
            assert!(parse(text).unwrap().matches(&unit), "{text}");
        }
        let container = Workload {
            container_id: Some("0123456789abcdef".into()),
            ..Workload::default()
        };
        assert!(parse("0123456789ab").unwrap().matches(&container));
        assert!(!parse("0123").unwrap().matches(&container));
        assert!(Selectors::default().matches(&container));
    }

    #[test]
    fn what_is_no_workload_is_said_with_what_is() {
        for (text, part) in [
            ("", "names nothing"),
            ("/", "names nothing"),
            ("deploy/checkout", "NAMESPACE/checkout"),
            ("deployment.apps/checkout", "by kind (deployment)"),
            ("a/b/c", "more than one slash"),
            ("shop/check*", "'*'"),
            ("shop checkout", "' '"),
            ("Shop/x", "'S'"),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
            assert!(error.contains("NAMESPACE/POD"), "{text}: {error}");
        }
        // A namespace may be called like a kind.
        assert!(parse("jobs/").unwrap().matches(&pod("jobs", "x")));
    }
}
