//! What the API server is told to do wrong, and what it was asked.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Request {
    /// When.
    pub at: Instant,
    /// HTTP method.
    pub method: String,
    /// What is done, as RBAC calls it: `list`, `watch`, `get`, `create`; else the method in small letters.
    pub verb: String,
    /// Path without the query.
    pub path: String,
    /// The kind of object, as `pods`; empty for what is none.
    pub resource: String,
    /// Parameters.
    pub query: BTreeMap<String, String>,
    /// Headers that matter: `accept`, `authorization`, `user-agent`, `content-type`.
    pub headers: BTreeMap<String, String>,
}

/// Something to do wrong.
#[derive(Clone, Debug)]
pub enum Order {
    /// Answers this HTTP status, with the `Status` that a real API server writes; `Retry-After` in seconds.
    Status(u16, Option<u32>),
    /// Begins a watch and says on it that the version is too old.
    GoneEvent,
    /// Ends a watch after this time.
    EndAfter(Duration),
    /// Never answers.
    Hang,
    /// Answers this much later.
    Slow(Duration),
    /// Answers 200 and a page of HTML.
    Garbage,
    /// Begins a watch, writes half an event and breaks the connection.
    Half,
}

/// An order and what it is for.
#[derive(Clone, Debug)]
pub struct Standing {
    order: Order,
    verb: Option<&'static str>,
    resource: Option<&'static str>,
    namespace: Option<&'static str>,
    times: Option<u32>,
}

impl Order {
    /// For everything, until it is withdrawn.
    #[must_use]
    pub fn standing(self) -> Standing {
        Standing {
            order: self,
            verb: None,
            resource: None,
            namespace: None,
            times: None,
        }
    }

    /// For this verb only.
    #[must_use]
    pub fn verb(self, verb: &'static str) -> Standing {
        self.standing().verb(verb)
    }

    /// For this kind of object only.
    #[must_use]
    pub fn resource(self, resource: &'static str) -> Standing {
        self.standing().resource(resource)
    }
}

impl Standing {
    /// For this verb only.
    #[must_use]
    pub fn verb(mut self, verb: &'static str) -> Self {
        self.verb = Some(verb);
        self
    }

    /// For this kind of object only.
    #[must_use]
    pub fn resource(mut self, resource: &'static str) -> Self {
        self.resource = Some(resource);
        self
    }

    /// For what is in this namespace only.
    #[must_use]
    pub fn namespace(mut self, namespace: &'static str) -> Self {
        self.namespace = Some(namespace);
        self
    }

    /// So often only.
    #[must_use]
    pub fn times(mut self, times: u32) -> Self {
        self.times = Some(times);
        self
    }

    fn is_for(&self, request: &Request) -> bool {
        let is_in = |namespace| request.path.contains(&format!("/namespaces/{namespace}/"));
        self.verb.is_none_or(|verb| verb == request.verb)
            && self.resource.is_none_or(|resource| resource == request.resource)
            && self.namespace.is_none_or(is_in)
            && self.times != Some(0)
    }
}

/// Orders that stand, and requests that came.
#[derive(Debug, Default)]
pub(super) struct Book {
    orders: Vec<Standing>,
    requests: Vec<Request>,
}

impl Book {
    /// One more order; the oldest that fits a request is followed.
    pub(super) fn order(&mut self, order: Standing) {
        self.orders.push(order);
    }

    /// Takes all orders back.
    pub(super) fn withdraw(&mut self) {
        self.orders.clear();
    }

    /// Requests so far.
    #[must_use]
    pub(super) fn requests(&self) -> Vec<Request> {
        self.requests.clone()
    }

    /// Writes a request down. What to do wrong about it.
    pub(super) fn take(&mut self, request: Request) -> Option<Order> {
        let order = self.orders.iter_mut().find(|order| order.is_for(&request));
        self.requests.push(request);
        let order = order?;
        if let Some(times) = &mut order.times {
            *times -= 1;
        }
        Some(order.order.clone())
    }
}
