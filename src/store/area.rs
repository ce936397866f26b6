//! What is known of the keys below a prefix: what has to be kept twice, and what lies in pieces.

/// Areas that can be had again from elsewhere: they are in the database and not in the mirror,
/// which saves a write and a sync of the disk each time.
///
/// - `cache/` is a copy of what the Kubernetes API has.
/// - `acme/job/`, an order on its way: lost with the database, another one is made. Its key proves
///   nothing yet.
/// - `acme/suggestion/`, when a CA wants a renewal: it is asked again.
const REPLACEABLE: [&str; 3] = ["acme/job/", "acme/suggestion/", "cache/"];
/// Areas that may be written together with what comes next: a crash before that costs a question.
const LAZY: [&str; 1] = ["acme/suggestion/"];
/// Areas of large records that lie in pieces always.
const PIECEWISE: [&str; 1] = ["acme/certificate/"];

/// The longest value that lies in one piece. sled now and then writes all of a page anew, which has
/// up to 16 entries: large ones would make that cost many times what was changed.
const WHOLE: usize = 3 * 1024;

/// Whether the mirror has it.
pub(super) fn is_mirrored(key: &str) -> bool {
    !REPLACEABLE.iter().any(|area| key.starts_with(area))
}

/// Whether it can wait for another write.
pub(super) fn is_lazy(key: &str) -> bool {
    LAZY.iter().any(|area| key.starts_with(area))
}

/// Whether a value is cut into pieces.
pub(super) fn is_cut(key: &str, value: &[u8]) -> bool {
    value.len() > WHOLE || PIECEWISE.iter().any(|area| key.starts_with(area))
}

/// Areas whose records hold private keys, or tokens that are as good.
const WITH_KEYS: [&str; 7] = [
    "acme/account/",
    "acme/certificate/",
    "acme/job/",
    "api/identity",
    "ca/key",
    "cache/secrets/",
    "cluster/object/secrets/",
];

/// Whether a record may hold a private key.
pub(super) fn holds_keys(key: &str) -> bool {
    WITH_KEYS.iter().any(|area| key.starts_with(area))
}
