//! Groups of the endpoints of one backend, by the labels of what serves there: their parts of the
//! requests, and the requests that name one.

use http::HeaderName;

use super::{Head, canary::cookie_values};

/// The groups of the endpoints of a backend.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EndpointGroups {
    /// The weights of groups; without any, all endpoints have the same.
    pub weights: Box<[GroupWeight]>,
    /// True if the weight is that of each endpoint, and not that of the whole group.
    pub per_endpoint: bool,
    /// The label whose value requests name.
    pub label: Option<Box<str>>,
}

/// The weight of a group.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GroupWeight {
    /// The name of its label.
    pub label: Box<str>,
    /// The value of the label.
    pub value: Box<str>,
    /// Its part of the requests, beside those of the others; 0 for none.
    pub weight: u16,
}

/// The property of a request that names a group. An endpoint of it that is well has the request,
/// whatever its weight.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct GroupSelector {
    /// The annotation that it is made from, for people.
    pub from: Box<str>,
    /// The field with the group.
    pub header: Option<HeaderName>,
    /// The cookie with the group, for requests whose field does not lead to an endpoint.
    pub cookie: Option<Box<str>>,
}

/// The groups that a request names: by its field, and by its cookie.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NamedGroups<'h> {
    by_header: Vec<&'h [u8]>,
    by_cookie: Vec<&'h [u8]>,
}

impl GroupSelector {
    /// Returns the groups that a request names; `None` if it names none.
    pub fn named<'h>(&self, head: &'h impl Head) -> Option<Box<NamedGroups<'h>>> {
        let mut named = NamedGroups::default();
        if let Some(header) = &self.header {
            let values = head.values(header);
            let elements = values.flat_map(|value| value.split(|byte| *byte == b','));
            named.by_header.extend(elements.map(<[u8]>::trim_ascii));
        }
        if let Some(cookie) = &self.cookie {
            named.by_cookie.extend(cookie_values(head, cookie));
        }

        let is_empty = named.by_header.is_empty() && named.by_cookie.is_empty();
        (!is_empty).then(|| Box::new(named))
    }
}

impl NamedGroups<'_> {
    /// Returns the tests whether a group is meant, in the order in which they are made.
    pub fn tests(&self) -> [impl Fn(&str) -> bool; 2] {
        [names(&self.by_header), names(&self.by_cookie)]
    }
}

/// Returns the test whether a group is one of these.
fn names<'n>(groups: &'n [&'n [u8]]) -> impl Fn(&str) -> bool + 'n {
    |group| groups.contains(&group.as_bytes())
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;

    struct Fields(HeaderMap);

    impl Head for Fields {
        fn method(&self) -> &http::Method {
            &http::Method::GET
        }

        fn values(&self, name: &HeaderName) -> impl Iterator<Item = &[u8]> {
            self.0.get_all(name).iter().map(|value| value.as_bytes())
        }

        fn query(&self) -> Option<&str> {
            None
        }
    }

    fn named(fields: &[(&'static str, &'static str)]) -> [Vec<&'static str>; 2] {
        let selector = GroupSelector {
            from: "a".into(),
            header: Some(HeaderName::from_static("x-server")),
            cookie: Some("Server".into()),
        };
        let mut head = Fields(HeaderMap::new());
        for (name, value) in fields {
            head.0.append(*name, value.parse().expect("a value"));
        }
        let groups = ["blue", "green", "Blue", "", "x=1"];
        let Some(named) = selector.named(&head) else {
            return [vec![], vec![]];
        };
        let tests = named.tests();
        tests.map(|test| groups.into_iter().filter(|group| test(group)).collect())
    }

    #[test]
    fn fields_and_cookies_name_groups() {
        assert_eq!(named(&[("x-other", "blue")]), [vec![], vec![""; 0]]);
        assert_eq!(named(&[("x-server", "blue")]), [vec!["blue"], vec![]]);
        let two = named(&[("x-server", "a , green"), ("x-server", "Blue")]);
        assert_eq!(two, [vec!["green", "Blue"], vec![]]);
        let cookies = named(&[("cookie", "server=blue; Server=green; Server=x=1")]);
        assert_eq!(cookies, [vec![], vec!["green", "x=1"]]);
        let both = named(&[("x-server", "blue"), ("cookie", "Server=green")]);
        assert_eq!(both, [vec!["blue"], vec!["green"]]);
    }
}
