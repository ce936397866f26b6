//! The head of a request that is explained: its query, and the fields that the operator names.

use http::{HeaderName, Method};

use crate::{admin::UrlError, routing::Head};

/// A GET with these fields.
#[derive(Debug)]
pub(super) struct AskedHead<'a> {
    query: Option<&'a str>,
    fields: Vec<(HeaderName, &'a [u8])>,
}

impl<'a> AskedHead<'a> {
    /// Reads fields as they stand in a request (`Name: value`).
    pub(super) fn new(query: Option<&'a str>, headers: &'a [String]) -> Result<Self, UrlError> {
        let field = |header: &'a String| {
            let (name, value) = header.split_once(':')?;
            let name = name.trim().parse::<HeaderName>().ok()?;
            Some((name, value.trim().as_bytes()))
        };
        let wrong = |header: &String| UrlError::Header(header.clone());
        let fields = headers
            .iter()
            .map(|header| field(header).ok_or_else(|| wrong(header)));
        Ok(Self {
            query,
            fields: fields.collect::<Result<_, _>>()?,
        })
    }
}

impl Head for AskedHead<'_> {
    fn method(&self) -> &Method {
        &Method::GET
    }

    fn values(&self, name: &HeaderName) -> impl Iterator<Item = &[u8]> {
        let named = self.fields.iter().filter(move |(own, _)| own == name);
        named.map(|(_, value)| *value)
    }

    fn query(&self) -> Option<&str> {
        self.query
    }
}
