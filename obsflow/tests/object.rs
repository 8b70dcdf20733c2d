//! The built kernel side against the names and types that both sides share.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context as _;
use object::{Object as _, ObjectSection as _, ObjectSymbol as _, SymbolKind};
use obsflow_ebpf::abi::conn::{Conn, UdpOrigin};
use obsflow_ebpf::abi::count::{ConnCountKey, DnsCountKey, TunnelCount, TunnelKey};
use obsflow_ebpf::abi::names;
use obsflow_ebpf::abi::settings::{Offsets, Settings};

static OBJECT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/obsflow-programs"));

/// A symbol's section, and its bytes there.
struct Symbol {
    section: String,
    kind: SymbolKind,
    bytes: Vec<u8>,
}

/// Symbols other files may refer to.
fn symbols() -> anyhow::Result<BTreeMap<String, Symbol>> {
    let file = object::File::parse(OBJECT)?;
    file.symbols()
        .filter(|symbol| symbol.is_global() && symbol.is_definition())
        .map(|symbol| {
            let section = symbol
                .section_index()
                .context("a definition outside every section")?;
            let section = file.section_by_index(section)?;
            let seen = Symbol {
                section: section.name()?.to_owned(),
                kind: symbol.kind(),
                bytes: section
                    .data_range(symbol.address(), symbol.size())?
                    .unwrap_or_default()
                    .to_owned(),
            };
            Ok((symbol.name()?.to_owned(), seen))
        })
        .collect()
}

/// Names whose symbols fulfil a condition.
fn named(those: impl Fn(&Symbol) -> bool) -> anyhow::Result<BTreeSet<String>> {
    Ok(symbols()?
        .into_iter()
        .filter(|(_, symbol)| those(symbol))
        .map(|(name, _)| name)
        .collect())
}

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

#[test]
fn every_program_has_its_name_and_no_other_exists() {
    // What the compiler leaves in `.text` are functions of Rust's core, called by programs.
    let built = named(|symbol| symbol.kind == SymbolKind::Text && symbol.section != ".text").unwrap();
    assert_eq!(built, set(&names::program::ALL));
}

#[test]
fn every_map_has_its_name_and_the_types_of_the_contract() {
    let built = named(|symbol| symbol.section == "maps").unwrap();
    // aya-log makes its own when a program logs.
    let built: BTreeSet<String> = built
        .into_iter()
        .filter(|name| !name.starts_with("AYA_LOG"))
        .collect();
    assert_eq!(built, set(&names::MAPS));

    let index = size_of::<u32>();
    let cookie = size_of::<u64>();
    let expected = [
        (names::EVENTS, 0, 0),
        (names::PORT_WATCHED, index, size_of::<u64>()),
        (names::PORT_CLASS, index, 1),
        (names::DROP_REASONS, index, 1),
        (names::LIVE, index, size_of::<u64>()),
        (names::STATS, index, size_of::<u64>()),
        (names::CONNS, cookie, size_of::<Conn>()),
        (names::UDP_ORIGINS, cookie, size_of::<UdpOrigin>()),
        (names::CONN_COUNTS, size_of::<ConnCountKey>(), size_of::<u64>()),
        (names::DNS_COUNTS, size_of::<DnsCountKey>(), size_of::<u64>()),
        (
            names::TUNNEL_COUNTS,
            size_of::<TunnelKey>(),
            size_of::<TunnelCount>(),
        ),
    ];
    assert_eq!(expected.len(), names::MAPS.len(), "a map without expected sizes");
    let symbols = symbols().unwrap();
    for (name, key, value) in expected {
        // `struct bpf_map_def`: type, key size, value size, entries, flags ...
        let definition = &symbols[name].bytes;
        let field = |n: usize| u32::from_le_bytes(definition[n * 4..n * 4 + 4].try_into().unwrap()) as usize;
        assert_eq!((field(1), field(2)), (key, value), "key and value of {name}");
    }
}

#[test]
fn every_global_has_its_name_and_size() {
    let symbols = symbols().unwrap();
    for (name, size) in [
        (names::OFFSETS, size_of::<Offsets>()),
        (names::SETTINGS, size_of::<Settings>()),
    ] {
        assert_eq!(
            symbols[name].section, ".rodata",
            "{name} is constant to the verifier"
        );
        assert_eq!(symbols[name].bytes.len(), size, "{name}");
    }
    assert_eq!(names::GLOBALS.len(), 2, "a global without an expected size");
}

#[test]
fn the_licence_lets_programs_call_every_helper() {
    assert_eq!(symbols().unwrap()["LICENSE"].bytes, b"Dual MIT/GPL\0");
}
