//! Records to a file.

use std::fs::{File, OpenOptions};
use std::io::{BufWriter, ErrorKind, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use obsflow_ebpf::abi::record::{self, Header, flag, kind};
use zerocopy::FromBytes;

use super::{CaptureError, FileHeader, MAX_RECORD};
use crate::decode::dns::message;
use crate::model::event::Protocol;

/// What is written, and over what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Keep the bytes of streams and of dropped packets, which may hold secrets. DNS messages are always kept.
    pub payload: bool,
    /// Write over a file that is there.
    pub overwrite: bool,
}

/// A capture file being written. Records are buffered: call [`Writer::flush`] from time to time and
/// [`Writer::finish`] at the end.
#[derive(Debug)]
pub struct Writer {
    out: BufWriter<File>,
    path: PathBuf,
    payload: bool,
    written: u64,
    records: u64,
}

const BUFFER: usize = 256 << 10;
/// As long as the longest fixed part of a record that may be stripped.
const MAX_FIXED: usize = size_of::<record::Drop>();

impl Writer {
    /// Makes the file, readable by its owner only, and writes its header.
    ///
    /// # Errors
    /// When it exists and [`Options::overwrite`] was not asked for, or cannot be made or written.
    pub fn create(path: &Path, header: &FileHeader, options: Options) -> Result<Self, CaptureError> {
        let mut open = OpenOptions::new();
        open.write(true).mode(0o600);
        if options.overwrite {
            // Never through a symbolic link that somebody put there: obsflow runs as root.
            open.create(true)
                .truncate(true)
                .custom_flags(i32::try_from(rustix::fs::OFlags::NOFOLLOW.bits()).unwrap_or(0));
        } else {
            open.create_new(true);
        }
        let created = |source: std::io::Error| CaptureError::Create {
            path: path.to_owned(),
            source,
        };
        let file = open.open(path).map_err(|source| match source.kind() {
            ErrorKind::AlreadyExists => CaptureError::Exists {
                path: path.to_owned(),
            },
            _ => created(source),
        })?;
        if options.overwrite && file.metadata().map_err(created)?.is_file() {
            file.set_permissions(std::fs::Permissions::from_mode(0o600))
                .map_err(created)?;
        }
        let mut writer = Self {
            out: BufWriter::with_capacity(BUFFER, file),
            path: path.to_owned(),
            payload: options.payload,
            written: 0,
            records: 0,
        };
        writer.put(&header.to_bytes())?;
        // A file that cannot be written is told at once, not when the buffer is full.
        writer.flush()?;
        Ok(writer)
    }

    /// Writes one record, without the bytes of a ring item that are behind it.
    ///
    /// # Errors
    /// When `item` does not begin with a record, or it cannot be written.
    pub fn write(&mut self, item: &[u8]) -> Result<(), CaptureError> {
        let record = Header::read_from_prefix(item)
            .ok()
            .and_then(|(header, _)| Some((header, item.get(..usize::try_from(header.len).ok()?)?)))
            .filter(|(_, record)| (size_of::<Header>()..=MAX_RECORD).contains(&record.len()));
        let Some((header, record)) = record else {
            return Err(CaptureError::NoRecord {
                path: self.path.clone(),
                len: item.len(),
            });
        };
        let fixed = if self.payload {
            None
        } else {
            stripped(&header, record)
        };
        match fixed {
            Some((bytes, len)) => self.framed(bytes.get(..len).unwrap_or_default())?,
            None => self.framed(record)?,
        }
        self.records += 1;
        Ok(())
    }

    /// Records written.
    #[must_use]
    pub fn records(&self) -> u64 {
        self.records
    }

    /// Bytes written, buffered ones included.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.written
    }

    /// Hands what is buffered to the system.
    ///
    /// # Errors
    /// When the system does not take it: a full disk, a closed pipe.
    pub fn flush(&mut self) -> Result<(), CaptureError> {
        self.out.flush().map_err(|source| self.failed(source))
    }

    /// Writes the rest; gives the number of records.
    ///
    /// # Errors
    /// As [`Writer::flush`].
    pub fn finish(mut self) -> Result<u64, CaptureError> {
        self.flush()?;
        Ok(self.records)
    }

    fn framed(&mut self, record: &[u8]) -> Result<(), CaptureError> {
        let len = u32::try_from(record.len()).unwrap_or(u32::MAX);
        self.put(&len.to_le_bytes())?;
        self.put(record)
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), CaptureError> {
        self.out.write_all(bytes).map_err(|source| self.failed(source))?;
        self.written += bytes.len() as u64;
        Ok(())
    }

    fn failed(&self, source: std::io::Error) -> CaptureError {
        CaptureError::Write {
            path: self.path.clone(),
            written: self.written,
            source,
        }
    }
}

/// The record without its tail, when the tail is no DNS message: its fixed part and the length of that. How long the
/// bytes were on the wire stays.
fn stripped(header: &Header, record: &[u8]) -> Option<([u8; MAX_FIXED], usize)> {
    let fixed = match header.kind {
        kind::PAYLOAD if header.flags & flag::DNS_STREAM == 0 => size_of::<record::Payload>(),
        kind::DROP => size_of::<record::Drop>(),
        _ => return None,
    };
    let (head, tail) = record.split_at_checked(fixed)?;
    if tail.is_empty() || header.kind == kind::DROP && is_dns(tail) {
        return None;
    }
    let mut bytes = [0u8; MAX_FIXED];
    bytes.get_mut(..fixed)?.copy_from_slice(head);
    let flags = header.flags | flag::TRUNCATED;
    bytes.get_mut(2..4)?.copy_from_slice(&flags.to_ne_bytes());
    bytes
        .get_mut(4..8)?
        .copy_from_slice(&u32::try_from(fixed).ok()?.to_ne_bytes());
    // In both structs `payload_len` is the last field.
    bytes.get_mut(fixed - 4..fixed)?.copy_from_slice(&[0; 4]);
    Some((bytes, fixed))
}

/// Whether the payload of a dropped packet is a DNS message: one with a question that can be read.
fn is_dns(payload: &[u8]) -> bool {
    message::parse(payload, usize::MAX, Protocol::Udp).is_ok_and(|parsed| {
        !parsed.message.name.is_empty() && matches!(parsed.defect, None | Some(message::DnsError::Cut))
    })
}
