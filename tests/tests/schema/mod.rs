//! What `obsflow doctor -o json` prints, held to its schema.

use anyhow::{Result, anyhow};
use serde_json::Value;

/// Holds a report to the schema that docs/doctor.md points to.
pub(crate) fn validate(report: &Value) -> Result<()> {
    let wrong = |error: &dyn std::fmt::Display| anyhow!("{error:#}");
    let schema = serde_json::from_str(include_str!("../../../docs/doctor.schema.json"))?;
    let mut compiler = boon::Compiler::new();
    compiler.enable_format_assertions();
    compiler
        .add_resource("doctor.schema.json", schema)
        .map_err(|error| wrong(&error))?;
    let mut schemas = boon::Schemas::new();
    let index = compiler
        .compile("doctor.schema.json", &mut schemas)
        .map_err(|error| wrong(&error))?;
    schemas
        .validate(report, index)
        .map_err(|error| anyhow!("{error:#}\n{report:#}"))
}
