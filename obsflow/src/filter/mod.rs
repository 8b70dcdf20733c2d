//! Which flows to show: Hubble's filters and their semantics, and `--dns-query`, `--rcode`, `--errno` beside them.
//!
//! The same flag repeated means "or", different flags mean "and". A flag that names no direction makes two filters, one
//! for the source and one for the destination, of which one must match. `--not` puts the flag after it into a second
//! pair of filters; what they match is left out. What was lost always passes.

mod error;
mod flag;
mod flow_filter;
mod messages;
mod others;
mod parse;
mod prefilter;
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
pub use flow_filter::{FlowFilter, Side};
pub use others::{NodeName, Others};
pub use parse::parse;
pub use selector::Selector;
pub(crate) use values::TRACE_POINTS;
pub use values::{Fqdn, PodName, Protocol, TypeFilter, WorkloadName};

use crate::model::flow::{Body, Flow, Response, event};

/// Filters of one reader.
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
