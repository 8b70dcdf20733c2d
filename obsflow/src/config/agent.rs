//! `obsflow agent`, checked.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::{ConfigError, Live};
use crate::api::Address;
use crate::cli::{AgentArgs, LogFormat};
use crate::expect::Rule;

/// What switches something off.
const OFF: &str = "off";

/// `obsflow agent`
#[derive(Clone, Debug)]
pub struct Agent {
    /// What to watch.
    pub live: Live,
    /// Where to serve.
    pub listen: Vec<Address>,
    /// Where to say that all is well.
    pub health: Option<SocketAddr>,
    /// What to remember, where.
    pub state: Option<PathBuf>,
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
        let state = match args.state {
            text if text == OFF => None,
            text if text.is_empty() || text.ends_with('/') => return Err(ConfigError::State(text)),
            text => Some(text.into()),
        };
        Ok(Self {
            // Without the first bytes of connections nothing is known of what the other side accepts.
            live: Live::new(args.live, true)?,
            listen,
            health,
            state,
            log_format: args.log_format,
            rules: args.rules,
            is_check: args.check,
        })
    }
}
