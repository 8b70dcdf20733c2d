//! What a person names on a command line, written as for kubectl.

use std::fmt;

/// Kinds of objects whose pods can be found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// `apps/v1`
    Deployment,
    /// `apps/v1`
    StatefulSet,
    /// `apps/v1`
    DaemonSet,
    /// `apps/v1`
    ReplicaSet,
    /// `batch/v1`
    Job,
    /// `batch/v1`
    CronJob,
    /// The core API's `v1`
    Pod,
}

/// How the API server names a kind, and kubectl's users.
struct Naming {
    kind: Kind,
    /// As in `ownerReferences`.
    name: &'static str,
    short: &'static str,
    plural: &'static str,
    group: &'static str,
}

const NAMES: [Naming; 7] = [
    naming(Kind::Deployment, "Deployment", "deploy", "deployments", "apps"),
    naming(Kind::StatefulSet, "StatefulSet", "sts", "statefulsets", "apps"),
    naming(Kind::DaemonSet, "DaemonSet", "ds", "daemonsets", "apps"),
    naming(Kind::ReplicaSet, "ReplicaSet", "rs", "replicasets", "apps"),
    naming(Kind::Job, "Job", "job", "jobs", "batch"),
    naming(Kind::CronJob, "CronJob", "cj", "cronjobs", "batch"),
    naming(Kind::Pod, "Pod", "po", "pods", ""),
];

const fn naming(
    kind: Kind,
    name: &'static str,
    short: &'static str,
    plural: &'static str,
    group: &'static str,
) -> Naming {
    Naming {
        kind,
        name,
        short,
        plural,
        group,
    }
}

/// Kinds that kubectl knows and that have no pods, or none that obsflow finds: none of them is a namespace by mistake.
const OTHERS: &[&str] = &[
    "no",
    "node",
    "nodes",
    "ns",
    "namespace",
    "namespaces",
    "rc",
    "replicationcontroller",
    "replicationcontrollers",
    "rollout",
    "rollouts",
    "svc",
    "service",
    "services",
];

impl Kind {
    fn naming(self) -> &'static Naming {
        NAMES
            .iter()
            .find(|naming| naming.kind == self)
            .unwrap_or(&NAMES[0])
    }

    /// Its name in `ownerReferences`.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.naming().name
    }

    /// Its name in paths of the API, and in what `kubectl get` takes.
    #[must_use]
    pub fn plural(self) -> &'static str {
        self.naming().plural
    }

    /// Path of all objects of this kind, in a namespace or in all of them.
    #[must_use]
    pub fn path(self, namespace: Option<&str>) -> String {
        let naming = self.naming();
        let root = match naming.group {
            "" => "/api/v1".to_owned(),
            group => format!("/apis/{group}/v1"),
        };
        match namespace {
            Some(namespace) => format!("{root}/namespaces/{namespace}/{}", naming.plural),
            None => format!("{root}/{}", naming.plural),
        }
    }

    /// A kind as kubectl takes it: `deploy`, `deployments`, `deployment.apps`, `deployments.v1.apps`.
    fn parse(text: &str) -> Option<Self> {
        let (word, rest) = text.split_once('.').unwrap_or((text, ""));
        let word = word.to_ascii_lowercase();
        let naming = NAMES.iter().find(|naming| {
            word == naming.short || word == naming.plural || word == naming.name.to_ascii_lowercase()
        })?;
        let group = rest.strip_prefix("v1.").unwrap_or(rest);
        (rest.is_empty() || group == naming.group).then_some(naming.kind)
    }
}

/// What was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// `deploy/checkout`
    Object {
        /// Its kind.
        kind: Kind,
        /// Its name.
        name: String,
    },
    /// `checkout`: pods whose name begins like this.
    Begins(String),
    /// `shop/checkout`: those of a namespace; `shop/` is all of it.
    Elsewhere {
        /// The namespace.
        namespace: String,
        /// The beginning of their names.
        begins: String,
    },
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Object { kind, name } => {
                let naming = kind.naming();
                // As kubectl's messages name kinds: the pod is written out.
                let word = if *kind == Kind::Pod { "pod" } else { naming.short };
                write!(f, "{word}/{name}")
            }
            Self::Begins(name) => f.write_str(name),
            Self::Elsewhere { namespace, begins } => write!(f, "{namespace}/{begins}"),
        }
    }
}

