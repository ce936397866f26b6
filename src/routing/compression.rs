//! The responses that are compressed.

/// True if this build has brotli.
pub const HAS_BROTLI: bool = cfg!(feature = "brotli");

/// The terms on which responses are compressed with one coding.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Compression {
    /// The annotation or Middleware that it is made from, for people.
    pub from: Box<str>,
    /// The media types of the responses.
    pub types: MediaTypes,
    /// Bytes of a response that is worth it, if its length is known.
    pub min_length: u64,
    /// The coding.
    pub coding: ContentCoding,
}

/// A coding of a body (RFC 9110 section 8.4.1), with the effort.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ContentCoding {
    /// `gzip`, with an effort from 1 to 9.
    Gzip(u8),
    /// `br` (RFC 7932), with an effort from 0 to 11. Bodies stay as they are in a build without it.
    Brotli(u8),
}

impl ContentCoding {
    /// Returns its name in fields.
    pub fn name(self) -> &'static str {
        match self {
            Self::Gzip(_) => "gzip",
            Self::Brotli(_) => "br",
        }
    }
}

/// A choice of media types, all in lower case.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum MediaTypes {
    /// These alone; `*` is any.
    Only(Box<[Box<str>]>),
    /// All but these, and those that are compressed in themselves.
    AllBut(Box<[Box<str>]>),
}

/// The beginnings of media types that are compressed in themselves, and `text/event-stream`.
const DENSE: &[&str] = &[
    "application/gzip",
    "application/grpc",
    "application/vnd.rar",
    "application/x-7z-compressed",
    "application/x-gzip",
    "application/x-xz",
    "application/zip",
    "application/zstd",
    "audio/",
    "font/woff",
    "image/avif",
    "image/gif",
    "image/jpeg",
    "image/png",
    "image/webp",
    "text/event-stream",
    "video/",
];

impl MediaTypes {
    /// Reports whether a `Content-Type` is one of them.
    pub fn contains(&self, content_type: &[u8]) -> bool {
        let essence = content_type.split(|byte| *byte == b';').next();
        let essence = essence.unwrap_or_default().trim_ascii();

        let is = |other: &str| essence.eq_ignore_ascii_case(other.as_bytes());
        let begins = |start: &&str| {
            let own = essence.get(..start.len());
            own.is_some_and(|own| own.eq_ignore_ascii_case(start.as_bytes()))
        };

        match self {
            Self::Only(list) => {
                let mut list = list.iter();
                !essence.is_empty() && list.any(|one| &**one == "*" || is(one))
            }
            Self::AllBut(list) => !list.iter().any(|one| is(one)) && !DENSE.iter().any(begins),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn media_types_are_compared_without_case_and_parameters() {
        let only = MediaTypes::Only(["text/css".into()].into());
        assert!(only.contains(b"Text/CSS; charset=utf-8"));
        assert!(!only.contains(b"text/css-x") && !only.contains(b""));
        let any = MediaTypes::Only(["*".into()].into());
        assert!(any.contains(b"x/y") && !any.contains(b""));

        let all_but = MediaTypes::AllBut(["text/css".into()].into());
        for (content_type, expected) in [
            ("text/html", true),
            ("", true),
            ("text/css;a=b", false),
            ("image/png", false),
            ("VIDEO/mp4", false),
            ("text/event-stream", false),
        ] {
            let contains = all_but.contains(content_type.as_bytes());
            assert_eq!(contains, expected, "{content_type}");
        }
    }
}
