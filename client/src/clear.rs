//! All entries of a map, gone.

use bpfgate_proto::v1::{self, MapType};
use bytes::Bytes;
use tonic::Code;

use crate::EntryParts;
use crate::UpdateMode;
use crate::batch::{EntryBatch, Keys};
use crate::entries::IterateOptions;
use crate::error::Error;
use crate::maps::Maps;

/// Zeros that are sent together; never less than one value.
const ZEROS: u32 = 1 << 20;
/// Entries that are removed or written together.
const ENTRIES: u32 = 4096;

/// What became of a map's entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cleared {
    /// So many are gone.
    Removed(u64),
    /// So many have a value of zeros: an array's cannot go.
    Zeroed(u64),
}

impl Maps {
    /// Removes all entries of a map that the agent owns: those that were there when it began, and
    /// some that came meanwhile. Arrays are set to zero, queues and stacks popped. Where it fails,
    /// some entries may be gone.
    ///
    /// # Errors
    ///
    /// [`Error::NotClearable`] for types that cannot, such as ring buffers; the agent's own for
    /// maps that are not its, or frozen.
    pub async fn clear(&self, map: &str) -> Result<Cleared, Error> {
        let info = self.get(map).await?;
        let spec = info.spec.unwrap_or_default();
        let v1::Capabilities { iterate, update, delete, pop, .. } =
            info.capabilities.unwrap_or_default();
        // Of others' maps the agent itself says that they are not its.
        let foreign = info.ownership != i32::from(v1::Ownership::Owned);
        match spec.r#type() {
            MapType::Array | MapType::PercpuArray if update || foreign => {
                self.zero(map, spec.value_size).await.map(Cleared::Zeroed)
            }
            MapType::Queue | MapType::Stack if pop || foreign => {
                self.pop_all(map, spec.max_entries).await.map(Cleared::Removed)
            }
            _ if iterate && (delete || foreign) => self.remove_all(map).await.map(Cleared::Removed),
            other => Err(Error::NotClearable {
                map: map.to_owned(),
                map_type: other.as_str_name().trim_start_matches("MAP_TYPE_").to_lowercase(),
                instead: match other {
                    MapType::BloomFilter => ": drop it and make another",
                    MapType::Ringbuf | MapType::PerfEventArray => {
                        ": reading its records empties it"
                    }
                    _ => "",
                },
            }),
        }
    }

    async fn remove_all(&self, map: &str) -> Result<u64, Error> {
        // An empty map that is not the agent's is refused like any other.
        self.delete_batch(map, Keys::Packed(Bytes::new()), true).await?;
        let mut entries = self.iterate(map, keys(ENTRIES)).await?;
        let mut removed = 0;
        while let Some(chunk) = entries.next_chunk().await? {
            let keys = Keys::Packed(chunk.packed_keys().clone());
            removed += self.delete_batch(map, keys, true).await?.applied();
        }
        Ok(removed)
    }

    async fn zero(&self, map: &str, value_size: u32) -> Result<u64, Error> {
        let together = (ZEROS / value_size.max(1)).clamp(1, ENTRIES);
        let zeros = Bytes::from(vec![0; together as usize * value_size as usize]);
        let mut entries = self.iterate(map, keys(together)).await?;
        let mut restore = self.restore(map, UpdateMode::Any);
        while let Some(chunk) = entries.next_chunk().await? {
            let count = u32::try_from(chunk.len()).unwrap_or(together).min(together);
            let values = zeros.slice(..count as usize * value_size as usize);
            restore.send(EntryBatch::packed(count, chunk.packed_keys().clone(), values)).await?;
        }
        restore.finish().await
    }

    /// No more than there can have been: somebody may push as fast.
    async fn pop_all(&self, map: &str, most: u32) -> Result<u64, Error> {
        for popped in 0..most {
            match self.pop(map).await {
                Ok(_) => {}
                Err(error) if error.code() == Some(Code::NotFound) => return Ok(popped.into()),
                Err(error) => return Err(error),
            }
        }
        Ok(most.into())
    }
}

fn keys(together: u32) -> IterateOptions {
    IterateOptions { parts: EntryParts::Keys, batch_entries: together, ..IterateOptions::default() }
}
