//! A store in memory: for tests, and for a device whose disk can no longer be used.

use std::{collections::BTreeMap, sync::RwLock};

use super::{Batch, Store, StoreError};
use crate::util::sync::{read, write};

/// A store that ends with the process.
#[derive(Default)]
pub struct Memory(RwLock<BTreeMap<String, Vec<u8>>>);

impl From<BTreeMap<String, Vec<u8>>> for Memory {
    fn from(map: BTreeMap<String, Vec<u8>>) -> Self {
        Self(RwLock::new(map))
    }
}

impl std::fmt::Debug for Memory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Memory")
    }
}

impl Store for Memory {
    fn get(&self, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(read(&self.0).get(key).cloned())
    }

    fn scan(&self, prefix: &str) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
        let map = read(&self.0);
        let from = map.range(prefix.to_owned()..);
        Ok(from
            .take_while(|(key, _)| key.starts_with(prefix))
            .map(|(k, v)| (k.clone(), v.clone()))
            .collect())
    }

    fn commit(&self, batch: Batch) -> Result<(), StoreError> {
        super::check(&batch)?;
        let mut map = write(&self.0);
        for (key, value) in batch.ops {
            match value {
                Some(value) => drop(map.insert(key, value)),
                None => drop(map.remove(&key)),
            }
        }
        Ok(())
    }
}
