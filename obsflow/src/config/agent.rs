//! `obsflow agent`, checked.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::{ConfigError, Live, duration};
use crate::api::hubble::{Nodes, Place};
use crate::api::{Address, GRPC, METRICS, TlsFiles};
use crate::cli::{AgentArgs, LogFormat, OnOff};
use crate::expect::Rule;
use crate::store;

/// What switches something off.
const OFF: &str = "off";
/// What a flow that is kept may take on average, in bytes: 65,535 of them 24 MiB.
const FLOW_BYTES: usize = 384;

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

impl Metrics {
    fn new(args: &AgentArgs) -> Result<Option<Self>, ConfigError> {
        // First: a configuration file's keys are also looked at one by one.
        if args.metrics == OFF {
            return Ok(None);
        }
        let both = both(
            [&args.metrics_tls_cert, &args.metrics_tls_key],
            ["--metrics-tls-cert", "--metrics-tls-key"],
        )?;
        let tls = both.map(|[certificate, key]| TlsFiles {
            certificate,
            key,
            client_ca: None,
            purpose: &METRICS,
        });
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

/// Both files of a certificate, or none.
fn both(files: [&Option<PathBuf>; 2], flags: [&'static str; 2]) -> Result<Option<[PathBuf; 2]>, ConfigError> {
    let missing = match files {
        [Some(certificate), Some(key)] => return Ok(Some([certificate.clone(), key.clone()])),
        [None, None] => return Ok(None),
        [Some(_), None] => flags[1],
        [None, Some(_)] => flags[0],
    };
    Err(ConfigError::TlsHalf { missing, both: flags })
}

/// Where an agent serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    /// Where.
    pub address: Address,
    /// With which certificate, if any.
    pub tls: Option<TlsFiles>,
}

impl Listen {
    fn all(args: &AgentArgs) -> Result<Vec<Self>, ConfigError> {
        const TLS: &str = "tls://";
        let mut listen: Vec<Self> = Vec::new();
        let files = if args.is_part {
            None
        } else {
            both([&args.tls_cert, &args.tls_key], ["--tls-cert", "--tls-key"])?
        };
        let files = files.map(|[certificate, key]| TlsFiles {
            certificate,
            key,
            client_ca: args.tls_client_ca.clone(),
            purpose: &GRPC,
        });
        for text in &args.listen {
            let is_tls = text.starts_with(TLS);
            let address = Address::parse(&text.replacen(TLS, "tcp://", 1)).map_err(|error| {
                if is_tls {
                    ConfigError::TlsPath
                } else {
                    ConfigError::Address {
                        flag: "--listen",
                        error,
                    }
                }
            })?;
            if listen.iter().any(|other| other.address == address) {
                return Err(ConfigError::ListenTwice(address));
            }
            let tls = (is_tls || !address.is_local()).then(|| files.clone()).flatten();
            if tls.is_none() && !args.is_part {
                if is_tls {
                    return Err(ConfigError::NoCertificate);
                }
                if !address.is_local() && !args.allow_plain_text {
                    return Err(ConfigError::PlainText(address));
                }
            }
            listen.push(Self { address, tls });
        }
        let unused = listen.iter().all(|listen| listen.tls.is_none());
        if unused && !args.is_part && (files.is_some() || args.tls_client_ca.is_some()) {
            let flag = if files.is_some() {
                "--tls-cert"
            } else {
                "--tls-client-ca"
            };
            return Err(ConfigError::TlsOfNothing(flag));
        }
        Ok(listen)
    }
}

/// What of flows is kept, and who else does.
#[derive(Clone, Debug)]
pub struct Flows {
    /// How much.
    pub limits: store::Limits,
    /// Other agents.
    pub peers: Nodes,
}

impl Flows {
    fn new(args: &AgentArgs) -> Result<Self, ConfigError> {
        let entries = usize::try_from(args.flows).unwrap_or(usize::MAX);
        let mut peers = Nodes::default();
        for text in &args.peer {
            let wrong = || ConfigError::Peer(text.clone());
            let (name, address) = text.split_once('=').ok_or_else(wrong)?;
            let (host, port) = address.rsplit_once(':').ok_or_else(wrong)?;
            let is_host =
                !host.is_empty() && (!host.contains(':') || host.starts_with('[') && host.ends_with(']'));
            let is_port = port.parse::<u16>().is_ok_and(|port| port > 0);
            if name.is_empty() || !is_host || !is_port || text.contains(char::is_whitespace) {
                return Err(wrong());
            }
            let place = Place {
                address: address.to_owned(),
                server_name: None,
            };
            if peers.insert(name.into(), place).is_some() {
                return Err(ConfigError::PeerTwice(name.to_owned()));
            }
        }
        Ok(Self {
            limits: store::Limits {
                entries,
                bytes: entries.saturating_mul(FLOW_BYTES),
                age: duration("--flows-age", args.flows_age.clone())?,
            },
            peers,
        })
    }
}

/// Namespace and name.
fn peers_service(text: &str) -> Result<(String, String), ConfigError> {
    let is_name = |name: &str| {
        !name.is_empty()
            && name
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.".contains(&byte))
    };
    match text.split_once('/') {
        Some((namespace, name)) if is_name(namespace) && is_name(name) => {
            Ok((namespace.to_owned(), name.to_owned()))
        }
        _ => Err(ConfigError::PeersService(text.to_owned())),
    }
}

/// `obsflow agent`
#[derive(Clone, Debug)]
pub struct Agent {
    /// What to watch.
    pub live: Live,
    /// Where to serve.
    pub listen: Vec<Listen>,
    /// What of flows is kept.
    pub flows: Flows,
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
        let listen = Listen::all(&args)?;
        let flows = Flows::new(&args)?;
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
        let mut live = Live::new(args.live, true)?;
        live.cluster.agents = args.peers_service.as_deref().map(peers_service).transpose()?;
        if args.events && !live.cluster.kubernetes {
            return Err(ConfigError::Both("--events", "--kubernetes off"));
        }
        if live.cluster.agents.is_some() && !live.cluster.kubernetes {
            return Err(ConfigError::Both("--peers-service", "--kubernetes off"));
        }
        Ok(Self {
            live,
            listen,
            flows,
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
