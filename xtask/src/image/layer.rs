//! The image's one layer: the same bytes on every machine and every day.

use std::fs;
use std::io::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result};
use flate2::{Compression, GzBuilder};
use tar::{Builder, EntryType, Header};

use super::layout::digest;
use crate::sh;

/// Where the binary is; the image's configuration has its folder in `PATH`.
pub(super) const BINARY: &str = "usr/bin/obsflow";
/// Licences and notices.
const DOC: &str = "usr/share/doc/obsflow";

/// Folders, each after the one above it: those of files, and those that a container's root folder, which is read-only, has
/// to have because something is mounted there.
const FOLDERS: &[(&str, u32)] = &[
    ("dev", 0o755),
    ("etc", 0o755),
    ("etc/obsflow", 0o755),
    ("proc", 0o755),
    ("run", 0o755),
    ("run/obsflow", 0o755),
    ("sys", 0o755),
    ("tmp", 0o1777),
    ("usr", 0o755),
    ("usr/bin", 0o755),
    ("usr/share", 0o755),
    ("usr/share/doc", 0o755),
    (DOC, 0o755),
    ("var", 0o755),
    ("var/lib", 0o755),
    ("var/lib/obsflow", 0o700),
    ("var/log", 0o755),
    ("var/log/pods", 0o755),
];

/// `/var/run` is `/run`, as on nodes: sockets of the agent and of container runtimes have both names.
const LINKS: &[(&str, &str)] = &[("var/run", "../run")];

/// A layer.
pub(super) struct Layer {
    /// The gzipped archive.
    pub(super) compressed: Vec<u8>,
    /// Digest of the archive before compression.
    pub(super) diff_id: String,
    /// Sum of the files' sizes.
    pub(super) unpacked_bytes: u64,
}

/// Packs the binary and the notices.
///
/// # Errors
/// When a file cannot be read.
pub(super) fn make(binary: &Path, notices: &[u8]) -> Result<Layer> {
    let read = |path: &Path| fs::read(path).with_context(|| format!("cannot read {}", path.display()));
    let root = sh::root();
    let files = [
        (BINARY.to_owned(), 0o755, read(binary)?),
        (
            format!("{DOC}/LICENSE-APACHE"),
            0o644,
            read(&root.join("LICENSE-APACHE"))?,
        ),
        (
            format!("{DOC}/LICENSE-MIT"),
            0o644,
            read(&root.join("LICENSE-MIT"))?,
        ),
        (format!("{DOC}/THIRD-PARTY.txt"), 0o644, notices.to_vec()),
    ];
    let unpacked_bytes = files.iter().map(|(_, _, bytes)| bytes.len() as u64).sum();
    let archive = pack(&files)?;
    // No name and no time in the header.
    let mut gzip = GzBuilder::new()
        .operating_system(255)
        .write(Vec::new(), Compression::best());
    gzip.write_all(&archive).context("compressing the layer")?;
    Ok(Layer {
        compressed: gzip.finish().context("compressing the layer")?,
        diff_id: digest(&archive),
        unpacked_bytes,
    })
}

fn pack(files: &[(String, u32, Vec<u8>)]) -> Result<Vec<u8>> {
    let mut archive = Builder::new(Vec::new());
    for (path, mode) in FOLDERS {
        let mut header = header(EntryType::Directory, *mode, 0);
        archive
            .append_data(&mut header, format!("{path}/"), std::io::empty())
            .with_context(|| format!("packing {path}"))?;
    }
    for (path, to) in LINKS {
        let mut header = header(EntryType::Symlink, 0o777, 0);
        archive
            .append_link(&mut header, path, to)
            .with_context(|| format!("packing {path}"))?;
    }
    for (path, mode, bytes) in files {
        let mut header = header(EntryType::Regular, *mode, bytes.len() as u64);
        archive
            .append_data(&mut header, path, &**bytes)
            .with_context(|| format!("packing {path}"))?;
    }
    archive.into_inner().context("packing the layer")
}

/// Root's, from the beginning of time.
pub(super) fn header(kind: EntryType, mode: u32, size: u64) -> Header {
    let mut header = Header::new_ustar();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(size);
    header
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::io::Read as _;

    use flate2::read::GzDecoder;

    use super::*;

    #[test]
    fn the_layer_is_the_same_each_time_and_has_what_it_should() {
        let binary = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
        let made = make(&binary, b"notices").unwrap();
        let again = make(&binary, b"notices").unwrap();
        assert_eq!(made.compressed, again.compressed);
        assert_ne!(made.compressed, make(&binary, b"others").unwrap().compressed);

        let mut unpacked = Vec::new();
        GzDecoder::new(&*made.compressed)
            .read_to_end(&mut unpacked)
            .unwrap();
        assert_eq!(digest(&unpacked), made.diff_id);
        let mut seen = BTreeSet::new();
        let mut archive = tar::Archive::new(&*unpacked);
        for entry in archive.entries().unwrap() {
            let entry = entry.unwrap();
            let header = entry.header();
            assert_eq!(
                (
                    header.uid().unwrap(),
                    header.gid().unwrap(),
                    header.mtime().unwrap()
                ),
                (0, 0, 0)
            );
            let path = entry
                .path()
                .unwrap()
                .to_str()
                .unwrap()
                .trim_end_matches('/')
                .to_owned();
            // Who unpacks finds each folder before what is in it.
            if let Some((above, _)) = path.rsplit_once('/') {
                assert!(seen.contains(above), "{path} comes before {above}");
            }
            if path == BINARY {
                assert_eq!(header.mode().unwrap(), 0o755);
            }
            assert!(seen.insert(path));
        }
        assert!(seen.contains(BINARY) && seen.contains("usr/share/doc/obsflow/THIRD-PARTY.txt"));
    }
}
