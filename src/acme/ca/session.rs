//! A session of an account at a certificate authority, and its open orders.

use std::{
    fmt,
    sync::{Arc, Mutex},
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use http::Uri;
use instant_acme::{Account as CrateAccount, Error, NewOrder, Order as Handle, OrderStatus};
use rustls::pki_types::PrivatePkcs8KeyDer;
use serde_json::json;

use super::{
    Authorization, Chain, Client, ClientError, Order, Replied,
    client::{KEY_CHANGE, NEW_ORDER, REVOKE_CERT, location, parsed, to_resource},
    jws::{AccountKey, Signer},
    types::certificate_id,
    wire::{Wire, exchange},
};
use crate::{
    http_client::{HttpError, Reply},
    pki::CertificateName,
    util::sync::lock,
};

/// The number of orders that are kept: more than are open at once.
const MOST_ORDERS: usize = 8;

/// A session of an account at a CA. Every method is one request (more if the CA asks for another
/// nonce) and fails if the CA refuses, does not respond, or responds nonsense. Clones share the
/// account and its orders.
#[derive(Clone)]
pub struct Session {
    client: Client,
    key: Arc<AccountKey>,
    url: Arc<str>,
    /// The orders that were read last, in instant-acme's form, the newest at the end. Each is taken
    /// out while a request for it is under way.
    orders: Arc<Mutex<Vec<Handle>>>,
}

/// Sends a request by the order that `$is` finds, in instant-acme's form, or else `$otherwise`: a
/// new session has no orders, and the crate cannot read every one.
macro_rules! by_order {
    ($session:expr, $is:expr, |$order:ident| $call:expr, $otherwise:expr) => {
        match $session.take($is) {
            None => $otherwise.await?,
            Some(mut $order) => {
                let response = exchange!($call);
                $session.keep($order);
                response?.1
            }
        }
    };
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Session({})", self.url)
    }
}

impl Session {
    pub(super) fn new(client: Client, key: Arc<AccountKey>, url: &str) -> Self {
        Self {
            client,
            key,
            url: url.into(),
            orders: Arc::default(),
        }
    }

    /// Returns the account's key.
    pub fn key(&self) -> &AccountKey {
        &self.key
    }

    /// Replaces the contacts (RFC 8555 section 7.3.2).
    ///
    /// # Errors
    /// See [`Session`].
    pub async fn update_contacts(&self, contacts: &[String]) -> Result<(), ClientError> {
        let account = self.crate_account().await?;
        let contacts: Vec<&str> = contacts.iter().map(String::as_str).collect();
        exchange!(account.update_contacts(&contacts)).map(drop)
    }

    /// Changes the account's key (RFC 8555 section 7.3.5). The new key must be stored before: once
    /// the CA has accepted it, only that one is valid, even if the response is lost. This session
    /// keeps the old key.
    ///
    /// # Errors
    /// See [`Session`]. The key of another account is a conflict, with that account's URL.
    pub async fn change_key(&self, new: &AccountKey) -> Result<(), ClientError> {
        to_resource!(self.client, KEY_CHANGE, |url| {
            let change = new.takes_over(&self.key, &self.url, url);
            self.post(url, &change).await
        })
        .map(drop)
    }

    /// Creates an order (RFC 8555 section 7.4). `replaces` is the [`super::ari_id`] of the
    /// predecessor (RFC 9773 section 5). It is left out for CAs without renewal information.
    ///
    /// # Errors
    /// See [`Session`]. The order tells whether the CA has accepted the profile and `replaces`.
    pub async fn new_order(
        &self,
        names: impl IntoIterator<Item = &CertificateName>,
        profile: Option<&str>,
        replaces: Option<&str>,
    ) -> Result<Replied<Order>, ClientError> {
        let identifiers: Vec<_> = names.into_iter().map(Into::into).collect();
        let knows_replaces = self.client.directory().await?.renewal_info.is_some();
        let mut new = NewOrder::new(&identifiers);
        if let Some(profile) = profile {
            new = new.profile(profile);
        }
        if let Some(id) = replaces.filter(|_| knows_replaces) {
            new = new.replaces(certificate_id(id));
        }

        let (handle, reply) = to_resource!(self.client, NEW_ORDER, |_url| {
            let account = self.crate_account().await?;
            exchange!(account.new_order(&new))
        })?;
        self.keep(handle);
        order(&reply, &location(&reply)?)
    }

    /// Reads an order.
    ///
    /// # Errors
    /// See [`Session`].
    pub async fn order(&self, url: &str) -> Result<Replied<Order>, ClientError> {
        let account = self.crate_account().await?;
        let (handle, reply) = exchange!(account.order(url.to_owned()))?;
        self.keep(handle);
        order(&reply, url)
    }

    /// Reads an authorization.
    ///
    /// # Errors
    /// See [`Session`].
    pub async fn authorization(&self, url: &str) -> Result<Replied<Authorization>, ClientError> {
        let has = |handle: &mut Handle| {
            handle
                .state()
                .authorizations
                .iter()
                .any(|one| one.url == url)
        };
        let reply = by_order!(self, has, |order| read(&mut order, url), self.post(url, ""));
        parsed(&reply, "no authorization")
    }

    /// Triggers the validation of a challenge (RFC 8555 section 7.5.1). Must be called only once.
    ///
    /// # Errors
    /// See [`Session`].
    pub async fn respond(&self, challenge_url: &str) -> Result<(), ClientError> {
        let has = |handle: &mut Handle| {
            let read = handle
                .state()
                .authorizations
                .iter()
                .filter_map(|one| one.state.as_ref());
            read.flat_map(|state| &state.challenges)
                .any(|one| one.url == challenge_url)
        };
        by_order!(
            self,
            has,
            |order| trigger(&mut order, challenge_url),
            self.post(challenge_url, "{}")
        );
        Ok(())
    }

