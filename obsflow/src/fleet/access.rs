//! The way to the API server: a kubeconfig, or a pod's service account.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use kube::api::{GetParams, ListParams};
use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::core::Request;
use kube::{Client, Config, Error};
use serde::de::DeserializeOwned;

use super::error::FleetError;
use super::objects::List;
use crate::cluster::kube::client::{IN_CLUSTER, innermost, is_proxied, prepare};

/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(20);
/// Objects a page.
const PAGE: u32 = 500;
/// More of a kind are not read: no cluster of the size that Kubernetes supports has them.
const MOST: usize = 300_000;

/// A cluster that can be asked.
#[derive(Clone)]
pub struct Access {
    pub(super) client: Client,
    /// The kubeconfig's context.
    pub(super) context: Arc<str>,
    /// The namespace of that context.
    pub(super) namespace: Arc<str>,
    server: String,
}

impl Access {
    /// Reads what leads to a cluster, as kubectl does it: the file, else those of `$KUBECONFIG`, else `~/.kube/config`, else
    /// the pod's service account. Makes no request yet.
    ///
    /// # Errors
    /// When there is nothing of all that, or it is of no use.
    pub async fn open(kubeconfig: Option<&Path>, context: Option<&str>) -> Result<Self, FleetError> {
        let (config, context) = match read(kubeconfig) {
            Ok(file) => from_file(file, kubeconfig, context).await?,
            Err(KubeconfigError::ReadConfig(error, _))
                if error.kind() == io::ErrorKind::NotFound && kubeconfig.is_none() =>
            {
                in_cluster(context, error)?
            }
            Err(KubeconfigError::FindPath) if kubeconfig.is_none() => {
                in_cluster(context, io::ErrorKind::NotFound.into())?
            }
            Err(KubeconfigError::ReadConfig(error, path)) => {
                return Err(FleetError::Kubeconfig {
                    path: Some(path),
                    what: error.to_string(),
                });
            }
            Err(error) => return Err(unusable(kubeconfig, &error)),
        };
        Self::connect(config, context)
    }

    fn connect(mut config: Config, context: String) -> Result<Self, FleetError> {
        let server = prepare(&mut config);
        let namespace = config.default_namespace.as_str().into();
        let client = Client::try_from(config).map_err(|error| FleetError::Kubeconfig {
            path: None,
            what: innermost(&error),
        })?;
        Ok(Self {
            client,
            context: context.into(),
            namespace,
            server,
        })
    }

    /// Every object of a collection that fits the selectors.
    pub(super) async fn list<T: DeserializeOwned>(
        &self,
        path: &str,
        labels: Option<&str>,
        fields: Option<&str>,
    ) -> Result<Vec<T>, FleetError> {
        let asking = format!("GET {path}");
        let mut objects = Vec::new();
        let mut next = None;
        loop {
            let params = ListParams {
                label_selector: labels.map(str::to_owned),
                field_selector: fields.map(str::to_owned),
                limit: Some(PAGE),
                continue_token: next,
                ..ListParams::default()
            };
            let page: List<T> = self.send(&asking, Request::new(path).list(&params)).await?;
            objects.extend(page.items.unwrap_or_default());
            next = page.metadata.next.filter(|token| !token.is_empty());
            if next.is_none() || objects.len() >= MOST {
                return Ok(objects);
            }
        }
    }

    /// One object.
    pub(super) async fn get<T: DeserializeOwned>(&self, path: &str, name: &str) -> Result<T, FleetError> {
        let asking = format!("GET {path}/{name}");
        self.send(&asking, Request::new(path).get(name, &GetParams::default()))
            .await
    }

    async fn send<T: DeserializeOwned>(
        &self,
        asking: &str,
        request: Result<hyper::Request<Vec<u8>>, kube::core::request::Error>,
    ) -> Result<T, FleetError> {
        let request = request.map_err(|error| FleetError::Refused {
            asking: asking.to_owned(),
            message: error.to_string(),
            code: 400,
        })?;
        match tokio::time::timeout(ANSWER, self.client.request(request)).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(self.failed(asking, &error)),
            Err(_) => Err(self.unreachable(format!("no answer to {asking} within {ANSWER:?}"))),
        }
    }

    fn failed(&self, asking: &str, error: &Error) -> FleetError {
        match error {
            Error::Api(status) if status.code == 401 => FleetError::Credentials {
                server: self.server.clone(),
                context: self.context.to_string(),
            },
            Error::Api(status) => FleetError::Refused {
                asking: asking.to_owned(),
                message: match status.message.trim() {
                    "" => format!("{} ({})", status.reason, status.code),
                    message => message.replace('\n', " "),
                },
                code: status.code,
            },
            Error::Auth(error) => FleetError::Kubeconfig {
                path: None,
                what: format!("its credentials cannot be had: {}", innermost(error)),
            },
            Error::SerdeError(error) => self.unreachable(format!("what answers is no API server: {error}")),
            other => self.unreachable(innermost(other)),
        }
    }

    fn unreachable(&self, why: String) -> FleetError {
        FleetError::Unreachable {
            server: self.server.clone(),
            context: self.context.to_string(),
            why,
        }
    }
}

fn read(path: Option<&Path>) -> Result<Kubeconfig, KubeconfigError> {
    match path {
        Some(path) => Kubeconfig::read_from(path),
        None => Kubeconfig::read(),
    }
}

async fn from_file(
    file: Kubeconfig,
    path: Option<&Path>,
    context: Option<&str>,
) -> Result<(Config, String), FleetError> {
    let current = file.current_context.as_deref().filter(|name| !name.is_empty());
    let known = || file.contexts.iter().map(|context| context.name.clone()).collect();
    let name = match (context, current) {
        (Some(name), _) | (None, Some(name)) => name.to_owned(),
        (None, None) => {
            return Err(FleetError::Kubeconfig {
                path: path.map(Path::to_owned),
                what: "it has no current context; choose one with --context".to_owned(),
            });
        }
    };
    if !file.contexts.iter().any(|context| context.name == name) {
        return Err(FleetError::Context {
            path: path.map(Path::to_owned),
            known: known(),
            name,
        });
    }
    if is_proxied(&file, &name) {
        return Err(FleetError::Kubeconfig {
            path: path.map(Path::to_owned),
            what: format!("the cluster of {name} has a proxy-url, which obsflow does not support"),
        });
    }
    let options = KubeConfigOptions {
        context: Some(name.clone()),
        ..KubeConfigOptions::default()
    };
    let mut config = Config::from_custom_kubeconfig(file, &options)
        .await
        .map_err(|error| unusable(path, &error))?;
    // Of the environment, where what is right for other programs need not be for this.
    config.proxy_url = None;
    Ok((config, name))
}

fn in_cluster(context: Option<&str>, why: io::Error) -> Result<(Config, String), FleetError> {
    if context.is_some() || std::env::var_os(IN_CLUSTER).is_none() {
        return Err(FleetError::NoKubeconfig(why.to_string()));
    }
    match Config::incluster_env() {
        Ok(config) => Ok((config, "in-cluster".to_owned())),
        Err(error) => Err(FleetError::NoKubeconfig(innermost(&error))),
    }
}

fn unusable(path: Option<&Path>, error: &KubeconfigError) -> FleetError {
    let what = innermost(error);
    FleetError::Kubeconfig {
        path: path.map(PathBuf::from),
        // Parsers draw what they do not understand, on several lines.
        what: what.lines().next().unwrap_or_default().to_owned(),
    }
}
