//! Connections to endpoints that belong to one client connection.
//!
//! NTLM and Negotiate authenticate a connection, not a request (RFC 4559 section 6): the endpoint
//! attributes all later requests on it to the same user. So a connection on which either was
//! requested or used carries requests of one client connection alone, one after another, and ends
//! with it.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    sync::Arc,
};

use http::StatusCode;
use tokio::sync::Notify;

use super::{
    h1::Connection,
    pool::{Begun, Upstream},
};
use crate::{
    proxy::request::fields::{FieldName, Fields, elements},
    routing::{Backend, BackendSettings, EndpointSet},
};

/// The most pins of one client connection; beyond that the oldest unused one is closed.
const MAX_PINS: usize = 16;

/// The pinned connections of one client connection.
#[derive(Debug, Default)]
pub(crate) struct Pins(RefCell<Vec<Rc<Pin>>>);

/// The pinned connection to one backend. The pin outlives its connection: if that breaks, the next
/// request of the client opens a new one.
#[derive(Debug)]
pub(crate) struct Pin {
    backend: Arc<BackendSettings>,
    begun: Begun,
    claimed: Cell<bool>,
    free: Notify,
    kept: RefCell<Option<(Rc<Upstream>, Connection)>>,
}

/// The right to use a pinned connection, for one request at a time.
#[derive(Debug)]
pub(crate) struct Claim(Rc<Pin>);

impl Pins {
    /// Returns the pin that a request to `backend` has to use: an existing one, or a new one if the
    /// request authenticates its connection. `None` if it needs no pin.
    pub(crate) fn of(&self, backend: &Backend, begun: &Begun, fields: &Fields) -> Option<Rc<Pin>> {
        let is_bound = || is_bound(fields.all(FieldName::Authorization));
        self.find(backend, begun)
            .or_else(|| is_bound().then(|| self.open(backend, begun)))
    }

    /// Returns the pin of `backend` for connections that begin so, creating it if necessary.
    pub(crate) fn open(&self, backend: &Backend, begun: &Begun) -> Rc<Pin> {
        if let Some(pin) = self.find(backend, begun) {
            return pin;
        }
        let mut pins = self.0.borrow_mut();
        if pins.len() >= MAX_PINS
            && let Some(unused) = pins.iter().position(|pin| !pin.claimed.get())
        {
            pins.remove(unused);
        }

        let pin = Rc::new(Pin {
            backend: backend.settings.clone(),
            begun: begun.clone(),
            claimed: Cell::new(false),
            free: Notify::new(),
            kept: RefCell::default(),
        });
        pins.push(pin.clone());
        pin
    }

    fn find(&self, backend: &Backend, begun: &Begun) -> Option<Rc<Pin>> {
        let pins = self.0.borrow();
        pins.iter()
            .find(|pin| pin.backend == backend.settings && pin.begun == *begun)
            .cloned()
    }
}

impl Pin {
    /// Waits until no other request has the claim. Over HTTP/2 a client may send several at once.
    pub(crate) async fn claim(self: &Rc<Self>) -> Claim {
        loop {
            if let Some(claim) = self.try_claim() {
                return claim;
            }
            self.free.notified().await;
        }
    }

    /// Returns the claim, unless another request has it.
    pub(crate) fn try_claim(self: &Rc<Self>) -> Option<Claim> {
        (!self.claimed.replace(true)).then(|| Claim(self.clone()))
    }
}

impl Claim {
    /// Takes the kept connection, if it still leads to an endpoint of `backend`.
    pub(crate) fn take(&self, backend: &Backend) -> Option<(Rc<Upstream>, Connection)> {
        let (upstream, connection) = self.0.kept.take()?;
        let known = match &**backend.endpoints() {
            EndpointSet::Addresses(list) => list
                .iter()
                .any(|endpoint| endpoint.addr == upstream.key.addr),
            EndpointSet::Name { port, .. } => *port == upstream.key.addr.port(),
            EndpointSet::Empty => false,
        };

        (known && connection.is_quiet()).then_some((upstream, connection))
    }

    /// Keeps a connection for the next request.
    pub(crate) fn keep(self, upstream: Rc<Upstream>, connection: Connection) {
        *self.0.kept.borrow_mut() = Some((upstream, connection));
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.0.claimed.set(false);
        self.0.free.notify_one();
    }
}

/// Returns true if a response asks for authentication that is bound to its connection.
pub(crate) fn is_asked_for(status: StatusCode, fields: &Fields) -> bool {
    status == StatusCode::UNAUTHORIZED && is_bound(fields.all(FieldName::WwwAuthenticate))
}

/// Returns true if one of these challenges or credentials is NTLM or Negotiate. A match inside a
/// quoted string counts too: the price is only a connection.
fn is_bound<'a>(values: impl IntoIterator<Item = &'a [u8]>) -> bool {
    values.into_iter().flat_map(elements).any(|challenge| {
        let scheme = challenge
            .split(|byte| byte.is_ascii_whitespace())
            .next()
            .unwrap_or_default();
        scheme.eq_ignore_ascii_case(b"ntlm") || scheme.eq_ignore_ascii_case(b"negotiate")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ntlm_and_negotiate_are_found_in_every_form() {
        for (values, expected) in [
            (&["NTLM"][..], true),
            (&["ntlm"], true),
            (&["Negotiate"], true),
            (&["NEGOTIATE oYG2MIGzoAMKAQChCwYJ"], true),
            (&["NTLM TlRMTVNTUAACAAAADAAMADgAAAA="], true),
            (&["Basic realm=\"a\", Negotiate"], true),
            (&["Negotiate,NTLM"], true),
            (&["Basic realm=\"a\"", "NTLM"], true),
            (&["Basic realm=\"NTLM\""], false),
            (&["Bearer"], false),
            (&["NTLMv2"], false),
            (&[""], false),
            (&[], false),
        ] {
            let bytes = values.iter().map(|value| value.as_bytes());
            assert_eq!(is_bound(bytes), expected, "{values:?}");
        }
    }
}
