//! CORS as the middlewares of Traefik have it (Fetch standard, section 3.3): only preflight
//! requests get the methods and fields that are allowed.

use http::HeaderValue;

use super::GoPattern;

/// The terms on which pages of other origins may use a route.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct OriginTerms {
    /// The object that it is made from, for people.
    pub from: Box<str>,
    /// The origins, each as it is sent; `*` for all.
    pub origins: Box<[Box<str>]>,
    /// Expressions that are found in origins.
    pub patterns: Box<[GoPattern]>,
    /// True if requests may have credentials.
    pub credentials: bool,
    /// `Access-Control-Allow-Methods`
    pub methods: Option<AllowedList>,
    /// `Access-Control-Allow-Headers`
    pub headers: Option<AllowedList>,
    /// `Access-Control-Expose-Headers`
    pub expose: Option<HeaderValue>,
    /// `Access-Control-Max-Age`
    pub max_age: Option<HeaderValue>,
    /// True if responses vary by the origin.
    pub varies: bool,
}

/// A list that a preflight request gets.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum AllowedList {
    /// This one.
    Listed(HeaderValue),
    /// The one that the request asks for: `*` is no wildcard beside credentials.
    AsAsked,
}

impl OriginTerms {
    /// Returns the value of `Access-Control-Allow-Origin` for an origin; `None` if its pages may
    /// not use the route. An empty origin stands for none.
    pub fn allowed<'a>(&'a self, origin: &'a [u8]) -> Option<&'a [u8]> {
        for known in &self.origins {
            match &**known {
                "*" if self.credentials => return Some(origin),
                "*" => return Some(b"*"),
                known if known.as_bytes() == origin => return Some(origin),
                _ => {}
            }
        }
        let is_found = self.patterns.iter().any(|pattern| pattern.is_in(origin));
        is_found.then_some(origin)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_compared_as_it_is_sent() {
        let terms = OriginTerms {
            origins: ["https://a.example".into()].into(),
            patterns: [GoPattern::parse("^https://.*\\.b\\.example$").expect("one")].into(),
            ..OriginTerms::default()
        };
        let allowed = |terms: &OriginTerms, origin: &str| {
            let found = terms.allowed(origin.as_bytes());
            found.map(|found| String::from_utf8_lossy(found).into_owned())
        };
        for origin in ["https://a.example", "https://x.b.example"] {
            assert_eq!(allowed(&terms, origin).as_deref(), Some(origin));
        }
        for origin in ["HTTPS://a.example", "https://b.example", "", "null"] {
            assert_eq!(allowed(&terms, origin), None, "{origin}");
        }

        let any = OriginTerms {
            origins: ["*".into()].into(),
            ..OriginTerms::default()
        };
        assert_eq!(allowed(&any, "https://c.example").as_deref(), Some("*"));
        let any = OriginTerms {
            credentials: true,
            ..any
        };
        let origin = "https://c.example";
        assert_eq!(allowed(&any, origin).as_deref(), Some(origin));
    }
}
