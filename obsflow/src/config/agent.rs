//! `obsflow agent`, checked.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::{ConfigError, Live};
use crate::api::Address;
use crate::cli::{AgentArgs, LogFormat, OnOff};
use crate::expect::Rule;

/// What switches something off.
const OFF: &str = "off";

/// How metrics are served.
#[derive(Clone, Debug)]
pub struct Metrics {
    /// Where.
    pub address: SocketAddr,
    /// Whether series of workloads have a label `pod`.
    pub pod_label: bool,
    /// With which certificate, if any.
    pub tls: Option<TlsFiles>,
}

/// Files of a certificate and its key, in PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate and its chain.
    pub certificate: PathBuf,
    /// The key.
    pub key: PathBuf,
}

impl Metrics {
    fn new(args: &AgentArgs) -> Result<Option<Self>, ConfigError> {
        // First: a configuration file's keys are also looked at one by one.
        if args.metrics == OFF {
            return Ok(None);
        }
        let tls = match (&args.metrics_tls_cert, &args.metrics_tls_key) {
            (Some(certificate), Some(key)) => Some(TlsFiles {
                certificate: certificate.clone(),
                key: key.clone(),
            }),
            (None, None) => None,
            (Some(_), None) => return Err(ConfigError::TlsHalf("--metrics-tls-key")),
            (None, Some(_)) => return Err(ConfigError::TlsHalf("--metrics-tls-cert")),
        };
        let address = args
            .metrics
            .parse()
            .map_err(|_| ConfigError::Metrics(args.metrics.clone()))?;
        Ok(Some(Self {
            address,
            pod_label: args.metrics_pod_label == OnOff::On,
            tls,
        }))
    }
}

/// `obsflow agent`
#[derive(Clone, Debug)]
pub struct Agent {
    /// What to watch.
    pub live: Live,
    /// Where to serve.
    pub listen: Vec<Address>,
    /// Where to say that all is well.
    pub health: Option<SocketAddr>,
    /// Where to serve metrics.
    pub metrics: Option<Metrics>,
    /// What to remember, where.
    pub state: Option<PathBuf>,
    /// Whether Kubernetes Events are written.
    pub events: bool,
    /// How to log.
    pub log_format: LogFormat,
    /// What workloads export besides what their environment says.
    pub rules: Vec<Rule>,
    /// Only say that all of this is good.
    pub is_check: bool,
}

impl Agent {
    pub(super) fn new(args: AgentArgs) -> Result<Self, ConfigError> {
        let listen = args
            .listen
            .iter()
            .map(|text| {
                Address::parse(text).map_err(|error| ConfigError::Address {
                    flag: "--listen",
                    error,
                })
            })
            .collect::<Result<Vec<_>, _>>()?;
        let mut seen = Vec::new();
        for address in &listen {
            if seen.contains(&address) {
                return Err(ConfigError::ListenTwice(address.clone()));
            }
            seen.push(address);
        }
        let health = match &*args.health {
            OFF => None,
            text => Some(text.parse().map_err(|_| ConfigError::Health(text.to_owned()))?),
        };
        let metrics = Metrics::new(&args)?;
        let state = match args.state {
            text if text == OFF => None,
            text if text.is_empty() || text.ends_with('/') => return Err(ConfigError::State(text)),
            text => Some(text.into()),
        };
        // Without the first bytes of connections nothing is known of what the other side accepts.
        let live = Live::new(args.live, true)?;
        if args.events && !live.cluster.kubernetes {
            return Err(ConfigError::Both("--events", "--kubernetes off"));
        }
        Ok(Self {
            live,
            listen,
            health,
            metrics,
            state,
            events: args.events,
            log_format: args.log_format,
            rules: args.rules,
            is_check: args.check,
        })
    }
}
