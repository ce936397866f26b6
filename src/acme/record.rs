//! What is stored: whole records of JSON under `acme/`, each with the version of its form. The
//! store checks their bytes; a record of a form that is not known is left alone and treated as
//! absent.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{budget::Budget, failure::FailureState, renewal::Suggestion};
use crate::store::{Batch, Store, StoreError};

/// The form of records that this program writes.
const VERSION: u32 = 1;

/// An account at a CA. Its key is stored before it is used.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// URL of the CA's directory.
    pub directory: String,
    /// The account's key, PKCS#8, base64.
    pub key: String,
    /// The account's URL; `None` until the CA has answered.
    pub url: Option<String>,
    /// The contacts that the CA was told last.
    pub contacts: Vec<String>,
    /// A key that the CA was asked to take instead (RFC 8555 section 7.3.5), until it is known
    /// which of the two it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_key: Option<String>,
    /// Wishes that its key answers for on every replica, though another issuer may be named first.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub speaks_for: BTreeSet<String>,
}

/// An order on its way. Key and request are stored before the order is made, its URL as soon as it
/// is known.
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
    /// The order's URL; `None` while it may or may not have been made.
    pub order: Option<String>,
    /// When the order was made, seconds since 1970.
    pub created: i64,
    /// [`CertificateSpec::print`](super::spec::CertificateSpec::print) of what is being made.
    pub print: u64,
    /// Records in DNS that were published and are not removed yet: name and value.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dns: Vec<(String, String)>,
    /// Orders that are in no budget in the store yet: account and time. They are counted here so
    /// that the one record can be written before each of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub counted: Vec<(String, i64)>,
}

/// A certificate that is to be revoked and whose CA has not answered yet.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Revocation {
    /// The wish that it is for.
    pub want: String,
    /// URL of the CA's directory.
    pub directory: String,
    /// The certificate, DER, base64.
    pub certificate: String,
    /// Why (RFC 5280 section 5.3.1).
    #[serde(default)]
    pub reason: Option<u8>,
    /// Its end, after which nobody minds it.
    pub not_after: i64,
}

/// Records in DNS that were made for challenges of a wish and are not removed yet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrphanedDnsRecords {
    /// Issuer's name, whose provider made it; name and value.
    pub records: Vec<(String, String, String)>,
}

impl OrphanedDnsRecords {
    /// Takes over what a job leaves.
    pub fn add(&mut self, job: &PendingOrder) {
        for (name, value) in &job.dns {
            let record = (job.issuer.clone(), name.clone(), value.clone());
            if !self.records.contains(&record) {
                self.records.push(record);
            }
        }
    }
}

/// A certificate with its key: one record, switched together.
#[derive(Clone, Serialize, Deserialize)]
pub struct StoredCertificate {
    /// The chain, PEM, the certificate itself first.
    pub chain: String,
    /// Its key, PKCS#8, PEM.
    pub key: String,
    /// The names, sorted.
    pub names: Vec<String>,
    /// Name of the issuer.
    pub issuer: String,
    /// URL of the CA's directory; empty where there is none.
    #[serde(default)]
    pub directory: String,
    /// Begin of validity, seconds since 1970.
    pub not_before: i64,
    /// End of validity.
    pub not_after: i64,
    /// When it was stored.
    pub stored: i64,
    /// [`CertificateSpec::print`](super::spec::CertificateSpec::print) of what it was made for.
    pub print: u64,
    /// Its name for renewal information (RFC 9773 section 4.1); empty where there is none.
    #[serde(default)]
    pub ari: String,
    /// Whether it was revoked.
    #[serde(default)]
    pub revoked: bool,
    /// Since when nobody wants it; `None` while somebody does.
    #[serde(default)]
    pub unwanted: Option<i64>,
    /// The one before it, while that is good for anything.
    #[serde(default)]
    pub previous: Option<Box<Previous>>,
}

impl StoredCertificate {
    /// What it is when another one comes for these names: of use only while it has a name that the
    /// other has not.
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

/// The certificate before the one that is held.
#[derive(Clone, Serialize, Deserialize)]
pub struct Previous {
    /// The chain, PEM.
    pub chain: String,
    /// Its key, PEM.
    pub key: String,
}

/// The highest moment that has certainly passed.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Floor {
    /// Seconds since 1970.
    pub floor: i64,
}

/// Something that has a place in the store.
pub trait Record: Serialize + DeserializeOwned {
    /// The folder below `acme/`.
    const AREA: &'static str;
}

impl Record for Account {
    const AREA: &'static str = "account";
}

impl Record for PendingOrder {
    const AREA: &'static str = "job";
}

impl Record for OrphanedDnsRecords {
    const AREA: &'static str = "litter";
}

impl Record for Revocation {
    const AREA: &'static str = "revocation";
}

impl Record for StoredCertificate {
    const AREA: &'static str = "certificate";
}

impl Record for Vec<FailureState> {
    const AREA: &'static str = "trouble";
}

impl Record for Suggestion {
    const AREA: &'static str = "suggestion";
}

impl Record for Budget {
    const AREA: &'static str = "budget";
}

impl Record for Floor {
    const AREA: &'static str = "clock";
}

#[derive(Serialize)]
struct Written<'a, T> {
    version: u32,
    record: &'a T,
}

#[derive(Deserialize)]
struct Read<T> {
    version: u32,
    record: T,
}

/// The key of a record.
pub fn key<T: Record>(id: &str) -> String {
    format!("acme/{}/{id}", T::AREA)
}

/// Adds a record to a batch.
pub fn put<T: Record>(batch: Batch, id: &str, record: &T) -> Batch {
    batch.put(key::<T>(id), to_bytes(record))
}

/// A record as it is stored.
pub fn to_bytes<T: Record>(record: &T) -> Vec<u8> {
    serde_json::to_vec(&Written {
        version: VERSION,
        record,
    })
    .expect("records are plain data")
}

/// Reads a record that [`to_bytes`] wrote; `None` for what cannot be read, or is of another
/// version.
pub fn from_bytes<T: Record>(bytes: &[u8]) -> Option<T> {
    let read: Read<T> = serde_json::from_slice(bytes).ok()?;
    (read.version == VERSION).then_some(read.record)
}

/// Takes a record away.
pub fn remove<T: Record>(batch: Batch, id: &str) -> Batch {
    batch.delete(key::<T>(id))
}

/// All records of a kind, by id. One that cannot be read is logged by its name and left where it
/// is.
pub fn all<T: Record>(store: &dyn Store) -> Result<Vec<(String, T)>, StoreError> {
    let prefix = key::<T>("");
    let mut found = Vec::new();
    for (name, bytes) in store.scan(&prefix)? {
        match serde_json::from_slice::<Read<T>>(&bytes) {
            Ok(read) if read.version == VERSION => {
                found.push((name[prefix.len()..].to_owned(), read.record));
            }
            Ok(read) => tracing::warn!(
                record = name,
                version = read.version,
                "a record of an unknown version is left"
            ),
            // The error quotes nothing of the record, but its position says enough.
            Err(error) => tracing::warn!(
                record = name,
                line = error.line(),
                column = error.column(),
                "unreadable"
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
