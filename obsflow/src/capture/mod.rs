//! Raw records on disk, so that they can be played through the same pipeline again.
//!
//! A file is a header and records. The header: the eight bytes of [`MAGIC`]; the format version; the number
//! `0x01020304` in the byte order of the machine, which is also that of the records; the length of the rest of the
//! header; the rest: clock offset, host name and kernel release. Then each record with its length before it. All
//! lengths and the version are 32 bits, little-endian.

mod reader;
mod writer;

#[cfg(test)]
mod tests;

use std::path::PathBuf;

use crate::model::time::Clock;

pub use reader::Reader;
pub use writer::{Options, Writer};

/// What a capture file begins with. The last byte is no text, so that nobody takes the file for one.
pub const MAGIC: [u8; 8] = *b"obsflow\x1a";
/// The version this obsflow writes, and the only one it reads.
pub const VERSION: u32 = 1;
const ORDER: u32 = 0x0102_0304;
/// Longer than any record: the kernel side captures at most some thousand bytes.
const MAX_RECORD: usize = 1 << 20;
/// Longer than any host name and kernel release.
const MAX_HEADER: usize = 4096;
/// Magic, version, order, length.
const FIXED: usize = 8 + 4 + 4 + 4;

/// Which machine a capture is from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileHeader {
    /// Its clock.
    pub clock: Clock,
    /// Its host name.
    pub hostname: String,
    /// Its kernel release (`uname -r`).
    pub kernel: String,
}

impl FileHeader {
    /// This machine, now.
    #[must_use]
    pub fn of_this_machine() -> Self {
        let uname = rustix::system::uname();
        Self {
            clock: Clock::now(),
            hostname: uname.nodename().to_string_lossy().into_owned(),
            kernel: uname.release().to_string_lossy().into_owned(),
        }
    }

    fn to_bytes(&self) -> Vec<u8> {
        let mut rest = Vec::new();
        rest.extend_from_slice(&self.clock.offset_ns.to_le_bytes());
        for text in [&self.hostname, &self.kernel] {
            // Both are at most 64 bytes on Linux; longer ones, made elsewhere, are cut.
            let text = text.get(..text.len().min(1024)).unwrap_or_default();
            rest.extend_from_slice(&u32::try_from(text.len()).unwrap_or(0).to_le_bytes());
            rest.extend_from_slice(text.as_bytes());
        }
        let mut out = MAGIC.to_vec();
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&ORDER.to_ne_bytes());
        out.extend_from_slice(&u32::try_from(rest.len()).unwrap_or(0).to_le_bytes());
        out.extend_from_slice(&rest);
        out
    }

    /// From the rest of a header; bytes after what this version knows are for later ones.
    fn from_bytes(rest: &[u8]) -> Option<Self> {
        let (offset, mut rest) = rest.split_first_chunk::<16>()?;
        let mut text = || {
            let (len, more) = rest.split_first_chunk::<4>()?;
            let (text, more) = more.split_at_checked(usize::try_from(u32::from_le_bytes(*len)).ok()?)?;
            rest = more;
            Some(printable(text))
        };
        Some(Self {
            clock: Clock {
                offset_ns: i128::from_le_bytes(*offset),
            },
            hostname: text()?,
            kernel: text()?,
        })
    }
}

/// A text of a file that may come from anywhere: shown on terminals, so without control characters.
fn printable(text: &[u8]) -> String {
    String::from_utf8_lossy(text)
        .chars()
        .map(|c| {
            if c.is_control() {
                char::REPLACEMENT_CHARACTER
            } else {
                c
            }
        })
        .collect()
}

/// Why a capture file cannot be written or read, in one line.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// It is there already.
    #[error("{} exists: name another file, or ask to overwrite it", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// It cannot be made.
    #[error("cannot create {}: {source}", path.display())]
    Create {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// Writing failed; what was written before can be replayed.
    #[error("cannot write to {} after {written} bytes: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Bytes accepted before.
        written: u64,
        /// What the system says.
        source: std::io::Error,
    },
    /// What should be written is no record.
    #[error("{len} bytes that are no record cannot be written to {}", path.display())]
    NoRecord {
        /// The file.
        path: PathBuf,
        /// How many bytes.
        len: usize,
    },
    /// It cannot be opened.
    #[error("cannot open {}: {source}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// Reading failed.
    #[error("cannot read {} at offset {offset}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Where.
        offset: u64,
        /// What the system says.
        source: std::io::Error,
    },
    /// Not a capture file.
    #[error("{} is no obsflow capture: its first bytes are not those that `obsflow record` writes", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// Of another version.
    #[error("{} has capture format {version}, this obsflow reads {VERSION}: use the one that recorded it", path.display())]
    Version {
        /// The file.
        path: PathBuf,
        /// Its version.
        version: u32,
    },
    /// From a machine of the other byte order.
    #[error("{} was recorded on a machine of the other byte order: replay it there", path.display())]
    ByteOrder {
        /// The file.
        path: PathBuf,
    },
    /// It ends in the middle of a record.
    #[error(
        "{} is cut short: the record at offset {offset} needs {need} bytes, {got} are there; all before it was used",
        path.display()
    )]
    Truncated {
        /// The file.
        path: PathBuf,
        /// Where the record begins.
        offset: u64,
        /// Bytes needed, with the length before it.
        need: usize,
        /// Bytes there are.
        got: usize,
    },
    /// A length that no record has.
    #[error(
        "{} is damaged at offset {offset}: no record is {len} bytes long; all before it was used",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where.
        offset: u64,
        /// The length there.
        len: usize,
    },
}
