//! Messages as protojson, both ways, by the descriptions that the .proto files compile to.

use std::io;
use std::sync::OnceLock;

use prost::Message;
use prost_reflect::{
    DescriptorPool, DeserializeOptions, DynamicMessage, Kind, MessageDescriptor, SerializeOptions,
};

use super::DESCRIPTORS;
use super::proto::observer::GetFlowsResponse;

/// What a client sends and a server answers.
const RESPONSE: &str = "observer.GetFlowsResponse";
/// A flow alone.
const FLOW: &str = "flow.Flow";

/// JSON that is no message, or a message that is none of those described.
#[derive(Debug, thiserror::Error)]
pub enum JsonError {
    /// Not described: a defect of the build.
    #[error("{0} is not among the messages that this obsflow was built with")]
    NoMessage(&'static str),
    /// Not such a message.
    #[error("{0}")]
    NotSo(#[from] serde_json::Error),
    /// Between description and code: a defect, too.
    #[error("{0}")]
    Code(#[from] prost::DecodeError),
}

fn describe(name: &'static str) -> Result<MessageDescriptor, JsonError> {
    static POOL: OnceLock<Option<DescriptorPool>> = OnceLock::new();
    let pool = POOL.get_or_init(|| DescriptorPool::decode(DESCRIPTORS).ok());
    pool.as_ref()
        .and_then(|pool| pool.get_message_by_name(name))
        .ok_or(JsonError::NoMessage(name))
}

/// A message of this name from JSON. Unknown names are errors.
///
/// # Errors
/// When it is no such message.
pub fn from_value<M: Message + Default>(
    name: &'static str,
    value: serde_json::Value,
) -> Result<M, JsonError> {
    read(name, value, true)
}

fn read<'de, M, D>(name: &'static str, from: D, deny_unknown: bool) -> Result<M, JsonError>
where
    M: Message + Default,
    D: serde::Deserializer<'de, Error = serde_json::Error>,
{
    let options = DeserializeOptions::new().deny_unknown_fields(deny_unknown);
    let message = DynamicMessage::deserialize_with_options(describe(name)?, from, &options)?;
    Ok(M::decode(message.encode_to_vec().as_slice())?)
}

/// JSON of a message of this name: names as in the .proto file, enums by name, unset fields left out.
///
/// # Errors
/// When there is no such message, or it has an `Any` of a type that is not known.
pub fn to_string(name: &'static str, message: &impl Message) -> Result<String, JsonError> {
    let message = DynamicMessage::decode(describe(name)?, message.encode_to_vec().as_slice())?;
    let options = SerializeOptions::new().use_proto_field_name(true);
    let mut line = Vec::new();
    message.serialize_with_options(&mut serde_json::Serializer::new(&mut line), &options)?;
    String::from_utf8(line).map_err(|error| JsonError::NotSo(io_error(error)))
}

fn io_error(error: std::string::FromUtf8Error) -> serde_json::Error {
    serde_json::Error::io(io::Error::other(error))
}

/// A line that `observe -o json` printed: a response, or, of older clients, a flow alone. Fields of newer versions are passed
/// over, as are extensions of a type that is not known here.
///
/// # Errors
/// When it is neither.
pub fn response(line: &str) -> Result<GetFlowsResponse, JsonError> {
    use super::proto::observer::get_flows_response::ResponseTypes;
    let mut value: serde_json::Value = serde_json::from_str(line)?;
    let is_response = ["flow", "node_status", "lost_events", "nodeStatus", "lostEvents"]
        .iter()
        .any(|key| value.get(key).is_some());
    if is_response {
        if let Some(flow) = value.get_mut("flow") {
            tame(flow);
        }
        return read(RESPONSE, value, false);
    }
    tame(&mut value);
    let flow: super::proto::flow::Flow = read(FLOW, value, false)?;
    Ok(GetFlowsResponse {
        node_name: flow.node_name.clone(),
        time: flow.time,
        response_types: Some(ResponseTypes::Flow(Box::new(flow))),
    })
}

/// Takes out extensions that only their emitter understands.
fn tame(flow: &mut serde_json::Value) {
    let Some(fields) = flow.as_object_mut() else {
        return;
    };
    let known = |kind: &str| kind.ends_with("/google.protobuf.Struct");
    let is_known = fields
        .get("extensions")
        .and_then(|any| any.get("@type"))
        .and_then(|kind| kind.as_str())
        .is_some_and(known);
    if !is_known {
        fields.remove("extensions");
    }
}

/// The first part of a path that is no field of a flow, if there is one.
///
/// # Errors
/// That part, and the fields there are.
pub fn check_mask(path: &str) -> Result<(), String> {
    let mut message = describe(FLOW).ok();
    for part in path.split('.') {
        let Some(of) = message else {
            return Err(format!("{part:?} has no fields of its own"));
        };
        let Some(field) = of.get_field_by_name(part) else {
            let names: Vec<_> = of.fields().map(|field| field.name().to_owned()).collect();
            return Err(format!(
                "{} has no field {part:?}; there are {}",
                of.name(),
                names.join(", ")
            ));
        };
        message = match field.kind() {
            Kind::Message(message) if !field.is_list() => Some(message),
            _ => None,
        };
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::hubble::proto::flow::FlowFilter;
    use crate::api::hubble::{message, read};
    use crate::flow::samples;

    const FILTER: &str = "flow.FlowFilter";

    #[test]
    fn filters_are_read_and_written_by_the_names_of_the_proto_file() {
        let json = r#"{"source_pod":["shop/checkout"],"verdict":["ERROR"],"tcp_flags":[{"SYN":true}],"ip_version":["IPv4"]}"#;
        let filter: FlowFilter = from_value(FILTER, serde_json::from_str(json).unwrap()).unwrap();
        assert_eq!(filter.source_pod, ["shop/checkout"]);
        assert_eq!(filter.verdict, [3]);
        let written = to_string(FILTER, &filter).unwrap();
        let again: FlowFilter = from_value(FILTER, serde_json::from_str(&written).unwrap()).unwrap();
        assert_eq!(again, filter);
        assert!(written.contains(r#""source_pod":["shop/checkout"]"#), "{written}");
        let unknown = from_value::<FlowFilter>(FILTER, serde_json::json!({ "from_pod": ["a"] }));
        assert!(unknown.unwrap_err().to_string().contains("from_pod"));
    }

    /// What `-o json` prints can be read again: every row of the table.
    #[test]
    fn printed_lines_are_read_back() {
        for observation in samples::all() {
            let printed = samples::response(&observation);
            let line = serde_json::to_string(&printed).unwrap();
            let back =
                read::response(response(&line).unwrap_or_else(|error| panic!("{line}: {error}"))).unwrap();
            assert_eq!(serde_json::to_string(&back).unwrap(), line);
            assert_eq!(message::response(&back).node_name, "k8s1");
        }
    }

    #[test]
    fn older_and_newer_lines_are_read_too() {
        let bare = r#"{"time":"2026-01-02T03:04:05Z","verdict":"DROPPED","node_name":"n","field_to_come":1}"#;
        let read = response(bare).unwrap();
        assert_eq!(read.node_name, "n");
        assert!(read.response_types.is_some());
        let foreign = r#"{"flow":{"verdict":"DROPPED","extensions":{"@type":"type.googleapis.com/x.Y","z":1}},"node_name":"n"}"#;
        assert!(response(foreign).is_ok());
        assert!(response("{").is_err() && response("7").is_err());
        assert!(response(r#"{"verdict":{}}"#).is_err());
    }

    #[test]
    fn masks_name_fields_of_a_flow() {
        for path in ["time", "source.namespace", "l4.TCP.flags", "Summary", "IP.source"] {
            assert_eq!(check_mask(path), Ok(()), "{path}");
        }
        for (path, part) in [
            ("pod", "Flow has no field \"pod\""),
            ("source.pod", "Endpoint has no field \"pod\""),
            ("verdict.x", "\"x\" has no fields"),
            ("", "Flow has no field"),
        ] {
            let error = check_mask(path).unwrap_err();
            assert!(
                error.starts_with(part) || error.contains("has no fields of its own"),
                "{path}: {error}"
            );
        }
    }
}
