//! Go's build information, in programs made here.

use std::io::Write as _;

use proptest::prelude::*;

use super::*;
use crate::testing::TempDir;

const MODULES: &str = "path\texample.com/shop\n\
    mod\texample.com/shop\t(devel)\t\n\
    dep\tgo.opentelemetry.io/otel\tv1.40.0\th1:x=\n\
    dep\tgo.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetrichttp\tv1.40.0\th1:x=\n\
    dep\tgo.opentelemetry.io/otel/exporters/otlp/otlptrace\tv1.40.0\th1:x=\n\
    dep\tgo.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc\tv1.40.0\n\
    =>\t./fork\t\t\n\
    dep\tgo.opentelemetry.io/otel/exporters/otlpx\tv1.0.0\n\
    build\t-compiler=gc\n";

fn varint(mut n: usize) -> Vec<u8> {
    let mut out = Vec::new();
    while n >= 0x80 {
        out.push(u8::try_from(n & 0x7f).unwrap() | 0x80);
        n >>= 7;
    }
    out.push(u8::try_from(n).unwrap());
    out
}

fn build_info(modules: &str) -> Vec<u8> {
    let mut out = b"\xff Go buildinf:\x08\x02".to_vec();
    out.resize(HEADER, 0);
    let version = b"go1.26.0";
    out.extend(varint(version.len()));
    out.extend(version);
    out.extend(varint(modules.len() + 2 * SENTINEL));
    out.extend([0x30; SENTINEL]);
    out.extend(modules.as_bytes());
    out.extend([0xf9; SENTINEL]);
    out
}

/// A 64-bit ELF file with two sections: names, and this one.
fn elf(section: &[u8], name: &str) -> Vec<u8> {
    let names = format!("\0.shstrtab\0{name}\0");
    let (names_at, section_at) = (64, 64 + names.len());
    let table_at = section_at + section.len();
    let mut out = b"\x7fELF\x02\x01\x01".to_vec();
    out.resize(16, 0);
    out.extend(2u16.to_le_bytes());
    out.extend(62u16.to_le_bytes());
    out.extend(1u32.to_le_bytes());
    out.extend([0; 16]);
    out.extend((table_at as u64).to_le_bytes());
    out.extend(0u32.to_le_bytes());
    for word in [64u16, 56, 0, 64, 3, 1] {
        out.extend(word.to_le_bytes());
    }
    out.extend(names.as_bytes());
    out.extend(section);
    for (name, offset, size) in [
        (0u32, 0, 0),
        (1, names_at, names.len()),
        (11, section_at, section.len()),
    ] {
        out.extend(name.to_le_bytes());
        out.extend(1u32.to_le_bytes());
        out.extend([0; 16]);
        out.extend((offset as u64).to_le_bytes());
        out.extend((size as u64).to_le_bytes());
        out.extend([0; 24]);
    }
    out
}

fn file(folder: &TempDir, bytes: &[u8]) -> File {
    let path = folder.path().join(crate::testing::unique());
    File::create(&path).unwrap().write_all(bytes).unwrap();
    File::open(path).unwrap()
}

#[test]
fn exporters_are_named_with_signal_and_transport() {
    let build = GoBuild::parse(&build_info(MODULES)).unwrap();
    let found: Vec<_> = build
        .exporters
        .iter()
        .map(|it| (&*it.module, it.signal, it.transport))
        .collect();
    assert_eq!(
        found,
        [
            (
                "go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetrichttp",
                Some(Signal::Metrics),
                Some(Transport::HttpProtobuf)
            ),
            (
                "go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc",
                Some(Signal::Traces),
                Some(Transport::Grpc)
            ),
        ]
    );
    assert!(!build.reads_selection);
    let build = GoBuild::parse(&build_info(
        "dep\tgo.opentelemetry.io/contrib/exporters/autoexport\tv0.60\n",
    ))
    .unwrap();
    assert!(build.reads_selection && build.exporters.is_empty());
    // Its parts alone, with a client of somebody's own.
    let build = GoBuild::parse(&build_info(
        "dep\tgo.opentelemetry.io/otel/exporters/otlp/otlptrace\tv1\n",
    ))
    .unwrap();
    assert_eq!(build.exporters.len(), 1);
}

#[test]
fn the_section_is_found_in_a_program() {
    let folder = TempDir::new();
    let mut programs = GoPrograms::default();
    let program = file(&folder, &elf(&build_info(MODULES), ".go.buildinfo"));
    let first = programs.of(&program).unwrap();
    assert_eq!(first.exporters.len(), 2);
    assert!(Arc::ptr_eq(&first, &programs.of(&program).unwrap()), "read once");
    for other in [
        elf(&build_info(MODULES), ".go.buildinfo2"),
        elf(b"not it", ".go.buildinfo"),
        b"#!/bin/sh\n".to_vec(),
        b"\x7fELF\x02".to_vec(),
        Vec::new(),
    ] {
        assert_eq!(programs.of(&file(&folder, &other)), None);
    }
    assert_eq!(programs.known.len(), 6);
}

#[test]
fn this_test_is_no_go_program() {
    let own = File::open("/proc/self/exe").unwrap();
    assert_eq!(GoPrograms::default().of(&own), None);
}

#[test]
fn a_damaged_program_is_none() {
    let folder = TempDir::new();
    let whole = elf(&build_info(MODULES), ".go.buildinfo");
    let mut programs = GoPrograms::default();
    for at in 0..whole.len().min(700) {
        let mut bytes = whole.clone();
        bytes[at] ^= 0xff;
        let _ = programs.of(&file(&folder, &bytes));
        let _ = programs.of(&file(&folder, &whole[..at]));
    }
    // Tables that claim to be larger than any memory.
    let mut bytes = whole;
    let len = bytes.len();
    bytes[len - 32..len - 24].fill(0xff);
    assert!(
        programs.of(&file(&folder, &bytes)).is_some(),
        "cut to what is there"
    );
}

proptest! {
    #[test]
    fn any_bytes_are_build_information_or_none(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = GoBuild::parse(&bytes);
        let mut with_head = b"\xff Go buildinf:\x08\x02".to_vec();
        with_head.resize(HEADER, 0);
        with_head.extend(bytes);
        let _ = GoBuild::parse(&with_head);
    }
}
