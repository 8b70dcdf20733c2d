//! A flow as protojson: fields in the order of their declaration in `flow.proto`, unset ones left out.

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use super::foreign::{AUTH_TYPES, CAPTURE_POINTS, Foreign, Named, POLICIES, TRACE_REASONS, XLATE_POINTS};
use super::protojson::{AnyOfStruct, NumberAsString, Stamp};
use super::{EventType, Flow, FlowType, NO_TIME, TracePoint, Verdict};

/// Leaves out what is unset.
struct Fields<M>(M);

impl<M: SerializeMap> Fields<M> {
    fn always(&mut self, name: &'static str, value: &impl Serialize) -> Result<(), M::Error> {
        self.0.serialize_entry(name, value)
    }

    fn when(&mut self, is_set: bool, name: &'static str, value: &impl Serialize) -> Result<(), M::Error> {
        if is_set {
            self.always(name, value)?;
        }
        Ok(())
    }

    fn maybe(&mut self, name: &'static str, value: Option<&impl Serialize>) -> Result<(), M::Error> {
        match value {
            Some(value) => self.always(name, value),
            None => Ok(()),
        }
    }

    fn list(&mut self, name: &'static str, values: &[impl Serialize]) -> Result<(), M::Error> {
        self.when(!values.is_empty(), name, &values)
    }

    fn text(&mut self, name: &'static str, text: &str) -> Result<(), M::Error> {
        self.when(!text.is_empty(), name, &text)
    }

    fn number(&mut self, name: &'static str, number: u32) -> Result<(), M::Error> {
        self.when(number != 0, name, &number)
    }

    fn named(
        &mut self,
        name: &'static str,
        number: i32,
        names: &'static [(i32, &'static str)],
    ) -> Result<(), M::Error> {
        self.when(number != 0, name, &Named(number, names))
    }
}

impl Serialize for Flow {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let none = Foreign::default();
        let foreign = self.foreign.as_deref().unwrap_or(&none);
        let mut to = Fields(serializer.serialize_map(None)?);
        to.when(self.time != NO_TIME, "time", &Stamp(self.time))?;
        to.text("uuid", &foreign.uuid)?;
        to.maybe("emitter", self.emitter.as_ref())?;
        to.when(self.verdict != Verdict::Unknown, "verdict", &self.verdict)?;
        to.number("drop_reason", foreign.drop_reason)?;
        to.named("auth_type", foreign.auth_type, &AUTH_TYPES)?;
        to.maybe("ethernet", foreign.ethernet.as_ref())?;
        to.maybe("IP", self.ip.as_ref())?;
        to.maybe("l4", self.l4.as_ref())?;
        to.maybe("tunnel", foreign.tunnel.as_ref())?;
        to.maybe("source", self.source.as_ref())?;
        to.maybe("destination", self.destination.as_ref())?;
        to.when(self.layer != FlowType::Unknown, "Type", &self.layer)?;
        to.text("node_name", &self.node_name)?;
        to.list("node_labels", &foreign.node_labels)?;
        to.list("source_names", &self.source_names)?;
        to.list("destination_names", &self.destination_names)?;
        to.maybe("l7", self.l7.as_ref())?;
        to.when(foreign.reply, "reply", &true)?;
        to.when(
            self.event_type != EventType::default(),
            "event_type",
            &self.event_type,
        )?;
        to.maybe("source_service", self.source_service.as_ref())?;
        to.maybe("destination_service", self.destination_service.as_ref())?;
        to.maybe("traffic_direction", self.traffic_direction.as_ref())?;
        to.number("policy_match_type", foreign.policy_match_type)?;
        let point = self.trace_observation_point;
        to.maybe("trace_observation_point", point.map(TracePoint::name).as_ref())?;
        to.named("trace_reason", foreign.trace_reason, &TRACE_REASONS)?;
        to.maybe("file", foreign.file.as_ref())?;
        to.maybe("ip_trace_id", foreign.ip_trace_id.as_ref())?;
        to.maybe("drop_reason_desc", self.drop_reason_desc.as_ref())?;
        to.maybe("is_reply", self.is_reply.as_ref())?;
        to.named(
            "debug_capture_point",
            foreign.debug_capture_point,
            &CAPTURE_POINTS,
        )?;
        to.maybe("interface", self.interface.as_ref())?;
        to.number("proxy_port", foreign.proxy_port)?;
        to.when(
            !foreign.trace_id.is_empty(),
            "trace_context",
            &Trace(&foreign.trace_id),
        )?;
        to.named("sock_xlate_point", foreign.sock_xlate_point, &XLATE_POINTS)?;
        let (cookie, cgroup) = (self.socket_cookie, self.cgroup_id);
        to.when(cookie != 0, "socket_cookie", &NumberAsString(cookie))?;
        to.when(cgroup != 0, "cgroup_id", &NumberAsString(cgroup))?;
        to.text("Summary", &self.summary)?;
        match &foreign.extensions {
            Some(extensions) => to.always("extensions", extensions)?,
            None => to.when(
                self.extensions.is_some(),
                "extensions",
                &AnyOfStruct(&self.extensions),
            )?,
        }
        for (name, policies) in POLICIES.iter().zip(&foreign.policies) {
            to.list(name, policies)?;
        }
        to.list("policy_log", &foreign.policy_log)?;
        to.0.end()
    }
}

/// `TraceContext`
struct Trace<'a>(&'a str);

impl Serialize for Trace<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        /// `TraceParent`
        #[derive(Serialize)]
        struct Parent<'a> {
            trace_id: &'a str,
        }
        let mut map = serializer.serialize_map(Some(1))?;
        map.serialize_entry("parent", &Parent { trace_id: self.0 })?;
        map.end()
    }
}
