//! Where a pass over a map is, and the resume token that says so to a client.

use super::{Error, Map};

/// Where a pass over a map is: behind a batch, or within one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    map_id: u32,
    /// The kernel's cursor; only its own calls know what it means.
    cursor: Vec<u8>,
    started: bool,
    /// Within the batch behind the cursor: how many entries it had, and the last key that was
    /// sent.
    within: Option<(u32, Vec<u8>)>,
}

impl Position {
    /// Before the first entry.
    pub fn start(map: &Map) -> Self {
        let cursor = vec![0; map.sys().cursor_len()];
        Self { map_id: map.sys().info().id, cursor, started: false, within: None }
    }

    /// Behind a batch.
    pub(super) fn at(map: &Map, cursor: Vec<u8>) -> Self {
        Self { map_id: map.sys().info().id, cursor, started: true, within: None }
    }

    /// This position, but behind `key` in the batch of `count` entries that begins here.
    pub(super) fn within(&self, count: usize, key: &[u8]) -> Self {
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        Self { within: Some((count, key.to_vec())), ..self.clone() }
    }

    pub(super) fn started(&self) -> bool {
        self.started
    }

    pub(super) fn cursor(&self) -> &[u8] {
        &self.cursor
    }

    /// How many entries the batch must hold so that the last key sent is in it again.
    pub(super) fn again(&self) -> usize {
        self.within.as_ref().map_or(0, |(count, _)| *count as usize)
    }

    /// How many of the batch's keys were sent before. If the last one sent is gone nobody can
    /// tell, and none were: an entry may come twice, but none is missed.
    pub(super) fn sent_of(&self, keys: &[u8], key_len: usize) -> usize {
        let Some((_, last)) = &self.within else { return 0 };
        keys.chunks(key_len.max(1)).position(|key| key == last).map_or(0, |at| at + 1)
    }

    /// For the client to hand back; good for this agent's life and this map.
    pub fn token(&self, incarnation: u64) -> Vec<u8> {
        let Self { map_id, cursor, started, within } = self;
        let mut token = Vec::with_capacity(32 + cursor.len());
        token.extend_from_slice(&incarnation.to_le_bytes());
        token.extend_from_slice(&map_id.to_le_bytes());
        token.push(u8::from(*started));
        token.extend_from_slice(cursor);
        if let Some((count, key)) = within {
            token.extend_from_slice(&count.to_le_bytes());
            token.extend_from_slice(key);
        }
        token
    }

    /// Reads a token back. Whoever forges one reads the map from another place, no more.
    pub fn from_token(token: &[u8], map: &Map, incarnation: u64) -> Result<Self, Error> {
        let sys = map.sys();
        Self::parse(token, incarnation, sys.info().id, sys.cursor_len(), sys.key_len())
            .ok_or_else(|| Error::ResumeToken { map: map.text().to_owned() })
    }

    /// A token of that life of the agent and of that map, whose cursors and keys have so many
    /// bytes.
    pub fn parse(
        token: &[u8],
        incarnation: u64,
        map_id: u32,
        cursor_len: usize,
        key_len: usize,
    ) -> Option<Self> {
        let (life, rest) = token.split_first_chunk::<8>()?;
        let (id, rest) = rest.split_first_chunk::<4>()?;
        let (&started, rest) = rest.split_first()?;
        let (cursor, rest) = rest.split_at_checked(cursor_len)?;
        let within = match rest.split_first_chunk::<4>() {
            None if rest.is_empty() => None,
            Some((count, key)) if key.len() == key_len => {
                let count = u32::from_le_bytes(*count);
                (count as usize <= super::iterate::BATCH_MAX).then_some(())?;
                Some((count, key.to_vec()))
            }
            _ => return None,
        };
        let ours = u64::from_le_bytes(*life) == incarnation && u32::from_le_bytes(*id) == map_id;
        let started = started != 0;
        ours.then(|| Self { map_id, cursor: cursor.to_vec(), started, within })
    }
}
