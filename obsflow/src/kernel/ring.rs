//! Reads the ring buffer in bounded batches. Each record is copied once, into a chunk that its tail then shares.

use aya::maps::{MapData, RingBuf};
use bytes::{Bytes, BytesMut};
use obsflow_ebpf::abi::record::Header;
use zerocopy::FromBytes as _;

/// Bytes that the ring spends on a record beside its content.
const ITEM_HEADER: u64 = 8;
/// Bytes of a chunk. Small enough that a slow consumer of one record keeps little else alive.
const CHUNK: usize = 128 * 1024;

/// The ring buffer and the chunk being filled.
pub struct RingReader {
    ring: RingBuf<MapData>,
    chunk: BytesMut,
    drained: u64,
}

impl RingReader {
    /// Reads from `ring`.
    #[must_use]
    pub fn new(ring: RingBuf<MapData>) -> Self {
        Self {
            ring,
            chunk: BytesMut::with_capacity(CHUNK),
            drained: 0,
        }
    }

    /// Appends up to `most` records to `out`; how many. Zero means that the ring is empty.
    pub fn drain(&mut self, most: usize, out: &mut Vec<Bytes>) -> usize {
        let mut taken = 0;
        self.drained = 0;
        while taken < most {
            let Some(item) = self.ring.next() else { break };
            self.drained += ITEM_HEADER + item.len() as u64;
            let bytes = used(&item);
            if self.chunk.capacity() - self.chunk.len() < bytes.len() {
                self.chunk = BytesMut::with_capacity(CHUNK.max(bytes.len()));
            }
            self.chunk.extend_from_slice(bytes);
            out.push(self.chunk.split().freeze());
            taken += 1;
        }
        taken
    }

    /// Bytes that the last call of [`Self::drain`] took, with the ring's own 8 bytes a record: what was waiting, unless
    /// the call was cut short by its bound.
    #[must_use]
    pub fn last_drained_bytes(&self) -> u64 {
        self.drained
    }
}

/// The part of a ring item that means something. A length that cannot be is left to the decoder to refuse.
fn used(item: &[u8]) -> &[u8] {
    match Header::read_from_prefix(item) {
        Ok((header, _)) => item.get(..header.len as usize).unwrap_or(item),
        Err(_) => item,
    }
}
