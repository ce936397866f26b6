//! Stored records: JSON documents under `acme/`, each with the version of its format. The store
//! checks their bytes. A record of an unknown version is left alone and treated as absent.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{budget::Budget, failure::FailureState, renewal::Suggestion};
use crate::{
    acme::dns::TxtRecord,
    store::{Area, Batch, Store, StoreError},
    util::time::UnixSeconds,
};

/// The format version of the records that this program writes.
const VERSION: u32 = 1;

/// An account at a CA. Its key is stored before it is used.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// URL of the CA's directory.
    pub directory: String,
    /// The account's key, PKCS#8, base64.
    pub key: String,
    /// The account's URL; `None` until the CA has confirmed it.
    pub url: Option<String>,
    /// The contacts that were sent to the CA last.
    pub contacts: Vec<String>,
    /// The new key of a key change (RFC 8555 section 7.3.5), until it is known which of the two
    /// keys the CA uses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_key: Option<String>,
    /// Time at which it replaced another account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaced: Option<UnixSeconds>,
    /// Specs whose challenges every replica responds to with this key, even if another issuer
    /// comes first.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub speaks_for: BTreeSet<String>,
}

/// An order under way at a CA. Its key and request are stored before the order is created, its URL
/// as soon as it is known.
#[derive(Clone, Serialize, Deserialize)]
pub struct PendingOrder {
    /// The issuer's name.
    pub issuer: String,
    /// The names, sorted.
    pub names: Vec<String>,
    /// The certificate's key, PKCS#8, PEM.
    pub key: String,
    /// The certificate signing request, DER, base64.
    pub csr: String,
    /// The order's URL; `None` while it is unknown whether the order exists.
    pub order: Option<String>,
    /// Creation time of the order.
    pub created: UnixSeconds,
    /// Fingerprint of the certificate to be issued (see `CertificateSpec::fingerprint`).
    pub print: u64,
    /// DNS records that were published and not removed yet.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dns: Vec<TxtRecord>,
    /// Orders that no stored budget contains yet: account and time. They are counted here so that
    /// only one record has to be written before each order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub counted: Vec<(String, UnixSeconds)>,
}

/// A requested revocation that the CA has not confirmed yet.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Revocation {
    /// ID of the certificate's spec.
    pub want: String,
    /// URL of the CA's directory.
    pub directory: String,
    /// The certificate, DER, base64.
    pub certificate: String,
    /// The reason code (RFC 5280 section 5.3.1).
    #[serde(default)]
    pub reason: Option<u8>,
    /// Expiry of the certificate, after which revoking it is pointless.
    pub not_after: UnixSeconds,
}

/// DNS records that an abandoned order left behind.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrphanedDnsRecords {
    /// The name of the issuer whose provider published the record; name and value.
    pub records: Vec<(String, String, String)>,
}

impl OrphanedDnsRecords {
    /// Adds the records of a pending order.
    pub fn add(&mut self, pending: &PendingOrder) {
        for TxtRecord { fqdn, value } in pending.dns.clone() {
            let record = (pending.issuer.clone(), fqdn, value);
            if !self.records.contains(&record) {
                self.records.push(record);
            }
        }
    }
}

/// A certificate with its key, in one record so that they are replaced together.
#[derive(Clone, Default, Serialize, Deserialize)]
pub struct StoredCertificate {
    /// The chain, PEM, starting with the certificate itself.
    pub chain: String,
    /// Its key, PKCS#8, PEM.
    pub key: String,
    /// The names, sorted.
    pub names: Vec<String>,
    /// Name of the issuer.
    pub issuer: String,
    /// URL of the CA's directory; empty for issuers other than ACME CAs.
    #[serde(default)]
    pub directory: String,
    /// Start of validity.
    pub not_before: UnixSeconds,
    /// End of validity.
    pub not_after: UnixSeconds,
    /// Time at which it was stored.
    pub stored: UnixSeconds,
    /// Fingerprint of the spec that it was issued for.
    pub print: u64,
    /// Its ID for renewal information (RFC 9773 section 4.1); empty if it has none.
    #[serde(default)]
    pub ari: String,
    /// True if it was revoked.
    #[serde(default)]
    pub revoked: bool,
    /// True if it came from a Secret, false if this process obtained it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub adopted: bool,
    /// Time since which no spec uses it; `None` while one does.
    #[serde(default)]
    pub unwanted: Option<UnixSeconds>,
    /// Its predecessor, while that covers names that this one does not.
    #[serde(default)]
    pub previous: Option<Box<Previous>>,
}

