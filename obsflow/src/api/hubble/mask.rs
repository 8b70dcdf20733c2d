//! Which fields of a flow somebody wants.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use prost::Message as _;
use prost_reflect::{DescriptorPool, DynamicMessage, Kind, MessageDescriptor};
use prost_types::FieldMask;

use super::DESCRIPTORS;
use super::proto::flow;

/// Paths of a mask: a flow has a few dozen fields.
const MAX_PATHS: usize = 1_000;

/// What a flow is made of, by name.
static FLOW: LazyLock<Option<MessageDescriptor>> = LazyLock::new(|| {
    let pool = DescriptorPool::decode(DESCRIPTORS).ok()?;
    pool.get_message_by_name("flow.Flow")
});

/// Fields by their number, and what is wanted of each.
#[derive(Clone, Debug, PartialEq)]
struct Fields(BTreeMap<u32, Wanted>);

#[derive(Clone, Debug, PartialEq)]
enum Wanted {
    All,
    Some(Fields),
}

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Mask {
    fields: Fields,
    descriptor: MessageDescriptor,
}

impl Mask {
    /// Reads paths such as `source.pod_name`; without any, every field is wanted.
    ///
    /// # Errors
    /// When a path is not one of a flow; the message names it.
    pub(super) fn new(mask: Option<&FieldMask>) -> Result<Option<Self>, String> {
        let paths = mask.map_or(&[][..], |mask| &mask.paths);
        let (Some(descriptor), false) = (&*FLOW, paths.is_empty()) else {
            return Ok(None);
        };
        if paths.len() > MAX_PATHS {
            return Err(format!(
                "field_mask has {} paths, and a flow has far fewer fields: give at most {MAX_PATHS}",
                paths.len()
            ));
        }
        let mut fields = Fields(BTreeMap::new());
        for path in paths {
            add(&mut fields, descriptor, path).ok_or_else(|| {
                format!("field_mask: a flow has no field {path:?}; write names as in flow.proto, such as source.pod_name")
            })?;
        }
        Ok(Some(Self {
            fields,
            descriptor: descriptor.clone(),
        }))
    }

    /// A flow with what is wanted of it.
    pub(super) fn apply(&self, flow: &flow::Flow) -> flow::Flow {
        let masked = DynamicMessage::decode(self.descriptor.clone(), &*flow.encode_to_vec());
        masked
            .map_err(drop)
            .and_then(|mut masked| {
                keep(&mut masked, &self.fields);
                masked.transcode_to().map_err(drop)
            })
            // Both sides are made of the same file: neither fails.
            .unwrap_or_default()
    }
}

fn add(fields: &mut Fields, message: &MessageDescriptor, path: &str) -> Option<()> {
    let (name, rest) = match path.split_once('.') {
        Some((name, rest)) => (name, Some(rest)),
        None => (path, None),
    };
    let field = message.get_field_by_name(name)?;
    let Some(rest) = rest else {
        fields.0.insert(field.number(), Wanted::All);
        return Some(());
    };
    let (Kind::Message(inner), false) = (field.kind(), field.is_list() || field.is_map()) else {
        return None;
    };
    let wanted = fields
        .0
        .entry(field.number())
        .or_insert_with(|| Wanted::Some(Fields(BTreeMap::new())));
    match wanted {
        Wanted::Some(fields) => add(fields, &inner, rest),
        // All of it is wanted already; that the path makes no sense is an error all the same.
        Wanted::All => add(&mut Fields(BTreeMap::new()), &inner, rest),
    }
}

fn keep(message: &mut DynamicMessage, wanted: &Fields) {
    let fields: Vec<_> = message.fields().map(|(field, _)| field).collect();
    for field in fields {
        match wanted.0.get(&field.number()) {
            None => message.clear_field(&field),
            Some(Wanted::All) => {}
            Some(Wanted::Some(fields)) => {
                if let Some(inner) = message.get_field_mut(&field).as_message_mut() {
                    keep(inner, fields);
                }
            }
        }
    }
}
