//! A file to records.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use bytes::{Bytes, BytesMut};
use obsflow_ebpf::abi::record::Header;

use super::{CaptureError, FIXED, FileHeader, MAGIC, MAX_HEADER, MAX_RECORD, ORDER, VERSION};

/// Records are slices of pieces of the file of this size: one allocation for thousands of them.
const CHUNK: usize = 256 << 10;
const LENGTH: usize = 4;

/// A capture file being read: an iterator over its records, which ends with an error when the file does not end with
/// a record.
#[derive(Debug)]
pub struct Reader<R = File> {
    input: R,
    path: PathBuf,
    header: FileHeader,
    buffer: BytesMut,
    /// Offset in the file of the beginning of the buffer.
    offset: u64,
    done: bool,
}

impl Reader {
    /// Opens a file and reads its header.
    ///
    /// # Errors
    /// When it cannot be read, or is no capture this version can read.
    pub fn open(path: &Path) -> Result<Self, CaptureError> {
        let file = File::open(path).map_err(|source| CaptureError::Open {
            path: path.to_owned(),
            source,
        })?;
        Self::new(file, path)
    }
}

impl<R: Read> Reader<R> {
    /// Reads the header from `input`; `path` is what errors call it.
    ///
    /// # Errors
    /// When it cannot be read, or is no capture this version can read.
    pub fn new(input: R, path: &Path) -> Result<Self, CaptureError> {
        let mut reader = Self {
            input,
            path: path.to_owned(),
            header: FileHeader {
                clock: crate::model::time::Clock { offset_ns: 0 },
                hostname: String::new(),
                kernel: String::new(),
            },
            buffer: BytesMut::new(),
            offset: 0,
            done: false,
        };
        reader.fill(FIXED)?;
        let known = reader.buffer.len().min(MAGIC.len());
        if reader.buffer.get(..known) != MAGIC.get(..known) || known == 0 {
            return Err(CaptureError::Foreign {
                path: reader.path.clone(),
            });
        }
        reader.need(FIXED)?;
        let fixed = reader.buffer.split_to(FIXED);
        let word = |at: usize| -> [u8; 4] {
            fixed
                .get(at..at + 4)
                .and_then(|b| b.try_into().ok())
                .unwrap_or_default()
        };
        let version = u32::from_le_bytes(word(8));
        let order = u32::from_ne_bytes(word(12));
        let len = usize::try_from(u32::from_le_bytes(word(16))).unwrap_or(usize::MAX);
        let path = || path.to_owned();
        if version != VERSION {
            return Err(CaptureError::Version {
                path: path(),
                version,
            });
        }
        if order == ORDER.swap_bytes() {
            return Err(CaptureError::ByteOrder { path: path() });
        }
        reader.offset = FIXED as u64;
        let damaged = CaptureError::Damaged {
            path: path(),
            offset: 0,
            len,
        };
        if order != ORDER || len > MAX_HEADER {
            return Err(damaged);
        }
        reader.need(len)?;
        let rest = reader.buffer.split_to(len);
        reader.header = FileHeader::from_bytes(&rest).ok_or(damaged)?;
        reader.offset += len as u64;
        Ok(reader)
    }

    /// Which machine the capture is from.
    #[must_use]
    pub fn header(&self) -> &FileHeader {
        &self.header
    }

    /// Offset of the next record in the file.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.offset
    }

    fn record(&mut self) -> Result<Option<Bytes>, CaptureError> {
        if self.buffer.len() < LENGTH {
            self.fill(LENGTH)?;
            if self.buffer.is_empty() {
                return Ok(None);
            }
        }
        self.need(LENGTH)?;
        let len = self.buffer.first_chunk::<LENGTH>().copied().unwrap_or_default();
        let len = usize::try_from(u32::from_le_bytes(len)).unwrap_or(usize::MAX);
        if !(size_of::<Header>()..=MAX_RECORD).contains(&len) {
            return Err(CaptureError::Damaged {
                path: self.path.clone(),
                offset: self.offset,
                len,
            });
        }
        self.need(LENGTH + len)?;
        let record = self.buffer.split_to(LENGTH + len).freeze().slice(LENGTH..);
        self.offset += (LENGTH + len) as u64;
        Ok(Some(record))
    }

    /// Makes sure that `need` bytes are in the buffer.
    fn need(&mut self, need: usize) -> Result<(), CaptureError> {
        if self.buffer.len() >= need {
            return Ok(());
        }
        self.fill(need)?;
        let got = self.buffer.len();
        if got < need {
            return Err(CaptureError::Truncated {
                path: self.path.clone(),
                offset: self.offset,
                need,
                got,
            });
        }
        Ok(())
    }

    /// Reads until `need` bytes are in the buffer, or the file ends.
    fn fill(&mut self, need: usize) -> Result<(), CaptureError> {
        while self.buffer.len() < need {
            let have = self.buffer.len();
            self.buffer.resize(have + CHUNK.max(need - have), 0);
            let room = self.buffer.get_mut(have..).unwrap_or_default();
            let read = self.input.read(room);
            self.buffer
                .truncate(have + read.as_ref().copied().unwrap_or_default());
            match read {
                Ok(0) => break,
                Ok(_) => {}
                Err(source) if source.kind() == ErrorKind::Interrupted => {}
                Err(source) => {
                    return Err(CaptureError::Read {
                        path: self.path.clone(),
                        offset: self.offset,
                        source,
                    });
                }
            }
        }
        Ok(())
    }
}

impl<R: Read> Iterator for Reader<R> {
    type Item = Result<Bytes, CaptureError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        let next = self.record().transpose();
        self.done = !matches!(next, Some(Ok(_)));
        next
    }
}