/// Not a workload of a cluster. Each message says what is accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// Nothing.
    #[error("an empty WORKLOAD names nothing; {ACCEPTED}")]
    Empty,
    /// A cgroup's path.
    #[error("{0:?}: a cgroup is one node's; ask there, without -n, -A, --context and --kubeconfig")]
    Cgroup(String),
    /// More than one slash.
    #[error("{0:?} has more than one slash; {ACCEPTED}")]
    Parts(String),
    /// `svc/x`
    #[error("{text:?}: obsflow finds no pods of kind {kind}; {ACCEPTED}")]
    Kind {
        /// As written.
        text: String,
        /// Before the slash.
        kind: String,
    },
    /// `deploy x`
    #[error("{0:?} is a kind: write it with a name, as in {0}/NAME")]
    NoName(String),
    /// A character that no name has.
    #[error("{text:?}: {character:?} is in no name of an object; {ACCEPTED}")]
    Character {
        /// As written.
        text: String,
        /// The character.
        character: char,
    },
    /// `-n apps shop/checkout`
    #[error("{text:?} names the namespace {namespace}, and -n names {given}: write one of them")]
    TwoNamespaces {
        /// As written.
        text: String,
        /// Of the workload.
        namespace: String,
        /// Of the flag.
        given: String,
    },
    /// `-A deploy/x`, in kubectl's words.
    #[error("{0:?}: an object cannot be named across all namespaces: write -n NAMESPACE instead of -A")]
    NamedAcrossAll(String),
    /// Not a namespace.
    #[error("{flag}: {value:?} is no name of a namespace: lower-case letters, digits and dashes, at most 63")]
    Namespace {
        /// The flag.
        flag: &'static str,
        /// Its value.
        value: String,
    },
}

const ACCEPTED: &str = "write deploy/NAME, sts/NAME, ds/NAME, rs/NAME, job/NAME, cronjob/NAME, pod/NAME, or the beginning of \
                        the names of pods";

impl Target {
    /// Reads one argument.
    ///
    /// # Errors
    /// When it names no workload.
    pub fn parse(text: &str) -> Result<Self, TargetError> {
        if text.is_empty() || text == "/" {
            return Err(TargetError::Empty);
        }
        if text.starts_with('/') {
            return Err(TargetError::Cgroup(text.to_owned()));
        }
        let named = |name: &str| match name.chars().find(|c| !is_of_a_name(*c)) {
            None => Ok(name.to_owned()),
            Some(character) => Err(TargetError::Character {
                text: text.to_owned(),
                character,
            }),
        };
        let Some((front, name)) = text.split_once('/') else {
            if Kind::parse(text).is_some() {
                return Err(TargetError::NoName(text.to_owned()));
            }
            return named(text).map(Self::Begins);
        };
        if name.contains('/') {
            return Err(TargetError::Parts(text.to_owned()));
        }
        if let Some(kind) = Kind::parse(front) {
            return match name {
                "" => Err(TargetError::NoName(front.to_owned())),
                _ => Ok(Self::Object {
                    kind,
                    name: named(name)?,
                }),
            };
        }
        // What has a group is a kind, and so is what is written as one.
        if front.contains('.') || OTHERS.contains(&front.to_ascii_lowercase().as_str()) {
            return Err(TargetError::Kind {
                text: text.to_owned(),
                kind: front.to_owned(),
            });
        }
        Ok(Self::Elsewhere {
            namespace: named(front)?,
            begins: named(name)?,
        })
    }
}

/// RFC 1123 labels and subdomains.
fn is_of_a_name(c: char) -> bool {
    c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '.')
}

/// Where to look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// A namespace; `None` is the one of the kubeconfig's context.
    Namespace(Option<String>),
    /// Every one.
    All,
}

/// Whether targets and a scope go together.
///
/// # Errors
/// When they do not.
pub fn check(scope: &Scope, targets: &[Target]) -> Result<(), TargetError> {
    for target in targets {
        match (scope, target) {
            (Scope::All, Target::Object { .. }) => {
                return Err(TargetError::NamedAcrossAll(target.to_string()));
            }
            (Scope::Namespace(Some(given)), Target::Elsewhere { namespace, .. }) if given != namespace => {
                return Err(TargetError::TwoNamespaces {
                    text: target.to_string(),
                    namespace: namespace.clone(),
                    given: given.clone(),
                });
            }
            _ => {}
        }
    }
    Ok(())
}

