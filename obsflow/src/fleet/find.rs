//! From what was asked for to pods, by asking the API server.

use std::collections::HashSet;
use std::sync::Arc;

use super::access::Access;
use super::error::FleetError;
use super::objects::{Bare, Maker, PodObject};
use super::plan::{Agent, Pod};
use super::target::{Kind, Scope, Target};
use crate::model::answer::Chosen;
use crate::sinks::doctor::near;

/// Where the agents are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agents {
    /// Their namespace.
    pub namespace: String,
    /// Labels of their pods.
    pub selector: String,
}

/// What was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// Where.
    pub scope: Scope,
    /// Which; all of the scope when there are none.
    pub targets: Vec<Target>,
    /// Whom to ask.
    pub agents: Agents,
}

/// Pods of one target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Group {
    /// What it is called, for people.
    pub(super) name: String,
    /// Whether somebody named it; otherwise it is all there is.
    pub(super) is_named: bool,
    /// Where; `None` is everywhere.
    pub(super) namespace: Option<Arc<str>>,
    pub(super) pods: Vec<Pod>,
    /// When there are none: pods with names that are near.
    pub(super) near: Vec<String>,
}

impl Question {
    /// Whether everything of the cluster was asked for.
    pub(super) fn is_everything(&self) -> bool {
        self.scope == Scope::All && self.targets.is_empty()
    }

    fn namespace(&self, access: &Access) -> Option<Arc<str>> {
        match &self.scope {
            Scope::All => None,
            Scope::Namespace(Some(name)) => Some(name.as_str().into()),
            Scope::Namespace(None) => Some(Arc::clone(&access.namespace)),
        }
    }

    /// Which workloads these are.
    pub(super) fn chosen(&self, access: &Access, groups: &[Group]) -> Chosen {
        match (self.targets.is_empty(), self.namespace(access)) {
            (true, None) => Chosen::Everything,
            (true, Some(namespace)) => Chosen::Namespace(namespace),
            (false, _) => Chosen::Pods(
                groups
                    .iter()
                    .flat_map(|group| &group.pods)
                    .map(|pod| (Arc::clone(&pod.namespace), Arc::clone(&pod.name)))
                    .collect(),
            ),
        }
    }

    /// The pods of every target.
    pub(super) async fn groups(&self, access: &Access) -> Result<Vec<Group>, FleetError> {
        let namespace = self.namespace(access);
        if self.targets.is_empty() {
            let mut pods = pods(access, namespace.as_deref(), None).await?;
            pods.retain(|pod| !pod.ended);
            let name = namespace.as_ref().map_or_else(
                || "any namespace".to_owned(),
                |name| format!("the namespace {name}"),
            );
            return Ok(vec![Group {
                name,
                is_named: false,
                namespace,
                pods,
                near: Vec::new(),
            }]);
        }
        let mut groups = Vec::new();
        for target in &self.targets {
            groups.push(match target {
                Target::Begins(begins) => beginning(access, namespace.clone(), begins, target).await?,
                Target::Elsewhere { namespace, begins } => {
                    beginning(access, Some(namespace.as_str().into()), begins, target).await?
                }
                Target::Object { kind, name } => {
                    // Across all namespaces nothing is named: the command line says so.
                    let namespace = namespace.clone().unwrap_or_else(|| Arc::clone(&access.namespace));
                    let pods = of_object(access, *kind, name, &namespace).await?;
                    Group {
                        name: target.to_string(),
                        is_named: true,
                        namespace: Some(namespace),
                        pods,
                        near: Vec::new(),
                    }
                }
            });
        }
        Ok(groups)
    }
}

/// Pods whose name begins like this, those that have ended left out.
async fn beginning(
    access: &Access,
    namespace: Option<Arc<str>>,
    begins: &str,
    target: &Target,
) -> Result<Group, FleetError> {
    let (pods, others): (Vec<Pod>, Vec<Pod>) = pods(access, namespace.as_deref(), None)
        .await?
        .into_iter()
        .filter(|pod| !pod.ended)
        .partition(|pod| pod.name.starts_with(begins));
    let near = match pods.is_empty() {
        true => near(begins, others.iter().map(|pod| &*pod.name)),
        false => Vec::new(),
    };
    Ok(Group {
        name: target.to_string(),
        is_named: true,
        namespace,
        pods,
        near,
    })
}

