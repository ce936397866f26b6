//! The ACME accounts that all replicas share, in one Secret of gatelet's own namespace.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use super::{
    client::Client,
    objects::{Objects, WriteError},
    paths, source,
};
use crate::objects::{Key, Kind};

/// The name of the Secret.
const NAME: &str = "gatelet-acme";
/// The number of attempts to write the Secret while other replicas change it.
const CONFLICT_TRIES: usize = 5;

/// Records of accounts, by the account's id.
pub type Accounts = BTreeMap<String, Vec<u8>>;

/// The Secret `gatelet-acme`. It holds private keys: never log its content.
#[derive(Clone)]
pub struct AccountSecret {
    client: Client,
    objects: Objects,
    key: Key,
}

/// The Secret as it was read.
#[derive(Clone, Default)]
pub struct AccountsRead {
    /// The accounts; empty if the Secret does not exist.
    pub accounts: Accounts,
    /// The `resourceVersion` of the Secret; `None` if it does not exist.
    version: Option<String>,
}

impl AccountSecret {
    /// Names the Secret in a namespace. It need not exist.
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

    /// Reads the Secret.
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

    /// Waits until the Secret differs from `read`. May return early, when the server ends the
    /// watch.
    pub async fn changed(&self, read: &AccountsRead) -> Result<(), WriteError> {
        let url = format!(
            "{}?fieldSelector=metadata.name%3D{NAME}",
            paths::namespaced(&self.key)
        );
        source::changed(&self.client, &url, read.version.as_deref()).await
    }

    /// Adds a record, or replaces the one with the same id. Once this returns `Ok`, all replicas
    /// can read it.
    pub async fn put(&self, id: &str, bytes: &[u8]) -> Result<(), WriteError> {
        self.write(id, bytes, true).await.map(drop)
    }

    /// Adds a record unless one with this id exists. Returns the record that the Secret has then.
    pub async fn offer(&self, id: &str, bytes: &[u8]) -> Result<Vec<u8>, WriteError> {
        self.write(id, bytes, false).await
    }

    async fn write(&self, id: &str, bytes: &[u8], replace: bool) -> Result<Vec<u8>, WriteError> {
        let data = json!({ id: STANDARD.encode(bytes) });
        let mut tries = 0;

        loop {
            let result = match self.objects.find(&self.key).await? {
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
                    if let Some(existing) = accounts(&known).remove(id).filter(|_| !replace) {
                        return Ok(existing);
                    }

                    let version = &known["metadata"]["resourceVersion"];
                    let patch = json!({ "metadata": { "resourceVersion": version }, "data": data });
                    self.objects.merge(&self.key, &patch).await
                }
            };

            tries += 1;
            match result {
                Ok(_) => return Ok(bytes.to_vec()),
                Err(error) if error.conflicts() && tries < CONFLICT_TRIES => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// Returns the records of a Secret, without those that are not base64.
fn accounts(secret: &Value) -> Accounts {
    let data = secret["data"].as_object().into_iter().flatten();
    data.filter_map(|(id, value)| Some((id.clone(), STANDARD.decode(value.as_str()?).ok()?)))
        .collect()
}
