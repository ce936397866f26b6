//! Makes sticky sessions from annotations.

use std::{fmt::Write, num::NonZeroU32};

use super::annotations::StickyAnnotations;
use crate::routing::{PathMatch, Stickiness, StickyCookie, StickyHash};

/// The name of a cookie without an annotation, as in ingress-nginx.
const NAME: &str = "INGRESSCOOKIE";

/// The endpoints of a subset without an annotation, as in ingress-nginx.
const SUBSET: NonZeroU32 = NonZeroU32::new(3).unwrap();

/// Returns the property by which clients stay at an endpoint: the cookie, or else the hash.
pub(super) fn stickiness(
    values: &StickyAnnotations,
    path: Option<&PathMatch>,
) -> Option<Stickiness> {
    let Some(from) = &values.from else {
        let (from, text) = values.hash.clone()?;
        let subset = match values.has_subset {
            true => values.subset_size.unwrap_or(SUBSET),
            false => NonZeroU32::MIN,
        };
        return Some(Stickiness::Hash(Box::new(StickyHash {
            from,
            text,
            subset,
        })));
    };

    let own_path = values.path.as_deref();
    let mut attributes = format!(
        "; Path={}",
        own_path.unwrap_or_else(|| path.map_or("/", shown))
    );
    let mut put = |name: &str, value: &str| {
        write!(attributes, "; {name}={value}").expect("memory");
    };
    if let Some(domain) = &values.domain {
        put("Domain", domain);
    }
    if let Some(seconds) = values.max_age {
        put("Max-Age", &seconds.to_string());
    }
    if !values.is_readable {
        attributes.push_str("; HttpOnly");
    }

    Some(Stickiness::Cookie(Box::new(StickyCookie {
        from: from.clone(),
        name: values.name.as_deref().unwrap_or(NAME).into(),
        attributes: attributes.into(),
        expires: values.expires,
        secure: values.secure,
        same_site: values.same_site,
        is_none_conditional: values.is_none_conditional,
        is_persistent: values.is_persistent,
        change_on_failure: values.change_on_failure,
        ignores_canary: values.ignores_canary,
    })))
}

/// Returns the path of a rule as a cookie may have it.
fn shown(path: &PathMatch) -> &str {
    let text = match path {
        PathMatch::Exact(path)
        | PathMatch::Prefix(path)
        | PathMatch::Below(path)
        | PathMatch::Start(path) => path,
        _ => "/",
    };
    let is_fine = |byte: u8| byte.is_ascii_graphic() && byte != b';';
    if text.bytes().all(is_fine) { text } else { "/" }
}
