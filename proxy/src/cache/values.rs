//! Copies of settings and figures: JSON that the applications define, kept for the few routes that ask for it. They
//! rest on the same proof as everything else that is kept (PROTOCOL.md).

use std::sync::Arc;
use std::time::Duration;

use quick_cache::Weighter;
use serde_json::Value as Json;

use super::Copies;
use super::copies::{Bytes, spilled, total};
use super::proof::{Proof, Reading, Source};
use crate::store::EntityKey;

/// Figures are read again after this time: nobody tells of their changes, and the store keeps them for five minutes.
const LONGEST_STATS: Duration = Duration::from_secs(30);

/// Settings or figures.
#[derive(Clone, Debug)]
pub struct Value {
    /// The JSON; `None` when there certainly is none.
    pub json: Option<Json>,
    /// What this rests on.
    pub proof: Proof,
}

impl Copies {
    /// A copy of settings or figures.
    pub fn value(&self, key: &EntityKey) -> Option<Arc<Value>> {
        self.values.get(key).filter(|value| self.stands(&value.proof))
    }

    /// What settings or figures rest on.
    #[must_use]
    pub fn proof_of_value(&self, key: &EntityKey, reading: Reading, source: Source) -> Proof {
        let at = reading.at;
        let proof = self.proof_of_pair(reading, source);
        match key {
            EntityKey::PlatformStats(..) => {
                Proof { ends: proof.ends.map(|end| end.min(at + LONGEST_STATS)), ..proof }
            }
            _ => proof,
        }
    }

    /// Keeps settings or figures.
    pub fn keep_value(&self, key: EntityKey, value: Arc<Value>) {
        if self.settings.bytes > 0 {
            self.values.insert(key, value);
        }
    }
}

impl Weighter<EntityKey, Arc<Value>> for Bytes {
    fn weight(&self, _key: &EntityKey, value: &Arc<Value>) -> u64 {
        // Two ids, as they are in most systems, beside what the tree of the JSON takes.
        let own = size_of::<Value>() + size_of::<EntityKey>() + 64 + spilled(&value.proof.marks);
        total(own + value.json.as_ref().map_or(0, bytes_of))
    }
}

/// What a JSON tree takes, roughly: its nodes and its texts. Bounded by the parser's depth of 128.
fn bytes_of(json: &Json) -> usize {
    size_of::<Json>()
        + match json {
            Json::String(text) => text.len(),
            Json::Array(items) => items.iter().map(bytes_of).sum(),
            // A name and its place in the tree.
            Json::Object(fields) => fields
                .iter()
                .map(|(name, value)| 2 * size_of::<String>() + name.len() + bytes_of(value))
                .sum(),
            _ => 0,
        }
}
