//! What an account asks for.

use std::{fmt, sync::Arc};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use http::Uri;
use serde_json::{Value, json};

use super::{
    Account, Authorization, Chain, Challenge, Client, ClientError, Identifier, Order, Replied,
    client::{KEY_CHANGE, NEW_ORDER, REVOKE_CERT, Resource, location, parsed},
    header,
    http::Reply,
    jws::{AccountKey, Signer},
};

/// An account at a CA. Every method is one request (more when the CA wants another nonce) and fails when the CA refuses,
/// answers nonsense, or does not answer.
#[derive(Clone)]
pub struct Session {
    client: Client,
    key: Arc<AccountKey>,
    url: Arc<str>,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Session({})", self.url)
    }
}

impl Session {
    pub(super) fn new(client: Client, key: Arc<AccountKey>, url: &str) -> Self {
        Self { client, key, url: url.into() }
    }

    /// The CA.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// The account's key.
    pub fn key(&self) -> &AccountKey {
        &self.key
    }

    /// Replaces the contacts (RFC 8555 section 7.3.2).
    ///
    /// # Errors
    /// As [`Session`] says.
    pub async fn update_account(&self, contacts: &[String]) -> Result<Replied<Account>, ClientError> {
        self.account(&json!({"contact": contacts})).await
    }

    /// Ends the account, for good (RFC 8555 section 7.3.6).
    ///
    /// # Errors
    /// As [`Session`] says.
    pub async fn deactivate_account(&self) -> Result<Replied<Account>, ClientError> {
        self.account(&json!({"status": "deactivated"})).await
    }

    async fn account(&self, payload: &Value) -> Result<Replied<Account>, ClientError> {
        let reply = self.post(&self.url, &payload.to_string()).await?;
        let url = self.url.to_string();
        Ok(parsed::<Account>(&reply, "no account")?.map(|account| Account { url, ..account }))
    }

    /// Gives the account another key (RFC 8555 section 7.3.5). The new one has to be stored before: once the CA has
    /// agreed, only it counts, also if the answer is lost. This session goes on with the old one.
    ///
    /// # Errors
    /// As [`Session`] says; the key of another account is a conflict, with that account's URL.
    pub async fn change_key(&self, new: &AccountKey) -> Result<Replied<()>, ClientError> {
        let inner = |url: &str| serde_json::from_str(&new.takes_over(&self.key, &self.url, url)).expect("made of JSON");
        Ok(Replied::of((), &self.post_to(KEY_CHANGE, inner).await?))
    }

    /// Begins an order (RFC 8555 section 7.4). `replaces` is the [`super::ari_id`] of the certificate before this one
    /// (RFC 9773 section 5).
    ///
    /// # Errors
    /// As [`Session`] says. Whether the CA did heed the profile and `replaces`, the order says.
    pub async fn new_order(
        &self,
        identifiers: &[Identifier],
        profile: Option<&str>,
        replaces: Option<&str>,
    ) -> Result<Replied<Order>, ClientError> {
        let mut payload = json!({"identifiers": identifiers});
        if let Some(profile) = profile {
            payload["profile"] = profile.into();
        }
        if let Some(replaces) = replaces {
            payload["replaces"] = replaces.into();
        }
        let reply = self.post_to(NEW_ORDER, |_| payload.clone()).await?;
        let url = location(&reply)?;
        order(&reply, &url)
    }

    /// Reads an order.
    ///
    /// # Errors
    /// As [`Session`] says.
    pub async fn order(&self, url: &str) -> Result<Replied<Order>, ClientError> {
        order(&self.post(url, "").await?, url)
    }

    /// Reads an authorization.
    ///
    /// # Errors
    /// As [`Session`] says.
    pub async fn authorization(&self, url: &str) -> Result<Replied<Authorization>, ClientError> {
        authorization(&self.post(url, "").await?, url)
    }

    /// Gives an authorization up, valid or not (RFC 8555 section 7.5.2).
    ///
    /// # Errors
    /// As [`Session`] says.
    pub async fn deactivate_authorization(&self, url: &str) -> Result<Replied<Authorization>, ClientError> {
        authorization(&self.post(url, r#"{"status":"deactivated"}"#).await?, url)
    }

    /// Tells the CA that a challenge can be looked at (RFC 8555 section 7.5.1). To be done once.
    ///
    /// # Errors
    /// As [`Session`] says.
    pub async fn respond(&self, challenge_url: &str) -> Result<Replied<Challenge>, ClientError> {
        parsed(&self.post(challenge_url, "{}").await?, "no challenge")
    }

    /// Asks for the certificate of an order that is ready (RFC 8555 section 7.4). `csr` is DER.
    ///
    /// # Errors
    /// As [`Session`] says.
    pub async fn finalize(&self, unfinished: &Order, csr: &[u8]) -> Result<Replied<Order>, ClientError> {
        let payload = json!({"csr": URL_SAFE_NO_PAD.encode(csr)});
        order(&self.post(&unfinished.finalize, &payload.to_string()).await?, &unfinished.url)
    }

    /// Downloads a certificate, by its order's URL for it or one of the alternates.
    ///
    /// # Errors
    /// As [`Session`] says. Whether it is the right certificate is not looked at here.
    pub async fn certificate(&self, url: &str) -> Result<Replied<Chain>, ClientError> {
        let reply = self.post(url, "").await?;
        let pem = std::str::from_utf8(&reply.body).ok().filter(|text| text.contains("-----BEGIN CERTIFICATE-----"));
        let Some(pem) = pem else { return Err(ClientError::nonsense(&reply, "no certificate")) };
        let base: Uri = self.client.checked(url)?;
        let chain = Chain { pem: pem.to_owned(), alternates: header::links(&reply.headers, "alternate", &base) };
        Ok(Replied::of(chain, &reply))
    }

    /// Revokes a certificate in DER (RFC 8555 section 7.6), for a reason of RFC 5280 section 5.3.1. One that is revoked
    /// already is a success.
    ///
    /// # Errors
    /// As [`Session`] says.
    pub async fn revoke(&self, certificate: &[u8], reason: Option<u8>) -> Result<(), ClientError> {
        let mut payload = json!({"certificate": URL_SAFE_NO_PAD.encode(certificate)});
        if let Some(reason) = reason {
            payload["reason"] = reason.into();
        }
        match self.post_to(REVOKE_CERT, |_| payload.clone()).await {
            Err(error) if !error.is("alreadyRevoked") => Err(error),
            _ => Ok(()),
        }
    }

    async fn post(&self, url: &str, payload: &str) -> Result<Reply, ClientError> {
        self.client.post(&self.key, Signer::Account(&self.url), url, payload).await
    }

    async fn post_to(&self, resource: Resource, payload: impl Fn(&str) -> Value) -> Result<Reply, ClientError> {
        self.client.post_to(resource, &self.key, Signer::Account(&self.url), payload).await
    }
}

fn order(reply: &Reply, url: &str) -> Result<Replied<Order>, ClientError> {
    let url = url.to_owned();
    Ok(parsed::<Order>(reply, "no order")?.map(|order| Order { url, ..order }))
}

fn authorization(reply: &Reply, url: &str) -> Result<Replied<Authorization>, ClientError> {
    let url = url.to_owned();
    Ok(parsed::<Authorization>(reply, "no authorization")?.map(|read| Authorization { url, ..read }))
}