/// A namespace as a flag names it.
///
/// # Errors
/// When none can be called so.
pub fn namespace(flag: &'static str, value: String) -> Result<String, TargetError> {
    const LONGEST: usize = 63;
    let is_good = !value.is_empty()
        && value.len() <= LONGEST
        && value.chars().all(|c| is_of_a_name(c) && c != '.')
        && !value.starts_with('-')
        && !value.ends_with('-');
    if is_good {
        Ok(value)
    } else {
        Err(TargetError::Namespace { flag, value })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(kind: Kind, name: &str) -> Target {
        Target::Object {
            kind,
            name: name.to_owned(),
        }
    }

    #[test]
    fn kinds_are_written_as_for_kubectl() {
        for (text, kind) in [
            ("deploy/x", Kind::Deployment),
            ("deployment/x", Kind::Deployment),
            ("Deployments/x", Kind::Deployment),
            ("deployment.apps/x", Kind::Deployment),
            ("deployments.v1.apps/x", Kind::Deployment),
            ("sts/x", Kind::StatefulSet),
            ("ds/x", Kind::DaemonSet),
            ("rs/x", Kind::ReplicaSet),
            ("job/x", Kind::Job),
            ("jobs.batch/x", Kind::Job),
            ("cronjob/x", Kind::CronJob),
            ("cj/x", Kind::CronJob),
            ("pod/x", Kind::Pod),
            ("po/x", Kind::Pod),
        ] {
            assert_eq!(Target::parse(text), Ok(object(kind, "x")), "{text}");
        }
        assert_eq!(object(Kind::Deployment, "x").to_string(), "deploy/x");
        assert_eq!(object(Kind::Pod, "x").to_string(), "pod/x");
        assert_eq!(
            Target::parse("checkout-7d9"),
            Ok(Target::Begins("checkout-7d9".into()))
        );
        assert_eq!(Target::parse("shop/").unwrap().to_string(), "shop/");
        let paths = [
            Kind::Deployment.path(Some("apps")),
            Kind::Pod.path(None),
            Kind::CronJob.path(Some("x")),
        ];
        assert_eq!(
            paths,
            [
                "/apis/apps/v1/namespaces/apps/deployments",
                "/api/v1/pods",
                "/apis/batch/v1/namespaces/x/cronjobs"
            ]
        );
    }

    #[test]
    fn what_is_no_workload_is_said_with_what_is() {
        for (text, part) in [
            ("", "names nothing"),
            ("/", "names nothing"),
            ("/kubepods/", "one node's"),
            ("a/b/c", "more than one slash"),
            ("deploy", "deploy/NAME"),
            ("deploy/", "deploy/NAME"),
            ("svc/checkout", "no pods of kind svc"),
            ("rollout/checkout", "no pods of kind rollout"),
            ("deployment.extensions/x", "no pods of kind deployment.extensions"),
            ("deploy/Check", "'C'"),
            ("check*", "'*'"),
        ] {
            let error = Target::parse(text).unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn namespaces_are_named_once() {
        let apps = Scope::Namespace(Some("apps".into()));
        let elsewhere = [Target::parse("shop/checkout").unwrap()];
        let error = check(&apps, &elsewhere).unwrap_err().to_string();
        assert!(
            error.contains("names the namespace shop, and -n names apps"),
            "{error}"
        );
        assert_eq!(check(&Scope::Namespace(None), &elsewhere), Ok(()));
        assert_eq!(check(&Scope::All, &elsewhere), Ok(()));
        assert_eq!(check(&Scope::Namespace(Some("shop".into())), &elsewhere), Ok(()));
        let named = [object(Kind::Deployment, "x")];
        let error = check(&Scope::All, &named).unwrap_err().to_string();
        assert!(error.contains("-n NAMESPACE instead of -A"), "{error}");
        assert_eq!(check(&Scope::All, &[Target::Begins("x".into())]), Ok(()));
        for bad in ["", "a.b", "A", "-a", "a-", &"a".repeat(64)] {
            assert!(namespace("-n", bad.to_owned()).is_err(), "{bad}");
        }
        assert_eq!(namespace("-n", "a".repeat(63)).unwrap().len(), 63);
    }
}
