//! The ACME accounts that all replicas share: one Secret in our own namespace.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use super::client::Client;
use super::objects::{Objects, WriteError};
use crate::objects::{Key, Kind};

/// Its name.
const NAME: &str = "gatelet-acme";
/// How often a write is tried again when somebody else changed the Secret in between.
const CONFLICT_RETRIES: usize = 5;

/// Records of accounts by the account's id.
pub type Accounts = BTreeMap<String, Vec<u8>>;

/// The Secret `gatelet-acme`. It holds private keys: what is read from it belongs into no log.
#[derive(Clone)]
pub struct AccountSecret {
    objects: Objects,
    key: Key,
}

impl AccountSecret {
    /// The one in this namespace, which need not be there yet.
    pub fn new(client: Client, namespace: &str) -> Self {
        let key = Key { kind: Kind::Secret, namespace: namespace.into(), name: NAME.into() };
        Self { objects: Objects::new(client), key }
    }

    /// All records; none if there is no such Secret yet.
    pub async fn load(&self) -> Result<Accounts, WriteError> {
        Ok(self.objects.find(&self.key).await?.as_ref().map(accounts).unwrap_or_default())
    }

    /// Puts one record beside the others, over the one with the same id. Once this returns, all replicas can have it.
    pub async fn put(&self, id: &str, bytes: &[u8]) -> Result<(), WriteError> {
        let data = json!({ id: STANDARD.encode(bytes) });
        let mut last = Ok(());
        for _attempt in 0..CONFLICT_RETRIES {
            let done = match self.objects.find(&self.key).await? {
                None => {
                    let metadata = json!({ "name": NAME, "namespace": &*self.key.namespace });
                    let secret = json!({
                        "apiVersion": "v1",
                        "kind": "Secret",
                        "metadata": metadata,
                        "type": "Opaque",
                        "data": data,
                    });
                    self.objects.create(&self.key, &secret).await
                }
                Some(known) => {
                    let version = &known["metadata"]["resourceVersion"];
                    let patch = json!({ "metadata": { "resourceVersion": version }, "data": data });
                    self.objects.merge(&self.key, &patch).await
                }
            };
            last = done.map(drop);
            if !last.as_ref().is_err_and(WriteError::conflicts) {
                break;
            }
        }
        last
    }
}

fn accounts(secret: &Value) -> Accounts {
    let data = secret["data"].as_object().into_iter().flatten();
    data.filter_map(|(id, value)| Some((id.clone(), STANDARD.decode(value.as_str()?).ok()?))).collect()
}
