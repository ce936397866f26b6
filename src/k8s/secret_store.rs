//! The ACME accounts that all replicas share: one Secret in our own namespace.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use super::{
    client::Client,
    objects::{Objects, WriteError},
    paths, source,
};
use crate::objects::{Key, Kind};

/// Its name.
const NAME: &str = "gatelet-acme";
/// How often a write is tried when somebody else changes the Secret in between.
const CONFLICT_TRIES: usize = 5;

/// Records of accounts by the account's id.
pub type Accounts = BTreeMap<String, Vec<u8>>;

/// The Secret `gatelet-acme`. It holds private keys: what is read from it belongs into no log.
#[derive(Clone)]
pub struct AccountSecret {
    client: Client,
    objects: Objects,
    key: Key,
}

/// The Secret as it was read.
#[derive(Clone, Default)]
pub struct AccountsRead {
    /// What is in it; nothing if there is no such Secret yet.
    pub accounts: Accounts,
    /// Its `resourceVersion`, if there is one.
    version: Option<String>,
}

impl AccountSecret {
    /// The one in this namespace, which need not be there yet.
    pub fn new(client: Client, namespace: &str) -> Self {
        let key = Key {
            kind: Kind::Secret,
            namespace: namespace.into(),
            name: NAME.into(),
        };
        Self {
            objects: Objects::new(client.clone()),
            client,
            key,
        }
    }

    /// What is there now.
    pub async fn load(&self) -> Result<AccountsRead, WriteError> {
        let Some(secret) = self.objects.find(&self.key).await? else {
            return Ok(AccountsRead::default());
        };
        let version = secret["metadata"]["resourceVersion"]
            .as_str()
            .map(str::to_owned);
        Ok(AccountsRead {
            accounts: accounts(&secret),
            version,
        })
    }

    /// Waits until something else is there than was read; also returns when the server has ended
    /// the watch.
    pub async fn changed(&self, read: &AccountsRead) -> Result<(), WriteError> {
        let url = format!(
            "{}?fieldSelector=metadata.name%3D{NAME}",
            paths::namespaced(&self.key)
        );
        source::changed(&self.client, &url, read.version.as_deref()).await
    }

    /// Puts one record beside the others, over the one with the same id. Once this returns, all
    /// replicas can have it.
    pub async fn put(&self, id: &str, bytes: &[u8]) -> Result<(), WriteError> {
        self.write(id, bytes, true).await.map(drop)
    }

    /// Puts one record beside the others, unless there is one with this id. Returns the one that is
    /// there then.
    pub async fn offer(&self, id: &str, bytes: &[u8]) -> Result<Vec<u8>, WriteError> {
        self.write(id, bytes, false).await
    }

    async fn write(&self, id: &str, bytes: &[u8], over: bool) -> Result<Vec<u8>, WriteError> {
        let data = json!({ id: STANDARD.encode(bytes) });
        let mut tries = 0;
        loop {
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
                    if let Some(there) = accounts(&known).remove(id).filter(|_| !over) {
                        return Ok(there);
                    }
                    let version = &known["metadata"]["resourceVersion"];
                    let patch = json!({ "metadata": { "resourceVersion": version }, "data": data });
                    self.objects.merge(&self.key, &patch).await
                }
            };
            tries += 1;
            match done {
                Ok(_) => return Ok(bytes.to_vec()),
                Err(error) if error.conflicts() && tries < CONFLICT_TRIES => {}
                Err(error) => return Err(error),
            }
        }
    }
}

fn accounts(secret: &Value) -> Accounts {
    let data = secret["data"].as_object().into_iter().flatten();
    data.filter_map(|(id, value)| Some((id.clone(), STANDARD.decode(value.as_str()?).ok()?)))
        .collect()
}
