//! What the kernel holds of obsflow, as `bpftool` shows it to anybody.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// Programs, maps and links that a process holds, as `prog 7`.
///
/// # Errors
/// When the process is gone.
pub fn held_by(pid: u32) -> Result<BTreeSet<String>> {
    let mut held = BTreeSet::new();
    for entry in fs::read_dir(format!("/proc/{pid}/fdinfo"))? {
        // A descriptor may be closed meanwhile.
        let text = fs::read_to_string(entry?.path()).unwrap_or_default();
        for line in text.lines() {
            if let Some((kind @ ("prog_id" | "map_id" | "link_id"), id)) = line.split_once(':') {
                held.insert(format!("{} {}", kind.trim_end_matches("_id"), id.trim()));
            }
        }
    }
    Ok(held)
}

/// All there are on this machine.
///
/// # Errors
/// Without `bpftool`.
pub fn in_the_kernel() -> Result<BTreeSet<String>> {
    let mut there = BTreeSet::new();
    for kind in ["prog", "map", "link"] {
        for object in bpftool(&[kind, "show"])?.as_array().into_iter().flatten() {
            there.insert(format!("{kind} {}", object["id"]));
        }
    }
    Ok(there)
}

/// A map of a process by its name: the sum over all CPUs of each value, a 64-bit counter, by key.
///
/// # Errors
/// When the process holds no such map, or its values are no counters.
pub fn counters(pid: u32, map: &str) -> Result<HashMap<Vec<u8>, u64>> {
    let dump = dump(pid, map)?;
    dump.as_array()
        .into_iter()
        .flatten()
        .map(|entry| {
            let mut sum = 0;
            for value in entry["values"].as_array().into_iter().flatten() {
                let bytes = bytes(&value["value"])?;
                sum += u64::from_ne_bytes(
                    bytes
                        .as_slice()
                        .try_into()
                        .context("a value is no 64-bit counter")?,
                );
            }
            Ok((bytes(&entry["key"])?, sum))
        })
        .collect()
}

/// The keys of a map of a process.
///
/// # Errors
/// When the process holds no such map.
pub fn keys(pid: u32, map: &str) -> Result<BTreeSet<Vec<u8>>> {
    let dump = dump(pid, map)?;
    dump.as_array()
        .into_iter()
        .flatten()
        .map(|entry| bytes(&entry["key"]))
        .collect()
}

/// What bpftool shows of a map of a process.
fn dump(pid: u32, map: &str) -> Result<Value> {
    let held = held_by(pid)?;
    let maps = bpftool(&["map", "show"])?;
    let id = maps
        .as_array()
        .into_iter()
        .flatten()
        .find(|entry| entry["name"] == map && held.contains(&format!("map {}", entry["id"])))
        .with_context(|| format!("process {pid} holds no map {map}"))?["id"]
        .to_string();
    bpftool(&["map", "dump", "id", &id])
}

fn bytes(hex: &Value) -> Result<Vec<u8>> {
    let parse = |byte: &Value| {
        let text = byte.as_str().unwrap_or_default();
        u8::from_str_radix(text.trim_start_matches("0x"), 16).with_context(|| format!("bpftool shows {byte}"))
    };
    hex.as_array()
        .context("bpftool shows no bytes")?
        .iter()
        .map(parse)
        .collect()
}

fn bpftool(args: &[&str]) -> Result<Value> {
    let output = Command::new("bpftool")
        .arg("-j")
        .args(args)
        .output()
        .context("cannot run bpftool")?;
    if !output.status.success() {
        bail!(
            "bpftool {}: {}",
            args.join(" "),
            String::from_utf8_lossy(&output.stdout)
        );
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}
