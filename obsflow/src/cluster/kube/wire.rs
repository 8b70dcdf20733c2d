//! Objects of the API, cut down to what is used: everything else is skipped while it is decoded.
//!
//! Shapes: <https://kubernetes.io/docs/reference/generated/kubernetes-api/v1.33/>. Lists may be `null`, times and addresses
//! are texts that may be empty; what cannot be understood in one field never spoils the object.

use std::fmt;
use std::net::IpAddr;

use jiff::Timestamp;
use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// Annotations that ask for injection begin with this.
pub(super) const INJECT: &str = "instrumentation.opentelemetry.io/inject-";
/// Annotations that say which containers to inject: with this beginning and this end, a language and a dash between them or
/// nothing. Of nginx it is `inject-nginx-container-names`, which asks for nothing.
const OF_OPERATOR: &str = "instrumentation.opentelemetry.io/";
/// See [`OF_OPERATOR`].
const CONTAINERS: &str = "container-names";
/// UID by which a kubelet knows a static pod, on the pod that stands for it in the API.
const CONFIG_HASH: &str = "kubernetes.io/config.hash";

/// `null` is as good as nothing.
fn or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(from: D) -> Result<T, D::Error> {
    Ok(Option::<T>::deserialize(from)?.unwrap_or_default())
}

/// An object of which only metadata is used.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Bare {
    pub(super) metadata: Meta,
}

/// `metadata`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Meta {
    pub(super) name: String,
    pub(super) namespace: String,
    pub(super) uid: String,
    pub(super) resource_version: String,
    pub(super) creation_timestamp: Option<String>,
    #[serde(deserialize_with = "or_default")]
    pub(super) annotations: Annotations,
    #[serde(deserialize_with = "or_default")]
    pub(super) labels: Labels,
    #[serde(deserialize_with = "or_default")]
    pub(super) owner_references: Vec<OwnerReference>,
    #[serde(deserialize_with = "or_default")]
    pub(super) managed_fields: Vec<Managed>,
}

impl Meta {
    /// What controls the object.
    pub(super) fn controller(&self) -> Option<&OwnerReference> {
        self.owner_references.iter().find(|owner| owner.controller)
    }

    /// When somebody wrote an annotation that asks for injection, the last time.
    pub(super) fn annotated_at(&self) -> Option<Timestamp> {
        self.managed_fields
            .iter()
            .filter(|managed| managed.fields_v1.metadata.annotations.asks)
            .filter_map(|managed| managed.time.as_deref()?.parse().ok())
            .max()
    }
}

/// `metadata.ownerReferences`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct OwnerReference {
    pub(super) api_version: String,
    pub(super) kind: String,
    pub(super) name: String,
    #[serde(deserialize_with = "or_default")]
    pub(super) controller: bool,
}

/// `metadata.annotations`.
#[derive(Debug, Default)]
pub(crate) struct Annotations {
    /// Language and value of those that ask for injection.
    pub(super) inject: Vec<(String, String)>,
    /// Containers that are to be injected.
    pub(super) containers: Vec<String>,
    /// See [`CONFIG_HASH`].
    pub(super) config_hash: Option<String>,
}

impl<'de> Deserialize<'de> for Annotations {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Pick;
        impl<'de> Visitor<'de> for Pick {
            type Value = Annotations;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("annotations")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Annotations, A::Error> {
                let mut picked = Annotations::default();
                while let Some(key) = map.next_key::<String>()? {
                    if key.starts_with(OF_OPERATOR) && key.ends_with(CONTAINERS) {
                        let names: String = map.next_value()?;
                        let names = names.split(',').map(str::trim).filter(|name| !name.is_empty());
                        picked.containers.extend(names.map(str::to_owned));
                    } else if let Some(language) = key.strip_prefix(INJECT) {
                        picked.inject.push((language.to_owned(), map.next_value()?));
                    } else if key == CONFIG_HASH {
                        picked.config_hash = Some(map.next_value()?);
                    } else {
                        map.next_value::<IgnoredAny>()?;
                    }
                }
                Ok(picked)
            }
        }
        from.deserialize_map(Pick)
    }
}

/// `metadata.labels`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Labels {
    #[serde(rename = "kubernetes.io/service-name")]
    pub(super) service_name: Option<String>,
}

/// `metadata.managedFields`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Managed {
    pub(super) time: Option<String>,
    #[serde(deserialize_with = "or_default")]
    fields_v1: Fields,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Fields {
    #[serde(rename = "f:metadata", deserialize_with = "or_default")]
    metadata: MetadataFields,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct MetadataFields {
    #[serde(rename = "f:annotations", deserialize_with = "or_default")]
    annotations: AnnotationFields,
}

/// Whether one of them asks for injection.
#[derive(Debug, Default)]
struct AnnotationFields {
    asks: bool,
}

impl<'de> Deserialize<'de> for AnnotationFields {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Pick;
        impl<'de> Visitor<'de> for Pick {
            type Value = AnnotationFields;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("names of annotations")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<AnnotationFields, A::Error> {
                let mut picked = AnnotationFields::default();
                while let Some((key, _)) = map.next_entry::<String, IgnoredAny>()? {
                    let name = key.strip_prefix("f:").unwrap_or_default();
                    picked.asks |= name.starts_with(INJECT) && !name.ends_with(CONTAINERS);
                }
                Ok(picked)
            }
        }
        from.deserialize_map(Pick)
    }
}

