//! The property by which a client stays at one endpoint.

use std::{num::NonZeroU32, time::Duration};

use super::{SameSite, Variables};

/// The property by which a client stays at one endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Stickiness {
    /// A cookie.
    Cookie(Box<StickyCookie>),
    /// A text made of parts of the request: requests with the same one go to the same endpoint.
    Hash(Box<StickyHash>),
}

/// The cookie by which a client stays at one endpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct StickyCookie {
    /// The annotation that it is made from, for people.
    pub from: Box<str>,
    /// Its name.
    pub name: Box<str>,
    /// Its attributes behind the value, each with `; ` before it.
    pub attributes: Box<str>,
    /// The time for `Expires`.
    pub expires: Option<Duration>,
    /// True for `Secure`; `None` for requests over TLS alone.
    pub secure: Option<bool>,
    /// `SameSite`.
    pub same_site: Option<SameSite>,
    /// True if browsers that misread `SameSite=None` do not get it.
    pub is_none_conditional: bool,
    /// True if no client moves while its endpoint exists; otherwise some move to new endpoints.
    pub is_persistent: bool,
    /// True if a client whose endpoint fails stays at the next one.
    pub change_on_failure: bool,
    /// True if the cookie does not keep a client at a backend or its canary.
    pub ignores_canary: bool,
}

/// The text by which requests are spread.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct StickyHash {
    /// The annotation that it is made from, for people.
    pub from: Box<str>,
    /// The text.
    pub text: Variables,
    /// The number of endpoints that requests with the same text are spread over.
    pub subset: NonZeroU32,
}
