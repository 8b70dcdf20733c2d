//! Which flows to show: Hubble's filters and their semantics, and `--dns-query`, `--rcode`, `--errno` beside them. There is one way:
//! flags and JSON become messages, which travel to a server or stay here, and are compiled where flows are.
//!
//! The same flag repeated means "or", different flags mean "and". A flag that names no direction makes two filters, one
//! for the source and one for the destination, of which one must match. `--not` puts the flag after it into a second
//! pair of filters; what they match is left out. What was lost always passes.

mod error;
mod flag;
mod flag_values;
mod flow_filter;
mod messages;
mod others;
mod parse;
mod prefilter;
mod raw;
mod selector;
mod values;

#[cfg(test)]
mod messages_tests;
#[cfg(test)]
mod model_tests;
#[cfg(test)]
mod tests;

pub use error::{FilterError, Origin};
pub use flag::{Flag, SPECS, Spec, Term};
pub(crate) use flag_values::RESERVED;
pub use flow_filter::{FlowFilter, Side};
pub use others::{NodeName, Others};
pub use parse::parse;
pub use raw::{parse_raw, print_raw};
pub use selector::Selector;
pub(crate) use values::TRACE_POINTS;
pub use values::{Fqdn, PodName, Protocol, TypeFilter, WorkloadName};

use crate::api::hubble::proto::flow as message;
use crate::model::flow::{Body, Flow, Response, event};

/// Whether a filter has a field.
type Asks = fn(&message::FlowFilter) -> bool;

/// Filters of one reader, as they travel: flags, JSON and other clients' requests are all of them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Wanted {
    /// Of these, one must match, if there is any.
    pub allow: Vec<message::FlowFilter>,
    /// Of these, none may match.
    pub deny: Vec<message::FlowFilter>,
}

impl Wanted {
    /// Makes them ready to use.
    ///
    /// # Errors
    /// The first value that means nothing.
    pub fn compile(&self) -> Result<FilterSet, FilterError> {
        FilterSet::of_messages(&self.allow, &self.deny)
    }

    /// Fields that were asked for and that no flow of obsflow's has: such a filter matches none of them.
    #[must_use]
    pub fn unknowable(&self) -> Vec<&'static str> {
        let all = || self.allow.iter().chain(&self.deny);
        let asked = |is: &Asks| all().any(is);
        let fields: [(&'static str, Asks); 12] = [
            ("label", |f| {
                !f.source_label.is_empty() || !f.destination_label.is_empty()
            }),
            ("identity", |f| {
                !f.source_identity.is_empty() || !f.destination_identity.is_empty()
            }),
            ("cluster", |f| {
                !f.source_cluster_name.is_empty() || !f.destination_cluster_name.is_empty()
            }),
            ("SNAT address", |f| !f.source_ip_xlated.is_empty()),
            ("HTTP header", |f| !f.http_header.is_empty()),
            ("node label", |f| !f.node_labels.is_empty()),
            ("name of an interface", |f| {
                f.interface.iter().any(|interface| !interface.name.is_empty())
            }),
            ("mark of encryption", |f| f.encrypted.contains(&true)),
            ("trace id", |f| !f.trace_id.is_empty()),
            ("IP trace id", |f| !f.ip_trace_id.is_empty()),
            ("UUID", |f| !f.uuid.is_empty()),
            ("ICMP, SCTP or Kafka", |f| {
                let seen = ["tcp", "udp", "dns", "http"];
                f.protocol
                    .iter()
                    .any(|name| !seen.contains(&name.to_ascii_lowercase().as_str()))
            }),
        ];
        let asked = fields.into_iter().filter(|(_, is)| asked(is));
        asked.map(|(name, _)| name).collect()
    }

    /// Whether a filter asks for what only obsflow knows; other servers pass over it.
    #[must_use]
    pub fn is_own(&self) -> bool {
        self.allow.iter().chain(&self.deny).any(|f| f.obsflow.is_some())
    }
}

/// Filters of one reader, compiled.
#[derive(Clone, Debug, Default)]
pub struct FilterSet {
    /// Of these, one must match, if there is any.
    pub allow: Vec<FlowFilter>,
    /// Of these, none may match.
    pub deny: Vec<FlowFilter>,
}

impl FilterSet {
    /// Whether a reader wants to see this.
    #[must_use]
    pub fn wants(&self, response: &Response) -> bool {
        match &response.body {
            Body::Flow(flow) => self.matches(flow),
            Body::LostEvents(_) | Body::NodeStatus(_) => true,
        }
    }

    /// Whether a flow passes.
    #[must_use]
    pub fn matches(&self, flow: &Flow) -> bool {
        (self.allow.is_empty() || self.allow.iter().any(|filter| filter.matches(flow)))
            && !self.deny.iter().any(|filter| filter.matches(flow))
    }

    /// Whether somebody asked for periodic socket state by its type.
    #[must_use]
    pub fn asks_for_socket_state(&self) -> bool {
        let types = self.allow.iter().flat_map(|filter| &filter.event_types);
        types.into_iter().any(|kind| kind.kind == event::TRACE_SOCK)
    }
}
