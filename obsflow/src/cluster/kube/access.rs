//! How the API server is reached: a pod's service account, or a kubeconfig that was given.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use kube::client::ClientBuilder;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

use super::super::Config as Asked;
use super::client::{self, IN_CLUSTER};

/// What every pod of a cluster has, unless it is told otherwise.
const SERVICE_ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";

/// A kubeconfig that is of no use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KubeconfigError {
    /// It cannot be read, or is none.
    #[error("--kubeconfig {path}: {what}")]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// It has no such context.
    #[error("--context: there is no context {name:?} in {path}; there {}", contexts(.known))]
    Context {
        /// The file.
        path: PathBuf,
        /// As asked for.
        name: String,
        /// Those that it has.
        known: Vec<String>,
    },
    /// No context is asked for, and none is current.
    #[error("--kubeconfig {path}: it has no current context; choose one with --context: there {}", contexts(.known))]
    NoContext {
        /// The file.
        path: PathBuf,
        /// Those that it has.
        known: Vec<String>,
    },
}

fn contexts(known: &[String]) -> String {
    match known {
        [] => "are none".to_owned(),
        [one] => format!("is {one}"),
        many => format!("are {}", many.join(", ")),
    }
}

/// Reads a kubeconfig to see that it is one, and has what is asked for.
///
/// # Errors
/// When not.
pub(crate) fn check(path: &Path, context: Option<&str>) -> Result<(), KubeconfigError> {
    let config = read(path)?;
    let known = || {
        config
            .contexts
            .iter()
            .map(|context| context.name.clone())
            .collect()
    };
    let has = |name: &str| config.contexts.iter().any(|context| context.name == name);
    let current = config.current_context.as_deref().filter(|name| !name.is_empty());
    match (context, current) {
        (Some(name), _) if !has(name) => Err(KubeconfigError::Context {
            path: path.to_owned(),
            name: name.to_owned(),
            known: known(),
        }),
        (None, None) => Err(KubeconfigError::NoContext {
            path: path.to_owned(),
            known: known(),
        }),
        _ => Ok(()),
    }
}

fn read(path: &Path) -> Result<Kubeconfig, KubeconfigError> {
    let wrong = |what: String| KubeconfigError::File {
        path: path.to_owned(),
        what,
    };
    let text = std::fs::read_to_string(path).map_err(|error| wrong(format!("cannot be read: {error}")))?;
    let config = Kubeconfig::from_yaml(&text).map_err(|error| {
        let text = error.to_string();
        wrong(format!(
            "is no kubeconfig: {}",
            text.lines().next().unwrap_or_default()
        ))
    })?;
    if config.clusters.is_empty() {
        return Err(wrong("is no kubeconfig: it names no cluster".to_owned()));
    }
    Ok(config)
}

/// How the API server is reached, and who this node is.
#[derive(Clone, Debug)]
pub(crate) struct Access {
    by: By,
    node: Arc<str>,
    named: bool,
}

#[derive(Clone, Debug)]
enum By {
    ServiceAccount,
    Kubeconfig { path: PathBuf, context: Option<String> },
}

/// A connection to an API server.
pub(crate) struct Api {
    /// Sends requests.
    pub(crate) client: Client,
    /// Where.
    pub(crate) url: String,
    /// This node's name.
    pub(crate) node: Arc<str>,
    /// Whether that name was given, rather than taken from the host.
    pub(crate) named: bool,
}

impl Access {
    /// What there is; says so when a pod's token is missing.
    pub(crate) fn find(asked: &Asked) -> Option<Self> {
        if !asked.kubernetes {
            return None;
        }
        let by = match &asked.kubeconfig {
            Some(path) => By::Kubeconfig {
                path: path.clone(),
                context: asked.context.clone(),
            },
            None if std::env::var_os(IN_CLUSTER).is_none() => return None,
            None if Path::new(SERVICE_ACCOUNT).exists() => By::ServiceAccount,
            None => {
                tracing::warn!(
                    "this is a pod without a service account's token ({SERVICE_ACCOUNT}): the Kubernetes API is not asked, \
                     and pods have the names of their log folders only; set automountServiceAccountToken, or --kubernetes \
                     off"
                );
                return None;
            }
        };
        Some(Self {
            by,
            node: match &asked.node_name {
                Some(name) => name.as_str().into(),
                None => host_name().into(),
            },
            named: asked.node_name.is_some(),
        })
    }

    /// Reads what leads there. Makes no request yet.
    pub(crate) async fn connect(&self) -> Result<Api, String> {
        let mut config = match &self.by {
            By::ServiceAccount => Config::incluster_env().map_err(|error| error.to_string())?,
            By::Kubeconfig { path, context } => {
                let kubeconfig = read(path).map_err(|error| error.to_string())?;
                let options = KubeConfigOptions {
                    context: context.clone(),
                    ..KubeConfigOptions::default()
                };
                let chosen = context.as_deref().or(kubeconfig.current_context.as_deref());
                let proxied = client::is_proxied(&kubeconfig, chosen.unwrap_or_default());
                let mut config = Config::from_custom_kubeconfig(kubeconfig, &options)
                    .await
                    .map_err(|error| format!("{}: {error}", path.display()))?;
                if proxied {
                    return Err(format!("{}: proxy-url is not supported", path.display()));
                }
                // From the environment: what is right for an application need not be for this.
                config.proxy_url = None;
                config
            }
        };
        // Requests are tried again here, where it can be seen and said.
        config.default_retry = false;
        let url = client::prepare(&mut config);
        let client = ClientBuilder::try_from(config)
            .map_err(|error| error.to_string())?
            .build();
        Ok(Api {
            client,
            url,
            node: Arc::clone(&self.node),
            named: self.named,
        })
    }
}

/// What a kubelet calls its node when nobody says otherwise: the host's name, trimmed and in small letters
/// (`k8s.io/kubernetes/pkg/util/node`).
fn host_name() -> String {
    rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .trim()
        .to_lowercase()
}