/// A pod.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Pod {
    pub(super) metadata: Meta,
    #[serde(deserialize_with = "or_default")]
    pub(super) spec: PodSpec,
    #[serde(deserialize_with = "or_default")]
    pub(super) status: PodStatus,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct PodSpec {
    pub(super) node_name: String,
    #[serde(deserialize_with = "or_default")]
    pub(super) host_network: bool,
    #[serde(deserialize_with = "or_default")]
    pub(super) containers: Vec<Container>,
    #[serde(deserialize_with = "or_default")]
    pub(super) init_containers: Vec<Container>,
    #[serde(deserialize_with = "or_default")]
    pub(super) ephemeral_containers: Vec<Container>,
    #[serde(deserialize_with = "or_default")]
    pub(super) volumes: Vec<Volume>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Container {
    pub(super) name: String,
    pub(super) image: String,
    #[serde(deserialize_with = "or_default")]
    pub(super) env: Vec<Variable>,
}

/// A variable: looked at, never kept.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Variable {
    pub(super) name: String,
    pub(super) value: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Volume {
    pub(super) name: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct PodStatus {
    pub(super) phase: String,
    #[serde(rename = "podIP")]
    pub(super) pod_ip: String,
    #[serde(rename = "podIPs", deserialize_with = "or_default")]
    pub(super) pod_ips: Vec<PodIp>,
    #[serde(deserialize_with = "or_default")]
    pub(super) container_statuses: Vec<ContainerStatus>,
    #[serde(deserialize_with = "or_default")]
    pub(super) init_container_statuses: Vec<ContainerStatus>,
    #[serde(deserialize_with = "or_default")]
    pub(super) ephemeral_container_statuses: Vec<ContainerStatus>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct PodIp {
    pub(super) ip: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct ContainerStatus {
    pub(super) name: String,
    #[serde(rename = "containerID")]
    pub(super) container_id: String,
}

/// A Service.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Service {
    pub(super) metadata: Meta,
    #[serde(deserialize_with = "or_default")]
    pub(super) spec: ServiceSpec,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct ServiceSpec {
    #[serde(rename = "clusterIP")]
    pub(super) cluster_ip: String,
    #[serde(rename = "clusterIPs", deserialize_with = "or_default")]
    pub(super) cluster_ips: Vec<String>,
    #[serde(deserialize_with = "or_default")]
    pub(super) ports: Vec<ServicePort>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct ServicePort {
    pub(super) name: String,
    pub(super) protocol: String,
    pub(super) port: u16,
}

/// An EndpointSlice.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Slice {
    pub(super) metadata: Meta,
    #[serde(deserialize_with = "or_default")]
    pub(super) endpoints: Vec<Endpoint>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Endpoint {
    #[serde(deserialize_with = "or_default")]
    pub(super) addresses: Vec<String>,
    #[serde(deserialize_with = "or_default")]
    pub(super) conditions: Conditions,
    #[serde(deserialize_with = "or_default")]
    pub(super) target_ref: TargetRef,
    #[serde(deserialize_with = "or_default")]
    pub(super) node_name: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Conditions {
    /// Without a word it is ready.
    pub(super) ready: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct TargetRef {
    pub(super) kind: String,
    pub(super) name: String,
}

/// A node.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Node {
    pub(super) metadata: Meta,
    #[serde(deserialize_with = "or_default")]
    pub(super) status: NodeStatus,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct NodeStatus {
    #[serde(deserialize_with = "or_default")]
    pub(super) addresses: Vec<NodeAddress>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct NodeAddress {
    pub(super) address: String,
}

/// A MutatingWebhookConfiguration.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Webhooks {
    pub(super) metadata: Meta,
    #[serde(deserialize_with = "or_default")]
    pub(super) webhooks: Vec<Webhook>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Webhook {
    #[serde(deserialize_with = "or_default")]
    pub(super) client_config: ClientConfig,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct ClientConfig {
    #[serde(deserialize_with = "or_default")]
    pub(super) service: WebhookService,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct WebhookService {
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) path: String,
}

/// Those of texts that are addresses; a headless Service's `None`, a node's host name and nothing at all are none.
pub(super) fn ips<'a>(texts: impl IntoIterator<Item = &'a str>) -> impl Iterator<Item = IpAddr> {
    texts.into_iter().filter_map(|text| text.parse().ok())
}