impl StoredCertificate {
    /// Converts it into the predecessor of a certificate for `names`. Returns `None` if the new
    /// certificate covers all of its names.
    pub fn into_previous(self, names: &[String]) -> Option<Box<Previous>> {
        let is_covered = self.names.iter().all(|name| names.contains(name));
        (!is_covered).then(|| {
            Box::new(Previous {
                chain: self.chain,
                key: self.key,
            })
        })
    }
}

/// The predecessor of a stored certificate.
#[derive(Clone, Serialize, Deserialize)]
pub struct Previous {
    /// The chain, PEM.
    pub chain: String,
    /// Its key, PEM.
    pub key: String,
}

/// The latest time that has certainly passed.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Floor {
    /// The time.
    pub floor: UnixSeconds,
}

/// The areas of the engine's records in the store, as far as they are not plain.
pub const AREAS: &[Area] = &[
    Area {
        prefix: "acme/account/",
        sealed: true,
        ..Area::PLAIN
    },
    Area {
        prefix: "acme/certificate/",
        sealed: true,
        chunked: true,
        ..Area::PLAIN
    },
    // If a pending order is lost with the database, the engine begins another one. No certificate
    // was issued for its key yet.
    Area {
        prefix: "acme/job/",
        mirrored: false,
        sealed: true,
        ..Area::PLAIN
    },
    // The engine can ask the CA again for the time of renewal that it suggests.
    Area {
        prefix: "acme/suggestion/",
        mirrored: false,
        lazy: true,
        ..Area::PLAIN
    },
];

/// A type of record in the store.
pub trait Record: Serialize + DeserializeOwned {
    /// The folder of its records below `acme/`.
    const AREA: &'static str;
}

macro_rules! records {
    ($($record:ty: $area:literal),* $(,)?) => {$(
        impl Record for $record {
            const AREA: &'static str = $area;
        }
    )*};
}

records! {
    Account: "account",
    PendingOrder: "job",
    OrphanedDnsRecords: "litter",
    Revocation: "revocation",
    StoredCertificate: "certificate",
    Vec<FailureState>: "trouble",
    Suggestion: "suggestion",
    Budget: "budget",
    Floor: "clock",
}

/// A record with the version of its format, as it is stored.
#[derive(Serialize, Deserialize)]
struct Versioned<T> {
    version: u32,
    record: T,
}

/// Returns the key of a record.
pub fn key<T: Record>(id: &str) -> String {
    format!("acme/{}/{id}", T::AREA)
}

/// Adds a record to a batch.
pub fn put<T: Record>(batch: Batch, id: &str, record: &T) -> Batch {
    batch.put(key::<T>(id), to_bytes(record))
}

/// Serializes a record as it is stored.
pub fn to_bytes<T: Record>(record: &T) -> Vec<u8> {
    serde_json::to_vec(&Versioned {
        version: VERSION,
        record,
    })
    .expect("records are plain data")
}

/// Parses a record that [`to_bytes`] wrote. Returns `None` if it is unreadable or of another
/// version.
pub fn from_bytes<T: Record>(bytes: &[u8]) -> Option<T> {
    let read: Versioned<T> = serde_json::from_slice(bytes).ok()?;
    (read.version == VERSION).then_some(read.record)
}

/// Adds the removal of a record to a batch.
pub fn remove<T: Record>(batch: Batch, id: &str) -> Batch {
    batch.delete(key::<T>(id))
}

/// Reads all records of a type, by ID. Unreadable records are logged and left in the store.
pub fn all<T: Record>(store: &dyn Store) -> Result<BTreeMap<String, T>, StoreError> {
    let prefix = key::<T>("");
    let mut found = BTreeMap::new();

    for (name, bytes) in store.scan(&prefix)? {
        match serde_json::from_slice::<Versioned<T>>(&bytes) {
            Ok(read) if read.version == VERSION => {
                found.insert(name[prefix.len()..].to_owned(), read.record);
            }
            Ok(read) => tracing::warn!(
                record = name,
                version = read.version,
                "ignoring a record of an unknown version"
            ),
            // Don't log the error itself: it could quote the record.
            Err(error) => tracing::warn!(
                record = name,
                line = error.line(),
                column = error.column(),
                "ignoring an unreadable record"
            ),
        }
    }

    Ok(found)
}

macro_rules! debug_without_keys {
    ($($name:ident),*) => {$(
        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(stringify!($name))
            }
        }
    )*};
}

debug_without_keys!(Account, PendingOrder, StoredCertificate, Previous);

#[cfg(test)]
mod tests;
