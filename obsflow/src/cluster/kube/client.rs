//! What every client of an API server has in common, whoever asks: the agent for names, a person for a cluster's agents.

use std::error::Error;
use std::time::Duration;

use kube::Config;
use kube::config::Kubeconfig;

/// Set in every container that a kubelet starts.
pub(crate) const IN_CLUSTER: &str = "KUBERNETES_SERVICE_HOST";
/// How long a connection may take to be there.
const CONNECT: Duration = Duration::from_secs(10);

/// Says who asks and how long it waits, and sees that there is TLS. The server's URL.
pub(crate) fn prepare(config: &mut Config) -> String {
    config.connect_timeout = Some(CONNECT);
    if let (Ok(name), Ok(value)) = (
        "user-agent".parse(),
        concat!("obsflow/", env!("CARGO_PKG_VERSION")).parse(),
    ) {
        config.headers.push((name, value));
    }
    // Without one, kube chooses by what is compiled in; another part of this process may have set it already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    config.cluster_url.to_string().trim_end_matches('/').to_owned()
}

/// Whether the cluster of a context is behind a proxy, which is not supported.
pub(crate) fn is_proxied(kubeconfig: &Kubeconfig, context: &str) -> bool {
    let context = kubeconfig.contexts.iter().find(|named| named.name == context);
    let cluster = context.and_then(|named| Some(named.context.as_ref()?.cluster.as_str()));
    kubeconfig
        .clusters
        .iter()
        .filter(|named| Some(named.name.as_str()) == cluster)
        .filter_map(|named| named.cluster.as_ref()?.proxy_url.as_deref())
        .any(|url| !url.is_empty())
}

/// The cause of an error: what is around it says that something failed, which is said already.
pub(crate) fn innermost(error: &dyn Error) -> String {
    let mut last = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        last = cause.to_string();
        next = cause.source();
    }
    last
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_said_without_its_wrapping() {
        let io = std::io::Error::new(std::io::ErrorKind::ConnectionRefused, "refused");
        let wrapped = std::io::Error::other(io);
        assert_eq!(innermost(&wrapped), "refused");
    }
}
