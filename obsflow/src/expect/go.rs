//! Go's build information: which OTLP exporters a program was built with.
//!
//! Format: package `debug/buildinfo` of Go 1.18 and later. Section `.go.buildinfo` begins with 14 bytes of magic, a byte
//! of pointer size, a byte of flags, and 16 bytes of padding; with flag 2, two strings follow, each behind its length as
//! a varint: Go's version, and the modules between two sentinels of 16 bytes. Only headers and this section are read.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::sync::Arc;

use object::Endianness;
use object::elf::{FileHeader32, FileHeader64};
use object::pod::{Pod, from_bytes, slice_from_bytes};
use object::read::elf::{FileHeader, SectionHeader};

use crate::model::exchange::Signal;
use crate::model::expectation::Transport;

const SECTION: &[u8] = b".go.buildinfo";
const MAGIC: &[u8] = b"\xff Go buildinf:";
const HEADER: usize = 32;
/// Flag: the strings follow the header.
const INLINE: u8 = 2;
/// Bytes around the list of modules.
const SENTINEL: usize = 16;
/// What is read of a section: the largest programs have 40 KiB.
const MAX_SECTION: usize = 1 << 20;
/// What is read of each table of the file.
const MAX_TABLE: usize = 1 << 20;
/// Programs remembered.
const MAX_PROGRAMS: usize = 4096;
/// Modules remembered of a program.
const MAX_EXPORTERS: usize = 16;

/// What a Go program was built with.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct GoBuild {
    /// Its OTLP exporters.
    pub exporters: Vec<GoExporter>,
    /// It reads `OTEL_<SIGNAL>_EXPORTER` (module `autoexport`); Go's SDK by itself does not.
    pub reads_selection: bool,
}

/// An OTLP exporter of a Go program.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct GoExporter {
    /// The module.
    pub module: Arc<str>,
    /// Its signal, where the module's name tells.
    pub signal: Option<Signal>,
    /// How it sends, where the module's name tells.
    pub transport: Option<Transport>,
}

const EXPORTERS: &str = "go.opentelemetry.io/otel/exporters/otlp";
const SELECTION: &str = "go.opentelemetry.io/contrib/exporters/autoexport";

impl GoBuild {
    /// From the bytes of the section; `None` when they are not build information.
    #[must_use]
    pub fn parse(section: &[u8]) -> Option<Self> {
        let header = section.get(..HEADER)?;
        if !header.starts_with(MAGIC) || header.get(15)? & INLINE == 0 {
            return None;
        }
        let (_version, rest) = string(section.get(HEADER..)?)?;
        let (modules, _) = string(rest)?;
        let modules = modules
            .get(SENTINEL..modules.len().checked_sub(SENTINEL)?)
            .unwrap_or_default();
        Some(Self::from_modules(&String::from_utf8_lossy(modules)))
    }

    fn from_modules(text: &str) -> Self {
        let mut build = Self::default();
        for line in text.lines() {
            let mut fields = line.split('\t');
            if !matches!(fields.next(), Some("dep" | "mod")) {
                continue;
            }
            let Some(module) = fields.next() else { continue };
            build.reads_selection |= module == SELECTION;
            let Some(rest) = module.strip_prefix(EXPORTERS) else {
                continue;
            };
            if !(rest.is_empty() || rest.starts_with('/')) || build.exporters.len() >= MAX_EXPORTERS {
                continue;
            }
            build.exporters.push(GoExporter {
                module: super::endpoint::shown(module, 128),
                signal: signal(rest),
                transport: transport(rest),
            });
        }
        build.keep_the_most_specific();
        build
    }

    /// `otlptrace` is what `otlptracegrpc` and `otlptracehttp` are made of: by itself it sends nothing.
    fn keep_the_most_specific(&mut self) {
        let with_transport: Vec<Option<Signal>> = self
            .exporters
            .iter()
            .filter(|exporter| exporter.transport.is_some())
            .map(|exporter| exporter.signal)
            .collect();
        self.exporters.retain(|exporter| {
            exporter.transport.is_some()
                || (exporter.signal.is_some() && !with_transport.contains(&exporter.signal))
                || (exporter.signal.is_none() && with_transport.is_empty())
        });
    }
}

fn signal(rest: &str) -> Option<Signal> {
    if rest.contains("otlptrace") {
        Some(Signal::Traces)
    } else if rest.contains("otlpmetric") {
        Some(Signal::Metrics)
    } else if rest.contains("otlplog") {
        Some(Signal::Logs)
    } else {
        None
    }
}