async fn pods(
    access: &Access,
    namespace: Option<&str>,
    labels: Option<&str>,
) -> Result<Vec<Pod>, FleetError> {
    let found = objects(access, namespace, labels).await?;
    Ok(found.iter().map(PodObject::pod).collect())
}

async fn objects(
    access: &Access,
    namespace: Option<&str>,
    labels: Option<&str>,
) -> Result<Vec<PodObject>, FleetError> {
    access.list(&Kind::Pod.path(namespace), labels, None).await
}

/// The pods of an object, by the chain of owners: labels alone may be those of others, too.
async fn of_object(access: &Access, kind: Kind, name: &str, namespace: &str) -> Result<Vec<Pod>, FleetError> {
    let path = kind.path(Some(namespace));
    let in_namespace = Some(namespace);
    if kind == Kind::Pod {
        let pod = named::<PodObject>(access, kind, name, namespace).await?;
        return Ok(vec![pod.pod()]);
    }
    let maker: Maker = named(access, kind, name, namespace).await?;
    let mut owners = HashSet::from([maker.metadata.uid]);
    let labels = match (kind, &maker.spec.selector) {
        (Kind::CronJob, _) => {
            let jobs: Vec<Bare> = access.list(&Kind::Job.path(in_namespace), None, None).await?;
            let jobs = made_by(jobs, &owners);
            if jobs.is_empty() {
                return Ok(Vec::new());
            }
            let names: Vec<&str> = jobs.iter().map(|job| job.metadata.name.as_str()).collect();
            let labels = format!("job-name in ({})", names.join(","));
            owners = jobs.into_iter().map(|job| job.metadata.uid).collect();
            labels
        }
        (_, Some(selector)) => selector.query(),
        (_, None) => {
            return Err(FleetError::Refused {
                asking: format!("GET {path}/{name}"),
                message: "it has no selector".to_owned(),
                code: 200,
            });
        }
    };
    if kind == Kind::Deployment {
        let path = Kind::ReplicaSet.path(in_namespace);
        let sets: Vec<Bare> = access.list(&path, Some(&labels), None).await?;
        owners = made_by(sets, &owners)
            .into_iter()
            .map(|set| set.metadata.uid)
            .collect();
    }
    // What runs to its end is asked about when it has reached it, too.
    let with_ended = matches!(kind, Kind::Job | Kind::CronJob);
    let found = objects(access, in_namespace, Some(&labels)).await?;
    Ok(found
        .iter()
        .filter(|pod| pod.metadata.controller().is_some_and(|uid| owners.contains(uid)))
        .map(PodObject::pod)
        .filter(|pod| with_ended || !pod.ended)
        .collect())
}

fn made_by(objects: Vec<Bare>, owners: &HashSet<String>) -> Vec<Bare> {
    let is_theirs = |object: &Bare| {
        object
            .metadata
            .controller()
            .is_some_and(|uid| owners.contains(uid))
    };
    objects.into_iter().filter(is_theirs).collect()
}

/// One object; when there is none of that name, names that are near are part of the error.
async fn named<T: serde::de::DeserializeOwned>(
    access: &Access,
    kind: Kind,
    name: &str,
    namespace: &str,
) -> Result<T, FleetError> {
    let path = kind.path(Some(namespace));
    match access.get(&path, name).await {
        Err(FleetError::Refused { code: 404, .. }) => {
            // Without the right to list them there are none to be named.
            let all: Vec<Bare> = access.list(&path, None, None).await.unwrap_or_default();
            Err(FleetError::Absent {
                kind: kind.name(),
                name: name.to_owned(),
                namespace: namespace.to_owned(),
                known: all.into_iter().map(|object| object.metadata.name).collect(),
            })
        }
        other => other,
    }
}

/// Pods of the agents; of one node, when only that is concerned.
pub(super) async fn agents(
    access: &Access,
    agents: &Agents,
    only: Option<&str>,
) -> Result<Vec<Agent>, FleetError> {
    let path = Kind::Pod.path(Some(&agents.namespace));
    let fields = only.map(|node| format!("spec.nodeName={node}"));
    let found: Vec<PodObject> = access
        .list(&path, Some(&agents.selector), fields.as_deref())
        .await?;
    Ok(found.iter().filter_map(PodObject::agent).collect())
}
