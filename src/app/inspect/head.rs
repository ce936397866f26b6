//! The head of a request that is explained: its query, and the fields that the operator names.

use http::{HeaderName, Method};

use crate::{
    admin::{ExplainRequest, UrlError},
    routing::Head,
};

/// A head with the parts that decide about a request.
#[derive(Debug)]
pub(super) struct AskedHead<'a> {
    method: Method,
    query: Option<&'a str>,
    fields: Vec<(HeaderName, &'a [u8])>,
}

impl<'a> AskedHead<'a> {
    /// Reads the method and the fields of a request.
    pub(super) fn new(
        query: Option<&'a str>,
        request: &'a ExplainRequest,
    ) -> Result<Self, UrlError> {
        let method = request.method.as_deref().unwrap_or("GET");
        let wrong = |_bad| UrlError::Method(method.to_owned());
        let method = Method::from_bytes(method.as_bytes()).map_err(wrong)?;

        let field = |header: &'a String| {
            let (name, value) = header.split_once(':')?;
            let name = name.trim().parse::<HeaderName>().ok()?;
            Some((name, value.trim().as_bytes()))
        };
        let wrong = |header: &String| UrlError::Header(header.clone());
        let fields = request
            .headers
            .iter()
            .map(|header| field(header).ok_or_else(|| wrong(header)));
        Ok(Self {
            method,
            query,
            fields: fields.collect::<Result<_, _>>()?,
        })
    }
}

impl Head for AskedHead<'_> {
    fn method(&self) -> &Method {
        &self.method
    }

    fn values(&self, name: &HeaderName) -> impl Iterator<Item = &[u8]> {
        let named = self.fields.iter().filter(move |(own, _)| own == name);
        named.map(|(_, value)| *value)
    }

    fn query(&self) -> Option<&str> {
        self.query
    }
}