fn transport(rest: &str) -> Option<Transport> {
    if rest.ends_with("grpc") {
        Some(Transport::Grpc)
    } else if rest.ends_with("http") {
        Some(Transport::HttpProtobuf)
    } else {
        None
    }
}

/// A string behind its length (`encoding/binary.Uvarint`), and what follows.
fn string(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut len = 0u64;
    for (index, byte) in bytes.iter().enumerate().take(9) {
        len |= u64::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return bytes
                .get(index + 1..)?
                .split_at_checked(usize::try_from(len).ok()?);
        }
    }
    None
}

/// Build information of programs, each read once.
#[derive(Debug, Default)]
pub(super) struct GoPrograms {
    /// By device, inode and time of change: what a program is.
    known: HashMap<(u64, u64, i64, i64), Option<Arc<GoBuild>>>,
}

impl GoPrograms {
    /// What `file` was built with; `None` when it is no Go program, or cannot be read.
    pub(super) fn of(&mut self, file: &File) -> Option<Arc<GoBuild>> {
        let meta = file.metadata().ok().filter(|meta| meta.is_file())?;
        let key = (meta.dev(), meta.ino(), meta.mtime(), meta.mtime_nsec());
        if let Some(known) = self.known.get(&key) {
            return known.clone();
        }
        // Programs come and go with images; starting over costs a few milliseconds for each that still runs.
        if self.known.len() >= MAX_PROGRAMS {
            self.known.clear();
        }
        let build = section(file)
            .ok()
            .flatten()
            .and_then(|section| GoBuild::parse(&section))
            .map(Arc::new);
        self.known.insert(key, build.clone());
        build
    }
}

/// The section, cut to [`MAX_SECTION`]; `None` when the file has none.
fn section(file: &File) -> io::Result<Option<Vec<u8>>> {
    let start = read(file, 0, size_of::<FileHeader64<Endianness>>())?;
    match start.get(..5) {
        Some([0x7f, b'E', b'L', b'F', 2]) => find::<FileHeader64<Endianness>>(file, &start),
        Some([0x7f, b'E', b'L', b'F', 1]) => find::<FileHeader32<Endianness>>(file, &start),
        _ => Ok(None),
    }
}

fn find<H: FileHeader<Endian = Endianness>>(file: &File, start: &[u8]) -> io::Result<Option<Vec<u8>>>
where
    H::SectionHeader: Pod,
{
    let Ok((header, _)) = from_bytes::<H>(start) else {
        return Ok(None);
    };
    let Ok(endian) = header.endian() else {
        return Ok(None);
    };
    let count = usize::from(header.e_shnum(endian));
    let table = read(
        file,
        header.e_shoff(endian).into(),
        (count * size_of::<H::SectionHeader>()).min(MAX_TABLE),
    )?;
    let count = table.len() / size_of::<H::SectionHeader>();
    let Ok((sections, _)) = slice_from_bytes::<H::SectionHeader>(&table, count) else {
        return Ok(None);
    };
    let Some(names) = sections.get(usize::from(header.e_shstrndx(endian))) else {
        return Ok(None);
    };
    let names = read_section(
        file,
        names.sh_offset(endian).into(),
        names.sh_size(endian).into(),
        MAX_TABLE,
    )?;
    for section in sections {
        let name = usize::try_from(section.sh_name(endian)).unwrap_or(usize::MAX);
        let name = names.get(name..).unwrap_or_default();
        if name
            .strip_prefix(SECTION)
            .is_some_and(|rest| rest.first() == Some(&0))
        {
            let (offset, size) = (section.sh_offset(endian).into(), section.sh_size(endian).into());
            return read_section(file, offset, size, MAX_SECTION).map(Some);
        }
    }
    Ok(None)
}

fn read_section(file: &File, offset: u64, size: u64, max: usize) -> io::Result<Vec<u8>> {
    read(file, offset, usize::try_from(size).unwrap_or(max).min(max))
}

/// Up to `len` bytes; fewer at the end of the file. The buffer is aligned as `object` needs it: its types have no
/// alignment of their own.
fn read(file: &File, offset: u64, len: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; len];
    let mut filled = 0;
    while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        let at = offset.saturating_add(u64::try_from(filled).unwrap_or(u64::MAX));
        match file.read_at(rest, at) {
            Ok(0) => break,
            Ok(more) => filled += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    bytes.truncate(filled);
    Ok(bytes)
}

#[cfg(test)]
#[path = "go_tests.rs"]
mod tests;
