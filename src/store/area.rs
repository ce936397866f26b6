//! The areas of the store: properties of all keys that share a prefix. The modules that write the
//! records declare them.

/// The properties of the keys that begin with a prefix.
#[derive(Clone, Copy, Debug)]
pub struct Area {
    /// The prefix of the keys. If a key lies in several areas, the longest prefix decides.
    pub prefix: &'static str,
    /// Its records are in the mirror too. Records that can be restored otherwise are not, which
    /// saves a write and a sync of the disk each time.
    pub mirrored: bool,
    /// A batch with records of such areas only may become durable later. They are not mirrored.
    pub lazy: bool,
    /// Its records hold private keys, or tokens of the same value: they are sealed, if a key for
    /// that is configured.
    pub sealed: bool,
    /// Its records are large: they are stored in chunks, however short they are.
    pub chunked: bool,
}

impl Area {
    /// The properties of keys outside every area. Other areas are declared as changes of it.
    pub const PLAIN: Self = Self {
        prefix: "",
        mirrored: true,
        lazy: false,
        sealed: false,
        chunked: false,
    };
}

/// The areas of all modules that use one store.
#[derive(Clone, Copy, Debug, Default)]
pub struct Areas(&'static [&'static [Area]]);

/// The longest value that is stored in one entry. sled now and then rewrites a whole page, which
/// has up to 16 entries: large ones would multiply the bytes that a change costs.
const WHOLE: usize = 3 * 1024;

impl Areas {
    /// Combines the areas of several modules.
    pub const fn new(all: &'static [&'static [Area]]) -> Self {
        Self(all)
    }

    fn of(self, key: &str) -> &'static Area {
        self.0
            .iter()
            .copied()
            .flatten()
            .filter(|area| key.starts_with(area.prefix))
            .max_by_key(|area| area.prefix.len())
            .unwrap_or(&Area::PLAIN)
    }

    /// Reports whether the mirror has the record.
    pub(super) fn is_mirrored(self, key: &str) -> bool {
        self.of(key).mirrored
    }

    /// Reports whether the record may become durable with a later batch.
    pub(super) fn is_lazy(self, key: &str) -> bool {
        self.of(key).lazy
    }

    /// Reports whether a value is stored in chunks.
    pub(super) fn is_chunked(self, key: &str, value: &[u8]) -> bool {
        value.len() > WHOLE || self.of(key).chunked
    }

    /// Reports whether a record may hold a private key.
    pub(super) fn holds_keys(self, key: &str) -> bool {
        self.of(key).sealed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_prefix_decides() {
        const COPIES: &[Area] = &[
            Area {
                prefix: "cache/",
                mirrored: false,
                ..Area::PLAIN
            },
            Area {
                prefix: "cache/secrets/",
                mirrored: false,
                sealed: true,
                ..Area::PLAIN
            },
        ];
        const KEYS: &[Area] = &[Area {
            prefix: "ca/key",
            sealed: true,
            ..Area::PLAIN
        }];
        let areas = Areas::new(&[COPIES, KEYS]);

        for (key, mirrored, sealed) in [
            ("cache/secrets/default/web", false, true),
            ("cache/ingresses/default/web", false, false),
            ("ca/key", true, true),
            ("ca/certificate", true, false),
        ] {
            let found = (areas.is_mirrored(key), areas.holds_keys(key));
            assert_eq!(found, (mirrored, sealed), "{key}");
        }
    }
}