    /// Finalizes an order that is ready (RFC 8555 section 7.4). `csr` is DER.
    ///
    /// # Errors
    /// See [`Session`].
    pub async fn finalize(
        &self,
        unfinished: &Order,
        csr: &[u8],
    ) -> Result<Replied<Order>, ClientError> {
        let Order { url, finalize, .. } = unfinished;
        let payload = json!({"csr": URL_SAFE_NO_PAD.encode(csr)}).to_string();
        let reply = by_order!(
            self,
            |order| order.url() == url,
            |order| order.finalize_csr(csr),
            self.post(finalize, &payload)
        );
        order(&reply, url)
    }

    /// Downloads a certificate, from the URL in its order or an alternate URL.
    ///
    /// # Errors
    /// See [`Session`]. The certificate itself is not checked here.
    pub async fn certificate(&self, url: &str) -> Result<Replied<Chain>, ClientError> {
        let is = |handle: &mut Handle| {
            let state = handle.state();
            (
                state.status,
                state.error.is_none(),
                state.certificate.as_deref(),
            ) == (OrderStatus::Valid, true, Some(url))
        };
        let reply = by_order!(self, is, |order| order.certificate(), self.post(url, ""));

        let pem = std::str::from_utf8(&reply.body)
            .ok()
            .filter(|text| text.contains("-----BEGIN CERTIFICATE-----"));
        let Some(pem) = pem else {
            return Err(ClientError::nonsense(&reply, "no certificate"));
        };

        let base: Uri = self.client.checked(url)?;
        let chain = Chain {
            pem: pem.to_owned(),
            alternates: reply.links("alternate", &base),
        };
        Ok(Replied::of(chain, &reply))
    }

    /// Revokes a certificate in DER (RFC 8555 section 7.6), for a reason of RFC 5280 section 5.3.1.
    /// Succeeds if it is already revoked. The CA decides about reasons, of which the crate does not
    /// know all.
    ///
    /// # Errors
    /// See [`Session`].
    pub async fn revoke(&self, certificate: &[u8], reason: Option<u8>) -> Result<(), ClientError> {
        let certificate = URL_SAFE_NO_PAD.encode(certificate);
        let mut payload = json!({"certificate": certificate});
        if let Some(reason) = reason {
            payload["reason"] = reason.into();
        }
        let payload = payload.to_string();
        let response = to_resource!(self.client, REVOKE_CERT, |url| {
            self.post(url, &payload).await
        });

        match response {
            Err(error) if !error.is("alreadyRevoked") => Err(error),
            _ => Ok(()),
        }
    }

    /// Returns the account in instant-acme's form. It is created for each call, because it never
    /// updates its directory.
    pub(super) async fn crate_account(&self) -> Result<CrateAccount, ClientError> {
        let directory = self.client.url().to_string();
        self.client.directory().await?;
        let key = PrivatePkcs8KeyDer::from(self.key.pkcs8());
        let builder = CrateAccount::builder_with_http(Box::new(Wire(self.client.clone())));
        let made = builder
            .from_parts(self.url.to_string(), key, directory)
            .await;
        made.map_err(|_no_directory| HttpError::Url.into())
    }

    /// Takes the order that is the right one. The caller has to keep it again.
    fn take(&self, is_it: impl FnMut(&mut Handle) -> bool) -> Option<Handle> {
        let mut orders = lock(&self.orders);
        let at = orders.iter_mut().position(is_it)?;
        Some(orders.remove(at))
    }

    /// Keeps an order that the crate could read, instead of its earlier state, or of the oldest
    /// order if there are many.
    fn keep(&self, order: impl Into<Option<Handle>>) {
        let Some(order) = order.into() else {
            return;
        };
        let mut orders = lock(&self.orders);
        orders.retain(|known| known.url() != order.url());
        orders.push(order);
        if orders.len() > MOST_ORDERS {
            orders.remove(0);
        }
    }

    async fn post(&self, url: &str, payload: &str) -> Result<Reply, ClientError> {
        self.client
            .post(&self.key, Signer::Account(&self.url), url, payload)
            .await
    }
}

fn order(reply: &Reply, url: &str) -> Result<Replied<Order>, ClientError> {
    let mut read = parsed::<Order>(reply, "no order")?;
    url.clone_into(&mut read.value.url);
    Ok(read)
}

/// Reads one authorization of the order.
async fn read(order: &mut Handle, url: &str) -> Result<(), Error> {
    let known = &order.state().authorizations;
    let at = known.iter().position(|one| one.url == url);
    let was_read = at.is_some_and(|at| known[at].state.is_some());

    // The crate reads each authorization the first time, and then keeps it.
    let mut all = order.authorizations();
    for _other in 0..at.unwrap_or_default() {
        drop(all.next().await);
    }
    match all.next().await {
        Some(Ok(mut one)) if was_read => one.refresh().await.map(drop),
        Some(one) => one.map(drop),
        None => Ok(()),
    }
}

/// Triggers the validation of a challenge of the order.
async fn trigger(order: &mut Handle, url: &str) -> Result<(), Error> {
    let mut all = order.authorizations();
    while let Some(one) = all.next().await {
        let mut one = one?;
        let kind = one
            .challenges
            .iter()
            .find(|challenge| challenge.url == url)
            .map(|this| this.r#type.clone());
        if let Some(mut challenge) = kind.and_then(|kind| one.challenge(kind)) {
            return challenge.set_ready().await;
        }
    }
    Ok(())
}
