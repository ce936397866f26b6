//! The areas of the store: properties of all keys that share a prefix.

/// The properties of the keys that begin with a prefix.
struct Area {
    prefix: &'static str,
    /// Its records are in the mirror too. Records that can be restored otherwise are not, which
    /// saves a write and a sync of the disk each time.
    mirrored: bool,
    /// A batch of its records alone may become durable with a later one.
    lazy: bool,
    /// Its records hold private keys, or tokens of the same value: they are sealed, if a key for
    /// that is configured.
    sealed: bool,
    /// Its records are large: they are stored in chunks, however short they are.
    chunked: bool,
}

/// The properties of keys outside every area.
const PLAIN: Area = Area {
    prefix: "",
    mirrored: true,
    lazy: false,
    sealed: false,
    chunked: false,
};

/// The areas with properties of their own. A longer prefix stands before a shorter one.
const AREAS: [Area; 9] = [
    Area {
        prefix: "acme/account/",
        sealed: true,
        ..PLAIN
    },
    Area {
        prefix: "acme/certificate/",
        sealed: true,
        chunked: true,
        ..PLAIN
    },
    // A pending order: if it is lost with the database, the engine begins another one. No
    // certificate was issued for its key yet.
    Area {
        prefix: "acme/job/",
        mirrored: false,
        sealed: true,
        ..PLAIN
    },
    // The time of renewal that a CA suggests: the engine can ask again.
    Area {
        prefix: "acme/suggestion/",
        mirrored: false,
        lazy: true,
        ..PLAIN
    },
    Area {
        prefix: "api/identity",
        sealed: true,
        ..PLAIN
    },
    Area {
        prefix: "ca/key",
        sealed: true,
        ..PLAIN
    },
    // Copies of objects of the Kubernetes API.
    Area {
        prefix: "cache/secrets/",
        mirrored: false,
        sealed: true,
        ..PLAIN
    },
    Area {
        prefix: "cache/",
        mirrored: false,
        ..PLAIN
    },
    Area {
        prefix: "cluster/object/secrets/",
        sealed: true,
        ..PLAIN
    },
];

/// The longest value that is stored in one entry. sled now and then rewrites a whole page, which
/// has up to 16 entries: large ones would multiply the bytes that a change costs.
const WHOLE: usize = 3 * 1024;

fn area_of(key: &str) -> &Area {
    AREAS
        .iter()
        .find(|area| key.starts_with(area.prefix))
        .unwrap_or(&PLAIN)
}

/// Reports whether the mirror has the record.
pub(super) fn is_mirrored(key: &str) -> bool {
    area_of(key).mirrored
}

/// Reports whether the record may become durable with a later batch.
pub(super) fn is_lazy(key: &str) -> bool {
    area_of(key).lazy
}

/// Reports whether a value is stored in chunks.
pub(super) fn is_chunked(key: &str, value: &[u8]) -> bool {
    value.len() > WHOLE || area_of(key).chunked
}

/// Reports whether a record may hold a private key.
pub(super) fn holds_keys(key: &str) -> bool {
    area_of(key).sealed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_prefix_decides() {
        for (key, mirrored, sealed) in [
            ("cache/secrets/default/web", false, true),
            ("cache/ingresses/default/web", false, false),
            ("acme/job/default/web", false, true),
            ("acme/issued/default/web", true, false),
            ("cluster/object/secrets/default/web", true, true),
        ] {
            assert_eq!(
                (is_mirrored(key), holds_keys(key)),
                (mirrored, sealed),
                "{key}"
            );
        }
        for (at, area) in AREAS.iter().enumerate() {
            let hides = |later: &Area| later.prefix.starts_with(area.prefix);
            assert!(!AREAS[at + 1..].iter().any(hides), "{}", area.prefix);
        }
    }
}
